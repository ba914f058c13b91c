"""Routes that list what finance and admins booked: charges, refunds, adjustments, a budget's allocations and renewals.

Invariant: an item says what the answer to its request said, because both are rendered from the record by one function.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from api.reading import Cursor, Limit, Reading, answer_page, cursor_parts, found, reading
from api.rendering_budgets import renewed_view
from api.routes.answers import PROBLEMS
from api.routes.views import entry_view
from api.schemas.lists import EntryList, RenewalList
from ledger.core.canonical import parse
from ledger.core.journal import LogRecord
from ledger.storage import queries_budgets, queries_corrections, queries_finance, queries_log, queries_texts
from ledger.storage.paging import Page
from ledger.storage.queries_finance import FinanceKind

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Reference = Annotated[str, Path(max_length=64, description="Name or id.")]


def entries_shown(read: Reading, page: Page[LogRecord]) -> Page[dict[str, Any]]:
    """The records of a page as they are shown, with their reasons: where a second person approved one, that of whoever
    asked for it, which stands with the request."""
    connection, book_id = read.connection, read.book_id
    bodies = [parse(record.body) for record in page.items]
    scale = read.scale(transfer[3] for body in bodies for transfer in body["transfers"])
    indexes = [record.log_index for record in page.items]
    named = {body["approved_by"]["correction"] for body in bodies if "approved_by" in body}
    asked = queries_corrections.corrections_named(connection, book_id, named) if named else {}
    places = [
        asked[body["approved_by"]["correction"]].created_index if "approved_by" in body else index
        for index, body in zip(indexes, bodies, strict=True)
    ]
    reasons = queries_log.texts_at(connection, book_id, places, "reason")
    redacted = queries_texts.redacted_at(connection, book_id, places)
    reversed_by = queries_corrections.reversed_by(connection, book_id, indexes)
    shown = [
        entry_view(record, body, scale, reasons.get(place), redacted.get(place), reversed_by.get(record.log_index))
        for record, body, place in zip(page.items, bodies, places, strict=True)
    ]
    return Page(shown, page.after)


def _list(request: Request, kind: FinanceKind, limit: int, cursor: str | None) -> Response:
    with reading(request, "read_all") as read:
        page = entries_shown(
            read,
            queries_finance.list_of_kind(
                read.connection, read.book_id, kind, after=cursor_parts(cursor, int), limit=limit
            ),
        )
    return answer_page(page, lambda item: item)


@router.get("/charges", response_model=EntryList, tags=["finance"])
def list_charges(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List charges, newest first."""
    return _list(request, "charge", limit, cursor)


@router.get("/refunds", response_model=EntryList, tags=["finance"])
def list_refunds(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List refunds, newest first."""
    return _list(request, "refund", limit, cursor)


@router.get("/adjustments", response_model=EntryList, tags=["finance"])
def list_adjustments(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List adjustments, newest first."""
    return _list(request, "adjustment", limit, cursor)


@router.get("/budgets/{budget}/renewals", response_model=RenewalList, tags=["budgets"])
def list_renewals(request: Request, budget: Reference, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the renewals of a budget, newest first: what lapsed, what was carried over, what came and what was short."""
    with reading(request, "read_all") as read:
        named = found(queries_budgets.budget(read.connection, read.book_id, budget), f"budget {budget}").budget
        page = queries_finance.list_renewals(
            read.connection, read.book_id, named.name, after=cursor_parts(cursor, int), limit=limit
        )
        digits = read.scale((named.currency,))[named.currency]
    return answer_page(page, lambda record: renewed_view(record, digits))


@router.get("/budgets/{budget}/allocations", response_model=EntryList, tags=["budgets"])
def list_allocations(request: Request, budget: Reference, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List what a budget was allocated and what was taken back from it, newest first."""
    with reading(request, "read_all") as read:
        named = found(queries_budgets.budget(read.connection, read.book_id, budget), f"budget {budget}").budget
        page = entries_shown(
            read,
            queries_finance.list_allocations(
                read.connection,
                read.book_id,
                named.name,
                named.currency,
                after=cursor_parts(cursor, int),
                limit=limit,
            ),
        )
    return answer_page(page, lambda item: item)
