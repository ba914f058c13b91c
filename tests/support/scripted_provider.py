"""A provider that writes exactly the bytes a test tells it to, when it tells it to.

Owns ``ScriptedProvider``. Invariants: what was asked is kept byte for byte; nothing is added to an answer; no answer
waits longer than ``WAIT_SECONDS`` for its test.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes


Script = Callable[[Asked, "Writer"], None]


class Writer:
    """Where a script writes; each write is one of the connection's."""

    def __init__(self, file: BinaryIO, go_on: threading.Semaphore) -> None:
        self._file = file
        self._go_on = go_on

    def write(self, data: bytes) -> None:
        """Send bytes at once."""
        self._file.write(data)
        self._file.flush()

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one is its end."""
        self.write(b"%x\r\n%s\r\n" % (len(data), data))

    def wait(self) -> None:
        """Wait until the test says to go on."""
        if not self._go_on.acquire(timeout=WAIT_SECONDS):
            raise TimeoutError("the test did not say to go on")


class ScriptedProvider:
    """A context manager. ``script`` answers every further request; each connection carries one."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: Script = lambda asked, writer: None
        self._go_on = threading.Semaphore(0)
        provider = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = _read(self.rfile)
                if asked is not None:
                    provider.asked.append(asked)
                    provider.script(asked, Writer(self.wfile, provider._go_on))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its base URL for OpenAI's wire."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def go_on(self) -> None:
        """Let the script pass one ``wait``."""
        self._go_on.release()

    def __enter__(self) -> ScriptedProvider:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _read(file: BinaryIO) -> Asked | None:
    """One request; None where the client only connected."""
    line = file.readline().decode("latin-1").strip()
    if not line:
        return None
    headers: list[tuple[str, str]] = []
    while field := file.readline().decode("latin-1").strip():
        name, _, value = field.partition(":")
        headers.append((name.lower(), value.strip()))
    length = int(dict(headers).get("content-length", "0"))
    return Asked(line, headers, file.read(length))
