"""The outermost ASGI app: dispatches on method and path to the hot handlers, and everything else to FastAPI.

Owns what both sides get alike: request ids, limits on header bytes, body bytes and time, metrics and access lines.
Invariants: no request reaches FastAPI with a body that is too long, too slow or not JSON; every answer carries its
``x-request-id``; whatever goes wrong behind the edge is answered as a problem.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Final

from api.answering import failure_reply
from api.context import Context
from api.edge_state import STATE_KEY
from api.hot import Hot
from api.logs import ACCESS, SERVER, shown_path
from api.problems import ProblemError, problem_reply
from api.reply import Reply
from api.request import Asked, Message, Receive, Scope, Send, read_body
from gateway.paths import PREFIXES

_BODY_METHODS: Final = frozenset(("POST", "PUT", "PATCH", "DELETE"))


class Edge:
    """The ASGI application. ``inner`` is FastAPI, which also gets lifespan and everything that is not HTTP."""

    def __init__(self, context: Context, inner: Any) -> None:
        self._context = context
        self.hot = self._hot = Hot(context)
        self._inner = inner
        self._metrics = context.metrics
        self._access_log = context.settings.access_log
        self._header_bytes_max = context.settings.header_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._inner(scope, receive, send)
            return
        started = perf_counter()
        asked = Asked(scope)
        path = scope["path"]
        if path.startswith(PREFIXES) and self._context.gateway is not None:
            scope[STATE_KEY] = asked
            # Its own line is written by the gateway's mount, also where the client has left.
            route, status = await self._context.gateway(scope, receive, send, asked.request_id)
            if status:
                self._metrics.answered(route, status, perf_counter() - started)
            return
        hot = self._hot.route(scope["method"], path)
        if hot is not None:
            route = hot[0]
            try:
                reply = await self._hot.answer(route, hot[1], asked, receive)
            except asyncio.CancelledError:
                # The server cancels what is still running at the very end of a shutdown.
                reply = problem_reply("outcome_unknown", request_id=asked.id_text())
            if reply is None:
                return
            status = reply.status
            await send_reply(send, asked, reply)
        else:
            route, status = await self._behind(scope, asked, receive, send)
            if not status:
                return
        seconds = perf_counter() - started
        self._metrics.answered(route, status, seconds)
        if self._access_log or status == 500:
            log_answer(asked, status, seconds)

    async def _behind(self, scope: Scope, asked: Asked, receive: Receive, send: Send) -> tuple[str, int]:
        """Let FastAPI answer. Returns the route's template and the status; status 0 when the client left."""
        sender = _Sender(send, asked)
        try:
            if asked.header_bytes > self._header_bytes_max:
                raise ProblemError("header_too_large", f"the headers have at most {self._header_bytes_max} bytes")
            if not scope["path"].isprintable():
                raise ProblemError("not_found", "there is nothing at this path")
            body = b""
            if scope["method"] in _BODY_METHODS:
                whole = await read_body(
                    asked,
                    receive,
                    bytes_max=self._context.settings.body_bytes_max,
                    deadlines=self._context.deadlines,
                )
                if whole is None:
                    return "none", 0
                body = whole
                if body and not asked.is_json:
                    raise ProblemError("unsupported_media_type")
            scope[STATE_KEY] = asked
            await self._inner(scope, _Received(body, receive), sender)
        except Exception as error:
            if sender.status:
                # The error was answered already by FastAPI's own handler, which raises it again for the log.
                SERVER.error("a request failed", exc_info=error, extra={"request_id": asked.id_text()})
            else:
                reply = failure_reply(error, asked.id_text())
                await send_reply(send, asked, reply)
                return _template(scope), reply.status
        return _template(scope), sender.status


def log_answer(asked: Asked, status: int, seconds: float) -> None:
    """The access line of one answered request."""
    ACCESS.info(
        "answered",
        extra={
            "request_id": asked.id_text(),
            "method": asked.scope["method"],
            "path": shown_path(asked.scope["path"]),
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
        },
    )


def _template(scope: Scope) -> str:
    """The path template of the route that answered: one of a few, whatever the client asked for."""
    return str(getattr(scope.get("route"), "path", "none"))


class _Received:
    """ASGI ``receive`` of a request whose body was read; then whatever the server says next."""

    __slots__ = ("_body", "_given", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body = body
        self._receive = receive
        self._given = False

    async def __call__(self) -> Message:
        if self._given:
            return await self._receive()
        self._given = True
        return {"type": "http.request", "body": self._body, "more_body": False}


class _Sender:
    """ASGI ``send`` that adds the request id and remembers the status; what answers HEAD has no body."""

    __slots__ = ("_asked", "_head_only", "_send", "status")

    def __init__(self, send: Send, asked: Asked) -> None:
        self._send = send
        self._asked = asked
        self._head_only = asked.scope["method"] == "HEAD"
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._asked.request_id)]
        elif self._head_only:
            message["body"] = b""
        await self._send(message)


async def send_reply(send: Send, asked: Asked, reply: Reply) -> None:
    """Send a reply, with its length and the request's id."""
    body = reply.body
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                *reply.headers,
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", asked.request_id),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
