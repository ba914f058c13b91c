"""A payee that bills euros for what a budget in dollars spent: its invoice, the comparison with its bill, the month."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import pytest

from ledger.core.moment import moment_of, moment_text
from ledger.core.period import parse_period
from ledger.services.closing_checks import Looked, check_month
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine
from tests.support.running_app import RunningApp, authorization, usd


def euros(amount: str) -> dict[str, str]:
    """An amount as a request says it."""
    return {"amount": amount, "currency": "EUR"}


class Abroad:
    """A book in which openai was paid 5.00 USD, and mistral 6.00 EUR, of which 1.00 came back, out of one budget."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        agent = app.make_agent("crawler", budget="research")
        self.finance = app.make("/v1/keys", {"role": "finance", "person": "petra"})["key"]
        opened = self.get("/v1/log?after=0")["items"][0]["recorded_at"]
        self.today = opened[:10]
        rate = {"base": "EUR", "quote": "USD", "rate": "1.10", "valid_from": self.today, "source": "treasury"}
        self.make("/v1/rates", rate)
        plain = app.make("/v1/authorizations", authorization("5.00"), key=agent)["id"]
        app.make(f"/v1/authorizations/{plain}/settle", {"amount": usd("5.00")}, key=agent)
        asked = authorization("6.00") | {"amount": euros("6.00"), "payee": "mistral"}
        self.held = app.make("/v1/authorizations", asked, key=agent)["id"]
        app.make(f"/v1/authorizations/{self.held}/settle", {"amount": euros("6.00")}, key=agent)
        self.make("/v1/refunds", {"authorization": self.held, "amount": euros("1.00"), "reason": "an outage"})

    def make(self, path: str, body: dict[str, Any]) -> Any:
        """Post as finance what must succeed."""
        return self.app.make(path, body, key=self.finance)

    def get(self, path: str) -> Any:
        """What finance reads."""
        answer = self.app.get(path, key=self.finance)
        assert answer.status == 200, answer.body
        return answer.json

    def lines(self, payee: str, currency: str) -> list[str]:
        """The amounts of the ledger's side of a comparison."""
        query = {"payee": payee, "currency": currency, "starts_at": "2020-01-01", "ends_at": "2090-01-01"}
        return [item["amount"]["amount"] for item in self.get(f"/v1/reconciliations/lines?{urlencode(query)}")["items"]]


@pytest.fixture
def abroad(app_on: RunningApp) -> Abroad:
    """On either database."""
    return Abroad(app_on)


def test_an_invoice_is_compared_in_the_currency_that_is_owed(abroad: Abroad) -> None:
    """5.00 EUR were accrued in its currency; what the budget spent of dollars is nothing that mistral bills. Spend from
    before the book is not owed, and is compared as well."""
    old = {"idempotency_key": "old", "category": "search", "payee": "mistral", "effective_at": abroad.today}
    bill = {"payee": "mistral", "issued_on": abroad.today, "period": abroad.today}
    euro = bill | {"number": "E", "currency": "EUR", "lines": [{"amount": "5.00"}], "total": "5.00"}
    dollar = bill | {"number": "D", "currency": "USD", "lines": [{"amount": "5.50"}], "total": "5.50"}
    named = {name: abroad.make("/v1/invoices", said)["id"] for name, said in (("EUR", euro), ("USD", dollar))}

    def accrued(currency: str) -> str:
        amount: str = abroad.get(f"/v1/invoices/{named[currency]}")["match"]["accrued"]["amount"]
        return amount

    assert (accrued("EUR"), accrued("USD")) == ("5.00", "0.00")
    taken = abroad.make("/v1/history", {"items": [old | {"amount": usd("2.00"), "budget": "research"}]})
    assert taken["items"][0]["status"] == 201
    assert (accrued("EUR"), accrued("USD")) == ("5.00", "2.00")


def test_a_bill_is_compared_in_the_currency_that_is_owed(abroad: Abroad) -> None:
    """Its lines, the total that goes on record, what verify makes of it, and what a month still lacks."""
    assert abroad.lines("mistral", "EUR") == ["6.00", "-1.00"]
    assert abroad.lines("mistral", "USD") == []
    assert abroad.lines("openai", "USD") == ["5.00"]
    assert missing(abroad) == ["mistral EUR", "openai USD"]
    now = moment_text(time.time_ns() // 1000)
    for payee, total in (("mistral", euros("5.00")), ("openai", usd("5.00"))):
        said = {"payee": payee, "source": "invoice", "starts_at": "2026-01-01", "ends_at": now, "provider_total": total}
        made = abroad.make("/v1/reconciliations", said | {"lines": 1, "matched": 1})
        assert made["ledger_total"] == total
    (report,) = verify_books(abroad.app.database_url)
    assert report.verified, [difference.sentence() for difference in report.differences]


def missing(abroad: Abroad) -> list[str]:
    """What the check of reconciliations finds of the month that it is."""
    engine = create_engine(abroad.app.database_url)
    book = abroad.get("/v1/book")
    period = parse_period(abroad.today[:7], "UTC")
    now = moment_of(f"{abroad.today}T23:59:59Z")
    with engine.connect() as connection:
        book_id = connection.exec_driver_sql("SELECT book_id FROM books").scalar_one()
    abroad.lines("openai", "USD")
    checks = check_month(Looked(engine, book_id, "UTC", period, book["log_size"], now))
    engine.dispose()
    return next(list(check.items) for check in checks if check.name == "reconciliation")
