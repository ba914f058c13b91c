"""What a writer reads before a decision on invoices, payments and payees, continued from ``facts``."""

from collections.abc import Callable
from typing import Any, Final

from ledger.core import changeset
from ledger.core.invoice import PAYABLE_STATES, Invoice, InvoicePayment, PayeeTerms, Payment
from ledger.core.needs import Needs
from ledger.core.snapshot import Snapshot
from ledger.storage.lookup import Lookup, Row, put_found
from ledger.storage.tables_payables import LIVE, PAYABLE

LOOKUPS: Final = (
    Lookup("invoices", changeset.INVOICES, (("id",),)),
    Lookup("invoice_numbers", changeset.INVOICES, (("payee", "number"),), many=True, where=LIVE),
    Lookup("open_invoices", changeset.INVOICES, (("payee", "currency"),), many=True, where=PAYABLE),
    Lookup("payments", changeset.PAYMENTS, (("id",),)),
    Lookup("paid_invoices", changeset.INVOICE_PAYMENTS, (("payment",),), many=True),
    Lookup("payee_terms", changeset.PAYEE_TERMS, (("payee",),)),
)
"""As in ``facts``."""


def _put_invoices(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    put_found(snapshot.invoices, needs.invoices, {row[1]: Invoice(*row) for row in rows})


def _listed_invoices(snapshot: Snapshot, rows: list[Row]) -> list[Invoice]:
    """Invoices that were found by something else than their id, which know themselves by it too from here on."""
    found = sorted((Invoice(*row) for row in rows), key=lambda row: row.created_index)
    for row in found:
        snapshot.invoices.put(row.id, row)
    return found


def _put_invoice_numbers(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    found = _listed_invoices(snapshot, rows)
    for key in needs.invoice_numbers:
        snapshot.invoice_numbers.put(key, tuple(row.id for row in found if (row.payee, row.number) == key))


def _put_open_invoices(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    found = [row for row in _listed_invoices(snapshot, rows) if row.state in PAYABLE_STATES]
    for key in needs.open_invoices:
        snapshot.open_invoices.put(key, tuple(row.id for row in found if (row.payee, row.currency) == key))


def _put_payments(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    put_found(snapshot.payments, needs.payments, {row[1]: Payment(*row) for row in rows})


def _put_paid_invoices(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    found = sorted((InvoicePayment(*row) for row in rows), key=lambda row: row.invoice)
    for payment in needs.paid_invoices:
        snapshot.paid_invoices.put(payment, tuple(row for row in found if row.payment == payment))


def _put_payee_terms(needs: Needs, snapshot: Snapshot, rows: list[Row]) -> None:
    put_found(snapshot.payee_terms, needs.payee_terms, {row[1]: PayeeTerms(*row) for row in rows})


def _of(put: Callable[[Needs, Snapshot, list[Row]], None]) -> Callable[[Any, Snapshot, list[Row]], None]:
    return lambda facts, snapshot, rows: put(facts.needs, snapshot, rows)


PUT: Final[dict[str, Callable[[Any, Snapshot, list[Row]], None]]] = {
    "invoices": _of(_put_invoices),
    "invoice_numbers": _of(_put_invoice_numbers),
    "open_invoices": _of(_put_open_invoices),
    "payments": _of(_put_payments),
    "paid_invoices": _of(_put_paid_invoices),
    "payee_terms": _of(_put_payee_terms),
}
"""How rows become facts, by kind of need."""
