"""Reads: who sees what, pages, names and ids alike, other books invisible."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.roles import PERMISSIONS, PERSON_ROLES, ROLES
from tests.support.running_app import RunningApp, authorization, usd

READS = {
    "/v1/me": "read_own",
    "/v1/book": "read_own",
    "/v1/authorizations": "read_own",
    "/v1/budgets": "read_own",
    "/v1/runs": "read_own",
    "/v1/units": "read_own",
    "/v1/categories": "read_own",
    "/v1/payees": "read_own",
    "/v1/teams": "read_all",
    "/v1/agents": "read_all",
    "/v1/accounts": "read_all",
    "/v1/accounts/authority": "read_all",
    "/v1/accounts/authority/balance": "read_all",
    "/v1/accounts/authority/postings": "read_all",
    "/v1/trial-balance": "read_all",
    "/v1/charges": "read_all",
    "/v1/refunds": "read_all",
    "/v1/adjustments": "read_all",
    "/v1/budgets/research/allocations": "read_all",
    "/v1/keys": "read_keys",
    "/v1/webhooks": "read_webhooks",
    "/v1/events": "read_webhooks",
    "/v1/log": "read_log",
    "/v1/log/0": "read_log",
}


@pytest.fixture(scope="module")
def keys(acme: RunningApp, crawler: str) -> dict[str, str]:
    """A key of each role."""
    made = {role: acme.make("/v1/keys", {"role": role, "person": role})["key"] for role in PERSON_ROLES}
    return {"agent": crawler, **made}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", READS)
def test_who_may_read_what(acme: RunningApp, keys: dict[str, str], path: str, role: str) -> None:
    """The role table of the core, cell by cell, at the reads of the edge."""
    answer = acme.get(path, key=keys[role])
    allowed = role in PERMISSIONS[READS[path]]
    assert answer.status == (200 if allowed else 403), answer.body
    assert allowed or answer.code == "role_not_allowed"


WRITES: dict[str, tuple[str, Any]] = {
    "/v1/teams": ("create_agent", {"name": "t"}),
    "/v1/agents": ("create_agent", {"name": "a"}),
    "/v1/agents/none/freeze": ("freeze_agent", {}),
    "/v1/keys": ("create_key", {"role": "agent", "run": "never-opened"}),
    "/v1/keys/key_none/rotate": ("rotate_key", {}),
    "/v1/keys/key_none/revoke": ("revoke_key", {}),
    "/v1/budgets": ("create_budget", {"name": "b", "currency": "USD"}),
    "/v1/budgets/none/agents": ("assign_budget", {"agents": ["crawler"]}),
    "/v1/budgets/none/allocations": ("allocate", {"amount": usd("1.00")}),
    "/v1/budgets/none/deallocations": ("deallocate", {"amount": usd("1.00")}),
    "/v1/units": ("define_unit", {"name": "u", "digits": 0}),
    "/v1/webhooks": ("register_webhook", {"url": "https://no-such-host.invalid/"}),
    "/v1/webhooks/whk_none/rotate": ("rotate_webhook", {}),
    "/v1/webhooks/whk_none/test": ("register_webhook", {}),
    "/v1/webhooks/whk_none/enable": ("register_webhook", {}),
    "/v1/events/evt_none/replay": ("register_webhook", {}),
    "/v1/categories": ("add_name", {"name": "c"}),
    "/v1/payees": ("add_name", {"name": "p"}),
    "/v1/charges": ("charge", {"budget": "none", "amount": usd("1.00"), "category": "c", "payee": "p"}),
    "/v1/refunds": ("refund", {"authorization": "auth_01jd3z8xk4t7q2m9v6b5n1c0fg", "amount": usd("1.00")}),
    "/v1/adjustments": (
        "adjust",
        {"transfers": [{"debit": "expenses:a", "credit": "expenses:b", "amount": usd("1")}], "reason": "r"},
    ),
    "/v1/runs": ("open_run", {"name": "r"}),
    "/v1/authorizations": ("authorize", authorization()),
    "/v1/evaluations": ("authorize", authorization()),
    "/v1/authorizations/auth_01jd3z8xk4t7q2m9v6b5n1c0fg/settle": ("settle", {"amount": usd("1.00")}),
    "/v1/authorizations/auth_01jd3z8xk4t7q2m9v6b5n1c0fg/extend": ("extend", {"ttl_seconds": 5}),
    "/v1/authorizations/auth_01jd3z8xk4t7q2m9v6b5n1c0fg/release": ("release", {}),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("path", WRITES)
def test_who_may_write_what(acme: RunningApp, keys: dict[str, str], path: str, role: str) -> None:
    """Whoever may not is refused with 403 and nothing recorded; whoever may gets past the gate."""
    operation, body = WRITES[path]
    size = acme.log_size()
    answer = acme.post(path, body, key=keys[role])
    shown = answer.json.get("problem", answer.json)
    assert (shown.get("code") == "role_not_allowed") == (role not in PERMISSIONS[operation]), answer.body
    if role not in PERMISSIONS[operation]:
        assert acme.log_size() == size


def test_an_agent_sees_what_is_its_own(own_app: RunningApp) -> None:
    """Its authorizations, the budgets it may spend from, its runs; those of others are not there for it."""
    first, second = own_app.make_agent("first", budget="one"), own_app.make_agent("second", budget="two")
    made = own_app.make("/v1/authorizations", authorization(run="r1"), key=first)
    own_app.make("/v1/runs", {"name": "r2"}, key=first)
    assert own_app.get(f"/v1/authorizations/{made['id']}", key=first).status == 200
    for path in (f"/v1/authorizations/{made['id']}", "/v1/budgets/one", "/v1/runs/r2", "/v1/agents/first"):
        assert own_app.get(path, key=first).status == 200, path
        assert own_app.get(path, key=second).code == "not_found", path
    for path in ("/v1/authorizations", "/v1/runs"):
        assert own_app.get(path, key=second).json["items"] == []
    assert own_app.get("/v1/authorizations?agent=first", key=second).code == "not_found"
    assert [item["name"] for item in own_app.get("/v1/budgets", key=second).json["items"]] == ["two"]
    settled = own_app.post(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("1")}, key=second)
    assert (settled.status, settled.code) == (404, "not_found")


def test_other_books_are_invisible(own_app: RunningApp) -> None:
    """An id of another book is 404, in reads and in writes; its key opens nothing here."""
    key = own_app.make_agent("crawler", budget="research")
    made = own_app.make("/v1/authorizations", authorization(), key=key)
    other = own_app.open_book("globex")
    budget = own_app.get("/v1/budgets/research").json["id"]
    for path in (f"/v1/authorizations/{made['id']}", f"/v1/budgets/{budget}", "/v1/agents/crawler", "/v1/log/5"):
        assert own_app.get(path, key=other).status == 404, path
    refund = {"authorization": made["id"], "amount": usd("1")}
    finance = own_app.make("/v1/keys", {"role": "finance", "person": "fay"}, key=other)["key"]
    assert own_app.post("/v1/refunds", refund, key=finance).status == 404
    assert own_app.post(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("1")}, key=finance).status == 404
    assert own_app.get("/v1/book", key=other).json["name"] == "globex"


def test_pages_join_up(app_on: RunningApp) -> None:
    """Every item once, in order, whatever the size of a page; a cursor of another list is refused."""
    key = app_on.make_agent("crawler", budget="research")
    made = [app_on.make("/v1/authorizations", authorization("0.01"), key=key)["id"] for _ in range(7)]
    lists = {
        "/v1/authorizations": 7,
        "/v1/accounts": 4,
        "/v1/log": app_on.log_size(),
        "/v1/keys": 2,
        "/v1/accounts/authority/postings": 1,
        "/v1/agents": 1,
    }
    for path, count in lists.items():
        whole = app_on.get(f"{path}?limit=200").json
        assert (len(whole["items"]), whole["next_cursor"]) == (count, None), path
        items, cursor = [], ""
        while cursor is not None:
            page = app_on.get(f"{path}?limit=3{cursor}").json
            items += page["items"]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        assert items == whole["items"], path
    assert [item["id"] for item in app_on.get("/v1/authorizations").json["items"]] == made[::-1]
    stranger = app_on.get("/v1/authorizations?limit=3").json["next_cursor"]
    assert app_on.get(f"/v1/accounts?cursor={stranger}").code == "validation_failed"


def test_filters(own_app: RunningApp) -> None:
    """By state, run, budget, flag and time; by name and by id."""
    key = own_app.make_agent("crawler", budget="research")
    run = own_app.make("/v1/runs", {"name": "run-42"}, key=key)["id"]
    first = own_app.make("/v1/authorizations", authorization("1.00", run="run-42"), key=key)
    second = own_app.make("/v1/authorizations", authorization("2.00"), key=key)
    own_app.make(f"/v1/authorizations/{second['id']}/settle", {"amount": usd("3.00")}, key=key)
    budget = own_app.get("/v1/budgets/research").json["id"]
    created = own_app.get(f"/v1/authorizations/{second['id']}").json["created_at"]

    def listed(query: str) -> list[str]:
        return [item["id"] for item in own_app.get(f"/v1/authorizations?{query}").json["items"]]

    both = [second["id"], first["id"]]
    assert listed("state=held") == [first["id"]]
    assert listed("run=run-42") == listed(f"run={run}") == [first["id"]]
    assert listed("budget=research") == listed(f"budget={budget}") == both
    assert listed("agent=crawler&flag=overrun") == [second["id"]]
    assert listed(f"from={created}") == [second["id"]]
    assert listed(f"to={created}") == [first["id"]]
    totals = own_app.get("/v1/runs/run-42", key=key).json["totals"]
    assert totals == [
        {"currency": "USD", "approved_count": 1, "denied_count": 0, "held": usd("1.00"), "spent": usd("0.00")}
    ]


def test_the_trial_balance_balances(own_app: RunningApp) -> None:
    """Each sort adds up in each currency, and a past balance is what it was."""
    key = own_app.make_agent("crawler", budget="research")
    made = own_app.make("/v1/authorizations", authorization("2.00"), key=key)
    before = own_app.get("/v1/book").json["recorded_at"]
    own_app.make(f"/v1/authorizations/{made['id']}/settle", {"amount": usd("1.50")}, key=key)
    shown = own_app.get("/v1/trial-balance").json
    assert shown["totals"] == [
        {"sort": "budgetary", "currency": "USD", "debit": "100.00", "credit": "100.00"},
        {"sort": "real", "currency": "USD", "debit": "1.50", "credit": "1.50"},
    ]
    spent = "/v1/accounts/budgets:research:spent/balance"
    assert own_app.get(spent).json["balance"] == usd("1.50")
    assert own_app.get(f"{spent}?as_of={before}").json["balance"] == usd("0.00")
    posting = own_app.get("/v1/accounts/payables:openai/postings").json["items"][0]
    assert (posting["side"], posting["amount"], posting["other"]) == ("credit", usd("1.50"), "expenses:inference")


def test_a_record_is_shown_as_the_bytes_that_were_hashed(own_app: RunningApp) -> None:
    """Anybody can hash the body in the answer and find the leaf."""
    import hashlib

    answer = own_app.get("/v1/log/0")
    body = answer.body[answer.body.index(b'"body":') + 7 : -1]
    assert hashlib.sha256(b"\x00" + body).hexdigest() == answer.json["leaf_hash"]
