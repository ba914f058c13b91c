"""Routes of corrections that need a second person, of the rules that say which do, and of reversals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_corrections import amounts_said, request_said
from api.routes.answers import PROBLEMS
from api.routes.finance_lists import entries_shown
from api.routes.views import amount, moment_or_none, redacted_view
from api.schemas.corrections import (
    CorrectionDecisionRequest,
    CorrectionList,
    CorrectionResponse,
    CorrectionRuleList,
    CorrectionRuleRequest,
    CorrectionRuleView,
    CorrectionState,
    CorrectionView,
    ReversalRequest,
)
from api.schemas.fields import moment_or_none as moment_asked
from api.schemas.lists import EntryList
from api.schemas.money_moves import EntryResponse
from api.writing import Writing, body_of, writing
from ledger.core import ids
from ledger.core.canonical import parse
from ledger.core.command_corrections import (
    ApproveCorrection,
    RefuseCorrection,
    Reverse,
    SetCorrectionRule,
    WithdrawCorrection,
)
from ledger.core.correction import APPROVED, EXPIRED, PENDING, Correction
from ledger.core.moment import moment_text
from ledger.storage import queries_corrections, queries_log, queries_texts
from ledger.storage.paging import Page

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["finance"])
Write = Annotated[Writing, Depends(writing)]
Reference = Annotated[str, Path(max_length=64, description="The id.")]
WAITS: dict[int | str, dict[str, Any]] = {
    202: {"model": CorrectionResponse, "description": "It waits for a second person; nothing was posted."}
}
"""What a correction is answered that its asker may not do alone."""


@router.post("/reversals", status_code=201, response_model=EntryResponse, responses=WAITS)
async def reverse(
    request: Request, write: Write, asked: Annotated[ReversalRequest, body_of(ReversalRequest)]
) -> Response:
    """Undo an adjustment by its exact opposite, or what is left of a charge by a refund. Once only."""
    record = asked.record
    if isinstance(record, str):
        record = await asyncio.to_thread(_record_named, request, write.key.book_id, record)
    return await write.decide(
        Reverse(
            **write.who,
            id=write.new_id(ids.REVERSAL),
            record=record,
            reason=asked.reason,
            effective_at=moment_asked(asked.effective_at),
        )
    )


def _record_named(request: Request, book_id: int, reference: str) -> int:
    with context_of(request).engine.connect() as connection:
        index = queries_corrections.record_named(connection, book_id, reference)
    return found(index, f"charge or adjustment {reference}")


@router.get("/reversals", response_model=EntryList)
def list_reversals(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List what reverses something, newest first; ``reverses`` is the record that each undid."""
    with reading(request, "read_all") as read:
        page = queries_corrections.list_reversals(
            read.connection, read.book_id, after=cursor_parts(cursor, int), limit=limit
        )
        shown = entries_shown(read, page)
    return answer_page(shown, lambda item: item)


@router.get("/corrections", response_model=CorrectionList)
def list_corrections(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[CorrectionState | None, Query(description="Only those in this state.")] = None,
) -> Response:
    """List corrections that need or needed a second person, newest first."""
    with reading(request, "read_all") as read:
        page = queries_corrections.list_corrections(
            read.connection,
            read.book_id,
            state=state,
            now=read.context.sources.now_us(),
            after=cursor_parts(cursor, int),
            limit=limit,
        )
        shown = Page(_shown(read, page.items), page.after)
    return answer_page(shown, lambda item: item)


@router.get("/corrections/{correction}", response_model=CorrectionView)
def get_correction(request: Request, correction: Reference) -> Response:
    """One correction: what was asked for, by whom, and what became of it."""
    with reading(request, "read_all") as read:
        one = queries_corrections.correction(read.connection, read.book_id, correction)
        shown = _shown(read, [found(one, f"correction {correction}")])
    return answer(shown[0])


def _shown(read: Reading, corrections: Sequence[Correction]) -> list[dict[str, Any]]:
    """Corrections with the texts that they were asked and decided with."""
    connection, book_id = read.connection, read.book_id
    now = read.context.sources.now_us()
    indexes = {index for row in corrections for index in (row.created_index, row.changed_index)}
    reasons = queries_log.texts_at(connection, book_id, indexes, "reason")
    evidence = queries_log.texts_at(connection, book_id, indexes, "evidence")
    redacted = queries_texts.redacted_at(connection, book_id, indexes)
    asked = [(row, parse(row.request.encode()), parse(row.amounts.encode())) for row in corrections]
    named = {pair[0] for _, _, amounts in asked for pair in amounts}
    named |= {request["currency"] for _, request, _ in asked if "currency" in request}
    scale = read.scale(named)
    shown = []
    for row, request, amounts in asked:
        view = {
            "id": row.id,
            "operation": row.operation,
            "state": EXPIRED if row.state == PENDING and row.expires_at <= now else row.state,
            "amounts": amounts_said(amounts, scale),
            "requested_by": row.requested_by,
            "requested_at": moment_text(row.created_at),
            "key_made_by": row.key_made_by,
            "expires_at": moment_text(row.expires_at),
            "request": request_said(request, scale),
            "reason": reasons.get(row.created_index),
            "evidence": evidence.get(row.created_index),
            "decided_at": moment_or_none(row.decided_at),
            "decided_by": row.decided_by,
            **redacted_view(redacted.get(row.created_index)),
            "log": {"index": row.created_index},
        }
        if row.changed_index != row.created_index:
            view["decision_reason"] = reasons.get(row.changed_index)
        if row.state == APPROVED:
            view["entry"] = {"index": row.changed_index}
        shown.append(view)
    return shown


@router.post(
    "/corrections/{correction}/approve", status_code=201, response_model=EntryResponse | CorrectionRuleView
)  # fmt: skip
async def approve(
    correction: Reference,
    write: Write,
    asked: Annotated[CorrectionDecisionRequest, body_of(CorrectionDecisionRequest)],
) -> Response:
    """Have done what another person asked for. It is decided anew: 409 where it cannot be done as it was asked."""
    return await write.decide(ApproveCorrection(**write.who, correction=correction, reason=asked.reason))


@router.post("/corrections/{correction}/refuse", response_model=CorrectionResponse)
async def refuse(
    correction: Reference,
    write: Write,
    asked: Annotated[CorrectionDecisionRequest, body_of(CorrectionDecisionRequest)],
) -> Response:
    """End what another person asked for; nothing is posted."""
    return await write.decide(RefuseCorrection(**write.who, correction=correction, reason=asked.reason))


@router.post("/corrections/{correction}/withdraw", response_model=CorrectionResponse)
async def withdraw(
    correction: Reference,
    write: Write,
    asked: Annotated[CorrectionDecisionRequest, body_of(CorrectionDecisionRequest)],
) -> Response:
    """End what one has asked for oneself; nothing is posted."""
    return await write.decide(WithdrawCorrection(**write.who, correction=correction, reason=asked.reason))


@router.get("/correction-rules", response_model=CorrectionRuleList)
def list_rules(request: Request) -> Response:
    """List from what amount on corrections need a second person, by currency."""
    with reading(request, "read_all") as read:
        rules = queries_corrections.list_rules(read.connection, read.book_id)
        scale = read.scale(rule.currency for rule in rules)
    shown = [
        {
            "currency": rule.currency,
            "above": None if rule.above is None else amount(rule.above, rule.currency, scale),
            "log": {"index": rule.changed_index},
        }
        for rule in rules
    ]
    return answer({"items": shown})


@router.post("/correction-rules", status_code=201, response_model=CorrectionRuleView, responses=WAITS)
async def set_rule(write: Write, asked: Annotated[CorrectionRuleRequest, body_of(CorrectionRuleRequest)]) -> Response:
    """Say from what amount on corrections in a currency need a second person. A rule that allows more than the one
    before it waits for another admin."""
    return await write.decide(
        SetCorrectionRule(
            **write.who,
            id=write.new_id(ids.CORRECTION),
            currency=asked.currency,
            above=asked.above,
            reason=asked.reason,
        )
    )
