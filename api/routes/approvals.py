"""Routes of persons who approve: the queue, votes, forcing, and delegations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.routes.answers import PROBLEMS
from api.routes.views import labels_made, redacted_view
from api.routes.views_approvals import approval_view, delegation_view, seen_of
from api.schemas.approvals import (
    ApprovalList,
    ApprovalResponse,
    ApprovalView,
    DelegationList,
    DelegationRequest,
    DelegationRevokeRequest,
    DelegationView,
    ForceRequest,
    VoteRequest,
)
from api.schemas.fields import moment_or_none
from api.writing import Writing, body_of, writing
from ledger.core.approval import OPEN, Approval
from ledger.core.command_approvals import Delegate, ForceApproval, GrantApproval, RefuseApproval, RevokeDelegation
from ledger.core.ids import DELEGATION
from ledger.storage import queries_approvals, queries_log, queries_texts
from ledger.storage.paging import Page

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Write = Annotated[Writing, Depends(writing)]
Reference = Annotated[str, Path(max_length=64, description="The id.")]
Printable = Annotated[str | None, Query(max_length=64, pattern="^[ -~]*$")]
State = Literal["waiting", "open", "granted", "refused", "expired", "withdrawn", "forced"]


def _shown(read: Reading, approvals: Sequence[Approval]) -> list[dict[str, Any]]:
    """Approvals with the requests that they are about."""
    connection, book_id = read.connection, read.book_id
    references = {approval.authorization_id for approval in approvals}
    rows = queries_approvals.authorizations_named(connection, book_id, references)
    tiers = queries_approvals.approvals_of(connection, book_id, references)
    indexes = {row.created_index for row in rows.values()}
    made = queries_log.records_at(connection, book_id, indexes)
    intents = queries_log.texts_at(connection, book_id, indexes, "intent")
    redacted = queries_texts.redacted_at(connection, book_id, indexes)
    seen = seen_of(connection, book_id, approvals)
    scale = read.scale(row.currency for row in rows.values())
    shown = []
    for approval in approvals:
        row = rows[approval.authorization_id]
        labels = labels_made(row, made)
        count = len(tiers[row.id])
        view = approval_view(approval, row, seen, scale, labels, intents.get(row.created_index), tiers=count)
        view["request"] |= redacted_view(redacted.get(row.created_index))
        shown.append(view)
    return shown


@router.get("/approvals", response_model=ApprovalList, tags=["approvals"])
def list_approvals(request: Request, state: State = OPEN, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List approvals in one state, newest first: by default those that wait for a decision."""
    with reading(request, "read_approvals") as read:
        page = queries_approvals.list_approvals(
            read.connection, read.book_id, state=state, after=cursor_parts(cursor, int, int), limit=limit
        )
        shown = Page(_shown(read, page.items), page.after)
    return answer_page(shown, lambda item: item)


@router.get("/approvals/{approval}", response_model=ApprovalView, tags=["approvals"])
def get_approval(request: Request, approval: Reference) -> Response:
    """One approval with its votes and the request that it is about."""
    with reading(request, "read_approvals") as read:
        one = found(queries_approvals.approval(read.connection, read.book_id, approval), f"approval {approval}")
        shown = _shown(read, [one])
    return answer(shown[0])


@router.post("/approvals/{approval}/approve", response_model=ApprovalResponse, tags=["approvals"])
async def approve(approval: Reference, write: Write, asked: Annotated[VoteRequest, body_of(VoteRequest)]) -> Response:
    """Grant one tier of a request. With the last vote that is needed the amount may be spent."""
    command = GrantApproval(
        **write.who, approval=approval, request_digest=asked.request_digest, reason=asked.reason
    )  # fmt: skip
    return await write.decide(command)


@router.post("/approvals/{approval}/refuse", response_model=ApprovalResponse, tags=["approvals"])
async def refuse(approval: Reference, write: Write, asked: Annotated[VoteRequest, body_of(VoteRequest)]) -> Response:
    """Refuse a request: it ends, and what it held is free again."""
    command = RefuseApproval(
        **write.who, approval=approval, request_digest=asked.request_digest, reason=asked.reason
    )  # fmt: skip
    return await write.decide(command)


@router.post("/approvals/{approval}/force", response_model=ApprovalResponse, tags=["approvals"])
async def force(approval: Reference, write: Write, asked: Annotated[ForceRequest, body_of(ForceRequest)]) -> Response:
    """Grant every tier at once, by an admin with a reason; flagged for ever. The path may name the authorization."""
    command = ForceApproval(
        **write.who, approval=approval, request_digest=asked.request_digest, reason=asked.reason
    )  # fmt: skip
    return await write.decide(command)


@router.get("/delegations", response_model=DelegationList, tags=["approvals"])
def list_delegations(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    person: Printable = None,
    live: Annotated[bool, Query(description="Only those that stand now.")] = False,
) -> Response:
    """List delegations, newest first; ``person`` gave or received them."""
    with reading(request, "read_approvals") as read:
        now = read.context.sources.now_us()
        page = queries_approvals.list_delegations(
            read.connection,
            read.book_id,
            person=person,
            live_at=now if live else None,
            after=cursor_parts(cursor, str),
            limit=limit,
        )
    return answer_page(page, lambda item: delegation_view(item, now))


@router.post("/delegations", status_code=201, response_model=DelegationView, tags=["approvals"])
async def delegate(write: Write, asked: Annotated[DelegationRequest, body_of(DelegationRequest)]) -> Response:
    """Let another person approve in one's place for a time."""
    command = Delegate(
        **write.who,
        id=write.new_id(DELEGATION),
        receiver=asked.to,
        giver=asked.from_,
        role=asked.role,
        starts_at=moment_or_none(asked.starts_at),
        ends_at=moment_or_none(asked.ends_at),
        ttl_seconds=asked.ttl_seconds,
        reason=asked.reason,
    )
    return await write.decide(command)


@router.post("/delegations/{delegation}/revoke", response_model=DelegationView, tags=["approvals"])
async def revoke_delegation(
    delegation: Reference, write: Write, asked: Annotated[DelegationRevokeRequest, body_of(DelegationRevokeRequest)]
) -> Response:
    """End a delegation at once: its giver, its receiver or an admin."""
    return await write.decide(RevokeDelegation(**write.who, delegation=delegation, reason=asked.reason))
