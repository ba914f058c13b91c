"""The fold over spend that was taken over, written from the rules and not from the code that decided."""

from typing import Final

from ledger.core.account import AUTHORITY_NAME, expense_name, spent_name
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.metering import pairs_of
from ledger.core.money import currency_digits
from ledger.core.projecting_record import Record, atoms_of


def _history(record: Record) -> None:
    """An expense against what the book opened with; of a budget, spent out of authority that came for it."""
    body = record.body
    currency, amount = body["currency"], body["amount"]
    expected: list[list[str]] = []
    if "budget" in body:
        name = body["budget"]["name"]
        budget = record.store.budgets.get(name)
        if budget is None or budget.currency != currency:
            raise LookupError(f"there is no budget {name} in {currency}")
        expected.append([spent_name(name), AUTHORITY_NAME, amount, currency])
    if currency_digits(currency) is not None:
        expected.append([expense_name(body["category"]), "equity:opening", amount, currency])
    if not expected:
        record.differ("a unit that is not money was spent by no budget", "a budget", currency)
    if "effective_at" not in body:
        record.differ("spend that was taken over counts for no day of its own", "effective_at", "")
    for field in ("labels", "metering"):
        if field in body and ([list(pair) for pair in pairs_of(dict(body[field]))] != body[field] or not body[field]):
            record.differ(f"{field} are not in order", "sorted pairs", body[field])
    record.post(expected)
    record.meet_name(CATEGORY, body["category"])
    record.meet_name(PAYEE, body["payee"])
    if "budget" in body:
        record.expect_budget("budget", body["budget"]["name"], currency)
    else:
        spent, expense = record.fold.adjusted.get(currency, (0, 0))
        record.fold.adjusted[currency] = (spent, expense + atoms_of(amount))


HANDLERS: Final = {"history": _history}
"""What the record of spend that was taken over does."""
