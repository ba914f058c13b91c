"""A real server in the test's process whose clock the test sets: for what happened at known times.

Owns ``TraceServer``. Invariants: requests come over a socket and through the same server class as in production; the
clock stands where the test put it, and never runs; the server and its thread are gone at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

from api.app import make_app
from api.server import Server, server_config
from api.settings import Settings
from ledger.services.books import open_new_book
from ledger.services.sources import Sources
from ledger.storage import migrate

STARTED_SECONDS = 30.0


class SetClock(Sources):
    """A clock that stands still until it is set; ``moment`` is in microseconds since 1970 UTC."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = time.time_ns() // 1_000

    def now_us(self) -> int:
        return self.moment

    def decision_time(self, clock_us: int) -> int:
        return self.moment

    def elapsed_us(self) -> int:
        return self.moment


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    json: Any


class _ThreadedServer(Server):
    """The server, which leaves signals to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class TraceServer:
    """A server with one book, ``admin_key`` its key; a context manager."""

    def __init__(self, database_url: str) -> None:
        self.clock = SetClock()
        migrate.upgrade(database_url)
        opened = open_new_book(database_url, name="acme", currency="USD", timezone="UTC", sources=self.clock)
        self.admin_key = opened.admin_key
        app = make_app(Settings(database_url=database_url, sweep_interval_seconds=0), sources=self.clock)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._started = threading.Event()
        self._config = server_config(app.edge, app.context)
        self._server = _ThreadedServer(self._config, app.context, self._started.set)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", self._listener.getsockname()[1], timeout=30)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=self._config.get_loop_factory()) as runner:
            runner.run(self._server.serve(sockets=[self._listener]))

    def __enter__(self) -> TraceServer:
        self._thread.start()
        if not self._started.wait(STARTED_SECONDS):
            raise AssertionError("the server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._server.begin_exit()
        self._thread.join(STARTED_SECONDS)
        self._listener.close()

    def send(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:
        """One request, with the admin key unless another is given."""
        headers = {"Authorization": f"Bearer {key or self.admin_key}", "Idempotency-Key": uuid.uuid4().hex}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read()))

    def make(self, path: str, body: Any, *, key: str | None = None) -> Any:
        """Post what must succeed; its answer."""
        answer = self.send("POST", path, body, key=key)
        if answer.status not in (200, 201):
            raise AssertionError(f"POST {path}: {answer.status} {answer.json}")
        return answer.json
