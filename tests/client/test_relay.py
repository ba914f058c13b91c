"""The relay to the gateway: what it passes on, what it refuses, and what happens when a side goes away."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursar.run.gateway_url import GatewayUrl
from bursar.run.relay import Relay
from tests.client.scripted_server import ScriptedServer
from tests.support import certificate
from tests.support.server import free_port, wait_until


class Door:
    """A relay that runs, and the port it listens on."""

    def __init__(self, gateway: GatewayUrl, headers: tuple[tuple[str, str], ...] = ()) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.relay = Relay(gateway, listener, headers)
        self.relay.start()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)


@pytest.fixture
def door(server: ScriptedServer) -> Iterator[Door]:
    """A relay to the scripted server."""
    made = Door(GatewayUrl("http", "127.0.0.1", server.port, ""))
    yield made
    made.relay.stop()


def test_requests_follow_one_another_on_one_connection_with_the_gateways_host(
    server: ScriptedServer, door: Door
) -> None:
    """Whatever host the command writes: behind a shared proxy it would lead elsewhere."""
    connection = door.connect()
    for number in range(5):
        connection.request("POST", "/x?a=1", json.dumps({"n": number}), {"Host": "api.openai.com", "X-Mine": "1"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["echo"]) == (200, {"n": number})
    assert {seen.headers["host"] for seen in server.seen} == {f"127.0.0.1:{server.port}"}
    assert {(seen.headers["x-mine"], seen.query["a"]) for seen in server.seen} == {("1", "1")}


def test_a_large_body_and_one_of_unknown_length(server: ScriptedServer, door: Door) -> None:
    """Bodies go through whole, chunked or not."""
    text = "x" * 3_000_000
    connection = door.connect()
    connection.request("POST", "/x", json.dumps(text))
    assert json.loads(connection.getresponse().read())["echo"] == text
    connection.request("POST", "/x", iter([b'"a', b'b"']), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["echo"] == "ab"


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(door: Door) -> None:
    """curl does for larger bodies, and waits a second for nothing otherwise."""
    with socket.create_connection(("127.0.0.1", door.port), 20) as raw:
        raw.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(b"{}")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")


def test_what_is_streamed_comes_as_it_is_sent(server: ScriptedServer, door: Door) -> None:
    """The first event is there while the second has not been sent."""
    connection = door.connect()
    connection.request("POST", "/stream", "{}")
    answer = connection.getresponse()
    assert answer.read1(100) == b"one"
    server.streaming.set()
    assert answer.read() == b"two"


def test_a_command_that_hangs_up_takes_the_gateways_connection_with_it(server: ScriptedServer) -> None:
    """The gateway must see that its client has gone, and settle what was used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Door(GatewayUrl("http", "127.0.0.1", listener.getsockname()[1], ""))
        connection = made.connect()
        connection.request("POST", "/x", "{}")
        taken, _ = listener.accept()
        taken.settimeout(20)
        assert taken.recv(1000).startswith(b"POST /x")
        taken.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        answer = connection.getresponse()
        assert answer.read1(3) == b"one"
        answer.close()
        connection.close()
        rest = taken.recv(1000)
        while rest and rest.startswith(b"{}"):
            rest = taken.recv(1000)
        assert rest == b""
        made.relay.stop()


def test_a_gateway_that_breaks_off_is_not_made_to_look_complete() -> None:
    """A stream that was cut must not end as if it were whole."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Door(GatewayUrl("http", "127.0.0.1", listener.getsockname()[1], ""))
        connection = made.connect()
        connection.request("GET", "/x")
        taken, _ = listener.accept()
        taken.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        taken.close()
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
        made.relay.stop()


def test_a_gateway_that_is_away_is_a_502_with_a_sentence() -> None:
    """Also for a body that was under way."""
    made = Door(GatewayUrl("http", "127.0.0.1", free_port(), ""))
    connection = made.connect()
    connection.request("POST", "/x", "x" * 500_000)
    answer = connection.getresponse()
    assert answer.status == 502
    assert json.loads(answer.read())["detail"].startswith("the gateway cannot be reached")
    made.relay.stop()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/bursar/openai/v1/x", 200),
        ("/bursar/v1/me", 401),
        ("/other", 403),
        ("/bursary", 403),
        ("/bursar/../other", 403),
        ("/bursar/%2e%2e/other", 403),
        ("http://elsewhere/bursar/x", 403),
    ],
)
def test_only_what_is_below_the_gateways_path_is_passed_on(server: ScriptedServer, target: str, status: int) -> None:
    """Another service of the same host is not the gateway."""
    made = Door(GatewayUrl("http", "127.0.0.1", server.port, "/bursar"))
    connection = made.connect()
    server.refusals["/bursar/v1/me"] = (401, {})
    connection.request("GET", target)
    assert connection.getresponse().status == status
    assert len(server.seen) == (status != 403)
    made.relay.stop()


def test_it_is_no_proxy(server: ScriptedServer, door: Door) -> None:
    """CONNECT would be a way to anywhere."""
    with socket.create_connection(("127.0.0.1", door.port), 20) as raw:
        raw.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 403")
    assert server.seen == []


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\x00\r\n\r\n"]
)
def test_what_is_not_http_ends_the_connection(server: ScriptedServer, door: Door, garbage: bytes) -> None:
    """TLS to another name inside the door, or a request that two parsers may read in two ways."""
    with socket.create_connection(("127.0.0.1", door.port), 20) as raw:
        raw.sendall(garbage + b"\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        raw.recv(1000)
    assert server.seen == []


def test_tls_goes_out_with_the_gateways_name_and_its_certificate_is_checked(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside is plain HTTP; outside, nobody who cannot prove the gateway's name gets the key."""
    (tmp_path / "both.pem").write_text(certificate.KEY + certificate.CERTIFICATE)
    (tmp_path / "trusted.pem").write_text(certificate.CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "both.pem")
    names: list[str | None] = []
    tls.sni_callback = lambda connection, name, context: names.append(name)
    server.server.socket = tls.wrap_socket(server.server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: found("127.0.0.1" if ".example" in host else host, *rest, **more),
    )
    for host, status in ((certificate.HOST, 200), ("other.example.com", 502)):
        made = Door(GatewayUrl("https", host, server.port, ""))
        connection = made.connect()
        connection.request("POST", "/x", "{}")
        answer = connection.getresponse()
        assert answer.status == status, answer.read()
        made.relay.stop()
    assert names[0] == certificate.HOST
    assert [seen.headers["host"] for seen in server.seen] == [f"{certificate.HOST}:{server.port}"]


def test_stopping_ends_every_connection(server: ScriptedServer, door: Door) -> None:
    """What a command left running cannot go on through the door."""
    connection = door.connect()
    connection.request("POST", "/stream", "{}")
    answer = connection.getresponse()
    assert answer.read1(100) == b"one"
    door.relay.stop()
    with pytest.raises((http.client.HTTPException, OSError)):
        answer.read()
    wait_until(lambda: refused(door.port), seconds=10, what="the end of listening")


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return True
    return False
