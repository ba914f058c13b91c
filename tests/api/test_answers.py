"""What a request is answered, from the first authorization to the refund: shapes, statuses, replays, both sides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rendering import ANSWERS, decimal_text
from api.schemas.authorizations import AuthorizationResponse
from ledger.core.journal import KINDS
from ledger.core.money import ATOMS_MAX, format_atoms
from tests.support.running_app import RunningApp, authorization, usd


@given(st.integers(-ATOMS_MAX, ATOMS_MAX), st.integers(0, 9))
def test_amounts_are_written_as_the_core_writes_them(atoms: int, digits: int) -> None:
    """The fast way from atoms as text to decimal text gives the core's own text."""
    assert decimal_text(str(atoms), digits) == format_atoms(atoms, digits)


def test_every_record_that_answers_a_request_can_be_shown() -> None:
    """Kinds without an answer are those that no request is answered with."""
    silent = {"book", "denial", "run_denial", "expiry", "renewal", "person", "key_expiry"}
    assert set(KINDS) - set(ANSWERS) <= silent


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
def test_the_life_of_an_authorization(app_on: RunningApp, behind: bool) -> None:
    """Held, extended, settled in part, settled, refunded: each answer says what is left, on both databases."""
    key = app_on.make_agent("crawler", budget="research", allocated="10.00")

    def post(path: str, body: Any, agent_key: str = key) -> Any:
        answer = app_on.post(path, body, key=agent_key, behind=behind)
        assert answer.status in (200, 201), answer.body
        return answer.json

    held = post("/v1/authorizations", authorization("2.00", intent="look it up", labels={"prompt": "v7"}))
    AuthorizationResponse.model_validate(held)
    assert (held["state"], held["approved"], held["agent"]) == ("held", usd("2.00"), "crawler")
    assert held["decision"] == {"outcome": "approved", "reasons": [], "policies": [], "limits": []}
    path = f"/v1/authorizations/{held['id']}"
    extended = post(f"{path}/extend", {"amount": usd("1.00"), "ttl_seconds": 60})
    assert extended["approved"] == usd("3.00")
    assert extended["expires_at"] > held["expires_at"]
    part = post(f"{path}/settle", {"amount": usd("0.5"), "final": False, "evidence": {"tokens": [1, 2.5]}})
    assert (part["state"], part["held"], part["settled"]) == ("held", usd("2.50"), usd("0.50"))
    last = post(f"{path}/settle", {"amount": usd("0.125")})
    assert (last["state"], last["held"], last["settled"]) == ("settled", usd("0.00"), usd("0.625"))
    assert last["budget"]["available"] == usd("9.375")
    finance = app_on.make("/v1/keys", {"role": "finance", "person": "fay"})["key"]
    refunded = post("/v1/refunds", {"authorization": held["id"], "amount": usd("0.10")}, finance)
    assert (refunded["kind"], refunded["budget"]["spent"]) == ("refund", usd("0.525"))
    now = app_on.get(path, key=key).json
    assert (now["state"], now["refunded"], now["intent"]) == ("settled", usd("0.10"), "look it up")


@pytest.mark.parametrize("behind", [False, True], ids=["hot", "behind"])
def test_a_repeat_is_answered_with_the_same_bytes(own_app: RunningApp, behind: bool) -> None:
    """Marked as a replay; 409 once its hold is closed; 422 for another body; a denial stays a denial."""
    key = own_app.make_agent("crawler", budget="research", allocated="10.00")

    def ask(amount: str, idempotency_key: str) -> Any:
        return own_app.post(
            "/v1/authorizations", authorization(amount), key=key, idempotency_key=idempotency_key, behind=behind
        )

    first, again = ask("1.00", "k1"), ask("1.00", "k1")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (ask("2.00", "k1").status, ask("2.00", "k1").code) == (422, "idempotency_mismatch")
    own_app.post(f"/v1/authorizations/{first.json['id']}/release", b"", key=key, behind=behind)
    closed = ask("1.00", "k1")
    assert (closed.status, closed.code, closed.json["state"]) == (409, "replay_closed", "released")
    denied, denied_again = ask("11.00", "k2"), ask("11.00", "k2")
    assert (denied.status, denied.code) == (403, "insufficient_budget")
    assert (denied_again.status, denied_again.headers["idempotency-replayed"]) == (403, "true")
    assert denied_again.json["decision"] == denied.json["decision"]


def test_a_denial_says_why(own_app: RunningApp) -> None:
    """The first reason, with the amounts it looked at; what others hold is 429 and binds no key."""
    key = own_app.make_agent("crawler", budget="research", allocated="10.00")
    own_app.make("/v1/authorizations", authorization("6.00"), key=key)
    held = own_app.post("/v1/authorizations", authorization("5.00"), key=key, idempotency_key="later")
    assert (held.status, held.code, held.headers["retry-after"]) == (429, "budget_held", "2")
    reason = held.json["decision"]["reasons"][0]
    assert (reason["observed"], reason["limit"], reason["remaining"]) == (usd("5.00"), usd("4.00"), usd("4.00"))
    own_app.make("/v1/budgets/research/allocations", {"amount": usd("5.00")})
    assert own_app.post("/v1/authorizations", authorization("5.00"), key=key, idempotency_key="later").status == 201
    partial = own_app.post("/v1/authorizations", authorization("9.00", partial_ok=True), key=key).json
    assert (partial["approved"], partial["flags"]) == (usd("4.00"), ["partial"])
    own_app.make("/v1/agents/crawler/freeze", {"reason": "it loops"})
    assert own_app.post("/v1/authorizations", authorization("0.01"), key=key).code == "agent_frozen"


def test_a_wrong_state_says_the_state(own_app: RunningApp) -> None:
    """409 with what it is now."""
    key = own_app.make_agent("crawler", budget="research")
    made = own_app.make("/v1/authorizations", authorization(), key=key)
    own_app.make(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("1.00")}, key=key)
    for verb, body in (("settle", {"amount": usd("1.00")}), ("extend", {"ttl_seconds": 5}), ("release", {})):
        answer = own_app.post(f"/v1/authorizations/{made['id']}/{verb}", body, key=key)
        assert (answer.status, answer.code, answer.json["state"]) == (409, "wrong_state", "settled")


def test_an_evaluation_records_nothing(own_app: RunningApp) -> None:
    """It answers 200 with the status that the authorization would have."""
    key = own_app.make_agent("crawler", budget="research")
    size = own_app.log_size()
    fits = own_app.post("/v1/evaluations", authorization("1.00"), key=key)
    fails = own_app.post("/v1/evaluations", authorization("1000.00"), key=key)
    assert (fits.status, fits.json["status"], fits.json["decision"]["outcome"]) == (200, 201, "approved")
    assert (fails.status, fails.json["status"], fails.json["problem"]["code"]) == (200, 403, "insufficient_budget")
    assert own_app.log_size() == size


def test_a_unit_that_is_no_money(own_app: RunningApp) -> None:
    """A book's own unit has its own scale, also on the hot side."""
    own_app.make("/v1/units", {"name": "tokens", "digits": 0})
    key = own_app.make_agent("crawler")
    own_app.make("/v1/budgets", {"name": "tokens", "currency": "tokens", "agents": ["crawler"]})
    own_app.make("/v1/budgets/tokens/allocations", {"amount": {"amount": "1000", "currency": "tokens"}})
    body = authorization() | {"amount": {"amount": "250", "currency": "tokens"}}
    held = own_app.make("/v1/authorizations", body, key=key)
    assert held["budget"]["available"] == {"amount": "750", "currency": "tokens"}
    assert own_app.get("/v1/budgets/tokens").json["held"] == {"amount": "250", "currency": "tokens"}


def test_the_request_id_is_the_clients_or_a_new_one(own_app: RunningApp) -> None:
    """An id that could break a log line is not taken over."""
    given = own_app.request("GET", "/healthz", headers=[(b"x-request-id", b"trace-7:a/b")])
    made = own_app.request("GET", "/healthz", headers=[(b"x-request-id", b"bad id\xff")])
    assert given.headers["x-request-id"] == "trace-7:a/b"
    assert made.headers["x-request-id"].startswith("req_")
