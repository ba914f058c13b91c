"""Routes of policies: applying, checking, rolling back and retiring documents, and reading every version.

Invariants: nobody makes the server read history for a new limit before the key was found to be an admin's; at most a
few documents are applied at the same time, because each reads as much history as its new limits look at.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.context import Context
from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_policies import comparison_shown, policy_view, version_view
from api.routes.answers import PROBLEMS
from api.routes.views import redacted_view
from api.schemas.fields import Text
from api.schemas.policies import (
    VERSION_MAX,
    PolicyCheckResponse,
    PolicyList,
    PolicyVersionList,
    PolicyVersionResponse,
    PolicyVersionView,
    PolicyView,
    RetirePolicyRequest,
    RollbackRequest,
    document_of,
)
from api.writing import Writing, body_of, describes_body, response_of, writing
from ledger.core.canonical import parse
from ledger.core.command_policies import RetirePolicy
from ledger.core.ids import POLICY, is_id
from ledger.core.outcome import Status
from ledger.core.policy_row import PolicyVersion
from ledger.services.policies.applying import apply_policy
from ledger.services.policies.comparing import comparison_of, unknown_reference
from ledger.services.policies.document import PolicyDocument
from ledger.storage import queries_log, queries_policies, queries_texts
from ledger.storage.queries_policies import LivePolicy

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["policies"])
Write = Annotated[Writing, Depends(writing)]
Reference = Annotated[str, Path(max_length=64, description="Name or id.")]
Version = Annotated[int, Path(ge=1, le=VERSION_MAX)]
AfterVersion = Annotated[
    int | None,
    Query(ge=0, le=VERSION_MAX, description="Refuse with policy_changed unless this is the live version; 0: none is."),
]


def _may_apply(request: Request, write: Write) -> Writing:
    """Let nobody but an admin go on. The token of the key's rate was taken by ``writing``."""
    with reading(request, "apply_policy", again=True):
        return write


Apply = Annotated[Writing, Depends(_may_apply)]


async def _applied_document(request: Request, begun: Apply) -> dict[str, Any]:
    return document_of(await request.body()).canonical()


async def _checked_document(request: Request) -> dict[str, Any]:
    return document_of(await request.body()).canonical()


AppliedDocument = Annotated[dict[str, Any], Depends(describes_body(_applied_document, PolicyDocument, required=True))]
CheckedDocument = Annotated[dict[str, Any], Depends(describes_body(_checked_document, PolicyDocument, required=True))]


async def _apply(
    context: Context, write: Writing, document: dict[str, Any], after_version: int | None, reason: str | None
) -> Response:
    async with context.applying:
        outcome = await asyncio.to_thread(
            apply_policy,
            context.authorizer,
            context.engine,
            write.key.book_id,
            caller=write.caller,
            document=document,
            after_version=after_version,
            reason=reason,
            idempotency_key=write.idempotency_key,
        )
    return response_of(await write.reply(outcome))


@router.post("/policies", status_code=201, response_model=PolicyVersionResponse)
async def create_policy_version(
    request: Request,
    write: Apply,
    document: AppliedDocument,
    after_version: AfterVersion = None,
    reason: Annotated[Text | None, Query(description="Why, for whoever reads the history.")] = None,
) -> Response:
    """Make a document the next version of the policy it names; from its record on it decides. New limits are filled
    from history first."""
    return await _apply(context_of(request), write, document, after_version, reason)


@router.post("/policies/check", response_model=PolicyCheckResponse)
def check_policy(request: Request, document: CheckedDocument) -> Response:
    """Check a document and say what applying it would change. Nothing is recorded."""
    with reading(request, "read_all") as read:
        unknown = unknown_reference(read.connection, read.book_id, document)
        if unknown is not None:
            raise ProblemError(unknown[0].value, unknown[1])
        book = found(queries_log.book_by_id(read.connection, read.book_id), "book")
        live = queries_policies.policy(read.connection, read.book_id, document["policy"])
    return answer(comparison_shown(comparison_of(live, document, timezone=book.timezone)))


@router.post("/policies/{policy}/rollback", status_code=201, response_model=PolicyVersionResponse)
async def rollback_policy(
    request: Request, policy: Reference, write: Apply, asked: Annotated[RollbackRequest, body_of(RollbackRequest)]
) -> Response:
    """Make the document of an earlier version the next version; history is not taken back."""
    document = await asyncio.to_thread(_document_of_version, request, policy, asked.version)
    return await _apply(context_of(request), write, document, asked.after_version, asked.reason)


def _document_of_version(request: Request, policy: str, version: int) -> dict[str, Any]:
    with reading(request, "apply_policy", again=True) as read:
        live = _policy(read, policy)
        row = queries_policies.policy_version(read.connection, read.book_id, live.policy.name, version)
    if row is None:
        raise ProblemError(
            Status.POLICY_INVALID.value,
            f"there is no version {version} of {live.policy.name}; its versions go from 1 to {live.policy.version}",
        )
    document: dict[str, Any] = parse(row.packed.encode())["document"]
    return document


@router.post("/policies/{policy}/retire", response_model=PolicyVersionResponse)
async def retire_policy(
    request: Request,
    policy: Reference,
    write: Write,
    asked: Annotated[RetirePolicyRequest, body_of(RetirePolicyRequest)],
) -> Response:
    """Let a policy bind nobody any more. Applying a document of its name makes it live again."""
    name = policy
    if is_id(policy, POLICY):
        name = await asyncio.to_thread(_name_of, request, policy)
    return await write.decide(RetirePolicy(**write.who, policy=name, reason=asked.reason))


def _name_of(request: Request, policy: str) -> str:
    with reading(request, "retire_policy", again=True) as read:
        return _policy(read, policy).policy.name


def _policy(read: Reading, reference: str) -> LivePolicy:
    return found(queries_policies.policy(read.connection, read.book_id, reference), f"policy {reference}")


@router.get("/policies", response_model=PolicyList)
def list_policies(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    retired: Annotated[bool, Query(description="List retired policies too.")] = False,
) -> Response:
    """List policies by name, without their documents."""
    with reading(request, "read_all") as read:
        page = queries_policies.list_policies(
            read.connection, read.book_id, after=cursor_parts(cursor, str), limit=limit, retired=retired
        )
    return answer_page(page, policy_view)


@router.get("/policies/{policy}", response_model=PolicyView)
def get_policy(request: Request, policy: Reference) -> Response:
    """One policy with the document that decides now."""
    with reading(request, "read_all") as read:
        shown = _policy(read, policy)
    return answer(policy_view(shown, document=True))


@router.get("/policies/{policy}/versions", response_model=PolicyVersionList)
def list_policy_versions(request: Request, policy: Reference, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the versions of a policy, newest first, with who made them and why."""
    with reading(request, "read_all") as read:
        live = _policy(read, policy)
        page = queries_policies.list_versions(
            read.connection, read.book_id, live.policy.name, after=cursor_parts(cursor, int), limit=limit
        )
        indexes = [row.created_index for row in page.items]
        reasons = queries_log.texts_at(read.connection, read.book_id, indexes, "reason")
        redacted = queries_texts.redacted_at(read.connection, read.book_id, indexes)

    def shown(row: PolicyVersion) -> Any:
        index = row.created_index
        view = version_view(row, live=_live_version(live), reason=reasons.get(index))
        return view | redacted_view(redacted.get(index))

    return answer_page(page, shown)


@router.get("/policies/{policy}/versions/{version}", response_model=PolicyVersionView)
def get_policy_version(request: Request, policy: Reference, version: Version) -> Response:
    """One version with its document."""
    with reading(request, "read_all") as read:
        live = _policy(read, policy)
        name = live.policy.name
        row = found(
            queries_policies.policy_version(read.connection, read.book_id, name, version),
            f"version {version} of {name}",
        )
        index = row.created_index
        reasons = queries_log.texts_at(read.connection, read.book_id, [index], "reason")
        redacted = queries_texts.redacted_at(read.connection, read.book_id, [index])
    shown = version_view(row, live=_live_version(live), document=True, reason=reasons.get(index))
    return answer(shown | redacted_view(redacted.get(index)))


def _live_version(live: LivePolicy) -> int | None:
    return None if live.policy.retired else live.policy.version
