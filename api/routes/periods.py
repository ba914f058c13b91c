"""Routes of the month's end: which months there are, closing one, opening it again, and explaining what is flagged."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, answer, answer_page, cursor_parts, found, reading
from api.rendering_closing import explanation_view
from api.routes.answers import PROBLEMS
from api.routes.views import redacted_view
from api.schemas.periods import (
    ApproveReopenRequest,
    ClosePeriodRequest,
    ExplanationList,
    ExplanationRequest,
    ExplanationResponse,
    PeriodClosedView,
    PeriodDetail,
    PeriodList,
    PeriodReopeningView,
    ReopenRequest,
)
from api.writing import Writing, body_of, response_of, writing
from ledger.core.canonical import parse
from ledger.core.closing import Explanation, accepted_said, month_named
from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening
from ledger.core.statement import StatementBroken
from ledger.services.closing import closing_detail, month_seen, months_seen
from ledger.services.closing_said import detail_found, month_said
from ledger.services.lining import LinesUnavailable
from ledger.services.tiling import ProofUnavailable
from ledger.storage import queries_closing, queries_log, queries_texts
from ledger.storage.paging import Page

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["periods"])
Write = Annotated[Writing, Depends(writing)]


def _month(text: str) -> str:
    try:
        month_named("UTC", text)
    except ValueError as error:
        said = "This is no month; months close one by one, such as 2026-11"
        raise PydanticCustomError("month", said) from error
    return text


Month = Annotated[str, Path(max_length=7, description="A month, such as 2026-11."), AfterValidator(_month)]


@router.get("/periods", response_model=PeriodList)
def list_periods(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the months of the book, newest first: from the first that anything counts for to the one going on."""
    before = cursor_parts(cursor, str)
    with reading(request, "read_all") as read:
        now = read.context.sources.now_us()
        seen = months_seen(read.connection, read.book_id, now)
    left = [one for one in reversed(seen) if before is None or one.period.text < before]
    page = left[:limit]
    after = (page[-1].period.text,) if len(left) > limit else None
    return answer_page(Page(page, after), lambda one: month_said(one, now))


@router.get("/periods/{period}", response_model=PeriodDetail)
def get_period(request: Request, period: Month) -> Response:
    """One month with its checks and, where it is closed, the digests of its statements. The checks of a month that is
    open are made now: what they name stands in the way of closing it."""
    with reading(request, "read_all") as read:
        book_id = read.book_id
        now = read.context.sources.now_us()
        seen = found(month_seen(read.connection, book_id, period, now), f"month {period} of this book")
        index = seen.row.closed_index if seen.row is not None else None
        if index is not None:
            shown = month_said(seen, now) | closing_detail(read.connection, book_id, index)
            redacted = queries_texts.redacted_at(read.connection, book_id, [index]).get(index)
            return answer(shown | redacted_view(redacted))
    try:
        checks = context_of(request).closer.checks(book_id, period)
    except (LinesUnavailable, ProofUnavailable) as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    return answer(month_said(seen, now) | detail_found(checks))


@router.post("/periods/{period}/close", response_model=PeriodClosedView)
async def close_period(
    request: Request, period: Month, write: Write, asked: Annotated[ClosePeriodRequest, body_of(ClosePeriodRequest)]
) -> Response:
    """Close a month: its checks pass or are accepted, and the digests of its statements go on record. Nothing waits for
    it. What is found later for a day of the month counts for the first that is open then."""
    context = context_of(request)
    accept, evidence = accepted_said({str(name): reason for name, reason in asked.accept.items()})
    command = ClosePeriod(**write.who, period=period, accept=accept, evidence=evidence)
    try:
        async with context.closing:
            outcome = await asyncio.to_thread(
                context.closer.close, write.key.book_id, command, context.authorizer.decide_now
            )
    except (LinesUnavailable, ProofUnavailable) as error:
        raise ProblemError("statement_unavailable", str(error)) from error
    except StatementBroken as error:
        raise ProblemError("statement_unavailable", f"{error}; run 'bursar verify'") from error
    return response_of(await write.reply(outcome))


@router.post("/periods/{period}/reopen", response_model=PeriodReopeningView)
async def request_reopening(
    period: Month, write: Write, asked: Annotated[ReopenRequest, body_of(ReopenRequest)]
) -> Response:
    """Ask that the month which was closed last be opened again. A second person opens it, within seven days."""
    return await write.decide(RequestReopening(**write.who, period=period, reason=asked.reason))


@router.post("/periods/{period}/reopen/approve", response_model=PeriodReopeningView)
async def approve_reopening(
    period: Month, write: Write, asked: Annotated[ApproveReopenRequest, body_of(ApproveReopenRequest)]
) -> Response:
    """Open a month again that another person asked to open. Its closing, with its digests, stays on record."""
    return await write.decide(ApproveReopening(**write.who, period=period, reason=asked.reason))


@router.post("/explanations", status_code=201, response_model=ExplanationResponse)
async def explain(
    request: Request, write: Write, asked: Annotated[ExplanationRequest, body_of(ExplanationRequest)]
) -> Response:
    """Explain the flags of an authorization or a charge, so that its month can be closed."""
    if (asked.authorization is None) == (asked.index is None):
        raise ProblemError("validation_failed", "give one of authorization and index")
    named = asked.authorization
    if named is None:
        named = await asyncio.to_thread(_authorization_at, request, asked.index or 0)
    return await write.decide(Explain(**write.who, authorization=named, reason=asked.reason))


def _authorization_at(request: Request, index: int) -> str:
    with reading(request, "explain", again=True) as read:
        record = found(queries_log.record(read.connection, read.book_id, index), f"record {index}")
    named: str | None = parse(record.body).get("authorization")
    return found(named, f"authorization or charge in record {index}")


@router.get("/explanations", response_model=ExplanationList)
def list_explanations(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List what was explained, the latest first."""
    with reading(request, "read_all") as read:
        page = queries_closing.list_explanations(
            read.connection, read.book_id, after=cursor_parts(cursor, int), limit=limit
        )
        indexes = [row.changed_index for row in page.items]
        reasons = queries_log.texts_at(read.connection, read.book_id, indexes, "reason")
        redacted = queries_texts.redacted_at(read.connection, read.book_id, indexes)

    def shown(row: Explanation) -> dict[str, Any]:
        view = explanation_view(row, reasons.get(row.changed_index))
        return view | redacted_view(redacted.get(row.changed_index))

    return answer_page(page, shown)
