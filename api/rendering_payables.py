"""How invoices, payments and payees are shown: from records as answers to commands, and from rows as reads.

Invariant: an answer is a function of the record and of the scale of its currency, so a replay repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from api.amounts import Scale, money
from ledger.core.account import Account
from ledger.core.book import Name
from ledger.core.days import day_of, day_text
from ledger.core.invoice import Invoice, InvoicePayment, PayeeTerms, Payment, is_prepaid_at
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome
from ledger.core.period import period_of
from ledger.core.spend_line import date_of
from ledger.services.invoice_matching import Matching

_ITEMS: Final = ("lines", "taxes", "credits")


def _period(starts_on: int, ends_on: int) -> str:
    """The days of an invoice in their shortest form."""
    return period_of(date_of(starts_on), date_of(ends_on), "UTC").text


def _transfers(body: Mapping[str, Any], digits: int) -> list[dict[str, Any]]:
    return [
        {"debit": debit, "credit": credit, "amount": money(atoms, currency, digits)}
        for debit, credit, atoms, currency in body.get("transfers", [])
    ]


def when_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """When an entry counts, where that is not when it was recorded; and what it was meant for, where that month was
    closed, and by which record."""
    return {name: body[name] for name in ("effective_at", "meant_for", "closed_by") if name in body}


def _ending(outcome: Outcome, body: Mapping[str, Any]) -> dict[str, Any]:
    return {**when_said(body), "log": {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}}


def items_said(body: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """The lines, taxes and credits of an invoice's record."""
    currency = body["currency"]
    digits = scale[currency]
    return {
        name: [item | {"amount": money(item["amount"], currency, digits)} for item in body[name]] for name in _ITEMS
    }


def _invoice(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to recording an invoice and to taking one back."""
    body = outcome.body or {}
    currency = body["currency"]
    digits = scale[currency]
    shown: dict[str, Any] = {
        "id": body["invoice"],
        **{name: body[name] for name in ("payee", "number", "state", "currency")},
    }
    if body["kind"] == "invoice":
        shown |= {name: body[name] for name in ("issued_on", "due_on")}
        shown["period"] = _period(day_of(body["starts_on"]), day_of(body["ends_on"]))
        shown |= items_said(body, scale)
        shown["billed"] = money(body["billed"], currency, digits)
    shown["total"] = money(body["total"], currency, digits)
    return {**shown, "transfers": _transfers(body, digits), **_ending(outcome, body)}


def _payment(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    """The answer to recording a payment and to reversing one."""
    body = outcome.body or {}
    currency = body["currency"]
    digits = scale[currency]
    shown: dict[str, Any] = {
        "id": body["payment"],
        **{name: body[name] for name in ("payee", "from", "state")},
        "amount": money(body["amount"], currency, digits),
        "invoices": [
            {
                "id": identity,
                "amount": money(part, currency, digits),
                "paid": money(paid, currency, digits),
                "state": state,
            }
            for identity, part, paid, state in body["invoices"]
        ],
    }
    for name in ("prepayment", "on_account"):
        if name in body:
            shown[name] = money(body[name], currency, digits)
    if "reference" in body:
        shown["reference"] = body["reference"]
    return {**shown, "transfers": _transfers(body, digits), **_ending(outcome, body)}


def _payee(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {"name": body["payee"], "prepaid": body["prepaid"], **_ending(outcome, body)}


def _history(outcome: Outcome, scale: Scale) -> dict[str, Any]:
    body = outcome.body or {}
    return {"id": body["history"], **_ending(outcome, body)}


PAYABLE_ANSWERS: Final[Mapping[str, Callable[[Outcome, Scale], dict[str, Any]]]] = {
    "invoice": _invoice,
    "invoice_void": _invoice,
    "payment": _payment,
    "payment_reversal": _payment,
    "payee_terms": _payee,
    "history": _history,
}
"""Kind of record to the answer of the request that wrote it."""


def invoice_shown(row: Invoice, scale: Scale) -> dict[str, Any]:
    """An invoice as lists show it."""
    currency = row.currency
    digits = scale[currency]
    amounts = {"billed": row.billed, "total": row.total, "paid": row.paid, "open": row.open}
    return {
        **{name: getattr(row, name) for name in ("id", "payee", "number", "state", "currency")},
        "issued_on": day_text(row.issued_on),
        "due_on": day_text(row.due_on),
        "period": _period(row.starts_on, row.ends_on),
        **{name: money(str(atoms), currency, digits) for name, atoms in amounts.items()},
        "log": {"index": row.created_index},
    }


def payment_shown(row: Payment, parts: Iterable[InvoicePayment], scale: Scale) -> dict[str, Any]:
    """A payment as lists show it, with what it paid."""
    currency = row.currency
    digits = scale[currency]
    return {
        "id": row.id,
        "payee": row.payee,
        "from": row.source,
        "state": row.state,
        "amount": money(str(row.amount), currency, digits),
        "invoices": [{"id": part.invoice, "amount": money(str(part.amount), currency, digits)} for part in parts],
        "prepayment": money(str(row.prepaid), currency, digits),
        "on_account": money(str(row.on_account), currency, digits),
        "effective_at": moment_text(row.effective_at),
        "log": {"index": row.created_index},
    }


def paid_shown(paid: Iterable[tuple[InvoicePayment, str]], currency: str, scale: Scale) -> list[dict[str, Any]]:
    """What was paid of an invoice."""
    return [
        {
            "payment": part.payment,
            "amount": money(str(part.amount), currency, scale[currency]),
            "state": state,
            "log": {"index": part.created_index},
        }
        for part, state in paid
    ]


def match_shown(matching: Matching, currency: str, scale: Scale) -> dict[str, Any]:
    """How an invoice compares with the ledger."""
    digits = scale[currency]

    def compared(billed: int, accrued: int) -> dict[str, Any]:
        amounts = {"billed": billed, "accrued": accrued, "difference": billed - accrued}
        return {name: money(str(atoms), currency, digits) for name, atoms in amounts.items()}

    return {
        **compared(matching.billed, matching.accrued),
        "categories": [{"category": one.category, **compared(one.billed, one.accrued)} for one in matching.categories],
        "also": list(matching.also),
        "log_size": matching.log_size,
    }


def payee_shown(
    name: Name, terms: PayeeTerms | None, accounts: Iterable[Account], invoiced: Mapping[str, int], scale: Scale
) -> dict[str, Any]:
    """A payee and how the book stands with it."""
    owed: dict[str, int] = {}
    left: dict[str, int] = {}
    for account in accounts:
        if account.name.startswith("payables:"):
            owed[account.currency] = -account.balance
        else:
            left[account.currency] = account.balance
    index = name.created_index if terms is None else terms.changed_index
    balances = []
    for currency in sorted({*owed, *left, *invoiced}):
        amounts = {
            "owed": owed.get(currency, 0),
            "invoiced": invoiced.get(currency, 0),
            "prepaid_left": left.get(currency, 0),
            "balance": owed.get(currency, 0) - left.get(currency, 0),
        }
        shown = {field: money(str(atoms), currency, scale[currency]) for field, atoms in amounts.items()}
        balances.append({"currency": currency, **shown})
    return {
        "name": name.name,
        "prepaid": is_prepaid_at(terms, index + 1),
        "balances": balances,
        "log": {"index": index},
    }
