"""The tables of what payees claim and were paid: invoices, payments, what was paid of which, and who is prepaid.

Projections that decisions read. Invariant: every primary key and every index is led by ``book_id``.
"""

from typing import Final

from ledger.core import changeset, invoice
from ledger.storage.tables import _SMALL_ROWS, _big, _check, _index, _listed, _table, _text

LIVE: Final = "state <> 'void'"
PAYABLE: Final = "state <> 'void' AND paid < total"
"""What look-ups and the partial indexes that serve them say alike."""

invoices: Final = _table(
    changeset.INVOICES,
    _text("id"), _text("payee"), _text("number"), _text("currency"), _big("issued_on"), _big("due_on"),
    _big("starts_on"), _big("ends_on"), _big("billed"), _big("total"), _big("paid"), _text("state"), _text("posted"),
    _big("created_index"), _big("changed_index"),
    _listed("state", invoice.INVOICE_STATES),
    _check("paid_within_total", "paid >= 0 AND paid <= total"),
    _check("void_is_unpaid", "state <> 'void' OR paid = 0"),
    _check("period_in_order", "ends_on >= starts_on"),
    _check("billed_not_negative", "billed >= 0"),
    _index("invoices_number", "payee", "number", where=LIVE),
    _index("invoices_payable", "payee", "currency", "due_on", where=PAYABLE),
    _index("invoices_due", "due_on", "created_index", where=PAYABLE),
    _index("invoices_payee", "payee", "created_index"),
    _index("invoices_listed", "created_index"),
    _index("invoices_state", "state", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

payments: Final = _table(
    changeset.PAYMENTS,
    _text("id"), _text("payee"), _text("source"), _text("currency"), _big("amount"), _big("prepaid"),
    _big("on_account"), _text("state"), _big("effective_at"), _big("created_index"), _big("changed_index"),
    _listed("state", invoice.PAYMENT_STATES),
    _check("parts_within_amount", "prepaid >= 0 AND on_account >= 0 AND prepaid + on_account <= amount"),
    _check("amount_positive", "amount > 0"),
    _index("payments_payee", "payee", "created_index"),
    _index("payments_listed", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

invoice_payments: Final = _table(
    changeset.INVOICE_PAYMENTS,
    _text("payment"), _text("invoice"), _big("amount"), _big("created_index"),
    _check("amount_positive", "amount > 0"),
    _index("invoice_payments_invoice", "invoice", "created_index"),
    **_SMALL_ROWS,
)  # fmt: skip

payee_terms: Final = _table(
    changeset.PAYEE_TERMS,
    _text("payee"), _text("turns"), _big("created_index"), _big("changed_index"),
    **_SMALL_ROWS,
)  # fmt: skip
