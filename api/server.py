"""One serving process: uvicorn, made to stop as Bursar promises.

Owns the order of a shutdown: stop accepting, answer long polls and half-sent requests, close idle connections, let
what is queued finish within its time, and end with status 0. Invariants: a signal starts the shutdown once; a client
that sends nothing, or half a request, delays nothing beyond one sweep; bytes of a request's head are counted as they
arrive, before a parser can collect them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from typing import Any, Final

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.context import Context
from api.edge import Edge
from api.lane import Exchange, Lane
from api.problems import problem_content
from api.request import new_request_id

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LAST_ANSWERS_SECONDS: Final = 3
"""Time to write the last answers to slow readers, once nothing is queued any more."""
_STATUS_LINES: Final = {
    400: b"HTTP/1.1 400 Bad Request\r\n",
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
}


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request heads are bounded in bytes and in time, from the first byte on."""

    head_bytes_max = 16_384
    head_seconds_max = 20.0
    lane: Lane | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._head_since: float | None = time.monotonic()
        self._exchange: Exchange | None = None
        self._deciding: Exchange | None = None
        self._answering: Any = None
        self._body_since: float | None = None
        self._begun = 0
        self._message_open = False

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head that is not complete; refuse one that grows beyond its bound.

        Bytes that came together with the end of an earlier request are not counted: how many of them belong to this
        head is not known, and there are never more than one read's worth.
        """
        was_open, self._begun = self._message_open, 0
        super().data_received(data)
        if self._head_since is not None and (self._begun == 0 or (self._begun == 1 and not was_open)):
            self._head_bytes += len(data)
            if self._head_bytes > self.head_bytes_max:
                self._refuse("header_too_large", 431)

    def on_message_begin(self) -> None:
        """A new request starts: so does its head's clock."""
        super().on_message_begin()
        self._begun += 1
        self._message_open = True
        self._head_bytes = 0
        self._head_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """The head is whole; the app bounds the rest."""
        self._head_since = None
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """A hot request takes the lane; any other becomes a task, as in uvicorn."""
        self._answering = cycle
        exchange = self._deciding = self.lane.take(cycle) if self.lane is not None else None
        if exchange is None or self.lane is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._exchange, self._body_since = exchange, time.monotonic()
        else:
            # It was sent ahead of the answer before it. Its turn comes with the loop's, not inside that answer's.
            self.loop.call_soon(self.lane.begin, exchange)

    def on_message_complete(self) -> None:
        """The body is whole: what waited for it in the lane begins."""
        self._message_open = False
        super().on_message_complete()
        exchange = self._exchange
        if exchange is not None and self.lane is not None and not exchange.cycle.more_body:
            self._exchange = self._body_since = None
            self.lane.begin(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: a request of it that waits in line is dropped."""
        super().connection_lost(exc)
        answering = self._answering
        if answering is not None and not answering.response_complete:
            # uvicorn only tells the request that came last, which may stand behind this one.
            answering.disconnected = True
            answering.message_event.set()
            if self._deciding is not None:
                self._deciding.leave()

    def shutdown(self) -> None:
        """Stop: a request in the lane whose body has not come is given up; the rest as in uvicorn."""
        if self._exchange is not None:
            self._give_up("stopping", 503)
        else:
            super().shutdown()

    def _give_up(self, code: str, status: int) -> None:
        """End the request whose body is awaited with a problem, and the connection with it."""
        self._exchange = self._body_since = None
        self.cycle.response_complete = True
        self._refuse(code, status)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem."""
        self._refuse("malformed_json", 400, title="Malformed HTTP", detail="This is not an HTTP/1.1 request.")

    def end_slow_head(self, now: float) -> None:
        """Close the connection when its head, or a small body, has taken too long; called from the server's tick."""
        if self._body_since is not None and now - self._body_since > self.head_seconds_max:
            self._give_up("request_timeout", 408)
            return
        if self._head_since is None or now - self._head_since <= self.head_seconds_max:
            return
        if self._head_bytes:
            self._refuse("request_timeout", 408)
        else:
            self.transport.close()

    def _refuse(self, code: str, status: int, *, title: str = "", detail: str = "") -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer to an earlier request is under way, and this one must not be taken for it.
            self.transport.close()
            return
        request_id = new_request_id()
        content = problem_content(code, request_id=request_id.decode(), detail=detail)
        if title:
            content |= {"type": "about:blank", "title": title, "status": status, "code": "malformed_http"}
        body = orjson.dumps(content)
        self.transport.write(
            b"".join(
                (
                    _STATUS_LINES[status],
                    b"content-type: application/problem+json\r\nconnection: close\r\n",
                    b"x-request-id: %s\r\ncontent-length: %d\r\n\r\n" % (request_id, len(body)),
                    body,
                )
            )
        )
        self._head_since = None
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server with Bursar's shutdown. ``on_ready`` is called once it accepts connections."""

    def __init__(self, config: uvicorn.Config, context: Context, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._context = context
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let SIGTERM and SIGINT start the shutdown, and nothing else: uvicorn would raise them again at its end, so
        that the process would die of the signal instead of ending with 0."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.begin_exit)
        try:
            yield
        finally:
            # A second signal while the last connections close must not kill the process.
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)

    def begin_exit(self) -> None:
        """Start the shutdown."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Once a tenth of a second: end the heads that take too long."""
        if counter % 5 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.end_slow_head(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer whoever waits, let the queue finish, then close as uvicorn does."""
        for server in self.servers:
            server.close()
        self._context.stopping.set()
        self._context.deadlines.stop()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # Calls that are under way end on record: that needs the authorizer.
        if self._context.gateway is not None:
            await self._context.gateway.stop(float(self._context.settings.shutdown_seconds))
        # Whatever is still queued at the deadline is answered with 503 by the authorizer itself.
        await asyncio.to_thread(
            self._context.authorizer.stop, deadline_seconds=float(self._context.settings.shutdown_seconds)
        )
        await super().shutdown(sockets)


def server_config(app: Edge, context: Context) -> uvicorn.Config:
    """uvicorn's configuration for one process."""
    settings = context.settings

    class Protocol(BoundedProtocol):
        head_bytes_max = settings.header_bytes_max
        head_seconds_max = float(settings.request_timeout_seconds)
        lane = Lane(context, app.hot)

    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
    )


async def watch_parent(descriptor: int, server: Server) -> None:
    """Start the shutdown when the other end of the pipe ``descriptor`` is closed: the parent has died."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    loop.add_reader(descriptor, closed.set)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    server.begin_exit()
