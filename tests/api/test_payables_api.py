"""Invoices, payments and payees over HTTP: from a settlement to what is owed, claimed, paid and compared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.running_app import RunningApp, authorization, usd

BILL: dict[str, Any] = {
    "payee": "openai", "number": "INV-1", "currency": "USD", "issued_on": "2026-12-01", "due_on": "2026-12-31",
    "lines": [{"amount": "7.00", "category": "inference"}], "total": "7.00",
}  # fmt: skip


class Books:
    """An app with an agent that spent 6 USD on inference and 2 on search with openai, and a finance key."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        self.agent = app.make_agent("crawler", budget="research")
        self.finance = app.make("/v1/keys", {"role": "finance", "person": "petra"})["key"]
        self.auditor = app.make("/v1/keys", {"role": "auditor", "person": "ada"})["key"]
        for amount, category in (("6.00", "inference"), ("2.00", "search")):
            asked = authorization(amount) | {"category": category}
            held = app.make("/v1/authorizations", asked, key=self.agent)["id"]
            settled = app.make(f"/v1/authorizations/{held}/settle", {"amount": usd(amount)}, key=self.agent)
            index = settled["log"]["index"]
        self.today = app.get(f"/v1/log?after={index - 1}").json["items"][0]["recorded_at"][:10]

    def make(self, path: str, body: dict[str, Any]) -> Any:
        """Post as finance what must succeed."""
        return self.app.make(path, body, key=self.finance)

    def bill(self, **more: Any) -> Any:
        """An invoice over today."""
        return self.make("/v1/invoices", BILL | {"period": self.today} | more)

    def get(self, path: str) -> Any:
        """What an auditor reads."""
        answer = self.app.get(path, key=self.auditor)
        assert answer.status == 200, answer.body
        return answer.json


@pytest.fixture
def books(app_on: RunningApp) -> Books:
    """On either database."""
    return Books(app_on)


def test_an_invoice_beside_what_was_accrued(books: Books) -> None:
    """By category where its lines name one, its own tax left out, and in all."""
    made = books.bill(
        lines=[{"amount": "7.00", "category": "inference", "description": "API"}, {"amount": "2.50"}],
        taxes=[{"name": "VAT", "rate": "20", "amount": "1.90"}], credits=[{"amount": "0.50"}], total="10.90",
        evidence={"file": "1.pdf"},
    )  # fmt: skip
    assert (made["state"], made["period"], made["billed"]) == ("open", books.today, usd("9.50"))
    assert [one["amount"] for one in made["transfers"]] == [usd("1.90"), usd("0.50")]
    shown = books.get(f"/v1/invoices/{made['id']}")
    assert shown["open"] == shown["total"] == usd("10.90")
    assert (shown["evidence"], shown["by"]) == ('{"file":"1.pdf"}', "person:petra")
    assert shown["taxes"] == [{"name": "VAT", "rate": "20", "category": "tax", "amount": usd("1.90")}]
    match = shown["match"]
    assert (match["billed"], match["accrued"], match["difference"]) == (usd("9.50"), usd("8.00"), usd("1.50"))
    assert [(one["category"], one["difference"]["amount"]) for one in match["categories"]] == [
        ("inference", "1.00"), (None, "0.50"),
    ]  # fmt: skip
    charged = {"budget": "research", "amount": usd("1.50"), "category": "inference", "payee": "openai"}
    books.make("/v1/charges", charged)
    assert books.get(f"/v1/invoices/{made['id']}")["match"]["difference"] == usd("0.00")
    other = books.bill(number="INV-2", period="2020")
    assert books.get(f"/v1/invoices/{other['id']}")["match"]["accrued"] == usd("0.00")
    assert books.get(f"/v1/invoices/{made['id']}")["match"]["also"] == []


def test_from_open_to_paid_and_back(books: Books) -> None:
    """What lists, the invoice, the payment and the payee say at each step."""
    first, second = books.bill(), books.bill(number="INV-2", due_on="2026-12-15", total="3.00",
        lines=[{"amount": "3.00"}])  # fmt: skip
    paid = books.make("/v1/payments", {"payee": "openai", "from": "assets:bank", "amount": usd("8.00")})
    assert [(one["id"], one["amount"], one["state"]) for one in paid["invoices"]] == [
        (second["id"], usd("3.00"), "paid"), (first["id"], usd("5.00"), "partly_paid"),
    ]  # fmt: skip
    assert [one["id"] for one in books.get("/v1/invoices?state=partly_paid")["items"]] == [first["id"]]
    assert [one["id"] for one in books.get("/v1/invoices?due_before=2027-01-01")["items"]] == [first["id"]]
    assert books.get("/v1/invoices?due_before=2026-12-31")["items"] == []
    assert books.get("/v1/invoices?payee=serp")["items"] == []
    shown = books.get(f"/v1/invoices/{first['id']}")
    assert (shown["paid"], shown["open"]) == (usd("5.00"), usd("2.00"))
    assert [(one["payment"], one["state"]) for one in shown["payments"]] == [(paid["id"], "made")]
    assert books.get(f"/v1/payments/{paid['id']}")["invoices"] == sorted(
        ({"id": one["id"], "amount": one["amount"]} for one in paid["invoices"]), key=lambda one: one["id"]
    )
    balance = books.get("/v1/payees/openai")["balances"][0]
    assert (balance["owed"], balance["invoiced"], balance["balance"]) == (usd("0.00"), usd("2.00"), usd("0.00"))
    undone = books.make(f"/v1/payments/{paid['id']}/reverse", {"reason": "bounced"})
    assert undone["state"] == "reversed"
    assert {one["state"] for one in books.get("/v1/invoices")["items"]} == {"open"}
    assert [one["state"] for one in books.get("/v1/payments")["items"]] == ["reversed"]
    void = books.make(f"/v1/invoices/{second['id']}/void", {"reason": "entered twice"})
    assert void["state"] == "void"
    assert books.get("/v1/payees/openai")["balances"][0]["invoiced"] == usd("7.00")


def test_pages_of_invoices_and_payments(books: Books) -> None:
    """Newest first, each once."""
    made = [books.bill(number=f"N-{at}")["id"] for at in range(5)]
    paid = [
        books.make(
            "/v1/payments", {"payee": "openai", "from": "assets:bank", "amount": usd("0.10"), "rest": "prepayment"}
        )["id"]
        for _ in range(3)
    ]
    for path, expected in (("/v1/invoices", made), ("/v1/payments", paid)):
        seen: list[str] = []
        cursor = ""
        while True:
            page = books.get(f"{path}?limit=2{cursor}")
            seen += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == expected[::-1]


def test_the_statement_of_a_payee_is_what_is_owed_less_credit(books: Books) -> None:
    """Buying credit lowers it, using credit raises it, paying out of credit leaves it as it is."""
    books.make("/v1/payees/openai", {"prepaid": True, "reason": "from now on"})
    buying = {"payee": "openai", "from": "assets:bank", "amount": usd("20.00"), "invoices": [], "rest": "prepayment"}
    books.make("/v1/payments", buying)
    held = books.app.make("/v1/authorizations", authorization("5.00"), key=books.agent)["id"]
    books.app.make(f"/v1/authorizations/{held}/settle", {"amount": usd("5.00")}, key=books.agent)
    paying = buying | {"from": "assets:prepaid:openai", "amount": usd("8.00"), "rest": "on_account"}
    books.make("/v1/payments", paying)
    shown = books.get("/v1/payees/openai")
    assert shown["prepaid"] is True
    assert shown["balances"] == [
        {
            "currency": "USD", "owed": usd("0.00"), "invoiced": usd("0.00"), "prepaid_left": usd("7.00"),
            "balance": usd("-7.00"),
        }
    ]  # fmt: skip
    statement = books.get(f"/v1/statements?scope=payee:openai&period={books.today}")
    assert [line["amount"]["amount"] for line in statement["lines"]] == ["6.00", "2.00", "-20.00", "5.00"]
    assert statement["closing"] == [usd("-7.00")]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/invoices", {"total": "8.00"}, 422, "invoice_unbalanced"),
        ("/v1/invoices", {"period": "2026-13"}, 422, "validation_failed"),
        ("/v1/invoices", {"due_on": "2026-11-30"}, 422, "validation_failed"),
        ("/v1/invoices", {"issued_on": "2026-02-30"}, 422, "validation_failed"),
        ("/v1/invoices", {"lines": [{"amount": "-7.00"}]}, 422, "amount_not_positive"),
        ("/v1/invoices", {"currency": "usd"}, 422, "validation_failed"),
        ("/v1/invoices", {"taxes": [{"name": "VAT", "amount": "0", "rate": "20%"}]}, 422, "validation_failed"),
        ("/v1/invoices", {"number": "INV-1 "}, 422, "validation_failed"),
        ("/v1/invoices", {"number": " "}, 422, "validation_failed"),
        ("/v1/payments", {"amount": usd("7.01")}, 409, "payment_too_large"),
        ("/v1/payments", {"rest": "tip"}, 422, "validation_failed"),
        ("/v1/payments", {"from": "payables:openai"}, 422, "account_invalid"),
        ("/v1/payments", {"invoices": [{"id": "inv_00000000000000000000000000", "amount": "1"}]}, 404, "not_found"),
        ("/v1/payees/openai", {"prepaid": False}, 409, "wrong_state"),
        ("/v1/payees/openai", {"prepaid": "yes"}, 422, "validation_failed"),
    ],
)
def test_what_is_refused(books: Books, path: str, body: dict[str, Any], status: int, code: str) -> None:
    """With a code of its own and a sentence that says what to change; nothing is recorded."""
    books.bill(number="before")
    usual: dict[str, Any] = {
        "/v1/invoices": BILL | {"period": books.today},
        "/v1/payments": {"payee": "openai", "from": "assets:bank", "amount": usd("1.00")},
    }.get(path, {})
    size = books.app.log_size()
    answer = books.app.post(path, usual | body, key=books.finance)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert answer.json["detail"]
    assert books.app.log_size() == size


@pytest.mark.parametrize("rest", [None, "prepayment", "on_account"])
def test_a_payment_pays_no_more_than_its_amount(books: Books, rest: str | None) -> None:
    """Also where the invoices that it names take more, and it says what becomes of a rest."""
    made = books.bill()["id"]
    body = {"payee": "openai", "from": "assets:bank", "amount": usd("5.00"), "invoices": [{"id": made, "amount": "7"}]}
    answer = books.app.post("/v1/payments", body | ({"rest": rest} if rest else {}), key=books.finance)
    assert (answer.status, answer.code) == (409, "payment_too_large"), answer.body
    assert "take 7.00 USD, and only 5.00 USD is paid" in answer.json["detail"]


def test_both_figures_of_a_total_are_amounts(books: Books) -> None:
    """So that a client can show them."""
    answer = books.app.post("/v1/invoices", BILL | {"period": books.today, "total": "8.00"}, key=books.finance)
    assert (answer.json["total"], answer.json["found"]) == (usd("8.00"), usd("7.00"))


def test_agents_and_auditors_keep_no_books(books: Books) -> None:
    """An agent does not even read them."""
    made = books.bill()["id"]
    body = BILL | {"period": books.today, "number": "2"}
    for key in (books.agent, books.auditor):
        assert books.app.post("/v1/invoices", body, key=key).status == 403
    for path in ("/v1/invoices", f"/v1/invoices/{made}", "/v1/payments", "/v1/payees/openai"):
        assert books.app.get(path, key=books.agent).status == 403
    assert books.app.get("/v1/payees/nobody", key=books.auditor).status == 404
