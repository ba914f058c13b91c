"""A small HTTP client for setting up books and replaying traces: keep-alive, bounded retries.

Invariant: a request is repeated only with the same `Idempotency-Key` it was first sent with, so a repeat
never spends twice. The load generator does not use this; it has its own protocol in `bench.load`.
"""

import asyncio
import json
import ssl
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

RETRIED_STATUSES = frozenset({429, 503})
MAXIMUM_ATTEMPTS = 60
LONGEST_PAUSE_SECONDS = 30.0
ANSWER_TIMEOUT_SECONDS = 60.0
HEAD_LIMIT_BYTES = 1 << 20


class RequestFailed(Exception):
    """The server gave no answer, or kept refusing for now, for as many attempts as we make."""


class UnexpectedStatus(Exception):
    """The server gave an answer that the caller did not expect; the message says which."""


@dataclass(frozen=True, slots=True)
class Response:
    """A status, headers with lower-case names, and the body's bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body. Raises ValueError when it is not JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def pause_seconds(headers: dict[str, str], *, attempt: int) -> float:
    """Seconds to wait before the next attempt: what `Retry-After` says, else doubling from 50 ms."""
    try:
        asked = float(headers["retry-after"])
    except (KeyError, ValueError):
        asked = 0.05 * 2 ** min(attempt, 10)
    return min(max(asked, 0.01), LONGEST_PAUSE_SECONDS)


class HttpClient:
    """At most `connections` keep-alive connections to one server; used as an asynchronous context manager."""

    def __init__(self, url: str, *, connections: int = 16) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"{url!r} is not an http or https URL")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._authority = parts.netloc
        self._root = parts.path.rstrip("/")
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self.repeats = 0
        """How many times a request had to be sent again."""

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()

    async def get(self, path: str, *, key: str) -> Response:
        """Read; repeated when refused for now."""
        return await self._with_repeats("GET", path, key=key, body=b"", idempotency_key=None)

    async def post(self, path: str, body: dict[str, Any], *, key: str, idempotency_key: str | None = None) -> Response:
        """Write with the idempotency key given (else a fresh one); repeated with it when refused for now."""
        content = json.dumps(body, separators=(",", ":")).encode()
        return await self._with_repeats(
            "POST", path, key=key, body=content, idempotency_key=idempotency_key or str(uuid.uuid4())
        )

    async def create(self, path: str, body: dict[str, Any], *, key: str) -> Any:
        """Post; return the decoded answer. Raises UnexpectedStatus unless it is 200 or 201."""
        response = await self.post(path, body, key=key)
        if response.status not in (200, 201):
            raise UnexpectedStatus(f"POST {path}: {response.status} {response.body[:500].decode(errors='replace')}")
        return response.json()

    async def _with_repeats(
        self, method: str, path: str, *, key: str, body: bytes, idempotency_key: str | None
    ) -> Response:
        lines = [
            f"{method} {self._root}{path} HTTP/1.1",
            f"Host: {self._authority}",
            f"Authorization: Bearer {key}",
        ]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if idempotency_key is not None:
            lines.append(f"Idempotency-Key: {idempotency_key}")
        request = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        problem = ""
        for attempt in range(MAXIMUM_ATTEMPTS):
            headers: dict[str, str] = {}
            try:
                async with self._slots:
                    response = await asyncio.wait_for(self._exchange(request), ANSWER_TIMEOUT_SECONDS)
                if response.status not in RETRIED_STATUSES:
                    return response
                headers = response.headers
                problem = f"{response.status} {response.body[:300].decode(errors='replace')}"
            except (OSError, EOFError, TimeoutError) as error:
                problem = repr(error)
            self.repeats += 1
            await asyncio.sleep(pause_seconds(headers, attempt=attempt))
        raise RequestFailed(f"{method} {path}: {MAXIMUM_ATTEMPTS} attempts, the last one: {problem}")

    async def _exchange(self, request: bytes) -> Response:
        if self._idle:
            connection = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=HEAD_LIMIT_BYTES
            )
            connection = _Connection(reader, writer)
        try:
            connection.writer.write(request)
            response = await _read_response(connection.reader)
        except BaseException:
            # What is still to arrive on this connection belongs to the lost request: never use it again.
            connection.writer.close()
            raise
        if response.headers.get("connection", "").lower() == "close":
            connection.writer.close()
        else:
            self._idle.append(connection)
        return response


async def _read_response(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *header_lines = head.rstrip("\r\n").split("\r\n")
    headers = {}
    for line in header_lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "chunked" in headers.get("transfer-encoding", "").lower():
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        body = b"".join(pieces)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Response(int(status_line.split(" ", 2)[1]), headers, body)
