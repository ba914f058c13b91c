"""Renewal, closing and freezing over HTTP: what is asked, what is answered, what can be seen afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.core.moment import moment_of, moment_text
from ledger.core.windows import calendar_bounds
from ledger.services.sources import Sources
from ledger.services.verify import verify_books
from tests.support.databases import sqlite_url
from tests.support.running_app import Answer, RunningApp, authorization, usd

DAY = 24 * 3600 * 1_000_000


def midnight(every: str = "day") -> int:
    """The next midnight in UTC that begins a period."""
    return calendar_bounds(every, timezone="UTC", now=time.time_ns() // 1000)[1]


def balances(app: RunningApp, budget: str) -> tuple[str, str, str]:
    """What a budget has available, holds and has spent."""
    shown = app.get(f"/v1/budgets/{budget}").json
    return shown["available"]["amount"], shown["held"]["amount"], shown["spent"]["amount"]


def prove(app: RunningApp) -> None:
    """The book verifies."""
    (report,) = verify_books(app.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_a_renewal_is_set_shown_and_stopped(own_app: RunningApp, every: str) -> None:
    """In the answer, on the budget and in the list; the amounts as they were asked."""
    own_app.make_agent("crawler", budget="research")
    before = own_app.get("/v1/budgets/research").json
    assert (before["renewal"], before["frozen"], before["closed_at"]) == (None, False, None)
    asked = {"every": every, "amount": usd("50.00"), "carry_over": usd("12.5"), "reason": "by contract"}
    answer = own_app.post("/v1/budgets/research/renewal", asked, idempotency_key="set")
    assert answer.status == 200
    renewal = answer.json["renewal"]
    assert (renewal["amount"], renewal["carry_over"]) == (usd("50.00"), usd("12.50"))
    assert moment_of(renewal["next_at"]) == midnight(every)
    again = own_app.post("/v1/budgets/research/renewal", asked, idempotency_key="set")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json == answer.json
    assert own_app.get("/v1/budgets/research").json["renewal"] == renewal
    assert own_app.get("/v1/budgets").json["items"][0]["renewal"] == renewal
    stopped = own_app.make("/v1/budgets/research/renewal/stop", {"reason": "contract ended"})
    assert stopped["renewal"] is None
    assert own_app.get("/v1/budgets/research").json["renewal"] is None
    refused = own_app.post("/v1/budgets/research/renewal/stop")
    assert (refused.status, refused.code, refused.json["state"]) == (409, "wrong_state", "not_renewing")


class Later(Sources):
    """A clock that is ahead by what the test says."""

    ahead = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead

    def decision_time(self, clock_us: int) -> int:
        return clock_us + self.ahead


def test_an_idle_server_renews_at_midnight(tmp_path: Path) -> None:
    """The sweeper does, with nobody asking; once for each day that passed."""
    sources = Later()
    settings: dict[str, Any] = {"sweep_interval_seconds": 1, "clock_jump_seconds": 10**7}
    with RunningApp(sqlite_url(tmp_path), sources=sources, **settings) as app:
        app.make_agent("crawler", budget="research", allocated="30.00")
        app.make("/v1/budgets/research/renewal", {"every": "day", "amount": usd("50.00"), "carry_over": usd("20")})
        sources.ahead = 3 * DAY
        assert within(10, lambda: balances(app, "research")[0] == "70.00")
        records = app.get("/v1/log?kind=renewal").json["items"]
        assert len(records) == 3
        first = app.get("/v1/budgets/research/renewals?limit=2").json
        rest = app.get(f"/v1/budgets/research/renewals?limit=2&cursor={first['next_cursor']}").json
        listed = [*first["items"], *rest["items"]]
        assert rest["next_cursor"] is None
        assert [item["lapsed"] for item in listed] == [usd("50.00"), usd("50.00"), usd("10.00")]
        assert {(item["carried"]["amount"], item["available"]["amount"]) for item in listed} == {("20.00", "70.00")}
        assert [item["period"] for item in listed] == [record["body"]["period"] for record in reversed(records)]
        assert [record["body"]["lapsed"] for record in records] == ["10000000000", "50000000000", "50000000000"]
        assert [record["subject"] for record in records] == ["research"] * 3
        shown = moment_of(app.get("/v1/budgets/research").json["renewal"]["next_at"])
        assert shown - moment_of(records[0]["body"]["period"]["from"]) == 3 * DAY
        prove(app)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_the_first_request_after_midnight_finds_it_renewed(tmp_path: Path) -> None:
    """Also on a server that does not sweep."""
    sources = Later()
    with RunningApp(sqlite_url(tmp_path), sources=sources, sweep_interval_seconds=0, clock_jump_seconds=10**7) as app:
        key = app.make_agent("crawler", budget="research", allocated="1.00")
        app.make("/v1/budgets/research/renewal", {"every": "day", "amount": usd("50.00")})
        assert app.post("/v1/authorizations", authorization("40.00"), key=key).status == 403
        sources.ahead = DAY
        assert app.post("/v1/authorizations", authorization("40.00"), key=key).status == 201
        assert balances(app, "research") == ("10.00", "40.00", "0.00")


BAD = (
    ({"amount": usd("1")}, "/every"),
    ({"every": "year", "amount": usd("1")}, "/every"),
    ({"every": "daily", "amount": usd("1")}, "/every"),
    ({"every": "day"}, "/amount"),
    ({"every": "day", "amount": "1"}, "/amount"),
    ({"every": "day", "amount": usd("1"), "carry_over": {"amount": "1", "currency": "EUR"}}, ""),
    ({"every": "day", "amount": usd("1"), "carry_over": 5}, "/carry_over"),
    ({"every": "day", "amount": usd("1"), "rest": "lapse"}, "/rest"),
)


@pytest.mark.parametrize(("body", "pointer"), BAD, ids=lambda value: str(value)[:60])
def test_a_renewal_that_is_no_renewal(acme: RunningApp, crawler: str, body: dict[str, Any], pointer: str) -> None:
    """422, at the field, and nothing is recorded."""
    size = acme.log_size()
    answer = acme.post("/v1/budgets/research/renewal", body)
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == pointer
    assert acme.log_size() == size


REFUSED = (
    ({"every": "day", "amount": usd("0")}, 422, "amount_not_positive"),
    ({"every": "day", "amount": usd("1"), "carry_over": usd("-1")}, 422, "amount_not_positive"),
    ({"every": "day", "amount": {"amount": "1", "currency": "EUR"}}, 422, "currency_mismatch"),
    ({"every": "day", "amount": {"amount": "1", "currency": "XXY"}}, 422, "unknown_currency"),
)


@pytest.mark.parametrize(("body", "status", "code"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_renewal_that_the_book_refuses(
    acme: RunningApp, crawler: str, body: dict[str, Any], status: int, code: str
) -> None:
    """With the code of what is wrong."""
    answer = acme.post("/v1/budgets/research/renewal", body)
    assert (answer.status, answer.code) == (status, code)


def test_closing(app_on: RunningApp) -> None:
    """Refused while it is in use, and why; then for good, and what is left is where it came from."""
    key = app_on.make_agent("crawler", budget="research")
    app_on.make("/v1/budgets", {"name": "below", "currency": "USD", "parent": "research"})
    made = app_on.make("/v1/authorizations", authorization("10.00"), key=key)
    held = app_on.post("/v1/budgets/research/close")
    assert (held.status, held.code, held.json["held"]) == (409, "budget_in_use", usd("10.00"))
    app_on.make(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("4.00")}, key=key)
    child = app_on.post("/v1/budgets/research/close")
    assert (child.status, child.code, child.json["budgets"]) == (409, "budget_in_use", ["below"])
    app_on.make("/v1/budgets/below/close", {})
    answer = app_on.post("/v1/budgets/research/close", {"reason": "the project has ended"}, idempotency_key="close")
    shown = answer.json
    assert (answer.status, shown["returned"], shown["available"]) == (200, usd("96.00"), usd("0.00"))
    again = app_on.post("/v1/budgets/research/close", {"reason": "the project has ended"}, idempotency_key="close")
    assert (again.json, again.headers["idempotency-replayed"]) == (shown, "true")
    assert app_on.get("/v1/budgets/research").json["closed_at"] == shown["closed_at"]
    assert balances(app_on, "research") == ("0.00", "0.00", "4.00")
    denied = app_on.post("/v1/authorizations", authorization("1.00"), key=key)
    assert (denied.status, denied.code) == (403, "budget_closed")
    for path, body in (
        ("allocations", {"amount": usd("1")}),
        ("agents", {"agents": ["crawler"]}),
        ("renewal", {"every": "day", "amount": usd("1")}),
        ("close", {}),
        ("freeze", {}),
        ("unfreeze", {"reason": "once more"}),
    ):
        refused = app_on.post(f"/v1/budgets/research/{path}", body)
        assert (refused.status, refused.code, refused.json["state"]) == (409, "wrong_state", "closed"), path
    prove(app_on)


def test_closing_below_zero(own_app: RunningApp) -> None:
    """What was overspent must be covered first."""
    own_app.make_agent("crawler", budget="research", allocated="1.00")
    finance = own_app.make("/v1/keys", {"role": "finance", "person": "fred"})["key"]
    own_app.make("/v1/charges", authorization("5.00", budget="research"), key=finance)
    refused = own_app.post("/v1/budgets/research/close")
    assert (refused.status, refused.code, refused.json["available"]) == (409, "insufficient_available", usd("-4.00"))
    own_app.make("/v1/budgets/research/allocations", {"amount": usd("4")})
    assert own_app.make("/v1/budgets/research/close", {})["returned"] == usd("0.00")


@pytest.mark.parametrize(
    ("path", "code"), [("/v1/budgets/research", "budget_frozen"), ("/v1/book", "book_frozen")], ids=["budget", "book"]
)
def test_freezing(app_on: RunningApp, path: str, code: str) -> None:
    """Nothing new, of any kind; what is held is settled; and a reason is asked for before it goes on."""
    key = app_on.make_agent("crawler", budget="research")
    first, second = (app_on.make("/v1/authorizations", authorization("10.00"), key=key)["id"] for _ in range(2))
    frozen = app_on.make(f"{path}/freeze", {"reason": "odd spending"})
    assert frozen["frozen"] is True
    assert app_on.get(path).json["frozen"] is True
    for said in (
        app_on.post("/v1/authorizations", authorization("1.00"), key=key),
        app_on.post(f"/v1/authorizations/{first}/extend", {"amount": usd("1.00")}, key=key),
    ):
        assert (said.status, said.code) == (403, code)
        assert said.json["decision"]["reasons"][0]["code"] == code
    batch = app_on.make(
        "/v1/authorizations/batch", {"items": [authorization("1.00") | {"idempotency_key": "i1"}]}, key=key
    )
    assert [item["status"] for item in batch["items"]] == [403]
    assert app_on.make("/v1/evaluations", authorization("1.00"), key=key)["decision"]["outcome"] == "denied"
    app_on.make(f"/v1/authorizations/{first}/settle", {"amount": usd("3.00")}, key=key)
    app_on.make(f"/v1/authorizations/{second}/release", {}, key=key)
    app_on.make("/v1/budgets/research/allocations", {"amount": usd("1.00")})
    twice = app_on.post(f"{path}/freeze")
    assert (twice.status, twice.code, twice.json["state"]) == (409, "wrong_state", "frozen")
    size = app_on.log_size()
    for without in ({}, {"reason": ""}):
        refused = app_on.post(f"{path}/unfreeze", without)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/reason")
    assert app_on.log_size() == size
    assert app_on.make(f"{path}/unfreeze", {"reason": "it was a test"})["frozen"] is False
    assert app_on.get(path).json["frozen"] is False
    assert app_on.post("/v1/authorizations", authorization("1.00"), key=key).status == 201
    reason = app_on.get(f"/v1/log/{size}").json
    assert reason["kind"] in ("book_unfreeze", "budget_unfreeze")
    prove(app_on)


def test_an_agent_goes_on_with_a_reason_too(own_app: RunningApp) -> None:
    """As everything that was stopped."""
    key = own_app.make_agent("crawler", budget="research")
    own_app.make("/v1/agents/crawler/freeze", {})
    refused = own_app.post("/v1/agents/crawler/unfreeze", {})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/reason")
    own_app.make("/v1/agents/crawler/unfreeze", {"reason": "mended"})
    assert own_app.post("/v1/authorizations", authorization("1.00"), key=key).status == 201


WRITES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/budgets/research/renewal", {"every": "day", "amount": usd("1")}),
    ("/v1/budgets/research/renewal/stop", {}),
    ("/v1/budgets/research/close", {}),
    ("/v1/budgets/research/freeze", {}),
    ("/v1/budgets/research/unfreeze", {"reason": "why"}),
    ("/v1/book/freeze", {}),
    ("/v1/book/unfreeze", {"reason": "why"}),
)


@pytest.mark.parametrize(("path", "body"), WRITES, ids=[path for path, _ in WRITES])
def test_only_an_admin(acme: RunningApp, crawler: str, path: str, body: dict[str, Any]) -> None:
    """And never without an Idempotency-Key."""
    answer = acme.post(path, body, key=crawler)
    assert (answer.status, answer.code) == (403, "role_not_allowed")
    headers = [
        (b"authorization", f"Bearer {acme.admin_key}".encode()),
        (b"content-type", b"application/json"),
    ]
    bare = acme.request("POST", path, body=b"{}", headers=headers)
    assert (bare.status, bare.code) == (400, "missing_idempotency_key")


def test_an_agent_sees_that_its_budget_is_frozen(own_app: RunningApp) -> None:
    """And when it renews: in the budget, in its list, and in /v1/me."""
    key = own_app.make_agent("crawler", budget="research")
    own_app.make("/v1/budgets/research/freeze", {})
    own_app.make("/v1/budgets/research/renewal", {"every": "day", "amount": usd("1")})

    def budget_in(answer: Answer) -> Any:
        found = answer.json
        return found["budgets"][0] if "budgets" in found else found["items"][0] if "items" in found else found

    for path in ("/v1/budgets/research", "/v1/budgets", "/v1/me"):
        shown = budget_in(own_app.get(path, key=key))
        assert shown["frozen"] is True
        assert shown["renewal"]["next_at"] == moment_text(midnight())
