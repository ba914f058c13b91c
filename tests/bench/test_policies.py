"""The policies of the bench are what they claim to be, and what a decision costs is measured on such a book only."""

import dataclasses
from pathlib import Path

import pytest

from bench.decision_cost import Costs, Decider, NotComparable, measure
from bench.policies import LIMITS, LIMITS_PER_AGENT, TEAMS, documents
from bench.sample import authorization_request
from bench.scenarios.policies import PARTS, _parts
from bench.wire import Principal
from ledger.services.policies.document import document_from_json
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp

WINDOWS = {"authorization", "minute", "hour", "day", "week", "month", "lifetime"}


def test_twelve_limits_of_every_kind_four_of_them_per_agent() -> None:
    limits = [limit for document in documents() for limit in document["limits"]]
    assert len(limits) == LIMITS == 12
    assert len([limit for limit in limits if limit.get("by") == ["agent"]]) == LIMITS_PER_AGENT == 4
    assert {limit["per"] for limit in limits} == WINDOWS
    assert {limit["per"] for limit in limits if limit.get("rolling")} == {"minute", "hour"}
    assert {("max" in limit, "max_count" in limit) for limit in limits} == {(True, False), (False, True), (True, True)}


def test_they_are_valid_policies() -> None:
    for document in documents():
        canonical = document_from_json(document).canonical()
        assert canonical["limits"] == document["limits"]


def made_book(directory: Path, *, limited: bool) -> tuple[str, tuple[Principal, ...]]:
    """The URL of a book as the scenario makes it, with two agents."""
    directory.mkdir()
    url = sqlite_url(directory)
    principals = []
    with RunningApp(url) as app:
        for parent, team in zip((None, *TEAMS), TEAMS, strict=False):
            app.make("/v1/teams", {"name": team} | ({"parent": parent} if parent else {}))
        for name in ("one", "two"):
            app.make("/v1/agents", {"name": name, "parent": TEAMS[-1]})
            app.make("/v1/budgets", {"name": name, "currency": "USD", "agents": [name]})
            app.make(f"/v1/budgets/{name}/allocations", {"amount": {"amount": "100.00", "currency": "USD"}})
            key = str(app.make("/v1/keys", {"role": "agent", "agent": name})["key"])
            principals.append(Principal(key, (name,)))
        for document in documents() if limited else ():
            app.make("/v1/policies", document)
        made = app.make("/v1/authorizations", authorization_request() | {"budget": "one"}, key=principals[0].key)
        assert len(made["decision"]["policies"]) == (3 if limited else 0)
    return url, tuple(principals)


def test_every_request_meets_all_of_them_and_each_part_is_measured(tmp_path: Path) -> None:
    plain_url, plain = made_book(tmp_path / "plain", limited=False)
    limited_url, limited = made_book(tmp_path / "limited", limited=True)
    without, under = Decider(plain_url, plain, limits=0), Decider(limited_url, limited, limits=LIMITS)
    costs = measure(without, under, rounds=1, seconds=0.02)
    for part in (part for part in dataclasses.asdict(costs) if part != "saying"):
        (seconds,) = getattr(costs, part)
        assert 0 < seconds < 0.1, part
    assert costs.limited[0] == pytest.approx(
        costs.without[0] + costs.evaluation[0] + costs.counting[0] + costs.saying[0]
    )
    # Nothing was written: a second look begins where the first began, and so ends where it ended.
    assert Decider(limited_url, limited, limits=LIMITS).snapshot.head.size == under.snapshot.head.size
    with pytest.raises(NotComparable, match="meets 12 limits, and must meet 11"):
        Decider(limited_url, limited, limits=11)


def test_a_part_is_a_ratio_of_its_own_round() -> None:
    costs = Costs(
        without=[4e-5, 8e-5, 4e-5], limited=[6e-5, 12e-5, 9e-5], evaluation=[1e-5, 2e-5, 1e-5],
        counting=[1e-5, 2e-5, 1e-5], saying=[0.0, 0.0, 3e-5], hashing=[1e-6, 2e-6, 1e-6],
    )  # fmt: skip
    lines = {line.what.partition(" ÷ ")[0]: line for line in _parts(costs)}
    assert set(lines) == set(PARTS.values())
    assert lines[PARTS["evaluation"]].ratio == pytest.approx(0.25)
    assert lines[PARTS["limited"]].ratio == pytest.approx(1.5)
    assert lines[PARTS["limited"]].detail == "90.0 ÷ 40.0 µs; 60.0 times a SHA-256 of 1,500 bytes"
    assert all(line.target is None for line in lines.values())
