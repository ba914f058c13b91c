"""Sending one webhook over HTTP/1.1 to an address that was checked.

Invariants: the whole attempt ends at its deadline, however slowly the other side speaks; no redirect is followed, no
proxy asked and no name resolved; of the answer at most ``ANSWER_BYTES_MAX`` are read, and only its status is kept; TLS
is verified against the host's name.
"""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ledger.services.webhook_targets import Target

ANSWER_BYTES_MAX: Final = 16_384
_CHUNK: Final = 4_096
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")


class Sent(NamedTuple):
    """How an attempt went: the answer's status, or None with a word for what went wrong."""

    status: int | None
    problem: str = ""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def result(self) -> str:
        """One word for records: ``http_204``, ``timeout``, …"""
        return self.problem if self.status is None else f"http_{self.status}"


class _Deadline:
    """Cuts whatever socket is in use when the time is over, from a thread of its own."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Cut this socket when the time is over, or now if it is."""
        with self._lock:
            self._socket = connection
            if self.passed:
                _shut(connection)

    def stop(self) -> None:
        """Nothing is to be cut any more."""
        self._timer.cancel()

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                _shut(self._socket)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Past any TLS layer: its own shutdown would wait for the other side.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def request_bytes(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """The request as it travels."""
    lines = [f"POST {target.path} HTTP/1.1", f"host: {target.host_header}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["accept: */*", "connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def send(
    target: Target,
    addresses: Sequence[str],
    *,
    headers: Mapping[str, str],
    body: bytes,
    timeout_seconds: float,
    tls: ssl.SSLContext,
) -> Sent:
    """Send once. ``addresses`` were checked; the first that takes a connection is used. Never raises for what the
    other side does."""
    deadline = _Deadline(timeout_seconds)
    connection: socket.socket | None = None
    try:
        connection = _connect(target, addresses, timeout_seconds, deadline)
        if target.secure:
            secured = tls.wrap_socket(connection, server_hostname=target.host, do_handshake_on_connect=False)
            connection = secured
            deadline.watch(secured)
            secured.do_handshake()
        connection.sendall(request_bytes(target, headers, body))
        status = _read_status(connection)
        return Sent(None, "bad_answer") if status is None else Sent(status)
    except ssl.SSLError:
        return Sent(None, "timeout" if deadline.passed else "tls_failed")
    except TimeoutError:
        return Sent(None, "timeout")
    except (OSError, ValueError):
        return Sent(None, "timeout" if deadline.passed else "connection_failed")
    finally:
        deadline.stop()
        if connection is not None:
            connection.close()


def _connect(target: Target, addresses: Sequence[str], timeout_seconds: float, deadline: _Deadline) -> socket.socket:
    share = timeout_seconds / len(addresses)
    failed: OSError | None = None
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(share)
            deadline.watch(connection)
            connection.connect((address, target.port))
            connection.settimeout(timeout_seconds)
            return connection
        except OSError as error:
            connection.close()
            failed = error
    raise failed or OSError("no address")


def _read_status(connection: socket.socket) -> int | None:
    """The status of the final answer: what a 1xx announces is read on. None for what is no HTTP."""
    read = b""
    while len(read) < ANSWER_BYTES_MAX:
        found = _STATUS.match(read)
        if found is not None:
            status = int(found[1])
            if status >= 200:
                return status
            end = read.find(b"\r\n\r\n")
            if end >= 0:
                read = read[end + 4 :]
                continue
        elif b"\n" in read:
            return None
        chunk = connection.recv(_CHUNK)
        if not chunk:
            return None
        read += chunk
    return None
