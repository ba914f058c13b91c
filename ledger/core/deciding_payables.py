"""Decisions on what a payee claims: invoices, and whether a payee is prepaid.

Invariants: an invoice's total is its lines and taxes less its credits; it posts only what no settlement accrued (taxes,
credits, prepaid credit that is bought); a void one takes back exactly what it posted; a payee has no two invoices of
one number but void ones.
"""

from typing import Any, Final

from ledger.core.account import expense_name, payable_name
from ledger.core.beginning import begin
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.command_payables import RecordInvoice, SetPayee, VoidInvoice
from ledger.core.days import day_of
from ledger.core.effective import effective
from ledger.core.finishing import finish
from ledger.core.invoice import (
    CATEGORY_OF_CREDIT,
    CATEGORY_OF_TAX,
    TURNS_MAX,
    VOID,
    Invoice,
    PayeeTerms,
    is_prepaid_at,
    prepaid_name,
    state_of,
)
from ledger.core.meeting import check_name, meet
from ledger.core.moment import moment_text
from ledger.core.money import ATOMS_MAX, currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch, Posting, request_of

_DEFAULT_CATEGORY: Final = {"lines": None, "taxes": CATEGORY_OF_TAX, "credits": CATEGORY_OF_CREDIT}


def money_only(currency: str) -> None:
    """Refuse a unit that is not money: nobody is owed or paid any."""
    if currency_digits(currency) is None:
        refuse(Status.UNKNOWN_CURRENCY, f"{currency} is not an ISO 4217 currency, and payees are owed and paid money")


def record_invoice(batch: Batch, asked: RecordInvoice) -> Outcome:
    """Record what a payee claims."""
    who = batch.admit(asked)
    said = _said(batch, asked)
    request: dict[str, Any] = {"operation": asked.operation, **said}
    if asked.evidence is not None:
        request["evidence"] = batch.salted(asked, who[0], "evidence", asked.evidence)
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    total = int(said["total"])
    _check_total(batch, said, total)
    postings = invoice_postings(said)
    categories = sorted({item["category"] for name in _DEFAULT_CATEGORY for item in said[name] if "category" in item})
    for category in categories:
        check_name(batch, CATEGORY, category)
    check_name(batch, PAYEE, asked.payee)
    taken = _live_number(batch, asked.payee, asked.number)
    if taken is not None:
        refuse(
            Status.NUMBER_TAKEN,
            f"invoice {asked.number} of {asked.payee} is recorded as {taken.id}; void that one to record it again",
            invoice=taken.id,
        )
    effective_at = effective(batch, asked.effective_at)
    batch.check_room(postings)
    for category in categories:
        meet(batch, CATEGORY, category)
    meet(batch, PAYEE, asked.payee)
    billed = sum(int(line["amount"]) for line in said["lines"] if "prepaid" not in line)
    row = Invoice(
        batch.book_id, asked.id, asked.payee, asked.number, asked.currency, day_of(asked.issued_on),
        day_of(asked.due_on), day_of(asked.starts_on), day_of(asked.ends_on), billed, total, 0, state_of(total, 0),
        posted_text(postings), batch.index, batch.index,
    )  # fmt: skip
    batch.add("invoices", row.id, row)
    body: dict[str, Any] = {"invoice": row.id, **said, "billed": str(billed), "state": row.state}
    return finish(batch, asked, who, packed, "invoice", row.id, body, postings, effective_at)


def _said(batch: Batch, asked: RecordInvoice) -> dict[str, Any]:
    """The invoice as its record has it, amounts in atoms; refuses an amount that is none."""
    money_only(asked.currency)
    said: dict[str, Any] = {
        name: getattr(asked, name)
        for name in ("payee", "number", "currency", "issued_on", "due_on", "starts_on", "ends_on")
    }
    for name, category in _DEFAULT_CATEGORY.items():
        said[name] = [_item(batch, item, asked.currency, category) for item in getattr(asked, name)]
    said["total"] = str(batch.atoms(asked.total, asked.currency, zero_ok=True))
    return said


def _item(batch: Batch, item: Any, currency: str, category: str | None) -> dict[str, Any]:
    """A line, tax or credit as a body has it: what is not said is not there."""
    packed: dict[str, Any] = {"amount": str(batch.atoms(item.amount, currency, zero_ok=True))}
    for name in ("name", "rate", "description", "category"):
        value = getattr(item, name, None)
        if value is not None:
            packed[name] = value
    if getattr(item, "prepaid", False):
        packed["prepaid"] = True
    elif category is not None:
        packed.setdefault("category", category)
    return packed


def _check_total(batch: Batch, said: dict[str, Any], total: int) -> None:
    sums = {name: sum(int(item["amount"]) for item in said[name]) for name in _DEFAULT_CATEGORY}
    if max(sums.values()) > ATOMS_MAX:
        refuse(Status.AMOUNT_TOO_LARGE, "the lines, taxes or credits together are more than 64 bits hold")
    found = sums["lines"] + sums["taxes"] - sums["credits"]
    if found == total:
        return
    parts = ", ".join(f"{name} {batch.amount_text(atoms, said['currency'])}" for name, atoms in sums.items())
    refuse(
        Status.INVOICE_UNBALANCED,
        f"the total says {batch.amount_text(total, said['currency'])}, and lines and taxes less credits are "
        f"{batch.amount_text(found, said['currency'])} ({parts})",
        total=str(total),
        found=str(found),
        currency=said["currency"],
    )


def invoice_postings(said: dict[str, Any]) -> list[Posting]:
    """The transfers of an invoice: credit that is bought, taxes, and what credits take off."""
    owed, currency = payable_name(said["payee"]), said["currency"]
    moved = [(prepaid_name(said["payee"]), owed, int(line["amount"])) for line in said["lines"] if "prepaid" in line]
    moved += [(expense_name(tax["category"]), owed, int(tax["amount"])) for tax in said["taxes"]]
    moved += [(owed, expense_name(credit["category"]), int(credit["amount"])) for credit in said["credits"]]
    return [(debit, credit, atoms, currency) for debit, credit, atoms in moved if atoms]


def posted_text(postings: list[Posting]) -> str:
    """What was posted, as its row keeps it."""
    return canonical_bytes([[debit, credit, str(atoms)] for debit, credit, atoms, _ in postings]).decode()


def _live_number(batch: Batch, payee: str, number: str) -> Invoice | None:
    """The invoice of this number that is not void."""
    known = [batch.fact("invoices", reference) for reference in batch.fact("invoice_numbers", (payee, number)) or ()]
    rows: list[Invoice] = [*batch.rows["invoices"].values(), *known]
    return next((row for row in rows if (row.payee, row.number) == (payee, number) and row.state != VOID), None)


def void_invoice(batch: Batch, asked: VoidInvoice) -> Outcome:
    """Take back an invoice: the opposite of what it posted."""
    request: dict[str, Any] = {"invoice": asked.invoice}
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    found = batch.fact("invoices", asked.invoice)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no invoice {asked.invoice}")
    if found.state == VOID:
        refuse(Status.WRONG_STATE, f"{found.id} is void already", state=found.state, invoice=found.id)
    if found.paid:
        refuse(
            Status.WRONG_STATE,
            f"{batch.amount_text(found.paid, found.currency)} was paid of {found.id}; reverse those payments first",
            state=found.state,
            invoice=found.id,
        )
    effective_at = effective(batch, asked.effective_at)
    postings: list[Posting] = [
        (credit, debit, int(atoms), found.currency) for debit, credit, atoms in parse(found.posted.encode())
    ]
    batch.check_room(postings)
    row = batch.change("invoices", found.id)
    body: dict[str, Any] = {
        "invoice": row.id,
        "payee": row.payee,
        "number": row.number,
        "currency": row.currency,
        "total": str(row.total),
        "state": VOID,
        "previous": row.changed_index,
    }
    row.state, row.changed_index = VOID, batch.index
    return finish(batch, asked, who, packed, "invoice_void", row.id, body, postings, effective_at)


def set_payee(batch: Batch, asked: SetPayee) -> Outcome:
    """Make spend with a payee use up prepaid credit from here on, or not."""
    who, packed, replay = begin(batch, asked, {"payee": asked.payee, "prepaid": asked.prepaid})
    if replay is not None:
        return replay
    check_name(batch, PAYEE, asked.payee)
    found = batch.fact("payee_terms", asked.payee)
    if is_prepaid_at(found, batch.index) == asked.prepaid:
        state = "prepaid" if asked.prepaid else "billed"
        refuse(Status.WRONG_STATE, f"{asked.payee} is {state} already", state=state)
    meet(batch, PAYEE, asked.payee)
    if found is None:
        row = PayeeTerms(batch.book_id, asked.payee, str(batch.index), batch.index, batch.index)
        batch.add("payee_terms", asked.payee, row)
    else:
        row = batch.change("payee_terms", asked.payee)
        if len(row.turns.split(" ")) >= TURNS_MAX:
            refuse(Status.WRONG_STATE, f"{asked.payee} was set {TURNS_MAX} times, which is the most", state="fixed")
        row.turns, row.changed_index = f"{row.turns} {batch.index}", batch.index
    batch.change_settings()
    body: dict[str, Any] = {"payee": asked.payee, "prepaid": asked.prepaid}
    return finish(batch, asked, who, packed, "payee_terms", asked.payee, body, [])
