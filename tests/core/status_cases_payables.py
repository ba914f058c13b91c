"""``status_cases``, continued: the statuses of invoices and payments."""

from __future__ import annotations

from ledger.core.command_payables import InvoiceLine, RecordInvoice, RecordPayment
from ledger.core.outcome import Outcome, Status
from tests.core.status_cases import Scene, command
from tests.support.ledger import OPENED_AT
from tests.support.worlds import World

FIELDS: dict[str, dict[str, object]] = {
    "record_invoice": {
        "payee": "openai", "currency": "USD", "number": "1", "issued_on": "2026-12-01", "due_on": "2026-12-31",
        "starts_on": "2026-11-01", "ends_on": "2026-11-30", "lines": (InvoiceLine("10"),), "total": "10",
    },
    "void_invoice": {"invoice": "MADE", "reason": "entered twice"},
    "record_payment": {
        "payee": "openai", "currency": "USD", "amount": "1", "source": "assets:bank", "rest": "prepayment",
    },
    "reverse_payment": {"payment": "MADE", "reason": "bounced"},
    "set_payee": {"payee": "openai", "prepaid": True},
    "take_over": {
        "amount": "1", "currency": "USD", "category": "inference", "payee": "openai", "effective_at": OPENED_AT,
    },
}  # fmt: skip
"""For each operation a command that is carried out; what it needs is ``MADE`` first."""


def invoice(world: World, number: str = "1", **fields: object) -> Outcome:
    """An invoice of openai for 10 USD, unless told otherwise."""
    return command(world, RecordInvoice, world.finance, **FIELDS["record_invoice"] | {"number": number} | fields)


def pay(world: World, amount: str, **fields: object) -> Outcome:
    """A payment to openai from the bank."""
    said: dict[str, object] = {"payee": "openai", "source": "assets:bank", "currency": "USD"}
    return command(world, RecordPayment, world.finance, amount=amount, **said | fields)


def invoiced(world: World) -> World:
    """The same world with an invoice of number 1."""
    assert invoice(world).status is Status.DONE
    return world


ALONE: dict[Status, Scene] = {
    Status.INVOICE_UNBALANCED: lambda w: invoice(w, total="11"),
    Status.NUMBER_TAKEN: lambda w: invoice(invoiced(w)),
    Status.PAYMENT_TOO_LARGE: lambda w: pay(invoiced(w), "11"),
}

BOTH: dict[tuple[Status, Status], Scene] = {
    (Status.UNKNOWN_CURRENCY, Status.INVOICE_UNBALANCED): lambda w: invoice(w, currency="tokens", total="11"),
    (Status.INVOICE_UNBALANCED, Status.NUMBER_TAKEN): lambda w: invoice(invoiced(w), total="11"),
    (Status.ACCOUNT_INVALID, Status.PAYMENT_TOO_LARGE): lambda w: pay(w, "11", source="income:gifts"),
    (Status.UNKNOWN_PAYEE, Status.PAYMENT_TOO_LARGE): lambda w: pay(w, "11", payee="someone"),
}

NEVER_BOTH: dict[tuple[Status, Status], str] = {
    (Status.RECONCILIATION_INVALID, Status.INVOICE_UNBALANCED): "a comparison claims nothing",
    (Status.INVOICE_UNBALANCED, Status.TREE_TOO_DEEP): "an invoice stands in no tree",
    (Status.NAME_TAKEN, Status.NUMBER_TAKEN): "an invoice has a number and no name",
    (Status.NUMBER_TAKEN, Status.WRONG_STATE): "what is being recorded has no state yet",
    (Status.CHECKS_FAILED, Status.PAYMENT_TOO_LARGE): "closing a month pays nothing",
    (Status.PAYMENT_TOO_LARGE, Status.POLICY_INVALID): "a payment applies no policy",
}
