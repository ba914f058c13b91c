"""The commands on invoices, payments and payees. Days are ISO dates, amounts decimal text in the command's currency."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What an invoice claims for what was used; ``prepaid`` claims credit that is bought instead."""

    amount: str
    category: str | None = None
    description: str | None = None
    prepaid: bool = False


@dataclass(frozen=True, slots=True)
class InvoiceTax:
    """A tax on an invoice; ``rate`` is what is printed beside it."""

    name: str
    amount: str
    category: str | None = None
    rate: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceCredit:
    """What a payee takes off."""

    amount: str
    category: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordInvoice(Command):
    """Record what a payee claims for the days from ``starts_on`` to ``ends_on``."""

    operation: ClassVar[str] = "record_invoice"
    id: str
    payee: str
    number: str
    currency: str
    issued_on: str
    due_on: str
    starts_on: str
    ends_on: str
    lines: tuple[InvoiceLine, ...]
    total: str
    taxes: tuple[InvoiceTax, ...] = ()
    credits: tuple[InvoiceCredit, ...] = ()
    evidence: str | None = None
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidInvoice(Command):
    """Take back an invoice that nothing was paid of."""

    operation: ClassVar[str] = "void_invoice"
    invoice: str
    reason: str
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPayment(Command):
    """Record that a payee was paid out of an asset account. ``invoices`` are (id, amount) pairs; None: those that are
    open, the earliest due first. ``rest`` (one of ``invoice.RESTS``) says what becomes of what they do not take."""

    operation: ClassVar[str] = "record_payment"
    id: str
    payee: str
    source: str
    amount: str
    currency: str
    invoices: tuple[tuple[str, str], ...] | None = None
    rest: str | None = None
    reference: str | None = None
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReversePayment(Command):
    """Take back a payment that did not hold: it bounced, or was entered by mistake."""

    operation: ClassVar[str] = "reverse_payment"
    payment: str
    reason: str
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPayee(Command):
    """Say whether spend with a payee uses up credit that was paid for before, from here on."""

    operation: ClassVar[str] = "set_payee"
    payee: str
    prepaid: bool
    reason: str | None = None
