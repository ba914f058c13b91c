"""One connection to a provider: a call is written, its answer is read, and then the next call may use it.

Owns how bytes become an answer; what they mean stands in ``gateway.upstream``. Invariants: one call at a time, written
once; what a provider sends is bounded where it is kept (heads, trailers, and the body that nobody has taken yet); an
answer whose end did not come is never taken for a whole one; a connection on which anything came that nobody asked for
is not used again.

Sources: RFC 9112, section 6.3 (where a body ends), section 9.3 (which connection may be used again).
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final, cast

import httptools

HEAD_BYTES_MAX: Final = 262_144
"""Of a head, of trailers, or of anything else that is no body."""
WAITING_BYTES_MAX: Final = 262_144
"""Of a body that nobody has taken; then the provider waits."""
_WRITTEN_TOGETHER_MAX: Final = 65_536


class ConnectionBroken(Exception):
    """The answer cannot be had any more: the connection ended before it, or what came is no HTTP."""


class HttpConnection(asyncio.Protocol):
    """A connection, and the answer to the call that was written last. One task at a time waits for it."""

    def __init__(self, origin: Hashable, idle_seconds: float) -> None:
        self.origin = origin
        """Where it leads, as the pool names it."""
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = idle_seconds
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_asked = False
        self._is_clean = True
        self._keeps = False
        self._begin(0.0)

    def _begin(self, deadline: float) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_whole = False
        """Whether all of the answer has come."""
        self._has_head = False
        self._ends_with_connection = True
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._bytes_since_body = 0
        self._unsent_bytes = 0
        self._is_paused = False
        self._error: Exception | None = None
        self._deadline = deadline
        self._active_at = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another call may be written here."""
        transport = self._transport
        if transport is None or transport.is_closing() or not self._is_clean:
            return False
        if not self._is_asked:
            return True
        # A provider that answered before it had all of the call may take the rest of it for the next one.
        return self.is_whole and self._keeps and not self._body and not transport.get_write_buffer_size()

    def write(self, head: bytes, body: bytes, deadline: float) -> None:
        """Write a call. Its answer has time until ``deadline``, of the loop's clock."""
        transport = self._transport
        if transport is None:
            raise ConnectionBroken("the connection is closed")
        self._begin(deadline)
        self._is_asked = True
        now = self._active_at = self._loop.time()
        self._timer = self._loop.call_at(min(now + self._idle_seconds, deadline), self._look_at_the_clock)
        if len(body) <= _WRITTEN_TOGETHER_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    async def head(self) -> None:
        """Wait until ``status`` and ``headers`` have come. Raises ConnectionBroken, TimeoutError."""
        while not self._has_head:
            await self._wait()

    async def take(self) -> bytes:
        """What has come of the body since the last time, at least a byte; nothing: that was all of it. Raises
        ConnectionBroken, TimeoutError."""
        while not self._body and not self.is_whole:
            await self._wait()
        return self.take_now()

    def take_now(self) -> bytes:
        """What has come of the body since the last time, perhaps nothing. Raises as ``take``."""
        body = self._body
        if not body:
            if self._error is not None and not self.is_whole:
                raise self._error
            return b""
        taken = body[0] if len(body) == 1 else b"".join(body)
        self._body = []
        self._body_bytes = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._active_at = self._loop.time()
            self._transport.resume_reading()
        return taken

    def rest(self) -> None:
        """Wait for the next call. Something that comes meanwhile was not asked for."""
        self._is_asked = False
        self.headers = []

    def abort(self) -> None:
        """End the connection at once. An answer that is not whole by now never will be."""
        if self._error is None:
            self._error = ConnectionBroken("the connection was ended here")
        if self._transport is not None:
            self._transport.abort()
        self._stop_clock()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self.is_whole:
            self._error = error
        self.abort()
        self._wake()

    def _look_at_the_clock(self) -> None:
        """End the call where its time is over, or nothing was heard or sent for too long; else look again then."""
        now = self._loop.time()
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if self._is_paused or unsent != self._unsent_bytes:
            # Who reads slowly is not the provider's silence, and a long request takes its time.
            self._unsent_bytes = unsent
            self._active_at = now
        if now >= self._deadline or now >= self._active_at + self._idle_seconds:
            self._fail(TimeoutError("the provider did not answer in time"))
            return
        next_at = min(self._active_at + self._idle_seconds, self._deadline)
        self._timer = self._loop.call_at(next_at, self._look_at_the_clock)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read what has come, and tell whoever waits once."""
        if not self._is_asked or self.is_whole:
            # The next call, which may be another agent's, would take this for its answer.
            self._is_clean = False
            self.abort()
            return
        self._active_at = self._loop.time()
        self._bytes_since_body += len(data)
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._is_clean = False
            if not self.is_whole:
                self._fail(ConnectionBroken("the provider's answer is no HTTP"))
                return
        if self._bytes_since_body > HEAD_BYTES_MAX and not self.is_whole:
            self._fail(ConnectionBroken("the head of the provider's answer is too long"))
            return
        if self._body_bytes > WAITING_BYTES_MAX and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection is the end of an answer that says no other, and of none that does."""
        self._transport = None
        self._stop_clock()
        if self._is_asked and not self.is_whole:
            if self._has_head and self._ends_with_connection and exc is None and self._error is None:
                self.is_whole = True
            elif self._error is None:
                self._error = ConnectionBroken("the connection ended before the answer")
        # The parser knows this object and this object the parser.
        self._parser = None
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins; none does after a whole one."""
        if self.is_whole:
            self._is_clean = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind the body are nobody's."""
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole, if it is not one that only says that there will be another."""
        if self._has_head or self._parser is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self.headers = []
            return
        self.status = status
        self._has_head = True
        for name, value in self.headers:
            lowered = name.lower()
            if lowered == b"content-length" or (lowered == b"transfer-encoding" and b"chunked" in value.lower()):
                self._ends_with_connection = False

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for whoever takes it."""
        if not self.is_whole:
            self._bytes_since_body = 0
            self._body.append(body)
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """All of the answer has come."""
        if self._has_head and not self.is_whole and self._parser is not None:
            self.is_whole = True
            self._keeps = self._parser.should_keep_alive()
            self._stop_clock()
