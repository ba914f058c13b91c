"""Routes of invoices, payments and payees."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_payables import (
    invoice_shown,
    items_said,
    match_shown,
    paid_shown,
    payee_shown,
    payment_shown,
    when_said,
)
from api.routes.answers import PROBLEMS
from api.routes.statements import UNWRITTEN_MAX
from api.routes.views import redacted_view
from api.schemas.fields import Name, NewName, moment_or_none
from api.schemas.payables import (
    Day,
    InvoiceDetail,
    InvoiceId,
    InvoiceList,
    InvoiceRequest,
    InvoiceResponse,
    InvoiceState,
    PayeeRequest,
    PayeeResponse,
    PayeeView,
    PaymentList,
    PaymentRequest,
    PaymentResponse,
    PaymentView,
    VoidRequest,
    days_of,
)
from api.writing import Writing, body_of, writing
from ledger.core import ids
from ledger.core.canonical import parse
from ledger.core.command_payables import (
    InvoiceCredit,
    InvoiceLine,
    InvoiceTax,
    RecordInvoice,
    RecordPayment,
    ReversePayment,
    SetPayee,
    VoidInvoice,
)
from ledger.core.days import day_of
from ledger.core.invoice import Invoice
from ledger.services.invoice_matching import match_invoice
from ledger.services.lining import LinesUnavailable
from ledger.storage import queries_log, queries_payables, queries_texts
from ledger.storage.errors import RecordArchived

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["payables"])
Write = Annotated[Writing, Depends(writing)]
InvoicePath = Annotated[InvoiceId, Path(description="The invoice's id.")]
PaymentPath = Annotated[str, Path(pattern=r"^pay_[0-9a-z]{26}$", description="The payment's id.")]
PayeeQuery = Annotated[Name | None, Query(description="Only those of this payee.")]


@router.post("/invoices", status_code=201, response_model=InvoiceResponse)
async def record_invoice(write: Write, asked: Annotated[InvoiceRequest, body_of(InvoiceRequest)]) -> Response:
    """Record what a payee claims. Its taxes and credits are posted; what its lines claim was accrued when it was spent,
    and is compared with that."""
    starts_on, ends_on = days_of(asked.period)
    return await write.decide(
        RecordInvoice(
            **write.who,
            id=write.new_id(ids.INVOICE),
            payee=asked.payee,
            number=asked.number,
            currency=asked.currency,
            issued_on=asked.issued_on,
            due_on=asked.due_on or asked.issued_on,
            starts_on=starts_on,
            ends_on=ends_on,
            lines=tuple(InvoiceLine(one.amount, one.category, one.description, one.prepaid) for one in asked.lines),
            taxes=tuple(InvoiceTax(one.name, one.amount, one.category, one.rate) for one in asked.taxes),
            credits=tuple(InvoiceCredit(one.amount, one.category, one.description) for one in asked.credits),
            total=asked.total,
            evidence=asked.evidence,
            effective_at=moment_or_none(asked.effective_at),
        )
    )


@router.post("/invoices/{invoice}/void", response_model=InvoiceResponse)
async def void_invoice(
    write: Write, invoice: InvoicePath, asked: Annotated[VoidRequest, body_of(VoidRequest)]
) -> Response:
    """Take back an invoice that nothing was paid of: what it posted is undone, and its number is free again."""
    return await write.decide(
        VoidInvoice(**write.who, invoice=invoice, reason=asked.reason, effective_at=moment_or_none(asked.effective_at))
    )


@router.get("/invoices", response_model=InvoiceList)
def list_invoices(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    payee: PayeeQuery = None,
    state: Annotated[InvoiceState | None, Query(description="Only those in this state.")] = None,
    due_before: Annotated[Day | None, Query(description="Only those that can be paid and are due before.")] = None,
) -> Response:
    """List invoices, newest first."""
    with reading(request, "read_all") as read:
        page = queries_payables.list_invoices(
            read.connection, read.book_id, payee=payee, state=state,
            due_before=None if due_before is None else day_of(due_before), after=cursor_parts(cursor, int), limit=limit,
        )  # fmt: skip
        scale = read.scale(row.currency for row in page.items)
    return answer_page(page, lambda row: invoice_shown(row, scale))


@router.get("/invoices/{invoice}", response_model=InvoiceDetail)
def get_invoice(request: Request, invoice: InvoicePath) -> Response:
    """An invoice with its lines, what was paid of it, and what the ledger accrued for the same days."""
    with reading(request, "read_all") as read:
        row = found(queries_payables.invoice(read.connection, read.book_id, invoice), f"invoice {invoice}")
        scale = read.scale((row.currency,))
        shown = invoice_shown(row, scale)
        body = _said(read, row)
        if body is not None:
            shown |= items_said(body, scale) | _recorded(read, row, body)
        shown["payments"] = paid_shown(
            queries_payables.paid_of(read.connection, read.book_id, row.id), row.currency, scale
        )
        book_id = read.book_id
    context = context_of(request)
    try:
        matching = match_invoice(
            context.engine, context.statements.liner, book_id, row, body, records_max=UNWRITTEN_MAX
        )
    except LinesUnavailable as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    return answer({**shown, "match": match_shown(matching, row.currency, scale)})


def _said(read: Reading, row: Invoice) -> dict[str, Any] | None:
    """The body of an invoice's record, None where it is archived."""
    try:
        record = queries_log.record(read.connection, read.book_id, row.created_index)
    except RecordArchived:
        return None
    return None if record is None else parse(record.body)


def _recorded(read: Reading, row: Invoice, body: dict[str, Any]) -> dict[str, Any]:
    """Who recorded an invoice, when, with what evidence."""
    index = row.created_index
    shown: dict[str, Any] = {"by": body["by"]["principal"], "recorded_at": body["time"]}
    shown |= when_said(body)
    evidence = queries_log.texts_at(read.connection, read.book_id, [index], "evidence").get(index)
    if evidence is not None:
        shown["evidence"] = evidence
    return shown | redacted_view(queries_texts.redacted_at(read.connection, read.book_id, [index]).get(index))


@router.post("/payments", status_code=201, response_model=PaymentResponse)
async def record_payment(write: Write, asked: Annotated[PaymentRequest, body_of(PaymentRequest)]) -> Response:
    """Record that a payee was paid, for its invoices, on account, or in advance."""
    named = None if asked.invoices is None else tuple((one.id, one.amount) for one in asked.invoices)
    return await write.decide(
        RecordPayment(
            **write.who,
            id=write.new_id(ids.PAYMENT),
            payee=asked.payee,
            source=asked.from_,
            amount=asked.amount.amount,
            currency=asked.amount.currency,
            invoices=named,
            rest=asked.rest,
            reference=asked.reference,
            effective_at=moment_or_none(asked.effective_at),
        )
    )


@router.post("/payments/{payment}/reverse", response_model=PaymentResponse)
async def reverse_payment(
    write: Write, payment: PaymentPath, asked: Annotated[VoidRequest, body_of(VoidRequest)]
) -> Response:
    """Take back a payment that did not hold: the opposite transfers, and what it paid is open again."""
    return await write.decide(
        ReversePayment(
            **write.who, payment=payment, reason=asked.reason, effective_at=moment_or_none(asked.effective_at)
        )
    )


@router.get("/payments", response_model=PaymentList)
def list_payments(request: Request, limit: Limit = 50, cursor: Cursor = None, payee: PayeeQuery = None) -> Response:
    """List payments, newest first."""
    with reading(request, "read_all") as read:
        page = queries_payables.list_payments(
            read.connection, read.book_id, payee=payee, after=cursor_parts(cursor, int), limit=limit
        )
        parts = queries_payables.parts_of(read.connection, read.book_id, [row.id for row in page.items])
        scale = read.scale(row.currency for row in page.items)
    return answer_page(page, lambda row: payment_shown(row, parts[row.id], scale))


@router.get("/payments/{payment}", response_model=PaymentView)
def get_payment(request: Request, payment: PaymentPath) -> Response:
    """A payment and what it paid."""
    with reading(request, "read_all") as read:
        row = found(queries_payables.payment(read.connection, read.book_id, payment), f"payment {payment}")
        parts = queries_payables.parts_of(read.connection, read.book_id, [row.id])
        scale = read.scale((row.currency,))
    return answer(payment_shown(row, parts[row.id], scale))


@router.post("/payees/{payee}", response_model=PayeeResponse)
async def set_payee(
    write: Write,
    payee: Annotated[NewName, Path(description="The payee's name.")],
    asked: Annotated[PayeeRequest, body_of(PayeeRequest)],
) -> Response:
    """Say whether spend with a payee uses up credit that was paid for before, from here on. What began before goes on
    as it began."""
    return await write.decide(SetPayee(**write.who, payee=payee, prepaid=asked.prepaid, reason=asked.reason))


@router.get("/payees/{payee}", response_model=PayeeView)
def get_payee(request: Request, payee: Annotated[Name, Path(description="The payee's name.")]) -> Response:
    """A payee, and how the book stands with it: what it is owed, what its invoices claim of that, and what is left of
    prepaid credit."""
    with reading(request, "read_all") as read:
        known = found(queries_payables.payee(read.connection, read.book_id, payee), f"payee {payee}")
        accounts = queries_payables.accounts_of(read.connection, read.book_id, payee)
        invoiced = queries_payables.invoiced(read.connection, read.book_id, payee)
        scale = read.scale((*invoiced, *(account.currency for account in accounts)))
    return answer(payee_shown(*known, accounts, invoiced, scale))
