"""The route that takes over spend from before the book."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from api.reply import Reply, json_reply
from api.routes.answers import PROBLEMS
from api.schemas.fields import moment
from api.schemas.history import HistoryItem, HistoryRequest, HistoryResponse
from api.writing import Writing, asking, body_of, response_of
from ledger.core.command_history import TakeOver
from ledger.core.ids import HISTORY
from ledger.core.metering import pairs_of

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["finance"])


@router.post("/history", response_model=HistoryResponse)
async def take_over(
    write: Annotated[Writing, Depends(asking)], asked: Annotated[HistoryRequest, body_of(HistoryRequest, asking)]
) -> Response:
    """Take over spend from before the book, each item on its own and for its own day. It is an expense against
    ``equity:opening``, is owed to nobody, and counts in no limit."""
    replies = await write.decide_each([_command(write, item) for item in asked.items])
    return response_of(json_reply(200, {"items": [_item(reply) for reply in replies]}))


def _command(write: Writing, item: HistoryItem) -> TakeOver:
    return TakeOver(
        caller=write.caller,
        idempotency_key=item.idempotency_key,
        id=write.new_id(HISTORY),
        amount=item.amount.amount,
        currency=item.amount.currency,
        category=item.category,
        payee=item.payee,
        effective_at=moment(item.effective_at),
        budget=item.budget,
        agent=item.agent,
        run=item.run,
        resource=item.resource,
        labels=tuple(sorted(item.labels.items())),
        metering=pairs_of(item.metering),
    )


def _item(reply: Reply) -> dict[str, Any]:
    replayed = any(name == b"idempotency-replayed" for name, _ in reply.headers)
    content = "history" if reply.status < 400 else "problem"
    return {"status": reply.status, "replayed": replayed, content: orjson.Fragment(reply.body)}
