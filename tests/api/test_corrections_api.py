"""Corrections over HTTP, on both databases: what waits, what is answered meanwhile, and what statements show of it."""

from __future__ import annotations

import csv
import io
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from ledger.services.verify import verify_books
from tests.support.running_app import Answer, RunningApp, usd

YEARS = "2020-01-01..2090-12-31"


class Desk(NamedTuple):
    """A book with a budget, a charge of 20, two persons in finance and an approver."""

    app: RunningApp
    fred: str
    gus: str
    pat: str
    charge: dict[str, Any]

    def refund(self, amount: str, key: str | None = None, **headers: Any) -> Answer:
        """Refund part of the charge."""
        body = {"authorization": self.charge["id"], "amount": usd(amount), "reason": "a credit note"}
        return self.app.post("/v1/refunds", body, key=key or self.fred, **headers)

    def statement(self, scope: str, **query: Any) -> Answer:
        """A statement of everything."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return self.app.get(f"/v1/statements?scope={scope}&period={YEARS}{more}", key=self.fred)


def furnished(app: RunningApp, above: str | None = "5.00") -> Desk:
    """The desk, with a rule."""
    app.make_agent("crawler", budget="research", allocated="100.00")
    keys = [
        app.make("/v1/keys", {"role": role, "person": name})["key"]
        for role, name in (("finance", "fred"), ("finance", "gus"), ("approver", "pat"))
    ]
    asked = {"budget": "research", "amount": usd("20.00"), "category": "inference", "payee": "openai"}
    charge = app.make("/v1/charges", asked | {"agent": "crawler"}, key=keys[0])
    if above is not None:
        app.make("/v1/correction-rules", {"currency": "USD", "above": above})
    return Desk(app, *keys, charge)


def test_a_refund_waits_is_approved_and_lands_on_the_statement(app_on: RunningApp) -> None:
    """From the request to both sides of the correction, and the books verify."""
    desk = furnished(app_on)
    asked = desk.refund("6.00")
    assert (asked.status, asked.json["state"], asked.json["operation"]) == (202, "pending", "refund")
    assert asked.json["amounts"] == [usd("6.00")]
    reference = asked.json["id"]
    assert asked.headers["location"] == f"/v1/corrections/{reference}"
    assert int(asked.headers["retry-after"]) > 0
    shown = app_on.get(f"/v1/corrections/{reference}", key=desk.pat).json
    assert shown["request"] == {"authorization": desk.charge["id"], "amount": usd("6.00")}
    assert (shown["reason"], shown["requested_by"], shown["decided_by"]) == ("a credit note", "person:fred", None)
    own = app_on.post(f"/v1/corrections/{reference}/approve", {}, key=desk.fred)
    assert (own.status, own.code) == (403, "not_an_approver")
    done = app_on.post(f"/v1/corrections/{reference}/approve", {"reason": "seen"}, key=desk.pat)
    assert (done.status, done.json["kind"], done.json["amount"]) == (201, "refund", usd("6.00"))
    assert (done.json["approved_by"], done.json["correction"]) == ("person:pat", reference)
    listed = app_on.get("/v1/refunds", key=desk.fred).json["items"]
    assert [(one["by"], one["approved_by"], one["reason"]) for one in listed] == [
        ("person:fred", "person:pat", "a credit note")
    ]
    after = app_on.get(f"/v1/corrections/{reference}", key=desk.fred).json
    assert (after["state"], after["entry"], after["decision_reason"]) == (
        "approved",
        {"index": done.json["log"]["index"]},
        "seen",
    )
    _, charged, refunded = desk.statement("budget:research").json["lines"]
    assert refunded["corrects"] == {
        "log_index": desk.charge["log"]["index"], "day": charged["day"], "kind": "charge", "budget": "research",
        "category": "inference", "payee": "openai", "cost": usd("20.00"),
    }  # fmt: skip
    assert [(link["log_index"], link["kind"], link["cost"]) for link in charged["corrected_by"]] == [
        (refunded["log_index"], "refund", usd("-6.00"))
    ]
    assert verified(app_on)


def verified(app: RunningApp) -> bool:
    """Whether the books are found in order."""
    (report,) = verify_books(app.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]
    return True


def test_the_key_of_a_request_is_bound_to_its_202(app_on: RunningApp) -> None:
    """A repeat returns it with the state as it is by then."""
    desk = furnished(app_on)
    first = desk.refund("6.00", idempotency_key="k")
    again = desk.refund("6.00", idempotency_key="k")
    assert (again.status, again.json) == (202, first.json)
    assert again.headers["idempotency-replayed"] == "true"
    done = app_on.make(f"/v1/corrections/{first.json['id']}/approve", {}, key=desk.gus)
    later = desk.refund("6.00", idempotency_key="k")
    assert (later.status, later.json["state"], later.json["entry"]["index"]) == (202, "approved", done["log"]["index"])
    assert "retry-after" not in later.headers


def test_refused_withdrawn_and_listed_by_state(app_on: RunningApp) -> None:
    """Page by page, newest first."""
    desk = furnished(app_on)
    one, two, three = (desk.refund(f"{amount}.00").json["id"] for amount in (6, 7, 8))
    assert app_on.post(f"/v1/corrections/{one}/refuse", {"reason": "no"}, key=desk.gus).json["state"] == "refused"
    assert app_on.post(f"/v1/corrections/{two}/withdraw", {}, key=desk.fred).json["state"] == "withdrawn"
    gone = app_on.post(f"/v1/corrections/{one}/approve", {}, key=desk.gus)
    assert (gone.status, gone.code, gone.json["state"]) == (409, "wrong_state", "refused")

    def ids(query: str) -> list[str]:
        return [item["id"] for item in app_on.get(f"/v1/corrections?{query}", key=desk.pat).json["items"]]

    assert ids("state=pending") == [three]
    assert (ids("state=refused"), ids("state=withdrawn"), ids("state=approved")) == ([one], [two], [])
    assert ids("state=expired") == []
    page = app_on.get("/v1/corrections?limit=2").json
    assert [item["id"] for item in page["items"]] == [three, two]
    assert ids(f"limit=2&cursor={page['next_cursor']}") == [one]
    assert app_on.get("/v1/corrections/cor_00000000000000000000000000").status == 404
    assert verified(app_on)


def test_a_reversal_by_id_shows_on_both_statements(app_on: RunningApp) -> None:
    """Of an adjustment and of a charge; the line of the old period says by what it was reversed."""
    desk = furnished(app_on, above=None)
    transfers = [
        {"debit": "expenses:hosting", "credit": "expenses:inference", "amount": usd("3.00")},
        {"debit": "payables:openai", "credit": "assets:bank", "amount": usd("2.00")},
    ]
    asked = {"transfers": transfers, "reason": "moved", "corrects": desk.charge["log"]["index"]}
    moved = app_on.make("/v1/adjustments", asked, key=desk.fred)
    assert moved["corrects"] == desk.charge["log"]["index"]
    undone = app_on.make("/v1/reversals", {"record": moved["id"], "reason": "no"}, key=desk.gus)
    assert (undone["kind"], undone["reverses"]) == ("adjustment", moved["log"]["index"])
    back = app_on.make("/v1/reversals", {"record": desk.charge["id"], "reason": "booked twice"}, key=desk.gus)
    assert (back["kind"], back["reverses"], back["amount"]) == ("refund", desk.charge["log"]["index"], usd("20.00"))
    again = app_on.post("/v1/reversals", {"record": desk.charge["log"]["index"], "reason": "x"}, key=desk.fred)
    assert (again.status, again.code, again.json["reversed_by"]) == (409, "wrong_state", back["log"]["index"])
    listed = app_on.get("/v1/reversals", key=desk.pat).json["items"]
    assert [item["reverses"] for item in listed] == [desk.charge["log"]["index"], moved["log"]["index"]]
    assert app_on.get("/v1/charges").json["items"][0]["reversed_by"] == back["log"]["index"]
    assert app_on.get("/v1/adjustments").json["items"][1]["reversed_by"] == undone["log"]["index"]
    lines = desk.statement("book").json["lines"]
    assert [line["kind"] for line in lines] == [
        "charge",
        "adjustment",
        "adjustment",
        "reversal",
        "reversal",
        "reversal",
    ]
    charged, credit, debit, *_ = sorted(lines, key=lambda line: (line["log_index"], line["cost"]["amount"]))
    assert [link["kind"] for link in charged["corrected_by"]] == ["adjustment", "reversal"]
    assert {line["category"] for line in (credit, debit)} == {"hosting", "inference"}
    for line in lines[3:5]:
        assert (line["corrects"]["category"], line["corrects"]["cost"]["amount"].lstrip("-")) == (
            line["category"], "3.00"
        )  # fmt: skip
    text = desk.statement("book", format="text").body.decode()
    assert f"reverses {desk.charge['log']['index']} of" in text
    assert "inference openai 20.00 USD" in text
    assert f"reversed by {back['log']['index']} of" in text
    rows = list(csv.DictReader(io.StringIO(desk.statement("book", format="csv").body.decode())))
    (row,) = (row for row in rows if row["log_index"] == str(back["log"]["index"]))
    assert (row["kind"], row["corrects"], row["corrects_kind"], row["corrects_cost"]) == (
        "reversal", str(desk.charge["log"]["index"]), "charge", "20.00"
    )  # fmt: skip
    account = desk.statement("account:assets:bank").json["lines"]
    assert [(line["kind"], bool(line["corrects"])) for line in account] == [("adjustment", True), ("reversal", True)]
    old = desk.statement("book", at_size=moved["log"]["index"] + 1).json["lines"]
    assert [link["kind"] for link in old[0]["corrected_by"]] == ["adjustment"]
    assert verified(app_on)


def test_a_rule_that_allows_more_waits_for_another_admin(app_on: RunningApp) -> None:
    """And is shown as it holds."""
    desk = furnished(app_on)
    other = app_on.make("/v1/keys", {"role": "admin", "person": "zoe"})["key"]
    third = app_on.make("/v1/keys", {"role": "admin", "person": "yan"})["key"]
    asked = app_on.post("/v1/correction-rules", {"currency": "USD", "never": True, "reason": "x"}, key=other)
    assert (asked.status, asked.json["operation"], asked.json["amounts"]) == (202, "set_correction_rule", [])
    shown = app_on.get(f"/v1/corrections/{asked.json['id']}", key=desk.pat).json
    assert shown["request"] == {"currency": "USD"}
    assert app_on.get("/v1/correction-rules", key=desk.pat).json["items"][0]["above"] == usd("5.00")
    done = app_on.post(f"/v1/corrections/{asked.json['id']}/approve", {}, key=third)
    assert (done.status, done.json["above"], done.json["approved_by"]) == (201, None, "person:yan")
    assert app_on.get("/v1/correction-rules", key=desk.pat).json["items"][0]["above"] is None
    assert desk.refund("20.00").status == 201
    assert verified(app_on)


def test_two_who_approve_at_once(app_on: RunningApp) -> None:
    """Real threads: one does, and the other learns that it is done."""
    desk = furnished(app_on)
    reference = desk.refund("6.00").json["id"]
    answers: list[Answer] = []

    def approve(key: str) -> None:
        answers.append(app_on.post(f"/v1/corrections/{reference}/approve", {}, key=key))

    threads = [threading.Thread(target=approve, args=(key,)) for key in (desk.gus, desk.pat)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert app_on.get("/v1/trial-balance").json["totals"]
    assert app_on.get("/v1/budgets/research").json["spent"] == usd("14.00")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/reversals", {"record": -1, "reason": "x"}, 422),
        ("/v1/reversals", {"record": "auth_00000000000000000000000000", "reason": "x"}, 422),
        ("/v1/reversals", {"record": 1}, 422),
        ("/v1/reversals", {"record": 10_000_000, "reason": "x"}, 404),
        ("/v1/reversals", {"record": "adj_00000000000000000000000000", "reason": "x"}, 404),
        ("/v1/reversals", {"record": 0, "reason": "x"}, 422),
    ],
    ids=str,
)
def test_bad_input_says_what_to_change(acme: RunningApp, path: str, body: dict[str, Any], status: int) -> None:
    """And records nothing."""
    key = acme.make("/v1/keys", {"role": "finance", "person": "fiona"})["key"]
    answered = acme.post(path, body, key=key)
    assert (answered.status, bool(answered.json["detail"])) == (status, True)
    for rule in (
        {"currency": "USD"},
        {"currency": "USD", "above": 5},
        {"currency": "US D", "above": "5"},
        {"currency": "USD", "above": "5", "never": True},
        {"currency": "USD", "above": "-1"},
    ):
        assert acme.post("/v1/correction-rules", rule).status == 422


def test_what_is_converted_waits_by_the_rule_of_the_budgets_currency(app_on: RunningApp) -> None:
    """And says how much it moves in both."""
    desk = furnished(app_on)
    day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    app_on.make("/v1/rates", {"base": "EUR", "quote": "USD", "rate": "4", "valid_from": day}, key=desk.fred)
    charge = {"budget": "research", "category": "inference", "payee": "mistral"}
    alone = app_on.post("/v1/charges", charge | {"amount": {"amount": "1.00", "currency": "EUR"}}, key=desk.fred)
    assert (alone.status, alone.json["amount"]) == (201, usd("4.00"))
    asked = app_on.post("/v1/charges", charge | {"amount": {"amount": "1.00", "currency": "EUR"}}, key=desk.fred)
    assert (asked.status, asked.json["state"]) == (202, "pending")
    assert asked.json["amounts"] == [{"amount": "1.00", "currency": "EUR"}, usd("4.00")]
    listed = app_on.get("/v1/corrections", key=desk.pat).json["items"]
    assert [one["amounts"] for one in listed] == [asked.json["amounts"]]
    done = app_on.post(f"/v1/corrections/{asked.json['id']}/approve", {}, key=desk.gus)
    assert (done.status, done.json["amount"]) == (201, usd("4.00"))
