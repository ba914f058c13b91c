"""Which facts the commands on invoices, payments and payees lack. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core import account
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import parse
from ledger.core.command_payables import RecordInvoice, RecordPayment, ReversePayment, SetPayee, VoidInvoice
from ledger.core.invoice import CATEGORY_OF_CREDIT, CATEGORY_OF_TAX, prepaid_name
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_invoice(seeker: Seeker, asked: RecordInvoice, own_agent: Agent | None) -> None:
    snapshot, needs = seeker.snapshot, seeker.needs
    named = {line.category for line in asked.lines}
    named |= {tax.category or CATEGORY_OF_TAX for tax in asked.taxes}
    named |= {credit.category or CATEGORY_OF_CREDIT for credit in asked.credits}
    for category in named:
        if category is not None:
            seeker.account(account.expense_name(category), asked.currency)
            if (CATEGORY, category) not in snapshot.names:
                needs.names.add((CATEGORY, category))
    _payee(seeker, asked.payee, asked.currency)
    number = (asked.payee, asked.number)
    if number not in snapshot.invoice_numbers:
        needs.invoice_numbers.add(number)


def _payee(seeker: Seeker, payee: str, currency: str) -> None:
    """A payee's name and both accounts that what it is owed and was paid before stands on."""
    if (PAYEE, payee) not in seeker.snapshot.names:
        seeker.needs.names.add((PAYEE, payee))
    seeker.account(account.payable_name(payee), currency)
    seeker.account(prepaid_name(payee), currency)


def _seek_invoice_row(seeker: Seeker, reference: str) -> None:
    if reference not in seeker.snapshot.invoices:
        seeker.needs.invoices.add(reference)


def _seek_void(seeker: Seeker, asked: VoidInvoice, own_agent: Agent | None) -> None:
    _seek_invoice_row(seeker, asked.invoice)
    if asked.invoice in seeker.needs.invoices:
        return
    found = seeker.snapshot.invoices[asked.invoice]
    if found is not None:
        for debit, credit, _ in parse(found.posted.encode()):
            seeker.account(debit, found.currency)
            seeker.account(credit, found.currency)


def _seek_payment(seeker: Seeker, asked: RecordPayment, own_agent: Agent | None) -> None:
    _payee(seeker, asked.payee, asked.currency)
    if account.classify(asked.source) is not None:
        seeker.account(asked.source, asked.currency)
    for reference, _ in asked.invoices or ():
        _seek_invoice_row(seeker, reference)
    key = (asked.payee, asked.currency)
    if asked.invoices is None and key not in seeker.snapshot.open_invoices:
        seeker.needs.open_invoices.add(key)


def _seek_reversal(seeker: Seeker, asked: ReversePayment, own_agent: Agent | None) -> None:
    snapshot, needs = seeker.snapshot, seeker.needs
    if asked.payment not in snapshot.payments:
        needs.payments.add(asked.payment)
        return
    found = snapshot.payments[asked.payment]
    if found is None:
        return
    _payee(seeker, found.payee, found.currency)
    seeker.account(found.source, found.currency)
    if found.id not in snapshot.paid_invoices:
        needs.paid_invoices.add(found.id)
        return
    for part in snapshot.paid_invoices[found.id] or ():
        _seek_invoice_row(seeker, part.invoice)


def _seek_payee(seeker: Seeker, asked: SetPayee, own_agent: Agent | None) -> None:
    seeker.turning.add(asked.payee)
    if (PAYEE, asked.payee) not in seeker.snapshot.names:
        seeker.needs.names.add((PAYEE, asked.payee))
    if asked.payee not in seeker.snapshot.payee_terms:
        seeker.needs.payee_terms.add(asked.payee)


SEEK: Final[dict[type, Any]] = {
    RecordInvoice: _seek_invoice,
    VoidInvoice: _seek_void,
    RecordPayment: _seek_payment,
    ReversePayment: _seek_reversal,
    SetPayee: _seek_payee,
}
"""What each command refers to, beside its caller."""
