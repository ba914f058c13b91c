"""Routes that remove free texts for good, and that list those which are there."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, answer_page, cursor_parts, reading
from api.routes.answers import PROBLEMS
from api.schemas.fields import Moment, Reference, moment_or_none
from api.schemas.redactions import (
    INDEX_MAX,
    AuthorizationId,
    RedactionRequest,
    RedactionView,
    TextField,
    TextList,
)
from api.writing import Writing, body_of, writing
from ledger.core.ids import REDACTION
from ledger.services.redacting import Meant, Selection, command_of, find_left, find_texts
from ledger.storage.emptying import WAL_KEPT, empty_write_ahead_log
from ledger.storage.errors import StorageError
from ledger.storage.paging import Page

LOGGER: Final = logging.getLogger("bursar.redactions")
router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["redactions"])
Write = Annotated[Writing, Depends(writing)]


@router.post("/redactions", status_code=201, response_model=RedactionView)
async def redact(
    request: Request, write: Write, asked: Annotated[RedactionRequest, body_of(RedactionRequest)]
) -> Response:
    """Remove free texts (intent, reason, evidence) from beside the log, on record. Their salted digests stay in it, so
    every hash, proof and decision stays good; nobody can read or bring back the texts."""
    selection = Selection(
        authorization=asked.authorization,
        record=asked.index,
        before=moment_or_none(asked.before),
        agent=asked.agent,
        fields=tuple(sorted(set(asked.fields or ()))),
        start=asked.start,
    )
    found = await asyncio.to_thread(_found, request, write.key.book_id, selection)
    command = command_of(
        selection, found, **write.who, identity=write.new_id(REDACTION), reason=asked.reason, ground=asked.ground
    )
    return await write.decide(command, {"more_from": found.more_from}, after=lambda: _emptied(request))


def _emptied(request: Request) -> dict[str, str | None]:
    """Cut SQLite's write-ahead log, which still has what was removed; a note where that could not be done."""
    try:
        is_empty = empty_write_ahead_log(context_of(request).settings.database_url)
    except StorageError as error:
        LOGGER.warning("the write-ahead log was not emptied after a redaction: %s", error)
        is_empty = False
    return {"note": None if is_empty else WAL_KEPT}


def _found(request: Request, book_id: int, selection: Selection) -> Meant:
    """What a request means, searched for whoever may redact."""
    with reading(request, "redact", again=True):
        pass
    return find_texts(context_of(request).engine, book_id, selection)


@router.get("/texts", response_model=TextList)
def list_texts(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    authorization: Annotated[AuthorizationId | None, Query(description="Those of every record about it.")] = None,
    index: Annotated[int | None, Query(ge=0, le=INDEX_MAX, description="Those of one record.")] = None,
    before: Annotated[Moment | None, Query(description="Those of records from before this moment.")] = None,
    agent: Annotated[Reference | None, Query(description="With before: what is by or about this agent.")] = None,
    field: Annotated[TextField | None, Query(description="Only those of this field.")] = None,
) -> Response:
    """List the free texts that a redaction would remove, without what they say. The texts of a record come together, so
    a page of fewer than three may have three."""
    given = [name for name in (authorization, index, before) if name is not None]
    if len(given) != 1 or (agent is not None and before is None):
        raise ProblemError(
            "validation_failed", "give one of authorization, index and before; and agent with before only"
        )
    selection = Selection(
        authorization=authorization,
        record=index,
        before=moment_or_none(before),
        agent=agent,
        fields=(field,) if field is not None else (),
        start=cursor_parts(cursor, int),
    )
    with reading(request, "read_log") as read:
        book_id = read.book_id
    found = find_left(context_of(request).engine, book_id, selection, limit=limit)
    after = None if found.more_from is None else (found.more_from,)
    return answer_page(Page(list(found.texts), after), lambda text: {"index": text[0], "field": text[1]})
