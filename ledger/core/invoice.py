"""Invoices and payments: what a payee claims, what was paid for it, and where an account with a payee is kept.

Invariants: what is open of an invoice is its total less what payments that were not reversed paid of it; a state
follows from total and paid, but for ``void``; whether spend with a payee uses up prepaid credit follows from where in
the log the authorization or charge stands, so that a correction goes back to where the cost came from.
"""

from dataclasses import dataclass
from typing import Final

from ledger.core.account import payable_name

OPEN: Final = "open"
PARTLY_PAID: Final = "partly_paid"
PAID: Final = "paid"
VOID: Final = "void"
INVOICE_STATES: Final = (OPEN, PARTLY_PAID, PAID, VOID)
PAYABLE_STATES: Final = (OPEN, PARTLY_PAID)
"""States in which an invoice can be paid."""
MADE: Final = "made"
REVERSED: Final = "reversed"
PAYMENT_STATES: Final = (MADE, REVERSED)

REST_PREPAYMENT: Final = "prepayment"
REST_ON_ACCOUNT: Final = "on_account"
RESTS: Final = (REST_PREPAYMENT, REST_ON_ACCOUNT)
"""What becomes of what a payment does not pay of any invoice: credit with the payee, or part of what is owed for spend
that no invoice claims yet."""

CATEGORY_OF_TAX: Final = "tax"
CATEGORY_OF_CREDIT: Final = "credits"
"""Where a tax or a credit is booked that names no category."""
LINES_MAX: Final = 200
TAXES_MAX: Final = 20
CREDITS_MAX: Final = 50
INVOICES_PER_PAYMENT_MAX: Final = 100
TURNS_MAX: Final = 50
"""How often a payee can be set prepaid and back."""
ASSETS: Final = "assets:"


@dataclass(slots=True)
class Invoice:
    """One row of ``invoices``. Days since 1970, amounts in atoms. ``billed`` is what its lines claim for what was used
    (prepaid credit that is bought left out), ``posted`` the transfers that it made, as canonical JSON; ``number`` is
    unique among the payee's invoices that are not void."""

    book_id: int
    id: str
    payee: str
    number: str
    currency: str
    issued_on: int
    due_on: int
    starts_on: int
    ends_on: int
    billed: int
    total: int
    paid: int
    state: str
    posted: str
    created_index: int
    changed_index: int

    @property
    def open(self) -> int:
        """What is still to be paid."""
        return 0 if self.state == VOID else self.total - self.paid


@dataclass(slots=True)
class Payment:
    """One row of ``payments``: ``amount`` atoms left the account ``source``. ``prepaid`` of it became credit with the
    payee, ``on_account`` paid what no invoice claimed yet, the rest invoices."""

    book_id: int
    id: str
    payee: str
    source: str
    currency: str
    amount: int
    prepaid: int
    on_account: int
    state: str
    effective_at: int
    created_index: int
    changed_index: int


@dataclass(slots=True)
class InvoicePayment:
    """One row of ``invoice_payments``: what a payment paid of an invoice."""

    book_id: int
    payment: str
    invoice: str
    amount: int
    created_index: int


@dataclass(slots=True)
class PayeeTerms:
    """One row of ``payee_terms``: ``turns`` are the log indexes at which the payee became prepaid, ceased to be, and so
    on, joined by spaces. A payee that never was has no row."""

    book_id: int
    payee: str
    turns: str
    created_index: int
    changed_index: int


def state_of(total: int, paid: int) -> str:
    """The state of an invoice that is not void."""
    if paid >= total:
        return PAID
    return PARTLY_PAID if paid else OPEN


def prepaid_name(payee: str) -> str:
    """The asset account of credit with a payee that was paid for before it is used."""
    return f"assets:prepaid:{payee}"


def is_prepaid_at(terms: PayeeTerms | None, index: int) -> bool:
    """Whether what begins at a log index uses up prepaid credit: the payee was set prepaid before it."""
    return terms is not None and sum(int(turn) < index for turn in terms.turns.split(" ")) % 2 == 1


def cost_account(terms: PayeeTerms | None, payee: str, since: int) -> str:
    """The account that cost with a payee is credited to, for an authorization or charge of log index ``since``."""
    return prepaid_name(payee) if terms is not None and is_prepaid_at(terms, since) else payable_name(payee)
