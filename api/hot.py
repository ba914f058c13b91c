"""The hot routes: authorize, settle, extend, release, unknown and batch, from bytes to bytes.

Owns the shortest way from a request to the authorizer and back. Invariants: these handlers answer exactly what the
routes behind FastAPI would, because both use the same models, problems and renderings; nothing here decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError
from pydantic_core import from_json

from api.answering import authorization_reply, failure_reply, outcome_reply
from api.context import Context
from api.handover import Waiting
from api.problems import ProblemError
from api.rendering import MONEY_SCALE
from api.reply import Reply, json_reply
from api.request import Asked, Receive, checked_idempotency_key, read_body
from api.schemas.authorizations import (
    AuthorizationRequest,
    BatchItem,
    BatchRequest,
    ExtendRequest,
    ReleaseRequest,
    SettleRequest,
    UnknownRequest,
)
from api.schemas.duplicates import refuse_duplicates
from api.schemas.validation import name_like_an_id, parse_body, problem_of
from ledger.core.command import Authorize, Caller, Command, Extend, MarkUnknown, Release, Settle
from ledger.core.ids import AUTHORIZATION, is_id, is_name
from ledger.core.outcome import Outcome
from ledger.services.errors import LeftLine
from ledger.services.sources import ParsedKey

PATH: Final = "/v1/authorizations"
_BELOW: Final = PATH + "/"
_BELOW_LENGTH: Final = len(_BELOW)
BATCH: Final = "batch"
_BATCH_PATH: Final = _BELOW + BATCH
WAITING_COMMANDS: Final = (Authorize, Extend)
"""Commands that may wait in line."""
Wanted = tuple[Command, int]
"""A command, and how many seconds it may wait in line."""
Build = Callable[[bytes, Caller, str, str], Wanted]


def authorize_command(asked: AuthorizationRequest, caller: Caller, idempotency_key: str, new_id: str) -> Authorize:
    """The command of an authorization request. Raises ProblemError for a category or payee, which first use makes a
    name, that has the form of an id."""
    if "_" in asked.category:
        _check_name("category", asked.category)
    if "_" in asked.payee:
        _check_name("payee", asked.payee)
    labels = asked.labels
    return Authorize(
        caller=caller,
        idempotency_key=idempotency_key,
        id=new_id,
        amount=asked.amount.amount,
        currency=asked.amount.currency,
        category=asked.category,
        payee=asked.payee,
        resource=asked.resource,
        budget=asked.budget,
        run=asked.run,
        intent=asked.intent,
        ttl_seconds=asked.ttl_seconds,
        accept_pending=asked.accept_pending,
        partial_ok=asked.partial_ok,
        afford=asked.afford,
        on_expiry=asked.on_expiry,
        labels=tuple(sorted(labels.items())) if labels else (),
        fingerprint=asked.fingerprint,
    )


def _check_name(field: str, text: str) -> None:
    if not is_name(text):
        raise name_like_an_id(field)


def settle_command(body: bytes, caller: Caller, idempotency_key: str, reference: str) -> Wanted:
    """The command of a settlement's body."""
    asked = parse_body(SettleRequest, body)
    command = Settle(
        caller=caller,
        idempotency_key=idempotency_key,
        authorization=reference,
        amount=asked.amount.amount,
        currency=asked.amount.currency,
        final=asked.final,
        category=asked.category,
        payee=asked.payee,
        resource=asked.resource,
        evidence=asked.evidence,
        metering=tuple(sorted(asked.metering.items())) if asked.metering else (),
        flags=tuple(sorted(asked.flags)) if asked.flags else (),
    )
    return command, 0


def extend_command(body: bytes, caller: Caller, idempotency_key: str, reference: str) -> Wanted:
    """The command of an extension's body."""
    asked = parse_body(ExtendRequest, body)
    command = Extend(
        caller=caller,
        idempotency_key=idempotency_key,
        authorization=reference,
        amount=asked.amount.amount if asked.amount is not None else None,
        currency=asked.amount.currency if asked.amount is not None else None,
        ttl_seconds=asked.ttl_seconds,
    )
    return command, asked.wait_seconds


def release_command(body: bytes, caller: Caller, idempotency_key: str, reference: str) -> Wanted:
    """The command of a release's body, which may be empty."""
    asked = parse_body(ReleaseRequest, body or b"{}")
    return Release(caller=caller, idempotency_key=idempotency_key, authorization=reference, reason=asked.reason), 0


def unknown_command(body: bytes, caller: Caller, idempotency_key: str, reference: str) -> Wanted:
    """The command of saying that an outcome is not known; its body may be empty."""
    asked = parse_body(UnknownRequest, body or b"{}")
    return MarkUnknown(caller=caller, idempotency_key=idempotency_key, authorization=reference, reason=asked.reason), 0


VERBS: Final[dict[str, Build]] = {
    "settle": settle_command,
    "extend": extend_command,
    "release": release_command,
    "unknown": unknown_command,
}


class Hot:
    """The hot handlers of one app."""

    __slots__ = ("_body_bytes_max", "_context", "_deadlines")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._body_bytes_max = context.settings.body_bytes_max
        self._deadlines = context.deadlines

    def route(self, method: str, path: str) -> tuple[str, str] | None:
        """(route, authorization id) of a hot request, or None when FastAPI is to answer."""
        if method != "POST" or not path.startswith(PATH):
            return None
        if path == PATH:
            return "authorize", ""
        reference, _, verb = path[_BELOW_LENGTH:].partition("/")
        if path[len(PATH)] != "/":
            return None
        if verb in VERBS:
            return verb, reference
        return (BATCH, "") if path == _BATCH_PATH else None

    async def answer(self, route: str, reference: str, asked: Asked, receive: Receive) -> Reply | None:
        """The answer to a hot request; None when the client left before it had sent all, or left the line."""
        try:
            if route == BATCH:
                return await self._batch(asked, receive)
            return await self._one(route, reference, asked, receive)
        except Exception as error:
            return failure_reply(error, asked.id_text())

    async def _body(self, asked: Asked, receive: Receive) -> bytes | None:
        body = await read_body(asked, receive, bytes_max=self._body_bytes_max, deadlines=self._deadlines)
        if body and not asked.is_json:
            raise ProblemError("unsupported_media_type")
        return body

    async def _one(self, route: str, reference: str, asked: Asked, receive: Receive) -> Reply | None:
        key = self._context.admit(asked)
        asked.idempotency()
        body = await self._body(asked, receive)
        if body is None:
            return None
        command, wait_seconds = self.command(route, reference, asked, key, body)
        if wait_seconds and isinstance(command, WAITING_COMMANDS):
            outcome = await _in_line(self._context.handover.decide_waiting(key.book_id, command, wait_seconds), receive)
            if outcome is None:
                return None
        else:
            outcome = await self._context.handover.decide(key.book_id, command)
        return await self.reply(outcome, key, asked)

    def command(self, route: str, reference: str, asked: Asked, key: ParsedKey, body: bytes) -> Wanted:
        """The command of a request for one authorization, whose body is whole, and how long it may wait. Raises
        ProblemError."""
        idempotency_key = asked.idempotency()
        caller = Caller(key.digest)
        if route == "authorize":
            request = parse_body(AuthorizationRequest, body)
            new_id = self._context.sources.new_id(AUTHORIZATION)
            return authorize_command(request, caller, idempotency_key, new_id), request.wait_seconds
        if not is_id(reference, AUTHORIZATION):
            raise ProblemError("not_found", "there is no such authorization")
        return VERBS[route](body, caller, idempotency_key, reference)

    async def reply(self, outcome: Outcome, key: ParsedKey, asked: Asked) -> Reply:
        """The answer to what became of a command; may read the digits of a unit first."""
        ready = self.ready_reply(outcome, asked)
        if ready is not None:
            return ready
        body = outcome.body
        scale = await self._context.scale_of(key.book_id, body if body is not None else outcome.facts)
        return outcome_reply(outcome, scale, asked.id_text())

    @staticmethod
    def ready_reply(outcome: Outcome, asked: Asked) -> Reply | None:
        """The answer where nothing must be read for it: amounts of money, or none at all."""
        said = outcome.body if outcome.body is not None else outcome.facts
        if said.get("currency", "USD") in MONEY_SCALE and "transfers" not in outcome.facts:
            return authorization_reply(outcome, MONEY_SCALE, asked.id_text())
        return None

    async def _batch(self, asked: Asked, receive: Receive) -> Reply | None:
        context = self._context
        key = context.admit(asked, 0)
        body = await self._body(asked, receive)
        if body is None:
            return None
        try:
            items = parse_items(body)
        except ProblemError:
            context.take(key, 1)
            raise
        # All at once: taken one by one, a batch larger than a full bucket would never pass.
        context.take(key, len(items))
        caller = Caller(key.digest)
        commands: list[Command] = []
        places: list[int] = []
        replies: list[Reply | None] = [None] * len(items)
        for place, item in enumerate(items):
            try:
                if isinstance(item, ProblemError):
                    raise item
                idempotency_key = checked_idempotency_key(item.idempotency_key)
                command = authorize_command(item, caller, idempotency_key, context.sources.new_id(AUTHORIZATION))
            except ProblemError as error:
                replies[place] = failure_reply(error, asked.id_text())
                continue
            commands.append(command)
            places.append(place)
        answers: Sequence[Outcome | Exception] = []
        if commands:
            answers = await context.handover.decide_all(key.book_id, commands)
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, Exception):
                replies[place] = failure_reply(answer, asked.id_text())
            else:
                replies[place] = await self.reply(answer, key, asked)
        return json_reply(200, {"items": [_item(reply) for reply in replies if reply is not None]})


async def _in_line(waiting: Waiting, receive: Receive) -> Outcome | None:
    """The outcome of what may wait in line; None when the client left first."""

    async def watch() -> None:
        # The body was read whole, so what comes next, if anything, is that the client went away.
        if (await receive())["type"] == "http.disconnect":
            waiting.leave()

    watching = asyncio.create_task(watch())
    try:
        return await waiting.future
    except LeftLine:
        return None
    except asyncio.CancelledError:
        waiting.leave()
        raise
    finally:
        watching.cancel()


def _item(reply: Reply) -> dict[str, Any]:
    """One verdict of a batch: its own status, and the authorization or the problem."""
    replayed = any(name == b"idempotency-replayed" for name, _ in reply.headers)
    content = "authorization" if reply.status < 400 else "problem"
    return {"status": reply.status, "replayed": replayed, content: orjson.Fragment(reply.body)}


def parse_items(body: bytes) -> list[BatchItem | ProblemError]:
    """The items of a batch; an item that cannot be taken is its problem. Raises ProblemError when the batch itself
    cannot be taken."""
    try:
        batch = BatchRequest.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
    else:
        refuse_duplicates(body, batch.members())
        return list(batch.items)
    if not all(len(found["loc"]) > 1 and found["loc"][0] == "items" for found in errors):
        raise problem_of([found for found in errors if len(found["loc"]) < 2] or errors)
    refuse_duplicates(body, 0)
    by_place: dict[int, list[Any]] = {}
    for found in errors:
        by_place.setdefault(int(found["loc"][1]), []).append(found | {"loc": found["loc"][2:]})
    items: list[BatchItem | ProblemError] = []
    for place, item in enumerate(from_json(body)["items"]):
        wrong = by_place.get(place)
        items.append(problem_of(wrong) if wrong else BatchItem.model_validate_json(orjson.dumps(item)))
    return items
