"""The month's end over HTTP: checks, closing, what lands in the next month, opening again, explanations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ledger.services.verify import verify_books
from tests.support.running_app import Answer, RunningApp, authorization, usd

TODAY = datetime.now(UTC).date()
LAST = TODAY.replace(day=1) - timedelta(days=1)
"""The last day of the month before the one that is going on."""
MONTH = f"{LAST:%Y-%m}"
NOW = f"{TODAY:%Y-%m}"


class Shop:
    """An app on whose book something counts for last month: a charge, and a settlement of this month."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.crawler = app.make_agent("crawler", budget="research")
        self.keys = {
            name: app.make("/v1/keys", {"role": role, "person": name})["key"]
            for name, role in (("fay", "finance"), ("gus", "finance"), ("ada", "auditor"))
        }
        held = app.post("/v1/authorizations", authorization("5.00"), key=self.crawler).json["id"]
        app.make(f"/v1/authorizations/{held}/settle", {"amount": usd("3.20")}, key=self.crawler)
        self.charge = self.charged("2.00", LAST)["id"]

    def charged(self, amount: str, day: date) -> Any:
        """A charge that counts for a day."""
        asked = {"budget": "research", "amount": usd(amount), "category": "search", "payee": "serp"}
        return self.app.make("/v1/charges", asked | {"effective_at": day.isoformat()}, key=self.keys["fay"])

    def post(self, path: str, body: Any = None, who: str = "fay", **more: Any) -> Answer:
        """Ask as a person."""
        return self.app.post(path, body or {}, key=self.keys[who], **more)

    def close(self, month: str = MONTH, who: str = "fay", **more: Any) -> Answer:
        """Close a month, accepting what nobody has done about it."""
        accept = {"flags": "seen", "reconciliation": "no invoice yet"}
        return self.post(f"/v1/periods/{month}/close", {"accept": accept}, who, **more)

    def month(self, month: str = MONTH) -> Any:
        """A month as an auditor sees it."""
        answer = self.app.get(f"/v1/periods/{month}", key=self.keys["ada"])
        assert answer.status == 200, answer.json
        return answer.json

    def verified(self) -> None:
        """Nothing is found by verify."""
        (report,) = verify_books(self.app.database_url)
        assert report.verified, [difference.sentence() for difference in report.differences]


@pytest.fixture
def shop(app_on: RunningApp) -> Shop:
    """On either database."""
    return Shop(app_on)


def test_a_month_is_closed_and_later_entries_land_in_the_next(shop: Shop) -> None:
    """The checks, the digests, the statement at its size for ever, the entry that comes too late and says so."""
    open_now = shop.month()
    failing = {check["name"]: check["items"] for check in open_now["checks"] if check["failing"]}
    assert failing == {"flags": [f"{shop.charge} unauthorized"], "reconciliation": ["serp USD"]}
    refused = shop.post(f"/v1/periods/{MONTH}/close")
    assert (refused.status, refused.code) == (409, "checks_failed")
    assert {check["name"] for check in refused.json["checks"]} == set(failing)
    closed = shop.close(idempotency_key="close")
    assert closed.status == 200, closed.json
    scopes = [statement["scope"] for statement in closed.json["statements"]]
    assert scopes == ["book", "budget:research", "payee:serp"]
    again = shop.close(idempotency_key="close")
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json["log"] == closed.json["log"]
    path = f"/v1/statements?scope=budget:research&period={MONTH}&at_size={closed.json['size']}"
    before = shop.app.get(path, key=shop.keys["ada"]).body
    landed = shop.charged("1.00", LAST)
    assert landed["effective_at"].startswith(f"{NOW}-01T00:00:00")
    assert (landed["meant_for"][:10], landed["closed_by"]) == (LAST.isoformat(), closed.json["log"]["index"])
    refund = shop.post(
        "/v1/refunds", {"authorization": shop.charge, "amount": usd("0.50"), "effective_at": LAST.isoformat()}
    )
    assert refund.status == 201, refund.json
    assert shop.app.get(path, key=shop.keys["ada"]).body == before, "as it was"
    fresh = shop.app.get(f"/v1/statements?scope=budget:research&period={MONTH}", key=shop.keys["ada"]).json
    (line,) = fresh["lines"]
    assert [link["log_index"] for link in line["corrected_by"]] == [refund.json["log"]["index"]]
    assert fresh["closing"] == [usd("-2.00")]
    this = shop.app.get(f"/v1/statements?scope=budget:research&period={NOW}", key=shop.keys["ada"]).json
    late = [line for line in this["lines"] if line["meant_for"] is not None]
    assert [(line["kind"], line["meant_for"][:10]) for line in late] == [
        ("charge", LAST.isoformat()), ("refund", LAST.isoformat()),
    ]  # fmt: skip
    assert late[1]["corrects"]["day"] == LAST.isoformat()
    day, on = LAST.isoformat(), {"payee": "serp", "effective_at": LAST.isoformat()}
    bill = {"number": "1", "currency": "USD", "issued_on": day, "period": day, "total": "1.00", "lines": []}
    made = shop.post("/v1/invoices", on | bill | {"taxes": [{"name": "VAT", "amount": "1.00"}]}).json
    paid = shop.post("/v1/payments", on | {"from": "assets:bank", "amount": usd("1.00")}).json
    item = on | {"idempotency_key": "old", "amount": usd("1.00"), "category": "search"}
    taken = shop.post("/v1/history", {"items": [item]}).json["items"][0]["history"]
    detail = shop.app.get(f"/v1/invoices/{made['id']}", key=shop.keys["ada"]).json
    for said in (made, paid, taken, detail):
        assert (said["meant_for"][:10], said["closed_by"]) == (day, closed.json["log"]["index"])
    seen = shop.month()
    assert (seen["state"], seen["closed"]["by"]) == ("closed", "person:fay")
    said = {check["name"]: check.get("reason") for check in seen["checks"] if check["accepted"]}
    assert said == {"flags": "seen", "reconciliation": "no invoice yet"}
    assert (shop.close().status, shop.close().code) == (409, "wrong_state")
    shop.verified()


def test_a_second_person_opens_a_month_again(shop: Shop) -> None:
    """Not the one who asked, not who made their key, and nobody who asked for nothing; then it can be closed anew."""
    reopen, approve = f"/v1/periods/{MONTH}/reopen", f"/v1/periods/{MONTH}/reopen/approve"
    assert shop.post(reopen, {"reason": "an invoice"}).code == "wrong_state", "it is open"
    first = shop.close().json
    assert shop.post(approve, who="gus").code == "wrong_state", "nobody asked"
    asked = shop.post(reopen, {"reason": "an invoice"})
    assert (asked.status, asked.json["state"]) == (200, "reopening")
    assert shop.month()["reopening"]["requested_by"] == "person:fay"
    assert shop.post(approve).code == "not_an_approver"
    assert shop.app.post(approve, {}).code == "not_an_approver", "the admin made fay's key"
    opened = shop.post(approve, {"reason": "seen"}, "gus")
    assert (opened.status, opened.json["approved_by"], opened.json["closing"]) == (
        200, "person:gus", first["log"]["index"],
    )  # fmt: skip
    assert shop.month()["state"] == "open"
    assert shop.charged("1.00", LAST)["effective_at"].startswith(LAST.isoformat())
    second = shop.close(who="gus").json
    assert second["digest"] != first["digest"]
    assert shop.month()["reopened_index"] == opened.json["log"]["index"]
    shop.verified()


def test_what_is_explained_is_no_failure(shop: Shop) -> None:
    """By its id, or by the index of a record of it; once."""
    index = shop.month()["checks"][0]["failing"]
    assert index == 1
    record = shop.charged("1.50", LAST)
    explained = shop.post("/v1/explanations", {"authorization": shop.charge, "reason": "on the invoice"})
    assert (explained.status, explained.json["flags"]) == (201, ["unauthorized"])
    assert shop.post("/v1/explanations", {"index": record["log"]["index"], "reason": "likewise"}).status == 201
    again = shop.post("/v1/explanations", {"authorization": shop.charge, "reason": "on the invoice"})
    assert (again.status, again.code) == (409, "wrong_state")
    assert shop.post("/v1/explanations", {"index": 0, "reason": "x"}).status == 404
    assert shop.post("/v1/explanations", {"reason": "x"}).status == 422
    listed = shop.app.get("/v1/explanations", key=shop.keys["ada"]).json["items"]
    assert [(item["authorization"], item["reason"]) for item in listed] == [
        (record["id"], "likewise"), (shop.charge, "on the invoice"),
    ]  # fmt: skip
    assert shop.month()["checks"][0] == {"name": "flags", "failing": 0, "items": [], "accepted": False}
    closed = shop.post(f"/v1/periods/{MONTH}/close", {"accept": {"reconciliation": "no invoice yet"}})
    assert closed.status == 200, closed.json
    shop.verified()


def test_months_are_listed_and_asked_for_by_name(shop: Shop) -> None:
    """Newest first, page by page; what is no month is said so; who may not close may read."""
    listed = shop.app.get("/v1/periods?limit=1", key=shop.keys["ada"]).json
    assert [item["period"] for item in listed["items"]] == [NOW]
    rest = shop.app.get(f"/v1/periods?cursor={listed['next_cursor']}", key=shop.keys["ada"]).json
    assert [(item["period"], item["is_over"]) for item in rest["items"]] == [(MONTH, True)]
    assert rest["next_cursor"] is None
    assert shop.close(NOW).code == "period_not_over"
    assert shop.app.get("/v1/periods/2001-01", key=shop.keys["ada"]).status == 404
    for wrong in ("2026-13", "2026-Q4", "2026", "1800-01", "26-01-1"):
        answer = shop.close(wrong)
        assert (answer.status, answer.code) == (404, "not_found"), wrong
    assert shop.close(who="ada").code == "role_not_allowed"
    assert shop.app.post(f"/v1/periods/{MONTH}/close", {}, key=shop.crawler).code == "role_not_allowed"
    assert shop.app.get("/v1/periods", key=shop.crawler).code == "role_not_allowed"
    unknown = shop.post(f"/v1/periods/{MONTH}/close", {"accept": {"trial_balance": "never mind"}})
    assert unknown.status == 422, "books that do not balance are not accepted"
