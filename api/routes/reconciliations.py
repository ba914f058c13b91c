"""Routes that record comparisons with a payee's figures, and that list them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, cursor_text, found, reading
from api.rendering_reconciliations import kept, said, used_line
from api.routes.answers import PROBLEMS
from api.routes.statements import invalid
from api.schemas.fields import Moment, Name, moment
from api.schemas.reconciliations import (
    COUNT_MAX,
    CurrencyCode,
    ReconciliationList,
    ReconciliationRequest,
    ReconciliationView,
    UsedLineList,
)
from api.writing import Writing, body_of, writing
from ledger.core.canonical import parse
from ledger.core.command_reconciliations import Reconcile
from ledger.core.ids import RECONCILIATION
from ledger.core.reconciliation import Reconciliation
from ledger.services.lining import LinesUnavailable
from ledger.services.reconciling import Compared, ComparisonRefused, LedgerSide
from ledger.storage import queries_reconciliations as queries

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["reconciliations"])
Write = Annotated[Writing, Depends(writing)]
LINES_MAX = 1_000
Reference = Annotated[str, Path(max_length=64, description="Id of a reconciliation.")]


@router.post("/reconciliations", status_code=201, response_model=ReconciliationView)
async def reconcile(
    request: Request, write: Write, asked: Annotated[ReconciliationRequest, body_of(ReconciliationRequest)]
) -> Response:
    """Put on record how what a payee says was spent differs from the ledger. The differences must add up to what the
    payee's total is above the ledger's. No money moves: charges and corrections are requests of their own."""
    what = Compared(asked.payee, asked.provider_total.currency, moment(asked.starts_at), moment(asked.ends_at))
    size, total = await asyncio.to_thread(_ledger_side, request, write.key.book_id, what, asked)
    command = Reconcile(
        **write.who,
        id=write.new_id(RECONCILIATION),
        payee=what.payee,
        currency=what.currency,
        source=asked.source,
        starts_at=what.starts_at,
        ends_at=what.ends_at,
        at_size=size,
        pinned=asked.at_size is not None,
        ledger_total=total,
        provider_total=asked.provider_total.amount,
        lines=asked.lines,
        matched=asked.matched,
        differences=tuple((one.kind, one.count, one.amount.amount) for one in asked.differences),
        files=tuple(asked.files),
        booked=tuple(asked.booked),
        accept=asked.accept,
        reason=asked.reason,
    )
    return await write.decide(command)


def _ledger_side(request: Request, book_id: int, what: Compared, asked: ReconciliationRequest) -> tuple[int, int]:
    """(size of the log, what it says was spent), read for whoever may reconcile."""
    with reading(request, "reconcile", again=True):
        pass
    side = _side(request)
    with _answered():
        size = side.reach(book_id, asked.at_size)
        side.check_booked(book_id, what, asked.booked, size)
    return size, side.total(book_id, what, size)


def _side(request: Request) -> LedgerSide:
    context = context_of(request)
    return LedgerSide(context.engine, context.statements.liner)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """What the ledger's side refuses, as a problem."""
    try:
        yield
    except ComparisonRefused as error:
        raise invalid(error.field, str(error)) from error
    except LinesUnavailable as error:
        raise ProblemError("statement_unavailable", str(error)) from error


def _shown(read: Reading, rows: list[Reconciliation]) -> dict[str, dict[str, Any]]:
    """Reconciliations by id, from their records where those are there."""
    scale = read.scale(row.currency for row in rows)
    bodies = queries.bodies_of(read.connection, read.book_id, [row.created_index for row in rows])
    shown = {}
    for row in rows:
        there = bodies.get(row.created_index)
        shown[row.id] = kept(row, scale) if there is None else said(parse(there[0]), row.created_index, there[1], scale)
    return shown


@router.get("/reconciliations", response_model=ReconciliationList)
def list_reconciliations(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    payee: Annotated[Name | None, Query(description="Those with one payee.")] = None,
) -> Response:
    """List reconciliations, newest first."""
    with reading(request, "read_all") as read:
        page = queries.list_reconciliations(
            read.connection, read.book_id, payee=payee, after=cursor_parts(cursor, int), limit=limit
        )
        shown = _shown(read, page.items)
    return answer_page(page, lambda row: shown[row.id])


@router.get("/reconciliations/lines", response_model=UsedLineList)
def list_used_lines(
    request: Request,
    payee: Annotated[Name, Query(description="With whom it was spent.")],
    currency: Annotated[CurrencyCode, Query(description="In which currency.")],
    starts_at: Annotated[Moment, Query(description="From this moment on.")],
    ends_at: Annotated[Moment, Query(description="Before this moment.")],
    at_size: Annotated[
        int | None, Query(ge=1, le=COUNT_MAX, description="As the first so many records say; left out: all there are.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LINES_MAX, description="Items on a page.")] = 200,
    cursor: Cursor = None,
) -> Response:
    """List what was spent with a payee, line by line, with what the gateway counted: the ledger's side of a comparison
    with the payee's figures. A page after the first needs the ``at_size`` of the first."""
    what = Compared(payee, currency, moment(starts_at), moment(ends_at))
    with reading(request, "read_all") as read:
        book_id, scale = read.book_id, read.scale((currency,))
    if currency not in scale:
        raise invalid("currency", f"{currency} is neither an ISO 4217 currency nor a unit of this book")
    side = _side(request)
    with _answered():
        size = side.reach(book_id, at_size)
    lines = side.lines(book_id, what, size, after=cursor_parts(cursor, int, int, int), limit=limit + 1)
    last = lines[limit - 1].line if len(lines) > limit else None
    return answer(
        {
            "at_size": size,
            "items": [used_line(one, scale) for one in lines[:limit]],
            "next_cursor": None if last is None else cursor_text((last.effective_at, last.log_index, last.position)),
        }
    )


@router.get("/reconciliations/{reconciliation}", response_model=ReconciliationView)
def get_reconciliation(request: Request, reconciliation: Reference) -> Response:
    """Show a reconciliation."""
    with reading(request, "read_all") as read:
        row = found(
            queries.reconciliation(read.connection, read.book_id, reconciliation), f"reconciliation {reconciliation}"
        )
        return answer(_shown(read, [row])[row.id])
