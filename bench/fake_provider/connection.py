"""HTTP/1.1 over one connection: requests in, bytes out, and word of a client that left.

Invariants: requests of one connection are answered one after the other, in order; a client that leaves never stops the
code that answers it, which finds `lost` set and its pauses cut short.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import httptools

_PIPELINED_AT_MOST = 16
REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """A request that arrived whole; header names as they were sent."""

    method: str = ""
    target: bytes = b""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True
    lower: dict[bytes, bytes] = field(default_factory=dict)

    def header(self, name: bytes) -> bytes:
        """The value of a header, named in lower case; b"" where it is missing, the last of several."""
        return self.lower.get(name, b"")


class Answering(Protocol):
    """What a connection hands its requests to."""

    def answer(self, connection: "Connection", request: Request) -> Coroutine[Any, Any, None] | None:
        """Answer at once, or return the coroutine that will."""

    def connected(self) -> None:
        """A connection was made."""

    def disconnected(self) -> None:
        """A connection is gone."""


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, answering: Answering) -> None:
        self.lost = False
        self._answering = answering
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._request = Request()
        self._parts: list[bytes] = []
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._full: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = transport
        self._answering.connected()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever answers that nobody listens."""
        self.lost = True
        self._waiting.clear()
        for future in (self._pause, self._full):
            if future is not None and not future.done():
                future.set_result(None)
        self._answering.disconnected()

    def data_received(self, data: bytes) -> None:
        """Read what came; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to."""
        if self._full is None:
            self._full = self._loop.create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = Request()
        self._parts = []

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._request.headers.append((name, value))
        self._request.lower[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Its head is whole; a client that waits before it sends a body may go on."""
        self._request.method = self._parser.get_method().decode()
        if self._request.header(b"expect").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """It is whole: answer it when those before it are answered."""
        request = self._request
        request.body = b"".join(self._parts)
        request.keep_alive = self._parser.should_keep_alive()
        self._waiting.append(request)
        if self._task is None:
            self._answer_next()
        elif len(self._waiting) == _PIPELINED_AT_MOST:
            self._transport.pause_reading()

    def _answer_next(self) -> None:
        while self._waiting and not self.lost:
            request = self._waiting.popleft()
            work = self._answering.answer(self, request)
            if work is not None:
                self._task = self._loop.create_task(work)
                self._task.add_done_callback(self._answered)
                return

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            # An answer that failed to be made is an error of this program: the loop reports it, the client sees an end.
            self._loop.call_exception_handler({"message": "an answer failed", "exception": task.exception()})
            self.abort()
        if not self.lost and not task.cancelled():
            self._transport.resume_reading()
            self._answer_next()

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens when the client is gone."""
        if not self.lost:
            self._transport.write(data)

    async def room(self) -> None:
        """Wait until the client has read enough, or is gone."""
        if self._full is not None and not self.lost:
            await self._full

    async def pause(self, seconds: float | None) -> None:
        """Wait so long (None: for ever), or until the client is gone."""
        if self.lost:
            return
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return
        self._pause = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, _end, self._pause)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """End the connection once what was written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Reset the connection: what was written may never arrive."""
        self._transport.abort()


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def head(status: int, fields: list[bytes], *, keep_alive: bool) -> bytes:
    """The head of an answer with these header lines."""
    lines = fields if keep_alive else [*fields, b"connection: close"]
    first = b"HTTP/1.1 %d %s" % (status, REASONS.get(status, "Unknown").encode())
    return b"\r\n".join((first, *lines, b"", b""))
