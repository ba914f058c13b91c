"""Requests that change a book, behind FastAPI: from a request to a decided command and its answer.

Owns ``Writing``, the dependency of every such route. Invariants: no route changes a book but through it; the
Idempotency-Key is asked for before the body is looked at; bodies are parsed by the same code as on the hot routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel

from api.answering import failure_reply, outcome_reply
from api.context import Context
from api.edge_state import asked_of, context_of
from api.reply import Reply
from api.request import Asked
from api.schemas.fields import RequestModel
from api.schemas.validation import parse_body
from ledger.core.command import Caller, Command
from ledger.core.outcome import Outcome, Status
from ledger.services.sources import ParsedKey

Model = TypeVar("Model", bound=RequestModel)
Function = TypeVar("Function", bound=Callable[..., Any])
BODY_ATTRIBUTE: Final = "bursar_body"


def body_of(model: type[Model], begun: Any = None) -> Any:
    """A dependency that reads the body as ``model`` once ``begun`` (``writing``) let the request pass; an empty body
    counts as an empty object."""

    async def read(request: Request, begun: Any = Depends(begun or writing)) -> Model:
        return parse_body(model, await request.body() or b"{}")

    return Depends(describes_body(read, model, required=True))


def describes_body(function: Function, model: type[BaseModel], *, required: bool) -> Function:
    """Mark an endpoint or a dependency with the model of the body it reads, for the OpenAPI document."""
    setattr(function, BODY_ATTRIBUTE, (model, required))
    return function


class Writing:
    """One request that changes a book."""

    def __init__(self, context: Context, asked: Asked, *, needs_idempotency_key: bool) -> None:
        self._context = context
        self._asked = asked
        self.key: ParsedKey = context.admit(asked)
        self.idempotency_key = asked.idempotency() if needs_idempotency_key else ""
        self.caller = Caller(self.key.digest)

    @property
    def who(self) -> dict[str, Any]:
        """The members that every command has."""
        return {"caller": self.caller, "idempotency_key": self.idempotency_key}

    def new_id(self, prefix: str) -> str:
        """A new id of a kind."""
        return self._context.sources.new_id(prefix)

    def new_key(self, role: str) -> tuple[str, bytes]:
        """(text, digest) of a new key of this book."""
        return self._context.sources.new_key(self.key.book_id, role)

    async def decide(
        self,
        command: Command,
        extra: Mapping[str, Any] | None = None,
        *,
        instead: Mapping[Status, tuple[Status, str]] | None = None,
        after: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Response:
        """Have a command decided, and answer. ``extra`` members are shown in a fresh success only; ``instead`` tells a
        refusal as another one, with another sentence unless that is empty; ``after`` runs in a thread once it is done,
        a repeat too, and gives more such members."""
        outcome = await self._context.handover.decide(self.key.book_id, command)
        if after is not None and outcome.status is Status.DONE:
            extra = {**(extra or {}), **await asyncio.to_thread(after)}
        if instead and outcome.status in instead:
            status, detail = instead[outcome.status]
            outcome = Outcome(status, detail=detail or outcome.detail)
        return await self._answer(outcome, extra)

    async def decide_each(self, commands: Sequence[Command]) -> list[Reply]:
        """Have the items of a batch decided, each on its own; their replies, in order. Each item takes as much of the
        key's rate as a request of its own would."""
        self._context.take(self.key, len(commands) - 1)
        answers = await self._context.handover.decide_all(self.key.book_id, commands)
        return [
            failure_reply(answer, self._asked.id_text()) if isinstance(answer, Exception) else await self.reply(answer)
            for answer in answers
        ]

    async def evaluate(self, command: Command) -> Outcome:
        """What would be decided now; nothing is recorded."""
        return await self._context.authorizer.evaluate(self.key.book_id, command)

    async def reply(self, outcome: Outcome) -> Reply:
        """The reply that an outcome would have."""
        body = outcome.body
        scale = await self._context.scale_of(self.key.book_id, body if body is not None else outcome.facts)
        return outcome_reply(outcome, scale, self._asked.id_text())

    async def _answer(self, outcome: Outcome, extra: Mapping[str, Any] | None) -> Response:
        body = outcome.body
        scale = await self._context.scale_of(self.key.book_id, body if body is not None else outcome.facts)
        return response_of(outcome_reply(outcome, scale, self._asked.id_text(), extra))


def response_of(reply: Reply) -> Response:
    """A reply as Starlette sends it."""
    response = Response(reply.body, reply.status)
    response.raw_headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    return response


def _writing(needs_idempotency_key: bool) -> Callable[[Request], Any]:
    async def begin(request: Request) -> Writing:
        return Writing(context_of(request), asked_of(request), needs_idempotency_key=needs_idempotency_key)

    return begin


writing = _writing(True)
"""Dependency of the routes that change the book."""
asking = _writing(False)
"""Dependency of the routes that ask the core and change nothing."""
