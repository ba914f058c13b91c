"""Runs with a cap and keys for one run over HTTP: opened, spent from, read, and refused, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.services.verify import verify_books
from tests.support.running_app import RunningApp, authorization, usd


class Capped:
    """An app with a run of the crawler's under a cap of 1.00, and a key that the crawler made for it."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.crawler = app.make_agent("crawler", budget="research")
        self.opened = app.make("/v1/runs", {"name": "run-42", "cap": usd("1.00")}, key=self.crawler)
        self.made = app.make("/v1/keys", {"role": "agent", "run": "run-42"}, key=self.crawler)
        self.key = self.made["key"]

    def ask(self, amount: str, **fields: Any) -> Any:
        """Ask with the key for the run."""
        return self.app.post("/v1/authorizations", authorization(amount, **fields), key=self.key)


@pytest.fixture
def capped(app_on: RunningApp) -> Capped:
    """On either database."""
    return Capped(app_on)


def test_from_the_cap_to_its_last_cent(capped: Capped) -> None:
    """What each answer says of the cap; and the book verifies."""
    app = capped.app
    assert (capped.opened["cap"], capped.opened["remaining"]) == (usd("1.00"), usd("1.00"))
    first = capped.ask("0.60")
    assert first.status == 201
    assert first.json["run"] == "run-42"
    said = {"limit": usd("1.00"), "used": usd("0.60"), "remaining": usd("0.40")}
    assert first.json["decision"]["run_cap"] == said
    held = capped.ask("0.60", afford=True)
    assert (held.status, held.code) == (429, "run_held")
    assert held.headers["retry-after"] == "2"
    (reason,) = held.json["decision"]["reasons"]
    assert (reason["rule"], reason["observed"], reason["remaining"]) == ("run_cap", usd("1.20"), usd("0.40"))
    settled = app.post(f"/v1/authorizations/{first.json['id']}/settle", {"amount": usd("0.50")}, key=capped.key)
    assert settled.status == 200
    rest = capped.ask("0.60", afford=True)
    assert (rest.status, rest.json["approved"], rest.json["flags"]) == (201, usd("0.50"), ["partial"])
    assert rest.json["decision"]["run_cap"]["remaining"] == usd("0.00")
    app.post(f"/v1/authorizations/{rest.json['id']}/settle", {"amount": usd("0.50")}, key=capped.key)
    refused = capped.ask("0.60", afford=True)
    assert (refused.status, refused.code, refused.json["never_fits"]) == (403, "run_cap_exceeded", True)
    run = app.get("/v1/runs/run-42", key=capped.key).json
    assert (run["cap"], run["remaining"], run["totals"][0]["spent"]) == (usd("1.00"), usd("0.00"), usd("1.00"))
    (report,) = verify_books(app.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]


def test_what_the_key_says_of_itself(capped: Capped) -> None:
    """Who made it, for which run, until when; its secret stands in its own answer only."""
    made = capped.made
    assert (made["run"], made["vouched_by"], made["principal"]) == ("run-42", "person:owner", "agent:crawler")
    assert made["expires_at"] > made["created_at"]
    me = capped.app.get("/v1/me", key=capped.key).json
    assert (me["run"]["name"], me["run"]["remaining"]) == ("run-42", usd("1.00"))
    assert me["may"] == [
        "authorize",
        "evaluate",
        "extend",
        "mark_unknown",
        "read_own",
        "release",
        "report_outcome",
        "settle",
    ]
    assert "run" not in capped.app.get("/v1/me", key=capped.crawler).json
    listed = capped.app.get(f"/v1/keys/{made['id']}").json
    assert (listed["run"], listed["made_by"], listed["vouched_by"]) == ("run-42", "agent:crawler", "person:owner")


def test_it_reads_its_run_and_nothing_else(capped: Capped) -> None:
    """Also not what its agent reads with other keys."""
    app = capped.app
    app.make("/v1/runs", {"name": "run-43"}, key=capped.crawler)
    inside = capped.ask("0.10").json["id"]
    outside = app.make("/v1/authorizations", authorization("0.10"), key=capped.crawler)["id"]
    listed = app.get("/v1/authorizations", key=capped.key).json["items"]
    assert [item["id"] for item in listed] == [inside]
    for path, status in (
        (f"/v1/authorizations/{inside}", 200), (f"/v1/authorizations/{outside}", 404), ("/v1/runs/run-42", 200),
        ("/v1/runs/run-43", 404), ("/v1/authorizations?run=run-42", 200), ("/v1/authorizations?run=run-43", 404),
    ):  # fmt: skip
        assert (path, app.get(path, key=capped.key).status) == (path, status)
    for path in ("/v1/budgets", "/v1/budgets/research", "/v1/runs", "/v1/book", "/v1/agents/crawler", "/v1/categories"):
        answer = app.get(path, key=capped.key)
        assert (answer.status, answer.code) == (403, "key_run_only")
    released = app.post(f"/v1/authorizations/{outside}/release", {}, key=capped.key)
    assert (released.status, released.code) == (404, "not_found")
    other = capped.ask("0.10", run="run-43")
    assert (other.status, other.code) == (403, "key_run_only")
    opening = app.post("/v1/runs", {"name": "run-44"}, key=capped.key)
    assert (opening.status, opening.code) == (403, "key_run_only")


def test_an_agent_ends_its_key_and_no_other(capped: Capped) -> None:
    """At once, for reads and for writes."""
    app = capped.app
    own = app.get("/v1/me", key=capped.crawler).json["key"]
    foreign = app.post(f"/v1/keys/{own}/revoke", {}, key=capped.crawler)
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert app.post(f"/v1/keys/{capped.made['id']}/revoke", {}, key=capped.crawler).status == 200
    assert (capped.ask("0.10").code, app.get("/v1/me", key=capped.key).code) == ("key_revoked", "key_revoked")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"role": "agent", "run": "nowhere"}, 422, "unknown_run"),
        ({"role": "agent", "run": "run-42", "ttl_seconds": 604_801}, 422, "ttl_too_long"),
        ({"role": "agent"}, 403, "role_not_allowed"),
        ({"role": "admin", "person": "eve"}, 403, "role_not_allowed"),
        ({"role": "agent", "run": "run-42", "agent": "nobody"}, 422, "unknown_agent"),
        ({"role": "agent", "run": "run-42", "agent": "stranger"}, 422, "unknown_agent"),
    ],
)
def test_what_an_agent_cannot_make(
    acme: RunningApp, crawler: str, body: dict[str, Any], status: int, code: str
) -> None:
    """Each is a clear refusal; another agent is as one that is not there."""
    acme.post("/v1/runs", {"name": "run-42"}, key=crawler)
    acme.post("/v1/agents", {"name": "stranger"})
    answer = acme.post("/v1/keys", body, key=crawler)
    assert (answer.status, answer.code) == (status, code)


def test_a_cap_in_a_unit_of_the_book(acme: RunningApp, crawler: str) -> None:
    """Units that are not money cap runs too, with their own digits."""
    acme.make("/v1/units", {"name": "tokens", "digits": 0})
    cap = {"amount": "5000", "currency": "tokens"}
    opened = acme.make("/v1/runs", {"name": "run-tokens", "cap": cap}, key=crawler)
    assert opened["cap"] == cap
    assert acme.get("/v1/runs/run-tokens", key=crawler).json["remaining"] == cap


def test_an_evaluation_sees_the_cap(acme: RunningApp, crawler: str) -> None:
    """As it is now, because nothing is held."""
    acme.make("/v1/runs", {"name": "run-eval", "cap": usd("1.00")}, key=crawler)
    asked = authorization("0.30", run="run-eval")
    shown = acme.post("/v1/evaluations", asked, key=crawler).json["decision"]["run_cap"]
    assert shown == {"limit": usd("1.00"), "used": usd("0.00"), "remaining": usd("1.00")}
    asked = authorization("1.30", run="run-eval")
    assert acme.post("/v1/evaluations", asked, key=crawler).json["status"] == 403


def test_one_way_to_less(acme: RunningApp, crawler: str) -> None:
    """Both at once would say two things."""
    asked = authorization("1.00", afford=True, partial_ok=True)
    answer = acme.post("/v1/authorizations", asked, key=crawler)
    assert (answer.status, answer.code) == (422, "validation_failed")
