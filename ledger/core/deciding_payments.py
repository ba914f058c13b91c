"""Decisions on payments: what is paid out of an asset account to a payee, and what did not hold.

Invariants: no invoice is paid more than is open of it; what a payment pays of no invoice is credit with the payee or
pays what is owed beyond invoices, and only where the request says so; a payment that is reversed takes back exactly
what it did.
"""

from typing import Any

from ledger.core.account import ASSET, classify, payable_name
from ledger.core.beginning import begin
from ledger.core.book import PAYEE
from ledger.core.changeset import row_of
from ledger.core.command_payables import RecordPayment, ReversePayment
from ledger.core.deciding_payables import money_only
from ledger.core.effective import effective
from ledger.core.finishing import finish
from ledger.core.invoice import (
    INVOICES_PER_PAYMENT_MAX,
    MADE,
    PAYABLE_STATES,
    REST_ON_ACCOUNT,
    REST_PREPAYMENT,
    REVERSED,
    Invoice,
    InvoicePayment,
    Payment,
    prepaid_name,
    state_of,
)
from ledger.core.meeting import check_name, meet
from ledger.core.moment import moment_of, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch, Posting

Applied = list[tuple[Invoice, int]]
"""Invoices, with what is paid of each."""


def record_payment(batch: Batch, asked: RecordPayment) -> Outcome:
    """Record that a payee was paid."""
    batch.admit(asked)
    money_only(asked.currency)
    atoms = batch.atoms(asked.amount, asked.currency)
    request: dict[str, Any] = {
        "payee": asked.payee,
        "from": asked.source,
        "amount": str(atoms),
        "currency": asked.currency,
    }
    if asked.invoices is not None:
        request["invoices"] = [
            [reference, str(batch.atoms(part, asked.currency))] for reference, part in asked.invoices
        ]
    for name in ("rest", "reference"):
        value = getattr(asked, name)
        if value is not None:
            request[name] = value
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    named = request.get("invoices")
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    _check_source(batch, asked, atoms)
    check_name(batch, PAYEE, asked.payee)
    applied = _named(batch, asked, named) if named is not None else _oldest(batch, asked, atoms)
    paid = sum(part for _, part in applied)
    if paid > atoms:
        refuse(
            Status.PAYMENT_TOO_LARGE,
            f"the invoices that are named take {batch.amount_text(paid, asked.currency)}, and only "
            f"{batch.amount_text(atoms, asked.currency)} is paid; name what adds up to it",
        )
    prepaid, on_account = _rest(batch, asked, atoms - paid, paid)
    effective_at = effective(batch, asked.effective_at)
    postings = payment_postings(asked.payee, asked.source, asked.currency, paid=atoms - prepaid, prepaid=prepaid)
    batch.check_room(postings)
    meet(batch, PAYEE, asked.payee)
    row = Payment(
        batch.book_id, asked.id, asked.payee, asked.source, asked.currency, atoms, prepaid, on_account, MADE,
        batch.now, batch.index, batch.index,
    )  # fmt: skip
    batch.add("payments", row.id, row)
    parts = tuple(InvoicePayment(batch.book_id, row.id, found.id, part, batch.index) for found, part in applied)
    batch.make("paid_invoices", row.id, tuple(sorted(parts, key=lambda part: part.invoice)))
    batch.inserts["invoice_payments"].extend(map(row_of, parts))
    body: dict[str, Any] = {
        "payment": row.id,
        "payee": row.payee,
        "from": row.source,
        "amount": str(atoms),
        "currency": row.currency,
        "invoices": [_pay(batch, part.invoice, part.amount) for part in parts],
        "state": MADE,
    }
    if asked.reference is not None:
        body["reference"] = asked.reference
    if prepaid:
        body[REST_PREPAYMENT] = str(prepaid)
    if on_account:
        body[REST_ON_ACCOUNT] = str(on_account)
    outcome = finish(batch, asked, who, packed, "payment", row.id, body, postings, effective_at)
    # What is meant for a closed month lands elsewhere, which its record knows first.
    row.effective_at = moment_of(body.get("effective_at", body["time"]))
    return outcome


def _check_source(batch: Batch, asked: RecordPayment, atoms: int) -> None:
    """An asset account; of prepaid credit, only that with the payee itself, and no more than is left."""
    sort = classify(asked.source)
    if sort is None or sort[0] != ASSET:
        refuse(Status.ACCOUNT_INVALID, f"{asked.source} is no asset account; pay from one such as assets:bank")
    if not asked.source.startswith(prepaid_name("")):
        return
    if asked.source != prepaid_name(asked.payee):
        refuse(Status.ACCOUNT_INVALID, f"{asked.source} is credit with another payee than {asked.payee}")
    if asked.rest == REST_PREPAYMENT:
        refuse(
            Status.ACCOUNT_INVALID, f"{asked.source} is prepaid credit already; it can pay invoices and what is owed"
        )
    left = batch.balance(asked.source, asked.currency)
    if left < atoms:
        refuse(
            Status.INSUFFICIENT_AVAILABLE,
            f"{asked.source} has {batch.amount_text(max(left, 0), asked.currency)} left, less than "
            f"{batch.amount_text(atoms, asked.currency)}",
            available=str(left),
            currency=asked.currency,
        )


def _named(batch: Batch, asked: RecordPayment, named: list[list[str]]) -> Applied:
    """The invoices that are named, each once, of this payee, in this currency, and open enough."""
    applied: Applied = []
    for reference, text in named:
        found = batch.fact("invoices", reference)
        if found is None or found.payee != asked.payee:
            refuse(Status.NOT_FOUND, f"there is no invoice {reference} of {asked.payee}")
        if any(found is other for other, _ in applied):
            refuse(Status.PAYMENT_TOO_LARGE, f"{reference} is named twice; give what is paid of it once")
        if found.currency != asked.currency:
            refuse(Status.CURRENCY_MISMATCH, f"{found.id} is in {found.currency}, not {asked.currency}")
        if found.state not in PAYABLE_STATES:
            refuse(Status.WRONG_STATE, f"{found.id} is {found.state}", state=found.state, invoice=found.id)
        if int(text) > found.open:
            refuse(
                Status.PAYMENT_TOO_LARGE,
                f"{batch.amount_text(found.open, found.currency)} is open of {found.id}, less than "
                f"{batch.amount_text(int(text), found.currency)}",
                invoice=found.id,
                open=str(found.open),
                currency=found.currency,
            )
        applied.append((found, int(text)))
    return applied


def _oldest(batch: Batch, asked: RecordPayment, atoms: int) -> Applied:
    """The open invoices of the payee in this currency, the earliest due first, as far as the amount reaches."""
    key = (asked.payee, asked.currency)
    rows = {reference: batch.fact("invoices", reference) for reference in batch.fact("open_invoices", key) or ()}
    rows.update(batch.rows["invoices"])
    due = [row for row in rows.values() if (row.payee, row.currency) == key and row.state in PAYABLE_STATES]
    applied: Applied = []
    for row in sorted(due, key=lambda row: (row.due_on, row.created_index)):
        part = min(atoms, row.open)
        if not part:
            break
        if len(applied) == INVOICES_PER_PAYMENT_MAX:
            refuse(
                Status.PAYMENT_TOO_LARGE,
                f"one payment pays at most {INVOICES_PER_PAYMENT_MAX} invoices; record it in parts",
            )
        applied.append((row, part))
        atoms -= part
    return applied


def _rest(batch: Batch, asked: RecordPayment, rest: int, paid: int) -> tuple[int, int]:
    """(what becomes prepaid credit, what pays on account) of what no invoice takes; refuses it where neither may be."""
    if not rest:
        return 0, 0
    if asked.rest == REST_PREPAYMENT:
        return rest, 0
    owed = -batch.balance(payable_name(asked.payee), asked.currency) - paid
    if asked.rest == REST_ON_ACCOUNT and rest <= owed:
        return 0, rest
    shown = batch.amount_text(rest, asked.currency)
    if asked.rest == REST_ON_ACCOUNT:
        sentence = (
            f"{shown} would be paid on account, and {batch.amount_text(max(owed, 0), asked.currency)} is owed to "
            f"{asked.payee} beside those invoices; pay less, or say that the rest is a prepayment"
        )
    else:
        sentence = (
            f"the invoices of {asked.payee} take {batch.amount_text(paid, asked.currency)}, which leaves {shown}; pay "
            "less, or say that the rest is a prepayment or on account"
        )
    refuse(Status.PAYMENT_TOO_LARGE, sentence, rest=str(rest), currency=asked.currency)


def payment_postings(payee: str, source: str, currency: str, *, paid: int, prepaid: int) -> list[Posting]:
    """The transfers of a payment: ``paid`` atoms of what is owed, ``prepaid`` of credit."""
    moved = ((payable_name(payee), source, paid), (prepaid_name(payee), source, prepaid))
    return [(debit, credit, atoms, currency) for debit, credit, atoms in moved if atoms]


def _pay(batch: Batch, reference: str, change: int) -> list[str]:
    """Count ``change`` atoms as paid of an invoice; returns what the body says of it: id, part, paid, state."""
    row = batch.change("invoices", reference)
    row.paid += change
    row.state = state_of(row.total, row.paid)
    row.changed_index = batch.index
    return [row.id, str(abs(change)), str(row.paid), row.state]


def reverse_payment(batch: Batch, asked: ReversePayment) -> Outcome:
    """Take back a payment: the opposite transfers, and its invoices are open again."""
    request: dict[str, Any] = {"payment": asked.payment}
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    found = batch.fact("payments", asked.payment)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no payment {asked.payment}")
    if found.state != MADE:
        refuse(Status.WRONG_STATE, f"{found.id} was reversed already", state=found.state, payment=found.id)
    effective_at = effective(batch, asked.effective_at)
    made = payment_postings(
        found.payee, found.source, found.currency, paid=found.amount - found.prepaid, prepaid=found.prepaid
    )
    postings: list[Posting] = [(credit, debit, atoms, currency) for debit, credit, atoms, currency in made]
    batch.check_room(postings)
    row = batch.change("payments", found.id)
    parts = batch.fact("paid_invoices", row.id) or ()
    body: dict[str, Any] = {
        "payment": row.id,
        "payee": row.payee,
        "from": row.source,
        "amount": str(row.amount),
        "currency": row.currency,
        "invoices": [_pay(batch, part.invoice, -part.amount) for part in parts],
        "state": REVERSED,
        "previous": row.changed_index,
    }
    row.state, row.changed_index = REVERSED, batch.index
    return finish(batch, asked, who, packed, "payment_reversal", row.id, body, postings, effective_at)
