"""The way to the providers: one pool of connections, bounded in number and in time.

Owns the HTTP client. Invariants: no client is made for a call; a call is sent once, never repeated here, and no
redirect is followed; what went wrong says whether the provider can have got the call, because one that it got may be
billed; what is read is what was meant, compressed or not, and bounded in both forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final

from gateway.config import GatewayConfig
from gateway.http_connection import ConnectionBroken, HttpConnection
from gateway.http_pool import HttpPool, Target, target_of
from gateway.inflating import DEFLATED, CannotInflate, Inflater

ARRIVED_BYTES_MAX: Final = 1 << 20
"""What is still read of a stream that is about to be cut."""
_OCTETS: Final = "application/octet-stream"


class NotSent(Exception):
    """The provider cannot have got the call: nothing was billed."""


class Broken(Exception):
    """The call was sent, and what became of it is not known. ``timed_out`` says that the provider was silent."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class AnswerTooLong(Exception):
    """The answer has more bytes than are taken."""


class Answer:
    """A provider's answer whose head has come: its status, its headers as sent, its body to be read."""

    __slots__ = ("_bytes_max", "_connection", "_inflater", "content_type", "headers", "status")

    def __init__(self, connection: HttpConnection, bytes_max: int) -> None:
        """Raises Broken for an answer that cannot be read."""
        self._connection = connection
        self._bytes_max = bytes_max
        self.status = connection.status
        self.headers: Sequence[tuple[bytes, bytes]] = connection.headers
        encodings: list[str] = []
        kind = ""
        for name, value in self.headers:
            lowered = name.lower()
            if lowered == b"content-encoding":
                encodings.append(value.decode("latin-1").strip().lower())
            elif lowered == b"content-type" and not kind:
                kind = value.decode("latin-1").partition(";")[0].strip().lower()
        self.content_type = kind or _OCTETS
        encoding = ", ".join(encodings) or "identity"
        self._inflater = Inflater() if encoding in DEFLATED else None
        if self._inflater is not None:
            # Bursar asks for none of it, but an answer that comes compressed all the same has to be metered.
            self.headers = [header for header in self.headers if header[0].lower() != b"content-encoding"]
        elif encoding != "identity":
            raise Broken(f"the provider's answer is encoded as {encoding[:40]!r}, which nobody asked for")
        if not 200 <= self.status <= 599:
            raise Broken(f"the provider answered with status {self.status}")

    async def read(self) -> bytes:
        """The whole body. Raises Broken, AnswerTooLong."""
        connection = self._connection
        if connection.is_whole and self._inflater is None:
            # The usual case: it came together with its head.
            return self._bounded(connection.take_now())
        chunks = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > self._bytes_max:
                raise self._too_long()
            chunks.append(chunk)
        return b"".join(chunks)

    def _bounded(self, body: bytes) -> bytes:
        if len(body) > self._bytes_max:
            raise self._too_long()
        return body

    def _too_long(self) -> AnswerTooLong:
        return AnswerTooLong(f"the provider's answer is longer than {self._bytes_max} bytes")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come. Raises Broken."""
        connection, inflater = self._connection, self._inflater
        try:
            while chunk := await connection.take():
                if inflater is None:
                    yield chunk
                    continue
                for piece in inflater.feed(chunk):
                    yield piece
            if inflater is not None:
                inflater.end()
        except CannotInflate as error:
            raise Broken(str(error)) from error
        except (ConnectionBroken, TimeoutError) as error:
            raise _broken(error) from error

    async def arrived(self) -> AsyncIterator[bytes]:
        """What has come by now of a body that is read in ``chunks``: without waiting for the provider, and no more than
        ``ARRIVED_BYTES_MAX``. Raises Broken."""
        size = 0
        inflater = self._inflater
        try:
            while size < ARRIVED_BYTES_MAX:
                # Twice: once for the client to go on reading, once for its socket to be read.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                chunk = self._connection.take_now()
                if not chunk:
                    return
                size += len(chunk)
                for piece in (chunk,) if inflater is None else inflater.feed(chunk):
                    yield piece
        except CannotInflate as error:
            raise Broken(str(error)) from error
        except (ConnectionBroken, TimeoutError) as error:
            raise _broken(error) from error

    def cut(self) -> None:
        """Close the connection: the provider is to stop."""
        self._connection.abort()


def _broken(error: BaseException) -> Broken:
    if isinstance(error, TimeoutError):
        return Broken("the provider did not answer in time", timed_out=True)
    return Broken("the connection to the provider broke")


class Upstream:
    """The connections of one process. ``start`` and ``stop`` run on its event loop."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._pool: HttpPool | None = None

    async def start(self) -> None:
        """Make the pool; nothing is connected yet."""
        config = self._config
        self._pool = HttpPool(connect_seconds=config.connect_seconds, idle_seconds=config.idle_seconds)

    async def stop(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def send(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> _Sending:
        """Send a call once, in an ``async with``. This, or entering it, raises NotSent where it cannot have arrived;
        entering it raises Broken where it may have."""
        pool = self._pool
        if pool is None:
            raise RuntimeError("the pool has not been started")
        try:
            target = target_of(url)
        except ValueError as error:
            raise NotSent("the provider's address cannot be read") from error
        head = head_of(method, target, headers, None if body is None else len(body))
        return _Sending(pool, target, head, body or b"", self._config)


def head_of(method: str, target: Target, headers: Sequence[tuple[str, str]], length: int | None) -> bytes:
    """The head of a request, whose body has this length (None: it has none). Raises NotSent for what cannot be
    written."""
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"content-length: {length}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    try:
        if "\0" in text or text.count("\r") != breaks or text.count("\n") != breaks:
            # A line break inside of a header would begin another header, or another call.
            raise NotSent("the request cannot be written as HTTP")
        return text.encode() + b"\r\n\r\n"
    except UnicodeEncodeError as error:
        raise NotSent("the request cannot be written as HTTP") from error


class _Sending:
    """One call under way: the answer's head when it is entered, its connection given back or closed when it is left."""

    __slots__ = ("_body", "_config", "_connection", "_head", "_pool", "_target")

    def __init__(self, pool: HttpPool, target: Target, head: bytes, body: bytes, config: GatewayConfig) -> None:
        self._pool = pool
        self._target = target
        self._head = head
        self._body = body
        self._config = config
        self._connection: HttpConnection | None = None

    async def __aenter__(self) -> Answer:
        pool, config = self._pool, self._config
        deadline = pool.now() + config.total_seconds
        try:
            connection = await pool.take(self._target.origin)
        except (OSError, TimeoutError, ValueError) as error:
            raise NotSent("the provider cannot be reached") from error
        try:
            connection.write(self._head, self._body, deadline)
            await connection.head()
            answer = Answer(connection, config.answer_bytes_max)
        except BaseException as error:
            # What is not entered is not left either.
            connection.abort()
            pool.give_back(connection)
            if isinstance(error, (ConnectionBroken, TimeoutError)):
                raise _broken(error) from error
            raise
        self._connection = connection
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        if connection is None:
            return
        if isinstance(error, asyncio.CancelledError):
            connection.abort()
        # What was read to its end goes back to the pool; anything else is closed.
        self._pool.give_back(connection)
