"""A receiver of webhooks on this machine: keeps what came, and answers as the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson

Answer = Callable[["Received"], int]


@dataclass
class Received:
    """One request: its path, headers in lower case, body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        """The event's type."""
        return str(orjson.loads(self.body)["type"])

    @property
    def data(self) -> dict[str, object]:
        """What the event says."""
        data: dict[str, object] = orjson.loads(self.body)["data"]
        return data


@dataclass
class Receiver:
    """``url`` takes webhooks; ``answer`` gives the status of each."""

    url: str
    received: list[Received] = field(default_factory=list)
    answer: Answer = lambda request: 204
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> int:
        """Keep a request; its status."""
        with self.changed:
            self.received.append(request)
            self.changed.notify_all()
        return self.answer(request)

    def wait_for(self, count: int, timeout_seconds: float = 20.0) -> list[Received]:
        """The requests, once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= count, timeout_seconds), self.received
            return list(self.received)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that runs until the end of the block."""
    made = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = made.take(Received(self.path, headers, body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", made.url + "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *parts: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
