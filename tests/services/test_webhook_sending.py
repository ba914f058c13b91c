"""Sending one webhook: to the address that was checked, within its time, whatever the other side does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.services.webhook_sending import ANSWER_BYTES_MAX, Sent, send
from ledger.services.webhook_targets import parse_target
from tests.support import certificate
from tests.support.receiver import receiver

TLS = ssl.create_default_context()


@contextmanager
def talker(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does as told with one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    talk(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(5)


def sent_to(
    port: int,
    *,
    timeout_seconds: float = 2.0,
    scheme: str = "http",
    host: str = "alerts.example.com",
    tls: ssl.SSLContext = TLS,
) -> Sent:
    """What becomes of a webhook to this port of this machine, under a name that nobody looks up."""
    target = parse_target(f"{scheme}://{host}:{port}/in?x=1", allow_http=True)
    headers = {"content-type": "application/json", "webhook-id": "evt_1"}
    return send(target, ["127.0.0.1"], headers=headers, body=b"{}", timeout_seconds=timeout_seconds, tls=tls)


def answering(text: bytes) -> Callable[[socket.socket], None]:
    """A talker that answers these bytes to whatever comes."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(text)
        time.sleep(0.2)

    return talk


def test_a_webhook_arrives_whole() -> None:
    """Path with query, host by its name and not by its address, length, body."""
    with receiver() as there:
        port = int(there.url.rpartition(":")[2])
        assert sent_to(port) == Sent(204)
        (request,) = there.received
    assert (request.path, request.body) == ("/in?x=1", b"{}")
    assert request.headers["host"] == f"alerts.example.com:{port}"
    assert request.headers["webhook-id"] == "evt_1"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Sent(200)),
        (b"HTTP/1.0 204 No Content\r\n\r\n", Sent(204)),
        (b"HTTP/1.1 500\r\n\r\n", Sent(500)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", Sent(202)),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Sent(None, "bad_answer")),
        (b"220 mail.example.com ESMTP\r\n", Sent(None, "bad_answer")),
        (b"", Sent(None, "bad_answer")),
        (b"x" * (ANSWER_BYTES_MAX * 2), Sent(None, "bad_answer")),
    ],
)
def test_the_status_of_the_answer_is_what_counts(answer: bytes, expected: Sent) -> None:
    """Of the final answer; what is no HTTP is none, however long."""
    with talker(answering(answer)) as port:
        assert sent_to(port) == expected


def test_a_redirect_is_not_followed() -> None:
    """It could lead anywhere."""
    with receiver() as there:
        there.answer = lambda request: 302
        assert sent_to(int(there.url.rpartition(":")[2])) == Sent(302)
        assert len(there.received) == 1
    assert not Sent(302).delivered


def drip(connection: socket.socket) -> None:
    """One byte after the other, for ever."""
    for _ in range(600):
        connection.sendall(b"H")
        time.sleep(0.05)


def silent(connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    connection.recv(65_536)
    connection.recv(1)


def deaf(connection: socket.socket) -> None:
    """Takes nothing at all."""
    time.sleep(3)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("talk", [drip, silent, deaf])
def test_an_attempt_ends_at_its_deadline(talk: Callable[[socket.socket], None], scheme: str) -> None:
    """However slowly the other side speaks, in plain text or within the handshake."""
    with talker(talk) as port:
        start = time.monotonic()
        found = sent_to(port, timeout_seconds=0.5, scheme=scheme)
        assert time.monotonic() - start < 2.0
    assert not found.delivered
    assert found.problem in ("timeout", "tls_failed", "bad_answer")


def test_nobody_there_is_a_failure() -> None:
    """As is TLS with who speaks none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert sent_to(port) == Sent(None, "connection_failed")
    with receiver() as there:
        assert sent_to(int(there.url.rpartition(":")[2]), scheme="https").problem == "tls_failed"


def test_the_next_address_is_tried() -> None:
    """When the first takes no connection."""
    with receiver() as there:
        target = parse_target(there.url, allow_http=True)
        found = send(target, ["127.0.0.2", "127.0.0.1"], headers={}, body=b"", timeout_seconds=4, tls=TLS)
    assert found == Sent(204)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[int]:
    """The port of a receiver that shows the certificate of alerts.example.com."""
    for name, text in (("cert.pem", certificate.CERTIFICATE), ("key.pem", certificate.KEY)):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            inner.recv(65_536)
            inner.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with talker(talk) as port:
        yield port


def test_tls_is_verified_against_the_name(secured: int) -> None:
    """And not against the address that is connected to."""
    believing = ssl.create_default_context(cadata=certificate.CERTIFICATE)
    assert sent_to(secured, scheme="https", tls=believing) == Sent(204)


@pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1"])
def test_the_certificate_of_another_is_refused(secured: int, host: str) -> None:
    """The name that was registered, and no other that is at the same address."""
    believing = ssl.create_default_context(cadata=certificate.CERTIFICATE)
    assert sent_to(secured, scheme="https", host=host, tls=believing) == Sent(None, "tls_failed")


def test_a_certificate_that_nobody_vouches_for_is_refused(secured: int) -> None:
    """Although the name fits."""
    assert sent_to(secured, scheme="https") == Sent(None, "tls_failed")
