"""The lane: hot requests that arrived whole, from uvicorn's parser to the authorizer and back without a task.

Owns the shortest way for the requests that nearly all traffic consists of. A request takes the lane when its path is
hot, its length is given and small, and its client does not wait to be told to go on; any other takes the way through
ASGI, where the same handlers answer it. Invariants: both ways build the same command with the same code and render the
same reply; an answer is written once, whole, and only after the outcome is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from time import perf_counter
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.answering import failure_reply
from api.context import Context
from api.edge import log_answer
from api.handover import Waiting
from api.hot import BATCH, WAITING_COMMANDS, Hot
from api.problems import ProblemError
from api.reply import Reply
from api.request import Asked
from ledger.core.outcome import Outcome
from ledger.services.errors import LeftLine
from ledger.services.sources import ParsedKey

LANE_BYTES_MAX: Final = 32_768


class Exchange:
    """One request in the lane, and where its answer goes. ``cycle`` is uvicorn's request and response; ``waiting`` is
    its place, where it may wait in line."""

    __slots__ = ("asked", "cycle", "key", "reference", "route", "started", "waiting")

    def __init__(self, cycle: Any, route: str, reference: str, asked: Asked) -> None:
        self.cycle = cycle
        self.route = route
        self.reference = reference
        self.asked = asked
        self.started = perf_counter()
        self.key: ParsedKey | None = None
        self.waiting: Waiting | None = None

    def leave(self) -> None:
        """The client has gone: nobody waits in line for it."""
        if self.waiting is not None:
            self.waiting.leave()


class Lane:
    """The lane of one app. ``take`` is asked once a head is whole, ``begin`` once the body is."""

    def __init__(self, context: Context, hot: Hot) -> None:
        self._context = context
        self._hot = hot
        self._bytes_max = min(LANE_BYTES_MAX, context.settings.body_bytes_max)
        self._access_log = context.settings.access_log
        self._late: set[asyncio.Task[None]] = set()

    def take(self, cycle: Any) -> Exchange | None:
        """The exchange of a request that may take the lane, else None."""
        scope = cycle.scope
        hot = self._hot.route(scope["method"], scope["path"])
        if hot is None or hot[0] == BATCH or cycle.waiting_for_100_continue:
            return None
        asked = Asked(scope)
        if not 0 <= asked.content_length <= self._bytes_max:
            return None
        return Exchange(cycle, hot[0], hot[1], asked)

    def begin(self, exchange: Exchange) -> None:
        """Have the request decided; its body is whole."""
        context, asked = self._context, exchange.asked
        try:
            key = exchange.key = context.admit(asked)
            asked.idempotency()
            body = bytes(exchange.cycle.body)
            if body and not asked.is_json:
                raise ProblemError("unsupported_media_type")
            command, wait_seconds = self._hot.command(exchange.route, exchange.reference, asked, key, body)
            if wait_seconds and isinstance(command, WAITING_COMMANDS):
                exchange.waiting = context.handover.decide_waiting(key.book_id, command, wait_seconds)
                waiting = exchange.waiting.future
                if exchange.cycle.disconnected:
                    exchange.leave()
            else:
                waiting = context.handover.decide(key.book_id, command)
        except Exception as error:
            self._answer(exchange, failure_reply(error, asked.id_text()))
        else:
            waiting.add_done_callback(partial(self._decided, exchange))

    def _decided(self, exchange: Exchange, waiting: asyncio.Future[Outcome]) -> None:
        asked = exchange.asked
        try:
            outcome = waiting.result()
            reply = self._hot.ready_reply(outcome, asked)
        except LeftLine:
            return
        except Exception as error:
            reply = failure_reply(error, asked.id_text())
        if reply is not None:
            self._answer(exchange, reply)
            return
        self._later(self._answer_late(exchange, outcome))

    async def _answer_late(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answer in a unit whose digits must be read first."""
        key = exchange.key
        if key is None:
            raise RuntimeError("an outcome without a key")
        try:
            reply = await self._hot.reply(outcome, key, exchange.asked)
        except Exception as error:
            reply = failure_reply(error, exchange.asked.id_text())
        self._answer(exchange, reply)

    async def _answer_drained(self, exchange: Exchange, reply: Reply) -> None:
        """Answer a client that reads slower than it asks: what it was sent before goes out first."""
        await exchange.cycle.flow.drain()
        self._answer(exchange, reply)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _answer(self, exchange: Exchange, reply: Reply) -> None:
        """Write the answer, unless the client has left, and let the connection go on."""
        cycle, asked = exchange.cycle, exchange.asked
        if cycle.flow.write_paused and not cycle.disconnected:
            self._later(self._answer_drained(exchange, reply))
            return
        if not cycle.disconnected and not cycle.response_complete:
            lines = [STATUS_LINE[reply.status]]
            for name, value in cycle.default_headers:
                lines += (name, b": ", value, b"\r\n")
            closing = not cycle.keep_alive
            for name, value in reply.headers:
                closing = closing or (name == b"connection" and value == b"close")
                lines += (name, b": ", value, b"\r\n")
            if not cycle.keep_alive:
                lines.append(b"connection: close\r\n")
            lines += (
                b"content-length: %d\r\nx-request-id: %s\r\n\r\n" % (len(reply.body), asked.request_id),
                reply.body,
            )
            cycle.response_started = cycle.response_complete = True
            cycle.transport.write(b"".join(lines))
            if closing:
                cycle.transport.close()
            cycle.on_response()
        seconds = perf_counter() - exchange.started
        self._context.metrics.answered(exchange.route, reply.status, seconds)
        if self._access_log or reply.status == 500:
            log_answer(asked, reply.status, seconds)
