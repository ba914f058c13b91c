"""Bytes that no well-behaved provider or client sends: what the gateway makes of them, and what it never passes on."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.failing import BODY, CHUNKS, COST, USAGE, Fate
from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.gateway import GatewayWorld, chat, error_of, gateway_world
from tests.support.raw_upstream import RawUpstream, head_of, whole
from tests.support.server import verified, wait_until

PATH = "/openai/v1/chat/completions"
ANSWER_MAX = 65_536


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(whole("200 OK", BODY)) as made:
        yield made


@pytest.fixture(scope="module")
def world(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("bytes")
    config = {"idle_seconds": 2, "calls_per_agent_max": 1, "answer_bytes_max": ANSWER_MAX, "body_bytes_max": 100_000}
    options: dict[str, Any] = {"headers": {"x-team": "ours"}}
    with FakeProvider() as fake:
        options["base_url"] = f"http://127.0.0.1:{upstream.port}/v1"
        url = sqlite_url(directory)
        made = gateway_world(
            url, directory, allocated="10.00", provider=fake, config=config, provider_options=options,
            flags=("--header-bytes-max", "16384"),
        )  # fmt: skip
        with made as opened:
            yield opened


def found(world: GatewayWorld, answer: Any) -> Fate:
    """What the ledger says; this provider keeps no bill."""
    view = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    state = "unknown" if "unknown" in view["flags"] else view["state"]
    settled = round(float(view["settled"]["amount"]) * 10**9)
    held = round(float(view["held"]["amount"]) * 10**9)
    return Fate(view["id"], state, settled, held, None, frozenset(view["flags"]) - {"unknown", "gateway"})


def ask(world: GatewayWorld, *, stream: bool = False, headers: dict[str, str] | None = None, path: str = PATH) -> Any:
    body = chat("hello", max_tokens=20, stream=stream)
    return world.office.send("POST", path, body, key=world.key, headers=headers)


def insist_that_the_next_call_works(world: GatewayWorld, upstream: RawUpstream) -> None:
    upstream.answer = whole("200 OK", BODY)
    answer = ask(world)
    assert answer.status == 200, answer.body
    assert answer.body == BODY
    assert found(world, answer).settled == COST


def compressed(stream: bool, coding: str) -> bytes:
    data = CHUNKS if stream else BODY
    packed = gzip.compress(data) if coding == "gzip" else zlib.compress(data)
    kind = "text/event-stream" if stream else "application/json"
    return head_of(
        "200 OK", f"content-type: {kind}", f"content-encoding: {coding}", f"content-length: {len(packed)}"
    ) + packed  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_comes_compressed_unasked_is_metered_and_passed_on_plain(
    world: GatewayWorld, upstream: RawUpstream, stream: bool, coding: str
) -> None:
    upstream.answer = compressed(stream, coding)
    answer = ask(world, stream=stream)
    assert answer.status == 200
    assert "content-encoding" not in answer.headers
    if stream:
        assert b"one two" in answer.body
    else:
        assert answer.body == BODY
    world.settled()
    assert (found(world, answer).state, found(world, answer).settled) == ("settled", COST)
    insist_that_the_next_call_works(world, upstream)


BOMB = gzip.compress(bytes(20_000_000))
ODD_ANSWERS = {
    "an encoding nobody knows": (
        whole("200 OK", BODY, "content-encoding: br"), 502, "unknown"),
    "gzip that is none": (whole("200 OK", BODY, "content-encoding: gzip"), 502, "unknown"),
    "gzip that ends early": (whole("200 OK", gzip.compress(BODY)[:-9], "content-encoding: gzip"), 502, "unknown"),
    "gzip that inflates without end": (whole("200 OK", BOMB, "content-encoding: gzip"), 502, "unknown"),
    "an answer that is too long": (whole("200 OK", BODY + b" " * ANSWER_MAX), 502, "unknown"),
    "a redirect": (whole("307 Temporary Redirect", b"{}", "location: http://127.0.0.1:1/elsewhere"), 502, "released"),
    "not modified": (head_of("304 Not Modified"), 502, "released"),
    "a status beyond all": (whole("799 Strange", b"{}"), 502, "unknown"),
    "no HTTP at all": (b"220 mail.example ESMTP\r\n\r\n", 502, "unknown"),
    "a page": (
        head_of("200 OK", "content-type: text/html", "content-length: 15") + b"<html>no</html>", 200, "settled"),
    "no content": (head_of("204 No Content"), 204, "settled"),
    "a usage beyond all bounds": (
        whole("200 OK", json.dumps({"usage": {"prompt_tokens": 10**40, "completion_tokens": 1}}).encode()),
        200, "unknown"),
    "a model with a line break": (
        whole("200 OK", json.dumps({"id": "a\nb", "model": "x\r\ny: z" * 200, "usage": USAGE}).encode()),
        200, "settled"),
    "a header with a bell": (whole("200 OK", BODY, "x-odd: \x07"), 200, "settled"),
    "a usage of another shape": (whole("200 OK", b'{"usage": [1, 2], "choices": 7}'), 200, "settled"),
    "JSON that is no object": (whole("200 OK", b"[1, 2]"), 200, "settled"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_odd_answers_end_in_one_state_and_leave_the_next_call_alone(
    world: GatewayWorld, upstream: RawUpstream, name: str
) -> None:
    given, status, state = ODD_ANSWERS[name]
    upstream.answer = given
    before = len(upstream.requests)
    answer = ask(world)
    assert answer.status in (status, 502 if name == "a header with a bell" else status), answer.body
    ended = found(world, answer)
    assert ended.state == (state if answer.status == status else "unknown")
    assert "location" not in answer.headers
    assert len(upstream.requests) == before + 1, "a call is sent once"
    if state == "settled" and b'"usage": {' not in given:
        assert ended.flags == {"estimated"}
    insist_that_the_next_call_works(world, upstream)
    wait_until(lambda: upstream.open_now <= 1, seconds=30, what="the end of all connections but the pooled one")


def test_what_follows_an_answer_is_not_the_next_calls_answer(world: GatewayWorld, upstream: RawUpstream) -> None:
    """A length that is too short leaves bytes on the connection that read like an answer of their own."""
    forged = whole("200 OK", BODY.replace(b"one two", b"forged!"))
    sent = threading.Event()

    def answer_short(connection: socket.socket, request: bytes) -> None:
        cut = len(BODY) - 30
        connection.sendall(head_of("200 OK", "content-type: application/json", f"content-length: {cut}") + BODY[:cut])
        connection.sendall(forged)
        sent.set()

    for _ in range(5):
        upstream.answer = answer_short
        first = ask(world)
        assert first.status in (200, 502)
        assert b"forged!" not in first.body
        assert sent.wait(30)
        sent.clear()
        # One turn of the server's loop, in which it reads what has come.
        world.office.get("/v1/me", key=world.key)
        insist_that_the_next_call_works(world, upstream)


def test_an_unasked_answer_on_an_idle_connection_is_nobodys_answer(world: GatewayWorld, upstream: RawUpstream) -> None:
    forged = whole("200 OK", BODY.replace(b"one two", b"forged!"))
    upstream.answer = whole("200 OK", BODY) + forged
    first = ask(world)
    assert b"forged!" not in first.body
    second = ask(world)
    assert b"forged!" not in second.body, "an answer that nobody asked for was taken for the next call's"


def raw(world: GatewayWorld, request: bytes) -> bytes:
    """What comes back for bytes sent as they are, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=30) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def request_of(world: GatewayWorld, *lines: bytes, path: bytes = PATH.encode(), method: bytes = b"POST") -> bytes:
    body = json.dumps(chat("hello", max_tokens=20)).encode()
    return b"\r\n".join(
        (
            method + b" " + path + b" HTTP/1.1", b"host: x", b"connection: close", b"content-type: application/json",
            b"authorization: Bearer " + world.key.encode(), *lines, b"content-length: %d" % len(body), b"", body,
        )
    )  # fmt: skip


def test_headers_go_up_as_they_came_and_none_of_ours(world: GatewayWorld, upstream: RawUpstream) -> None:
    upstream.answer = whole("200 OK", BODY)
    lines = (
        b"x-name: caf\xc3\xa9", b"x-odd: \xff\xfe", b"api-key: " + world.key.encode(), b"x-goog-api-key: mine",
        b"x-note: see " + world.key.encode(), b"x-team: theirs", b"te: trailers", b"x-hop: 1",
        b"connection: x-hop", b"x-bursar-intent: caf\xc3\xa9", b"expect: nothing",
    )  # fmt: skip
    answer = raw(world, request_of(world, *lines))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    sent = upstream.requests[-1].partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert b"x-name: caf\xc3\xa9" in sent
    assert b"x-team: ours" in sent
    assert b"x-team: theirs" not in sent
    assert world.key.encode() not in upstream.requests[-1]
    names = {line.partition(b":")[0] for line in sent[1:]}
    assert not names & {b"api-key", b"x-goog-api-key", b"te", b"x-hop", b"x-bursar-intent", b"expect", b"x-note"}
    assert names >= {b"x-odd", b"x-client-request-id"}
    assert sum(line.startswith(b"content-length:") for line in sent) == 1


REFUSED = {
    "two lengths": ((b"content-length: 5",), 400),
    "a length and chunks": ((b"transfer-encoding: chunked",), 400),
    "a compressed body": ((b"content-encoding: gzip",), 415),
    "a header folded": ((b"x-a: 1", b" x-b: 2"), 400),
    "a name with a space": ((b"x a: 1",), 400),
    "a zero byte": ((b"x-a: \x00",), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_two_readers_could_read_in_two_ways_reach_no_provider(
    world: GatewayWorld, upstream: RawUpstream, name: str
) -> None:
    lines, status = REFUSED[name]
    before = len(upstream.requests)
    assert raw(world, request_of(world, *lines)).startswith(b"HTTP/1.1 %d " % status)
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"HEAD", PATH.encode(), 404),
        (b"OPTIONS", PATH.encode(), 404),
        (b"GET", PATH.encode(), 404),
        (b"PUT", PATH.encode(), 404),
        (b"POST", b"/openai/v1/chat%2Fcompletions%2F..%2F..%2Ffiles", 404),
        (b"POST", b"/openai/v1/%2e%2e/files", 404),
        (b"POST", b"/openai/v1//chat/completions", 404),
        (b"POST", b"/openai/v1/chat/completions/", 404),
        (b"POST", b"/openai/v1/Chat/completions", 404),
        (b"POST", b"/openai/v1/chat/completions%00", 404),
        (b"POST", b"/openai/v1/chat/completions%0d%0ax: y", 400),
        (b"POST", b"/openai/v1/chat/completions%0d%0ax:y", 404),
        (b"POST", b"/openai/v1/batches", 404),
        (b"GET", b"/openai/v1/models/..%2Ffiles", 404),
        (b"GET", b"/openai/v1/models/a%3Fb", 404),
        (b"GET", b"/openai/v1/models/\xff", 400),
        (b"POST", b"/providers/../openai/v1/files", 404),
    ],
)
def test_paths_and_methods_that_are_no_call_reach_no_provider(
    world: GatewayWorld, upstream: RawUpstream, method: bytes, path: bytes, status: int
) -> None:
    before = len(upstream.requests)
    answer = raw(world, request_of(world, path=path, method=method))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert len(upstream.requests) == before


def test_a_path_may_be_percent_encoded_and_the_provider_gets_the_known_one(
    world: GatewayWorld, upstream: RawUpstream
) -> None:
    upstream.answer = whole("200 OK", BODY)
    assert ask(world, path="/openai/v1/chat%2Fcompletions?api-version=1&beta=true").status == 200
    assert upstream.requests[-1].startswith(b"POST /v1/chat/completions?api-version=1&beta=true HTTP/1.1\r\n")


def test_a_key_in_a_query_is_refused_and_logged_nowhere(world: GatewayWorld, upstream: RawUpstream) -> None:
    before = len(upstream.requests)
    for key in (world.key, world.key.replace("_", "%5f")):
        answer = ask(world, path=f"{PATH}?key={key}")
        assert (answer.status, error_of(answer.body)["code"]) == (400, "key_in_query")
    assert len(upstream.requests) == before
    assert world.key not in world.server.log_text()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 200_000, 413),
        (b'{"model": "gpt-4o-mini", "messages": "\xff\xfe"}', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"", 400),
        (b"null", 400),
        (b"[" * 50_000, 400),
        (b'{"model": "a\\r\\nx-evil: 1", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}', 403),
        (b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}', 400),
        (json.dumps(chat("x", model="m" * 5000)).encode(), None),
    ],
    ids=["huge", "not UTF-8", "a mark first", "empty", "null", "deep", "a model with a header", "half a pair", "long"],
)
def test_bodies_that_cannot_be_read_reach_no_provider(
    world: GatewayWorld, upstream: RawUpstream, body: bytes, status: int | None
) -> None:
    before = len(upstream.requests)
    answer = world.office.send("POST", PATH, body, key=world.key)
    assert answer.status == status if status is not None else answer.status in (400, 403)
    assert "x-evil" not in answer.headers
    assert error_of(answer.body)["message"]
    assert len(upstream.requests) == before


def test_no_redirect_is_followed_for_free_questions_either(world: GatewayWorld, upstream: RawUpstream) -> None:
    upstream.answer = whole("302 Found", b"{}", "location: http://127.0.0.1:1/")
    answer = world.office.send("GET", "/openai/v1/models", key=world.key)
    assert (answer.status, "location" in answer.headers) == (502, False)


def test_the_books_verify_and_no_key_was_shown(world: GatewayWorld, upstream: RawUpstream) -> None:
    insist_that_the_next_call_works(world, upstream)
    calls = world.authorizations()
    assert calls
    assert all(call["state"] != "held" or "unknown" in call["flags"] for call in calls)
    verified(world.book.database_url)
    assert KEY not in world.server.log_text()
    assert world.key not in world.server.log_text()
