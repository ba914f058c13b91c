"""A provider that answers with bytes made by hand, for what no well-behaved server sends.

Owns ``RawUpstream``. Invariant: each request is read to the end of its body before it is answered, and kept as it came.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

Answering = Callable[[socket.socket, bytes], None]
"""Answers one request (head and body) on its connection."""


def head_of(status: str, *lines: str) -> bytes:
    """The head of an answer."""
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode("latin-1")


def whole(status: str, body: bytes, *lines: str) -> bytes:
    """A whole answer of JSON."""
    return head_of(status, "content-type: application/json", f"content-length: {len(body)}", *lines) + body


class RawUpstream:
    """Listens on a port of its own; a context manager. ``answer`` may be changed at any time: bytes to send, or a
    function that is handed the connection."""

    def __init__(self, answer: bytes | Answering) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.open_now = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []

    def __enter__(self) -> RawUpstream:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.open_now += 1
        try:
            yield
        finally:
            self.open_now -= 1

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                # What is sent is on its way when the call returns, and does not wait for an acknowledgement.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, self._counted():
            while request := _read(connection):
                self.requests.append(request)
                if callable(self.answer):
                    self.answer(connection, request)
                else:
                    connection.sendall(self.answer)


def _read(connection: socket.socket) -> bytes:
    """One request; nothing where the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        more = connection.recv(65_536)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body
