"""Who takes a stream: a client that the reading waits for, or one that has a buffer of its own instead.

Invariants: a client that has left, or that does not read, gets nothing more and fails nothing; what waits for a client
is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

BUFFER_BYTES_MAX: Final = 1 << 20
"""What a client may be behind a stream that does not wait for it."""


class Listener:
    """A client whom the reading waits for, at most ``seconds`` for each write."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self.reads = True
        """Whether the client takes what it is sent, as far as is known."""

    async def write(self, data: bytes) -> None:
        """Send some of the stream."""
        if self.reads and data:
            await self._sent(data, self._seconds, more=True)

    async def finish(self, last: bytes, seconds: float | None = None) -> None:
        """Send the end of the stream. ``seconds`` bounds that where it is less than usual."""
        if self.reads:
            await self._sent(last, self._seconds if seconds is None else seconds, more=False)

    def close(self) -> None:
        """Let nothing go on that was begun here."""

    async def _sent(self, data: bytes, seconds: float, *, more: bool) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except (TimeoutError, OSError):
            self.reads = False


class BufferedListener(Listener):
    """A client whom nobody waits for: what it has not taken yet waits in a buffer, and one that falls behind by more
    than ``BUFFER_BYTES_MAX`` is given up."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], seconds: float) -> None:
        super().__init__(send, seconds)
        self._waiting: list[bytes] = []
        self._size = 0
        self._wake = asyncio.Event()
        self._is_whole = False
        self._writer: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """Have some of the stream sent; this does not wait for the client."""
        if not self.reads or not data:
            return
        if self._size and self._size + len(data) > BUFFER_BYTES_MAX:
            self.reads = False
            self.close()
            return
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._drain())
        # The writer gets its turn even where the provider's bytes are all here already.
        await asyncio.sleep(0)

    async def finish(self, last: bytes, seconds: float | None = None) -> None:
        """Send what waits and the end of the stream, in as much time as one write may take."""
        self._is_whole = True
        self._wake.set()
        if self._writer is not None and self.reads:
            try:
                async with asyncio.timeout(self._seconds if seconds is None else seconds):
                    await self._writer
            except TimeoutError:
                self.reads = False
        await super().finish(last, seconds)

    def close(self) -> None:
        """Drop what waits, and stop sending."""
        self._waiting.clear()
        if self._writer is not None:
            self._writer.cancel()

    async def _drain(self) -> None:
        while self.reads:
            while self._waiting and self.reads:
                data = b"".join(self._waiting)
                self._waiting.clear()
                await self._sent(data, self._seconds, more=True)
                self._size -= len(data)
            if self._is_whole:
                return
            self._wake.clear()
            await self._wake.wait()
