"""`bursar policy simulate` as a command: tables for people, one object for programs, and errors in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ledger.cli.policy import VERBS
from ledger.cli.policy import command as policy_group
from ledger.core.command import Authorize, Settle
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld

POLICY = """\
policy: caps
applies_to: {book: true}
currency: USD
limits:
  - {id: day, per: day, max: "10.00"}
  - {id: rate, per: day, max_count: 4, by: agent}
approval: [{id: big, above: "4.00"}]
"""


class Shop:
    """A book of which 1, 5, 6, 3, 0.5 and 0.5 dollars were asked and approved, one a minute; and somebody who types."""

    def __init__(self, database_url: str, folder: Path) -> None:
        upgrade(database_url)
        self.url, self.folder = database_url, folder
        self.world = LiveWorld(database_url, "acme")
        self.asked: list[str] = []
        for amount in ("1", "5", "6", "3", "0.5", "0.5"):
            outcome = self.world.do(
                Authorize, self.world.crawler, amount=amount, currency="USD", category="a", payee="b", ttl_seconds=900
            )
            assert outcome.body is not None
            self.asked.append(outcome.body["authorization"])
            self.world.advance(60)
        self.world.do(Settle, self.world.crawler, authorization=self.asked[2], amount="5.5", currency="USD")

    def type(self, *options: str, text: str = POLICY, since: str = "2026-11-02") -> Result:
        """Type the command over a file with this text."""
        file = self.folder / "caps.yaml"
        file.write_text(text, encoding="utf-8")
        words = ["simulate", str(file), "--since", since, "--database-url", self.url, *options]
        return CliRunner().invoke(policy_group, words)

    def json(self, *options: str, **fields: str) -> dict[str, Any]:
        """The object that it prints."""
        result = self.type("--json", *options, **fields)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.output)
        return found


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(database_url, tmp_path)
    yield made
    made.world.close()


def test_tables_for_people(shop: Shop) -> None:
    """What changed, by which rule, for whom, the first examples with what the rule saw, and what was assumed."""
    result = shop.type("--until", "2027-01-01")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0] == "caps in the place of no live version, in the book acme"
    assert lines[1] == "from 2026-11-01T23:00:00.000000Z to before 2026-12-31T23:00:00.000000Z"
    assert lines[2].startswith("6 requests judged, 0 outside of its scope; ")
    for line in (
        "unchanged 3",
        "newly denied 2 6.50 USD 5.50 USD",
        "caps/day 1 6.00 USD",
        "caps/rate 1 0.50 USD",
        "newly needing approval 1 5.00 USD",
        "crawler 6 2 0 1 0 0 6.50 USD",
        "The first that are newly denied:",
        f"2026-11-02T09:02:00Z {shop.asked[2]} crawler 6.00 USD caps/day 12.00 10.00 4.00",
        f"2026-11-02T09:05:00Z {shop.asked[5]} crawler 0.50 USD caps/rate 5 4 0",
        f"2026-11-02T09:01:00Z {shop.asked[1]} crawler 5.00 USD caps/big 5.00 4.00 4.00",
        "Note: What newly needs approval was taken as granted at once (--approvals).",
    ):
        assert line in lines, result.output


def test_one_object_for_programs(shop: Shop) -> None:
    """The same numbers."""
    found = shop.json("--examples", "1", "--until", "2027-01-01T00:00:00Z")
    assert (found["book"], found["policy"], found["live_version"]) == ("acme", "caps", None)
    assert (found["requests"]["count"], found["unchanged"], found["outside_scope"]) == (6, 3, 0)
    denied = found["categories"]["newly_denied"]
    assert (denied["count"], denied["amounts"], denied["spent"]) == (
        2,
        [{"amount": "6.50", "currency": "USD"}],
        [{"amount": "5.50", "currency": "USD"}],
    )
    assert {rule: tally["count"] for rule, tally in denied["rules"].items()} == {"caps/day": 1, "caps/rate": 1}
    (example,) = denied["examples"]
    assert example | {"detail": ""} == {
        "time": "2026-11-02T09:02:00.000000Z", "log_index": example["log_index"], "authorization": shop.asked[2],
        "sort": "authorization", "agent": "crawler", "code": "limit_held", "rule": "caps/day", "detail": "",
        "amount": {"amount": "6.00", "currency": "USD"}, "observed": "12.00", "limit": "10.00", "remaining": "4.00",
    }  # fmt: skip
    (agent,) = found["agents"]
    assert (agent["agent"], agent["requests"], agent["newly_denied"]["count"]) == ("crawler", 6, 2)
    assert sum(len(one["examples"]) for one in found["categories"].values()) == 2
    assert found["freezes"] == {"count": 0, "examples": []}


def test_what_persons_answer_is_a_choice(shop: Shop) -> None:
    """Refused, neither 5 nor 6 is spent, and what follows fits."""
    found = shop.json("--approvals", "assume-refused", text=POLICY.replace('"4.00"', '"4.99"'))
    counts = {name: one["count"] for name, one in found["categories"].items() if one["count"]}
    assert counts == {"newly_needing_approval": 2}
    assert any("taken as refused" in note for note in found["notes"])


def test_a_period_without_requests(shop: Shop) -> None:
    """It is said, with status 0."""
    result = shop.type("--until", "2026-11-02T08:00:00Z", since="2026-11-01")
    assert result.exit_code == 0
    assert "There was no request in this period that the policy would have judged." in result.output


@pytest.mark.parametrize(
    ("options", "text", "since", "said"),
    [
        ((), "policy: caps\nlimit: []\n", "7d", "caps.yaml:"),
        ((), POLICY, "last week", '"last week" is no time: give a date such as 2026-11-01'),
        (("--until", "2026-11-01"), POLICY, "2026-11-02", "the period ends before it begins"),
        (("--book", "zenith"), POLICY, "7d", 'there is no book "zenith" in this database; it has: acme'),
        ((), POLICY.replace("USD", "gold"), "7d", "caps counts in gold, which is no currency and no unit of"),
        ((), POLICY.replace("book: true", "team: nobody"), "7d", "there is no team nobody in the book acme"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(shop: Shop, options: tuple[str, ...], text: str, since: str, said: str) -> None:
    """Status 2, and what to change."""
    result = shop.type(*options, text=text, since=since)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_bad_file_reads_as_check_tells_it(shop: Shop) -> None:
    """The same lines."""
    bad = "policy: caps\napplies_to: {book: true}\nlimits: [{id: day, per: fortnight, max: 5}]\n"
    result = shop.type(text=bad)
    checked = CliRunner().invoke(policy_group, ["check", str(shop.folder / "caps.yaml")])
    problems = [line.strip() for line in checked.output.splitlines() if "caps.yaml:" in line]
    assert len(problems) >= 2
    for line in problems:
        assert line in result.output


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is made in its place."""
    file = tmp_path / "caps.yaml"
    file.write_text(POLICY, encoding="utf-8")
    missing = tmp_path / "missing.db"
    result = CliRunner().invoke(
        policy_group, ["simulate", str(file), "--since", "7d", "--database-url", f"sqlite:///{missing}"]
    )
    assert result.exit_code == 1
    assert "there is no database file" in result.output
    assert not missing.exists()
    assert "simulate" in VERBS
