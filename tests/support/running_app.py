"""A whole application in the test's process: real database, real writer threads, no socket.

Owns ``RunningApp``. Invariant: a request passes through the edge exactly as a server would hand it over; the loop, the
writers and the database are closed at the end.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Coroutine
from typing import Any, NamedTuple

import orjson

from api.app import make_app
from api.settings import Settings
from gateway.facts import Telemetry
from ledger.services.books import open_new_book
from ledger.services.sources import Sources
from ledger.storage import migrate


class Answer(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the problem."""
        return str(self.json["code"])


class RunningApp:
    """An app on a new database with one book, ``admin_key`` its key; a context manager."""

    def __init__(
        self,
        database_url: str,
        *,
        sources: Sources | None = None,
        telemetry: Telemetry | None = None,
        **settings: Any,
    ) -> None:
        migrate.upgrade(database_url)
        self.database_url = database_url
        self.admin_key = self.open_book("acme")
        self.app = make_app(Settings(database_url=database_url, **settings), sources=sources, telemetry=telemetry)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._lifespan: Any = None

    def open_book(self, name: str) -> str:
        """Open another book in the same database; its admin key."""
        return open_new_book(self.database_url, name=name, currency="USD", timezone="UTC").admin_key

    def __enter__(self) -> RunningApp:
        self._thread.start()
        self._lifespan = self.app.inner.router.lifespan_context(self.app.inner)
        self._run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
        behind: bool = False,
    ) -> Answer:
        """Send one request through the edge; with ``behind``, past the hot handlers, to FastAPI."""
        edge = self.app.edge
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers or [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        sent: list[Any] = []

        given = asyncio.Event()

        async def receive() -> Any:
            if given.is_set():
                # The client stays, and says nothing more.
                await asyncio.Event().wait()
            given.set()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async def past_the_hot_handlers() -> None:
            from api.request import Asked

            await edge._behind(scope, Asked(scope), receive, send)

        self._run(past_the_hot_handlers() if behind else edge(scope, receive, send))
        start = sent[0]
        return Answer(
            start["status"],
            {name.decode().lower(): value.decode() for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )

    def get(self, path: str, *, key: str | None = None) -> Answer:
        """Read, with the admin key unless another is given."""
        return self.request("GET", path, headers=[_bearer(key or self.admin_key)])

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        behind: bool = False,
    ) -> Answer:
        """Write, with the admin key and a new idempotency key unless others are given."""
        return self.request(
            "POST",
            path,
            body=body if isinstance(body, bytes) else orjson.dumps({} if body is None else body),
            headers=[
                _bearer(key or self.admin_key),
                (b"content-type", b"application/json"),
                (b"idempotency-key", (idempotency_key or uuid.uuid4().hex).encode("latin-1")),
            ],
            behind=behind,
        )

    def make(self, path: str, body: Any, *, key: str | None = None) -> Any:
        """Post what must succeed; its answer."""
        answer = self.post(path, body, key=key)
        if answer.status not in (200, 201):
            raise AssertionError(f"POST {path}: {answer.status} {answer.body.decode()}")
        return answer.json

    def make_agent(self, name: str, *, budget: str | None = None, allocated: str = "100.00") -> str:
        """Make an agent in team ``team-of-NAME`` with a key, and a budget of its own; the key."""
        self.make("/v1/teams", {"name": f"team-of-{name}"})
        self.make("/v1/agents", {"name": name, "parent": f"team-of-{name}"})
        if budget is not None:
            self.make("/v1/budgets", {"name": budget, "currency": "USD", "agents": [name]})
            self.make(f"/v1/budgets/{budget}/allocations", {"amount": usd(allocated)})
        return str(self.make("/v1/keys", {"role": "agent", "agent": name})["key"])

    def log_size(self) -> int:
        """How many records the book has."""
        return int(self.get("/v1/book").json["log_size"])


def usd(amount: str) -> dict[str, str]:
    """An amount in US dollars."""
    return {"amount": amount, "currency": "USD"}


def authorization(amount: str = "1.00", **more: Any) -> dict[str, Any]:
    """The body of an authorization."""
    return {"amount": usd(amount), "category": "inference", "payee": "openai", **more}


def _bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key.encode()
