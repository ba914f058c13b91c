"""Routes of proofs: that a record is in the log, that one log is the beginning of another, and proof files.

Invariants: an agent gets proof of its own records only, and of the keys that sign; proofs of consistency say nothing
about any record, so every key gets them.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Reading, answer, reading
from api.rendering_proofs import consistency_shown, inclusion_shown
from api.routes.answers import PROBLEMS
from api.routes.checkpoints import proof_problems
from api.schemas.proofs import ConsistencyView, InclusionView, ProofFileView
from ledger.core.canonical import parse
from ledger.core.ids import ALPHABET, BODY_LENGTH
from ledger.core.journal import LogRecord
from ledger.core.outcome import Status
from ledger.services.proving import OutsideLog
from ledger.services.proving_records import (
    NotCovered,
    Subject,
    line_of,
    prove_records,
    record_at,
    records_of_authorization,
)
from ledger.storage.queries_authorizations import authorization as authorization_row

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["proofs"])
INDEX_MAX = 2**53
POSITION_MAX = 100_000
Index = Annotated[int | None, Query(ge=0, le=INDEX_MAX, description="Index of the record in the log.")]
Position = Annotated[
    int | None, Query(ge=0, le=POSITION_MAX, description="Position of a transfer in the record: a statement's line.")
]
AuthorizationId = Annotated[
    str | None,
    Query(pattern=f"^(?:auth|chg)_[{ALPHABET}]{{{BODY_LENGTH}}}$", description="Id of an authorization or charge."),
]
PUBLIC_KINDS = frozenset(("signing_key",))
"""Records that every key may see: whoever verifies needs them."""


def _is_own(read: Reading, record: LogRecord) -> bool:
    """Whether a record is of the asking agent: it asked for it, or it is about an authorization of its own."""
    if read.agent is None or record.kind in PUBLIC_KINDS:
        return True
    body = parse(record.body)
    if body.get("by", {}).get("principal") == read.key.principal:
        return True
    named = body.get("authorization")
    row = authorization_row(read.connection, read.book_id, named) if isinstance(named, str) else None
    return row is not None and row.agent == read.agent.name


def _subject(read: Reading, index: int | None, position: int | None, authorization: str | None) -> Subject:
    """What a request names. Raises ProblemError."""
    if (index is None) == (authorization is None) or (position is not None and index is None):
        detail = "name a record: index, with position or without, or else authorization"
        errors = [{"pointer": "/index", "code": "validation_failed", "detail": detail}]
        raise ProblemError("validation_failed", detail, facts={"errors": errors})
    try:
        if authorization is not None:
            subject = records_of_authorization(read.connection, read.book_id, authorization)
            # The first record says whose it is; what finance did to it later is part of its story.
            own = _is_own(read, subject.records[0])
        else:
            subject = record_at(read.connection, read.book_id, index or 0)
            own = _is_own(read, subject.records[0])
            if own and position is not None:
                subject = line_of(subject, position)
    except OutsideLog as error:
        raise ProblemError(Status.NOT_FOUND.value, str(error)) from error
    if not own:
        named = f"authorization {authorization}" if authorization is not None else f"record {index}"
        raise ProblemError(Status.NOT_FOUND.value, f"there is no {named}")
    return subject


@router.get("/proofs/inclusion", response_model=InclusionView, response_model_exclude_none=True)
def get_inclusion(
    request: Request,
    index: Index = None,
    size: Annotated[
        int | None, Query(ge=1, le=INDEX_MAX, description="Size of the log; left out: as it is now.")
    ] = None,
    position: Position = None,
    authorization: AuthorizationId = None,
) -> Response:
    """Proof that a record is in the log of ``size`` records; of an authorization, the record that decided it."""
    with reading(request, "prove") as read:
        subject, book_id = _subject(read, index, position, authorization), read.book_id
    try:
        with proof_problems():
            made = context_of(request).checkpointer.prover.inclusion(book_id, subject.records[0].log_index, size)
    except OutsideLog as error:
        raise ProblemError(Status.NOT_FOUND.value, str(error)) from error
    return answer(inclusion_shown(made, subject.about))


@router.get("/proofs/consistency", response_model=ConsistencyView)
def get_consistency(
    request: Request,
    first: Annotated[int, Query(ge=0, le=INDEX_MAX, description="Size of the log that is known.")],
    second: Annotated[
        int | None, Query(ge=0, le=INDEX_MAX, description="Size of the later log; left out: as it is now.")
    ] = None,
) -> Response:
    """Proof that the log of ``first`` records is the beginning of that of ``second`` records."""
    with reading(request, "read_checkpoints") as read:
        book_id = read.book_id
    try:
        with proof_problems():
            made = context_of(request).checkpointer.prover.consistency(book_id, first, second)
    except OutsideLog as error:
        raise ProblemError(Status.NOT_FOUND.value, str(error)) from error
    return answer(consistency_shown(made))


@router.get("/proofs/record", response_model=ProofFileView)
def get_proof_file(
    request: Request, index: Index = None, position: Position = None, authorization: AuthorizationId = None
) -> Response:
    """A proof file: a record, or every record of an authorization, with proofs to the newest signed checkpoint. What
    `bursar verify-proof` checks without this server."""
    with reading(request, "prove") as read:
        subject, book_id = _subject(read, index, position, authorization), read.book_id
    context = context_of(request)
    try:
        with proof_problems():
            content = prove_records(context.engine, context.checkpointer.prover, book_id, subject)
    except NotCovered as error:
        raise ProblemError(Status.WRONG_STATE.value, str(error), facts={"state": "not_covered"}) from error
    return answer(content)
