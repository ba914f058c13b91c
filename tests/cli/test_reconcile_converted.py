"""A payee that bills in another currency than the budget's: its bill, its invoice and its month go by what it bills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.reconciled import SETTINGS, Books, Days, kinds
from tests.support.running_app import RunningApp, usd


@pytest.fixture
def books(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """A budget in euros out of which a call of 22.00 dollars was paid, which were 20.00 euros; on either database."""
    days = Days()
    with RunningApp(database_url, sources=days, **SETTINGS) as app:
        made = Books(app, days, tmp_path, monkeypatch.setattr)
        app.make("/v1/budgets", {"name": "growth", "currency": "EUR", "agents": ["crawler"]})
        app.make("/v1/budgets/growth/allocations", {"amount": {"amount": "100.00", "currency": "EUR"}})
        days.put(0)
        rate = {"base": "EUR", "quote": "USD", "rate": "1.10", "valid_from": made.day(0)}
        app.make("/v1/rates", rate, key=made.finance)
        asked = {"amount": usd("22.00"), "budget": "growth", "payee": "openai", "category": "inference",
                 "resource": "gpt-5"}  # fmt: skip
        held = app.make("/v1/authorizations", asked, key=made.crawler)["id"]
        settled = {"amount": usd("22.00"), "metering": {"provider": "openai", "model": "gpt-5-2025-08-07"}}
        app.make(f"/v1/authorizations/{held}/settle", settled, key=made.crawler)
        days.put(2)
        yield made
        made.verified()


def rows(books: Books, report: str) -> list[tuple[Any, ...]]:
    """Value, currency, lines and amount of the rows of chargeback."""
    found = books.app.get(f"/v1/reports/chargeback?{report}", key=books.finance).json["tables"][0]["rows"]
    return [(*list(row.values())[:1], row["currency"], row["lines"], row["amount"]["amount"]) for row in found]


def test_a_converted_call_is_compared_as_it_is_billed(books: Books) -> None:
    """22.00 dollars, and nothing in euros; one that was billed at 33.00 is repriced, at its own rate."""
    said = books.said("--report", books.costs((0, "gpt-5", "22.00")), "--record")
    assert (said["ledger_total"], said["matched"], kinds(said)) == ("22.00", 1, [])
    in_euros = books.said("--total", "0.00", "--payee", "openai", "--currency", "EUR")
    assert in_euros["ledger_total"] == "0.00"
    after = books.said("--report", books.costs((0, "gpt-5", "33.00")), "--accept", "all", "--record")
    assert (after["refused"], after["not_booked"], after["pending"]) == ([], [], [])
    assert (after["ledger_total"], kinds(after), len(after["booked"])) == ("33.00", [], 1)
    assert after["reconciliation"]["ledger_total"] == usd("33.00")
    budget = books.app.get("/v1/budgets/growth").json
    assert budget["spent"] == {"amount": "30.00", "currency": "EUR"}


def test_a_month_asks_for_the_currency_that_is_billed(books: Books) -> None:
    """Openai's dollars, which were compared with nobody's figures, and no euros: they are owed to nobody. Nor is an
    invoice's tax usage that a report could be compared with."""
    month = books.day(0)[:7]
    bill = {"payee": "lawyer", "number": "1", "currency": "USD", "issued_on": books.day(0), "total": "7.00",
            "period": books.day(0), "lines": [{"amount": "5.00"}], "effective_at": books.day(0),
            "taxes": [{"name": "vat", "amount": "2.00"}]}  # fmt: skip
    books.app.make("/v1/invoices", bill, key=books.finance)
    checks = books.app.get(f"/v1/periods/{month}", key=books.finance).json["checks"]
    (found,) = [check for check in checks if check["name"] == "reconciliation"]
    assert found["items"] == ["openai USD"]


def test_an_invoice_is_held_against_what_is_owed(books: Books) -> None:
    """Also beside spend of the same payee in the invoice's currency that is owed in another."""
    bill = {"payee": "openai", "number": "1", "currency": "USD", "issued_on": "2026-12-01", "total": "22.00",
            "period": books.period(0, 1), "lines": [{"amount": "22.00", "category": "inference"}]}  # fmt: skip
    made = books.app.make("/v1/invoices", bill, key=books.finance)["id"]
    assert books.app.get(f"/v1/invoices/{made}").json["match"]["accrued"] == usd("22.00")
    charge = {"budget": "research", "amount": {"amount": "10.00", "currency": "EUR"}, "payee": "openai",
              "category": "inference", "effective_at": books.day(1)}  # fmt: skip
    books.app.make("/v1/charges", charge, key=books.finance)
    match = books.app.get(f"/v1/invoices/{made}").json["match"]
    assert (match["accrued"], match["difference"]) == (usd("22.00"), usd("0.00"))


@pytest.mark.parametrize("by", ["agent", "resource"])
def test_what_is_owed_in_dollars_was_not_spent_in_dollars(books: Books, by: str) -> None:
    """Chargeback has one row, in euros, and a payment is no line of it."""
    paid = {"payee": "openai", "from": "assets:bank", "amount": usd("22.00"), "rest": "on_account"}
    books.app.make("/v1/payments", paid, key=books.finance)
    value = "crawler" if by == "agent" else "gpt-5"
    assert rows(books, f"by={by}") == [(value, "EUR", 1, "20.00")]
