"""What reads and refusals show: money with its currency, nothing of a forbidden budget, labels, texts, lists."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy

from api.schemas.lists import EntryList
from api.schemas.money_moves import AccountView, BalanceView, PostingView, RecordView, TrialBalanceView
from tests.support.running_app import RunningApp, authorization, usd


def finance_of(app: RunningApp) -> str:
    """A key of role finance."""
    return str(app.make("/v1/keys", {"role": "finance", "person": "fay"})["key"])


def settled(app: RunningApp, key: str, amount: str) -> str:
    """The id of an authorization that was settled for an amount."""
    held = app.make("/v1/authorizations", authorization(amount), key=key)
    app.make(f"/v1/authorizations/{held['id']}/settle", {"amount": usd(amount), "evidence": {"tokens": 7}}, key=key)
    return str(held["id"])


def test_amounts_of_a_refusal_are_money(own_app: RunningApp) -> None:
    """What can be refunded, what is available, what a reason observed: decimal text with its currency."""
    key = own_app.make_agent("crawler", budget="research", allocated="10.00")
    finance = finance_of(own_app)
    refund = {"authorization": settled(own_app, key, "2.00"), "amount": usd("3.00")}
    answer = own_app.post("/v1/refunds", refund, key=finance)
    assert (answer.code, answer.json["refundable"]) == ("refund_too_large", usd("2.00"))
    answer = own_app.post("/v1/budgets/research/deallocations", {"amount": usd("9.00")})
    assert (answer.code, answer.json["available"]) == ("insufficient_available", usd("8.00"))
    adjustment = {
        "transfers": [{"debit": "authority", "credit": "budgets:research:available", "amount": usd("9.00")}],
        "reason": "too much",
    }
    answer = own_app.post("/v1/adjustments", adjustment, key=finance)
    assert (answer.code, answer.json["available"]) == ("insufficient_available", usd("8.00"))
    reason = own_app.post("/v1/authorizations", authorization("9.00"), key=key).json["decision"]["reasons"][0]
    assert (reason["observed"], reason["remaining"]) == (usd("9.00"), usd("8.00"))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_forbidden_budget_shows_nothing_of_its_money(own_app: RunningApp, frozen: bool) -> None:
    """Neither a denial, nor its repeat, nor a verdict in a batch, nor an evaluation."""
    own_app.make_agent("rich", budget="vault", allocated="7654.32")
    key = own_app.make_agent("crawler", budget="research")
    if frozen:
        own_app.make("/v1/agents/crawler/freeze", {})
    body = authorization("1.00", budget="vault")
    denied = own_app.post("/v1/authorizations", body, key=key, idempotency_key="k")
    assert denied.code == ("agent_frozen" if frozen else "budget_not_permitted")
    again = own_app.post("/v1/authorizations", body, key=key, idempotency_key="k")
    batch = own_app.post("/v1/authorizations/batch", {"items": [body | {"idempotency_key": "b"}]}, key=key)
    evaluated = own_app.post("/v1/evaluations", body, key=key)
    assert again.headers["idempotency-replayed"] == "true"
    for shown in (denied.json, again.json, batch.json["items"][0]["problem"], evaluated.json["problem"]):
        assert "budget" not in shown
        assert "budget_not_permitted" in [reason["code"] for reason in shown["decision"]["reasons"]]
        assert not any("observed" in reason for reason in shown["decision"]["reasons"])
        assert "7654." not in str(shown), "a hash has no point in it"
    assert "budget" not in evaluated.json


def test_an_evaluation_shows_the_budget_as_it_is(own_app: RunningApp) -> None:
    """Nothing is held by asking, in full or in part; nor does asking count as a decision, a batch or a commit."""
    key = own_app.make_agent("crawler", budget="research", allocated="10.00")
    own_app.make("/v1/authorizations", authorization("2.00"), key=key)
    before = counted(own_app)
    for body in (authorization("3.00"), authorization("9.00", partial_ok=True), authorization("9.00")):
        shown = own_app.post("/v1/evaluations", body, key=key).json
        budget = shown.get("budget") or shown["problem"]["budget"]
        assert (budget["available"], budget["held"], budget["spent"]) == (usd("8.00"), usd("2.00"), usd("0.00"))
    assert counted(own_app) == before
    refused = own_app.post("/v1/authorizations", authorization("0"), key=key)
    assert refused.code == "amount_not_positive"
    after = counted(own_app)
    changed = {line for line in after if line not in before}
    assert changed == {'bursar_decisions_total{operation="authorize",outcome="amount_not_positive"} 1.0'}


def counted(app: RunningApp) -> list[str]:
    """The lines of the metrics that count decisions and commits."""
    text = app.request("GET", "/metrics").body.decode()
    wanted = ("bursar_decisions_total", "bursar_batch_commands_count", "bursar_commit_seconds_count")
    return [line for line in text.splitlines() if line.startswith(wanted)]


def test_labels_and_texts_can_be_read(own_app: RunningApp) -> None:
    """Labels in one authorization and in the list; texts beside their record, until they are removed."""
    key = own_app.make_agent("crawler", budget="research")
    held = own_app.make("/v1/authorizations", authorization(labels={"prompt": "v7", "a": "b"}, intent="why"), key=key)
    path = f"/v1/authorizations/{held['id']}"
    own_app.make(f"{path}/settle", {"amount": usd("1.00"), "evidence": {"tokens": 7}}, key=key)
    finance = finance_of(own_app)
    own_app.make(
        "/v1/charges",
        {"budget": "research", "amount": usd("1"), "category": "c", "payee": "p", "reason": "found"},
        key=finance,
    )
    shown = own_app.get(path, key=key).json
    assert (shown["labels"], shown["intent"]) == ({"prompt": "v7", "a": "b"}, "why")
    listed = own_app.get("/v1/authorizations").json["items"]
    assert [item["labels"] for item in listed] == [{}, {"prompt": "v7", "a": "b"}]
    assert shown["last_log"]["index"] > shown["log"]["index"] == held["log"]["index"]
    record = f"/v1/log/{held['log']['index']}"
    assert own_app.get(record).json["texts"] == {"intent": "why"}
    assert own_app.get(f"/v1/log/{shown['last_log']['index']}").json["texts"] == {"evidence": '{"tokens":7}'}
    assert own_app.get(record, key=key).code == "role_not_allowed"
    engine = sqlalchemy.create_engine(own_app.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM texts"))
    engine.dispose()
    assert own_app.get(record).json["texts"] == {}
    assert own_app.get(path, key=key).json["intent"] is None
    RecordView.model_validate(own_app.get(record).json)


def test_what_finance_booked_is_listed(app_on: RunningApp) -> None:
    """Charges, refunds, adjustments and allocations, newest first, page by page, with their reasons."""
    key = app_on.make_agent("crawler", budget="research", allocated="10.00")
    app_on.make("/v1/budgets", {"name": "child", "currency": "USD", "parent": "research"})
    app_on.make("/v1/budgets/child/allocations", {"amount": usd("3.00"), "reason": "a share"})
    app_on.make("/v1/budgets/research/allocations", {"amount": usd("5.00")})
    app_on.make("/v1/budgets/research/deallocations", {"amount": usd("1.00"), "reason": "back"})
    finance = finance_of(app_on)
    charge = {"budget": "research", "amount": usd("1"), "category": "search", "payee": "serp", "reason": "found"}
    for _ in range(3):
        app_on.make("/v1/charges", charge, key=finance)
    spent = settled(app_on, key, "2.00")
    made = app_on.make("/v1/refunds", {"authorization": spent, "amount": usd("0.50")}, key=finance)
    transfers = [{"debit": "expenses:b", "credit": "expenses:search", "amount": usd("0.25")}]
    app_on.make("/v1/adjustments", {"transfers": transfers, "reason": "wrong category"}, key=finance)

    def listed(path: str, limit: int = 200) -> list[Any]:
        items: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = app_on.get(f"{path}?limit={limit}{cursor}").json
            EntryList.model_validate(page)
            assert len(page["items"]) <= limit
            items += page["items"]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        return items

    charges = listed("/v1/charges")
    assert [(item["amount"], item["reason"], item["by"]) for item in charges] == [
        (usd("1.00"), "found", "person:fay")
    ] * 3
    assert [item["log"]["index"] for item in charges] == sorted(
        (item["log"]["index"] for item in charges), reverse=True
    )
    refund = listed("/v1/refunds")[0]
    assert (refund["id"], refund["authorization"], refund["amount"]) == (made["id"], spent, usd("0.50"))
    assert "reason" not in refund
    assert app_on.get(f"/v1/log/{refund['log']['index']}").json["leaf_hash"] == refund["log"]["leaf_hash"]
    adjustment = listed("/v1/adjustments")[0]
    assert (adjustment["transfers"], adjustment["reason"]) == (transfers, "wrong category")
    allocations = listed("/v1/budgets/research/allocations")
    assert [(item["kind"], item["amount"], item.get("reason")) for item in allocations] == [
        ("deallocation", usd("1.00"), "back"),
        ("allocation", usd("5.00"), None),
        ("allocation", usd("10.00"), None),
    ]
    child = app_on.get("/v1/budgets/child").json["id"]
    assert [item["amount"] for item in listed(f"/v1/budgets/{child}/allocations")] == [usd("3.00")]
    for path in ("/v1/charges", "/v1/budgets/research/allocations"):
        assert listed(path, 2) == listed(path)
        assert app_on.get(f"{path}?limit=201").code == "validation_failed"


def test_a_past_balance_goes_by_what_counts_for_it(own_app: RunningApp) -> None:
    """A charge backdated to a moment is in the balance of that moment, and was not in the book then."""
    own_app.make_agent("crawler", budget="research")
    moment = own_app.get("/v1/book").json["recorded_at"]
    charge = {"budget": "research", "amount": usd("4"), "category": "c", "payee": "p", "effective_at": moment}
    own_app.make("/v1/charges", charge, key=finance_of(own_app))
    path = f"/v1/accounts/budgets:research:spent/balance?as_of={moment}"
    shown = own_app.get(path).json
    assert (shown["balance"], shown["basis"]) == (usd("4.00"), "effective")
    then = own_app.get(f"{path}&basis=recorded").json
    assert (then["balance"], then["basis"]) == (usd("0.00"), "recorded")
    BalanceView.model_validate(shown)


def test_views_have_what_the_document_says(acme: RunningApp, crawler: str) -> None:
    """And the document says what they have."""
    shown: list[tuple[type, Any]] = [
        (AccountView, acme.get("/v1/accounts/authority").json),
        (PostingView, acme.get("/v1/accounts/authority/postings").json["items"][0]),
        (RecordView, acme.get("/v1/log/0").json),
        (TrialBalanceView, acme.get("/v1/trial-balance").json),
    ]
    for model, content in shown:
        assert set(content) <= set(model.model_fields), model
        assert {name for name, field in model.model_fields.items() if field.is_required()} <= set(content)
    assert shown[0][1]["normal_side"] == "credit"


def test_an_unknown_kind_of_record_is_refused(acme: RunningApp) -> None:
    """A filter that can never find anything is a mistake."""
    answer = acme.get("/v1/log?kind=foo")
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert "allocation" in answer.json["detail"]
    assert acme.get("/v1/log?kind=book").json["items"][0]["kind"] == "book"
