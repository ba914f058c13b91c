"""The client side of the gateway, against bytes made by hand: which answers are whole, and which connection is used
again."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.http_connection import WAITING_BYTES_MAX
from gateway.http_pool import target_of
from gateway.upstream import Answer, AnswerTooLong, Broken, NotSent, Upstream, head_of
from tests.support.certificate import CERTIFICATE, HOST, KEY
from tests.support.raw_upstream import RawUpstream, whole
from tests.support.raw_upstream import head_of as answer_head

OK = whole("200 OK", b"first")
CONFIG = GatewayConfig(idle_seconds=20, total_seconds=40, connect_seconds=10)


@pytest.fixture
def provider() -> Iterator[RawUpstream]:
    with RawUpstream(OK) as listening:
        yield listening


def asked(
    provider: RawUpstream,
    *,
    calls: int = 1,
    config: GatewayConfig = CONFIG,
    body: bytes = b"{}",
    use: Callable[[Answer], Awaitable[object]] | None = None,
) -> list[object]:
    """What each of so many calls made of its answer, or the exception that it ended with."""

    async def run() -> list[object]:
        upstream = Upstream(config)
        await upstream.start()
        found: list[object] = []
        try:
            for _ in range(calls):
                try:
                    url = f"http://127.0.0.1:{provider.port}/v1/x"
                    async with upstream.send("POST", url, [("x-a", "b")], body) as answer:
                        found.append(await (use(answer) if use is not None else answer.read()))
                except (Broken, NotSent, AnswerTooLong) as error:
                    found.append(error)
        finally:
            await upstream.stop()
        return found

    return asyncio.run(run())


WHOLE = {
    "by its length": OK,
    "in chunks": answer_head("200 OK", "transfer-encoding: chunked") + b"2\r\nfi\r\n3\r\nrst\r\n0\r\n\r\n",
    "in chunks with trailers": (
        answer_head("200 OK", "transfer-encoding: chunked") + b"5\r\nfirst\r\n0\r\ncontent-type: x\r\n\r\n"),
    "after another head": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK,
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_leaves_its_connection_to_the_next_call(provider: RawUpstream, name: str) -> None:
    provider.answer = WHOLE[name]
    assert asked(provider, calls=3) == [b"first"] * 3
    assert provider.connections == 1


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_may_come_byte_by_byte(provider: RawUpstream, name: str) -> None:
    def slowly(connection: socket.socket, request: bytes) -> None:
        for at in range(len(WHOLE[name])):
            connection.sendall(WHOLE[name][at : at + 1])
            time.sleep(0.0005)

    provider.answer = slowly
    assert asked(provider, calls=2) == [b"first"] * 2


def closing(data: bytes) -> Callable[[socket.socket, bytes], None]:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


NOT_AGAIN = {
    "it says so": whole("200 OK", b"first", "connection: close"),
    "it is old": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nfirst",
    "more came behind it": OK + b"HTTP/1.1 200 OK\r\n",
    "something else came behind it": OK + b"oh",
}


@pytest.mark.parametrize("name", NOT_AGAIN)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(provider: RawUpstream, name: str) -> None:
    provider.answer = NOT_AGAIN[name]
    assert asked(provider, calls=2) == [b"first"] * 2
    assert provider.connections == 2


def test_an_answer_without_a_length_ends_with_its_connection(provider: RawUpstream) -> None:
    provider.answer = closing(answer_head("200 OK") + b"first")
    assert asked(provider, calls=2) == [b"first"] * 2
    assert provider.connections == 2


CUT_SHORT = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "half a body": answer_head("200 OK", "content-length: 9") + b"first",
    "no last chunk": answer_head("200 OK", "transfer-encoding: chunked") + b"5\r\nfirst\r\n",
    "a head that never comes": b"HTTP/1.1 100 Continue\r\n\r\n",
    "two lengths": answer_head("200 OK", "content-length: 5", "content-length: 6") + b"first",
    "a length and chunks": (
        answer_head("200 OK", "content-length: 5", "transfer-encoding: chunked") + b"5\r\nfirst\r\n0\r\n\r\n"),
    "an upgrade": answer_head("101 Switching Protocols", "upgrade: x", "connection: upgrade"),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT_SHORT)
def test_what_is_not_whole_is_never_taken_for_whole(provider: RawUpstream, name: str) -> None:
    provider.answer = closing(CUT_SHORT[name])
    (found,) = asked(provider)
    assert isinstance(found, Broken)
    assert not found.timed_out


def test_heads_and_trailers_without_end_are_not_kept(provider: RawUpstream) -> None:
    def endless(begin: bytes) -> Callable[[socket.socket, bytes], None]:
        def answer(connection: socket.socket, request: bytes) -> None:
            with contextlib.suppress(OSError):
                connection.sendall(begin)
                for _ in range(64):
                    connection.sendall(b"x-more: " + b"a" * 65_536 + b"\r\n")

        return answer

    chunked = answer_head("200 OK", "transfer-encoding: chunked") + b"5\r\nfirst\r\n0\r\n"
    for begin in (b"HTTP/1.1 200 OK\r\n", chunked):
        provider.answer = endless(begin)
        (found,) = asked(provider)
        assert isinstance(found, Broken)


@pytest.mark.parametrize("begun", [b"", OK[:-2]], ids=["head", "body"])
@pytest.mark.parametrize("bound", [{"idle_seconds": 0.05}, {"total_seconds": 0.05}], ids=["idle", "total"])
def test_a_silent_provider_is_left(provider: RawUpstream, begun: bytes, bound: dict[str, float]) -> None:
    def silent(connection: socket.socket, request: bytes) -> None:
        connection.sendall(begun)
        connection.recv(1)

    provider.answer = silent
    (found,) = asked(provider, config=CONFIG.model_copy(update=bound))
    assert isinstance(found, Broken)
    assert found.timed_out


def test_a_call_that_takes_long_but_is_never_silent_is_not_left(provider: RawUpstream) -> None:
    def slow(connection: socket.socket, request: bytes) -> None:
        for at in range(len(OK)):
            connection.sendall(OK[at : at + 1])
            time.sleep(0.01)

    provider.answer = slow
    assert len(OK) * 0.01 > 0.5
    assert asked(provider, config=CONFIG.model_copy(update={"idle_seconds": 0.5})) == [b"first"]


def test_who_reads_slowly_makes_the_provider_wait(provider: RawUpstream) -> None:
    """Of an answer much longer than what is kept, no more than that is ever kept, and all of it is read."""
    size = 40 * WAITING_BYTES_MAX
    provider.answer = whole("200 OK", bytes(size))
    largest = []

    async def read(answer: Answer) -> int:
        taken = 0
        async for chunk in answer.chunks():
            largest.append(len(chunk))
            taken += len(chunk)
            await asyncio.sleep(0.002)
        return taken

    assert asked(provider, use=read, calls=2) == [size, size]
    assert max(largest) <= 2 * WAITING_BYTES_MAX
    assert provider.connections == 1


def test_an_answer_longer_than_is_taken_is_left(provider: RawUpstream) -> None:
    provider.answer = whole("200 OK", bytes(2_000_000))
    found = asked(provider, config=CONFIG.model_copy(update={"answer_bytes_max": 1_000_000}))
    assert isinstance(found[0], AnswerTooLong)


def test_a_long_request_arrives_as_it_was_sent(provider: RawUpstream) -> None:
    body = bytes(range(256)) * 20_000
    assert asked(provider, body=body) == [b"first"]
    head, _, sent = provider.requests[0].partition(b"\r\n\r\n")
    assert sent == body
    assert head.split(b"\r\n") == [
        b"POST /v1/x HTTP/1.1", b"host: 127.0.0.1:%d" % provider.port, b"x-a: b", b"content-length: %d" % len(body),
    ]  # fmt: skip


def test_what_is_cut_ends_and_is_not_whole(provider: RawUpstream) -> None:
    def begin(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer_head("200 OK") + b"first")
        connection.recv(1)

    provider.answer = begin

    async def cut(answer: Answer) -> object:
        async for chunk in answer.chunks():
            assert chunk == b"first"
            answer.cut()
        return "whole"

    (found,) = asked(provider, use=cut)
    assert isinstance(found, Broken)


def test_who_waits_for_nothing_is_cancelled_and_its_connection_with_it(provider: RawUpstream) -> None:
    def silent(connection: socket.socket, request: bytes) -> None:
        connection.recv(1)

    provider.answer = silent

    async def run() -> None:
        upstream = Upstream(CONFIG)
        await upstream.start()

        async def call() -> None:
            async with upstream.send("POST", f"http://127.0.0.1:{provider.port}/", [], b""):
                pass

        try:
            await asyncio.wait_for(call(), 0.1)
        finally:
            await upstream.stop()

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    deadline = time.monotonic() + 20
    while provider.open_now and time.monotonic() < deadline:
        time.sleep(0.01)
    assert provider.open_now == 0


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def run() -> None:
        upstream = Upstream(CONFIG)
        await upstream.start()
        try:
            async with upstream.send("POST", f"http://127.0.0.1:{port}/", [], b""):
                pass
        finally:
            await upstream.stop()

    with pytest.raises(NotSent):
        asyncio.run(run())


class TlsUpstream(RawUpstream):
    """A provider behind TLS."""

    def __init__(self, answer: bytes, directory: Path) -> None:
        super().__init__(answer)
        self.certificate = directory / "certificate.pem"
        self.certificate.write_text(CERTIFICATE + KEY)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            super()._serve(self._context.wrap_socket(connection, server_side=True))


@pytest.mark.parametrize(
    ("name", "is_trusted", "is_reached"),
    [(HOST, True, True), (HOST, False, False), ("other.example.com", True, False)],
    ids=["trusted", "unknown", "another name"],
)
def test_a_provider_is_reached_over_tls_where_its_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_trusted: bool, is_reached: bool
) -> None:
    async def run(listening: TlsUpstream) -> list[object]:
        async def here(host: str, port: int, **options: object) -> list[object]:
            assert host == name
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", here)
        upstream = Upstream(CONFIG)
        await upstream.start()
        found: list[object] = []
        try:
            for _ in range(2):
                try:
                    async with upstream.send("POST", f"https://{name}:{listening.port}/", [], b"{}") as answer:
                        found.append(await answer.read())
                except (NotSent, Broken) as error:
                    found.append(error)
        finally:
            await upstream.stop()
        return found

    with TlsUpstream(OK, tmp_path) as listening:
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(listening.certificate))
        found = asyncio.run(run(listening))
    if is_reached:
        assert found == [b"first"] * 2
        assert listening.connections == 1
    else:
        assert all(isinstance(each, NotSent) for each in found)
        assert listening.requests == []


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://a.example/v1/x", "a.example", "/v1/x"),
        ("https://a.example:443/v1/x?a=b%20c", "a.example", "/v1/x?a=b%20c"),
        ("https://a.example:8443", "a.example:8443", "/"),
        ("http://[::1]:80/x", "[::1]", "/x"),
        ("http://bücher.example/x", "xn--bcher-kva.example", "/x"),
        ("http://a.example/x?q=\xe9", "a.example", "/x?q=%E9"),
    ],
)
def test_an_address_becomes_a_target_and_a_host(url: str, host: str, path: str) -> None:
    target = target_of(url)
    assert (target.host, target.path) == (host, path)


@pytest.mark.parametrize("url", ["ftp://a/x", "http:///x", "http://u:p@a/x", "http://a:x/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        target_of(url)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\ud800"])
def test_a_header_cannot_begin_another(value: str) -> None:
    with pytest.raises(NotSent):
        head_of("POST", target_of("http://a/x"), [("x-a", value)], 0)
