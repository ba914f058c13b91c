"""The way to the providers: one pool of connections, bounded in number and in time.

Owns the HTTP client. Invariants: no client is made for a call; a call is sent once, never repeated here, and no
redirect is followed; what went wrong says whether the provider can have got the call, because one that it got may be
billed; what is read is what was meant, compressed or not, and bounded in both forms.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from types import TracebackType
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from gateway.config import GatewayConfig
from gateway.inflating import DEFLATED, CannotInflate, Inflater

KEEP_ALIVE_SECONDS: Final = 15.0
"""Shorter than providers keep an idle connection, so that a call is not sent into one that was just closed."""
_UNWRITABLE: Final = re.compile(r"[\x00\r\n\ud800-\udfff]")

ARRIVED_BYTES_MAX: Final = 1 << 20
"""What is still read of a stream that is about to be cut."""


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

    __slots__ = ("_bytes_max", "_inflater", "_response", "content_type", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, bytes_max: int) -> None:
        """Raises Broken for an answer that cannot be read."""
        self._response = response
        self._bytes_max = bytes_max
        self.status = response.status
        self.headers = response.raw_headers
        self.content_type = response.content_type
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        self._inflater = Inflater() if encoding in DEFLATED else None
        if self._inflater is not None:
            # Bursar asks for none of it, but an answer that comes compressed all the same has to be metered.
            self.headers = tuple(header for header in self.headers if header[0].lower() != b"content-encoding")
        elif encoding not in ("", "identity"):
            raise Broken(f"the provider's answer is encoded as {encoding[:40]!r}, which nobody asked for")
        if not 200 <= self.status <= 599:
            raise Broken(f"the provider answered with status {self.status}")

    async def read(self) -> bytes:
        """The whole body. Raises Broken, AnswerTooLong."""
        try:
            length = self._response.content_length
            if length is not None and length <= self._bytes_max and self._inflater is None:
                return await self._response.read()
            chunks = []
            size = 0
            async for chunk in self.chunks():
                size += len(chunk)
                if size > self._bytes_max:
                    raise AnswerTooLong(f"the provider's answer is longer than {self._bytes_max} bytes")
                chunks.append(chunk)
            return b"".join(chunks)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come. Raises Broken."""
        inflater = self._inflater
        try:
            async for chunk in self._response.content.iter_any():
                if inflater is None:
                    yield chunk
                    continue
                for piece in inflater.feed(chunk):
                    yield piece
            if inflater is not None:
                inflater.end()
        except CannotInflate as error:
            raise Broken(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
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
                chunk = self._response.content.read_nowait()
                if not chunk:
                    return
                size += len(chunk)
                for piece in (chunk,) if inflater is None else inflater.feed(chunk):
                    yield piece
        except CannotInflate as error:
            raise Broken(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from error

    def cut(self) -> None:
        """Close the connection: the provider is to stop."""
        self._response.close()


def _broken(error: BaseException) -> Broken:
    if isinstance(error, TimeoutError):
        return Broken("the provider did not answer in time", timed_out=True)
    return Broken("the connection to the provider broke")


class _CleanConnector(aiohttp.TCPConnector):
    """A pool that gives out no connection on which something came while it was idle: the next call, which may be
    another agent's, would take that for its answer."""

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
        return connection


class Upstream:
    """The connections of one process. ``start`` and ``stop`` run on its event loop."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the pool; nothing is connected yet."""
        config = self._config
        connector = _CleanConnector(
            limit=config.calls_max, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=60, enable_cleanup_closed=False
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            raise_for_status=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "content-type", "user-agent", "accept-encoding"),
            timeout=aiohttp.ClientTimeout(
                total=config.total_seconds, sock_connect=config.connect_seconds, sock_read=config.idle_seconds
            ),
            max_line_size=65_536,
            max_field_size=65_536,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def send(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> _Sending:
        """Send a call once, in an ``async with``. This, or entering it, raises NotSent where it cannot have arrived;
        entering it raises Broken where it may have."""
        if self._session is None:
            raise RuntimeError("the pool has not been started")
        if any(_UNWRITABLE.search(text) for header in headers for text in header):
            raise NotSent("the request cannot be written as HTTP")
        try:
            where = URL(url, encoded=True)
        except ValueError as error:
            raise NotSent("the provider's address cannot be read") from error
        request = self._session.request(method, where, data=body, headers=headers, allow_redirects=False)
        return _Sending(request, self._config.answer_bytes_max)


class _Sending:
    """One call under way: the answer's head when it is entered, its connection given back or closed when it is left."""

    __slots__ = ("_bytes_max", "_request", "_response")

    def __init__(self, request: Awaitable[aiohttp.ClientResponse], bytes_max: int) -> None:
        self._request = request
        self._bytes_max = bytes_max
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Answer:
        try:
            response = self._response = await self._request
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NotSent("the provider cannot be reached") from error
        except ValueError as error:
            # What cannot be written as HTTP was refused before: this one may come from anywhere.
            raise Broken("the call to the provider failed") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from error
        try:
            return Answer(response, self._bytes_max)
        except Broken:
            # What is not entered is not left either.
            response.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response = self._response
        if response is None:
            return
        # What was read to its end goes back to the pool; anything else is closed.
        if response.content.at_eof() and not isinstance(error, asyncio.CancelledError):
            response.release()
        else:
            response.close()
