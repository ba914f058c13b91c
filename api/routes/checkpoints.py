"""Routes of checkpoints: the log's head, signed; the keys that sign; witnesses' signatures.

Invariants: only what a witness's key did sign is kept beside a checkpoint; a checkpoint is refused, and said to be,
where the log does not extend the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import PlainTextResponse, Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_proofs import checkpoint_shown, keys_shown
from api.reply import json_reply
from api.routes.answers import PROBLEMS
from api.schemas.proofs import (
    CheckpointList,
    CheckpointView,
    CosignRequest,
    SigningKeyAdopted,
    SigningKeyList,
    SigningKeyRequest,
)
from api.writing import Writing, asking, body_of, response_of, writing
from ledger.core import roles
from ledger.core.command_signing import AdoptSigningKey
from ledger.core.notes import parse_note
from ledger.core.outcome import Status
from ledger.services.checkpoints import KeyNotRecorded, SigningRefused
from ledger.services.cosigning import CosignatureInvalid, check_cosignature, cosigned_note
from ledger.services.tiling import ProofUnavailable
from ledger.storage import checkpoint_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature
from ledger.storage.errors import StorageError

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["checkpoints"])
Write = Annotated[Writing, Depends(writing)]
Ask = Annotated[Writing, Depends(asking)]
Size = Annotated[int, Path(ge=1, le=2**53, description="How many records the log had.")]
NOTE_TYPE = "text/plain"
_NOTE: dict[int | str, dict[str, Any]] = {200: {"content": {NOTE_TYPE: {"schema": {"type": "string"}}}}}


@contextlib.contextmanager
def proof_problems() -> Iterator[None]:
    """What keeps a checkpoint or a proof from being made, as problems with the sentence that says why."""
    try:
        yield
    except KeyNotRecorded as error:
        raise ProblemError(Status.WRONG_STATE.value, str(error), facts={"state": "no_key"}) from error
    except SigningRefused as error:
        raise ProblemError("checkpoint_refused", str(error)) from error
    except ProofUnavailable as error:
        raise ProblemError("proof_unavailable", str(error)) from error


def _cosigned(read: Reading, stored: StoredCheckpoint) -> list[StoredCosignature]:
    return checkpoint_rows.cosignatures(read.connection, read.book_id, [stored.size]).get(stored.size, [])


def _answer(request: Request, read: Reading, stored: StoredCheckpoint) -> Response:
    """A checkpoint as JSON, or, to whoever accepts text and no JSON, as the note alone."""
    cosigned = _cosigned(read, stored)
    if request.headers.get("accept", "").split(";")[0].strip().lower() == NOTE_TYPE:
        return PlainTextResponse(cosigned_note(stored, cosigned))
    return answer(checkpoint_shown(stored, cosigned))


@router.get("/checkpoints/latest", response_model=CheckpointView, responses=_NOTE)
def get_latest_checkpoint(request: Request) -> Response:
    """The newest signed checkpoint of the book. With ``Accept: text/plain`` its note alone: what was signed, and by
    whom."""
    with reading(request, "read_checkpoints") as read:
        stored = found(
            checkpoint_rows.latest(read.connection, read.book_id),
            "checkpoint yet: one is written when the book has activity, or with POST /v1/checkpoints",
        )
        return _answer(request, read, stored)


@router.get("/checkpoints/key", response_model=SigningKeyList)
def get_checkpoint_key(request: Request) -> Response:
    """The key that signs checkpoints, and every key that ever did: public halves, as C2SP verifier keys and in PEM."""
    with reading(request, "read_checkpoints") as read:
        keys = checkpoint_rows.keys(read.connection, read.book_id)
    if not keys:
        raise ProblemError(Status.NOT_FOUND.value, "no key signs yet: one is made with the first checkpoint")
    return answer(keys_shown(keys))


@router.get("/checkpoints/{size}", response_model=CheckpointView, responses=_NOTE)
def get_checkpoint(request: Request, size: Size) -> Response:
    """The checkpoint of a size, as ``latest``."""
    with reading(request, "read_checkpoints") as read:
        stored = found(checkpoint_rows.of_size(read.connection, read.book_id, size), f"checkpoint of {size} records")
        return _answer(request, read, stored)


@router.get("/checkpoints", response_model=CheckpointList)
def list_checkpoints(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List checkpoints, the newest first."""
    with reading(request, "read_checkpoints") as read:
        page = checkpoint_rows.page(read.connection, read.book_id, after=cursor_parts(cursor, int), limit=limit)
        sizes = [stored.size for stored in page.items]
        cosigned = checkpoint_rows.cosignatures(read.connection, read.book_id, sizes)
    return answer_page(page, lambda stored: checkpoint_shown(stored, cosigned.get(stored.size, [])))


@router.post("/checkpoints", status_code=201, response_model=CheckpointView)
def make_checkpoint(request: Request, ask: Ask) -> Response:
    """Have the log as it is now signed. While nothing happens in the book, it is the same checkpoint again. The first
    one records the key that signs, which takes an admin where the server has not signed by itself yet."""
    with reading(request, "make_checkpoint", again=True) as read:
        book_id, adopts = read.book_id, roles.allowed(AdoptSigningKey.operation, read.key.role)
    with proof_problems():
        stored = context_of(request).checkpointer.make(book_id, adopts=adopts)
    with context_of(request).engine.connect() as connection:
        cosigned = checkpoint_rows.cosignatures(connection, book_id, [stored.size]).get(stored.size, [])
    return response_of(json_reply(201, checkpoint_shown(stored, cosigned)))


@router.post("/checkpoints/keys", status_code=201, response_model=SigningKeyAdopted)
async def rotate_signing_key(
    request: Request, write: Write, asked: Annotated[SigningKeyRequest, body_of(SigningKeyRequest)]
) -> Response:
    """Make another key sign checkpoints: a new one, or the one that the server was started with. The log names it; what
    was signed before stays good."""

    checkpointer, book_id = context_of(request).checkpointer, write.key.book_id

    def prepare() -> AdoptSigningKey:
        with reading(request, AdoptSigningKey.operation, again=True), proof_problems():
            return checkpointer.new_command(book_id, **write.who)

    def settle() -> None:
        with contextlib.suppress(StorageError):
            checkpointer.forget_unnamed(book_id, command.public_key)

    command = await asyncio.to_thread(prepare)
    answered = await write.decide(command)
    await asyncio.to_thread(settle)
    return answered


@router.post("/checkpoints/cosignatures", status_code=201, response_model=CheckpointView)
def add_cosignature(
    request: Request, ask: Ask, asked: Annotated[CosignRequest, body_of(CosignRequest, asking)]
) -> Response:
    """Keep a witness's cosignature (C2SP tlog-cosignature v1) beside the checkpoint that it is of, once it was
    verified; the note is then served with it."""
    context = context_of(request)
    now = context.sources.now_us()
    try:
        given = check_cosignature(asked.key, asked.note, now=now)
    except CosignatureInvalid as error:
        raise ProblemError("cosignature_invalid", str(error)) from error
    with reading(request, "cosign_checkpoint", again=True) as read:
        book_id = read.book_id
        stored = checkpoint_rows.of_size(read.connection, book_id, given.checkpoint.size)
    if stored is None or parse_note(stored.note).text != given.text:
        raise ProblemError("cosignature_invalid", "the note is of no checkpoint of this book")
    kept_at = max(now, stored.created_at)
    kept = StoredCosignature(stored.size, given.key.text(), given.key.name, given.signature.signature, kept_at)
    with context.side.transaction() as connection:
        if not checkpoint_rows.add_cosignature(connection, book_id, kept):
            raise ProblemError(
                Status.WRONG_STATE.value,
                f"a checkpoint keeps {checkpoint_rows.COSIGNATURES_MAX} cosignatures at most",
                facts={"state": "full"},
            )
        cosigned = checkpoint_rows.cosignatures(connection, book_id, [stored.size])[stored.size]
    return response_of(json_reply(201, checkpoint_shown(stored, cosigned)))
