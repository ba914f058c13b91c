"""HTTP clients for tests of concurrency and crashes: one keep-alive connection each, and nothing repeated by itself.

Owns ``Client``, ``Office`` (who sets a book up) and what they hear. Invariant: a client that got no whole answer says
``NoAnswer`` and never asks again on its own, because what a test must know is what was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")
ANSWER_SECONDS = 60.0
HEAD_BYTES_MAX = 1 << 20


class NoAnswer(Exception):
    """The connection ended before a whole answer was there: the request may have been carried out or not."""


class Answer(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; nothing for a success."""
        return str(self.json["code"]) if self.status >= 400 else ""

    @property
    def replayed(self) -> bool:
        """Whether the answer was recorded by an earlier request."""
        return self.headers.get("idempotency-replayed") == "true"


def request_bytes(
    method: str, path: str, *, key: str, body: Any = None, idempotency_key: str | None = None, port: int = 80
) -> bytes:
    """A whole request as a client sends it."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}"]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    if idempotency_key is not None:
        lines.append(f"Idempotency-Key: {idempotency_key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


class Client:
    """One key on one connection at a time, made anew after it was lost."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def connect(self) -> None:
        """Have a connection before the first request. Raises NoAnswer."""
        try:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=HEAD_BYTES_MAX)
        except OSError as error:
            raise NoAnswer(repr(error)) from error

    async def post(self, path: str, body: Any, *, idempotency_key: str | None = None) -> Answer:
        """Write once, with a fresh idempotency key unless one is given. Raises NoAnswer."""
        return await self.send("POST", path, body, idempotency_key=idempotency_key or uuid.uuid4().hex)

    async def get(self, path: str) -> Answer:
        """Read once. Raises NoAnswer."""
        return await self.send("GET", path)

    async def send(self, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Answer:
        """Send one request and read its answer. Raises NoAnswer."""
        request = request_bytes(method, path, key=self.key, body=body, idempotency_key=idempotency_key, port=self.port)
        if self._writer is None:
            await self.connect()
        try:
            answer = await asyncio.wait_for(self._exchange(request), ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise NoAnswer(repr(error)) from error
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _exchange(self, request: bytes) -> Answer:
        if self._reader is None or self._writer is None:
            raise EOFError("no connection")
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status_line.split(" ", 2)[1]), headers, body)


async def at_once(
    ports: Sequence[int], key: str, count: int, work: Callable[[Client, int], Awaitable[Result]]
) -> list[Result]:
    """Run ``work(client, number)`` for ``count`` clients that are all connected before the first one asks. The clients
    are dealt out over the ports."""
    clients = [Client(ports[number % len(ports)], key) for number in range(count)]
    try:
        await asyncio.gather(*(client.connect() for client in clients))
        return list(await asyncio.gather(*(work(client, number) for number, client in enumerate(clients))))
    finally:
        for client in clients:
            client.close()


class Office:
    """Who sets a book up, one call at a time; insists on success."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request, with any answer. ``body`` bytes are sent as they are."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {key or self.key}"}
        if method == "POST":
            given |= {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        given |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            # A server that refuses a body before it has read it may close while the client still writes; what it said
            # can be read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, content, {name: value for name, value in given.items() if value})
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )

    def make(self, path: str, body: Any, *, key: str | None = None) -> Any:
        """Post what must succeed; its answer."""
        answer = self.send("POST", path, body, key=key)
        if answer.status not in (200, 201):
            raise AssertionError(f"POST {path}: {answer.status} {answer.body.decode()}")
        return answer.json

    def get(self, path: str, *, key: str | None = None) -> Any:
        """Read what must be there."""
        answer = self.send("GET", path, key=key)
        if answer.status != 200:
            raise AssertionError(f"GET {path}: {answer.status} {answer.body.decode()}")
        return answer.json

    def make_agent(self, name: str, *, budget: str | None = None, allocated: str = "100.00") -> str:
        """Make an agent with a key, and a budget of its own with money; the key."""
        self.make("/v1/agents", {"name": name})
        if budget is not None:
            self.make("/v1/budgets", {"name": budget, "currency": "USD", "agents": [name]})
            self.make(f"/v1/budgets/{budget}/allocations", {"amount": usd(allocated)})
        return str(self.make("/v1/keys", {"role": "agent", "agent": name})["key"])

    def make_person(self, role: str, name: str) -> str:
        """Make a key for a person; its text."""
        return str(self.make("/v1/keys", {"role": role, "person": name})["key"])

    def log_size(self) -> int:
        """How many records the book has."""
        return int(self.get("/v1/book")["log_size"])


def usd(amount: str) -> dict[str, str]:
    """An amount in US dollars."""
    return {"amount": amount, "currency": "USD"}


def authorization(amount: str = "1.00", **more: Any) -> dict[str, Any]:
    """The body of an authorization whose hold outlives every test."""
    return {"amount": usd(amount), "category": "inference", "payee": "openai", "ttl_seconds": 86_400, **more}
