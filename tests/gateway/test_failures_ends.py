"""The other ends of a call: clients that leave or do not read, a ledger that is away, keys that end, a server that
stops.

Each test is one line of the table in docs/gateway-failures.md.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import anthropic
import openai
import psutil
import pytest

from tests.gateway.failing import BODY, CHUNKS, COST, FORMS, IDS, call_of, fate, insist_that_nothing_leaked
from tests.support.clients import Answer
from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, atoms
from tests.support.gateway import GatewayWorld, chat, error_of, gateway_world
from tests.support.raw_upstream import RawUpstream, head_of, whole
from tests.support.server import verified, wait_until

CONFIG = {"idle_seconds": 5, "total_seconds": 60, "calls_per_agent_max": 2}


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(database_url, tmp_path, config=CONFIG, flags=("--shutdown-seconds", "3")) as made:
        yield made


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[GatewayWorld]:
    """For what the kind of database has no part in."""
    with gateway_world(sqlite_url(tmp_path), tmp_path, config=CONFIG, flags=("--shutdown-seconds", "3")) as made:
        yield made


def begin(world: GatewayWorld, path: str, body: dict[str, Any], *, key: str | None = None) -> socket.socket:
    """Send a call and do not wait."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key or world.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", world.server.port), timeout=60)
    connection.sendall(head.encode() + content)
    return connection


def authorization_of(connection: socket.socket) -> str:
    """Read up to the end of the answer's head; the id that it names."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(1)
        if not more:
            raise AssertionError(f"no head came: {head!r}")
        head += more
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
    return lines["x-bursar-authorization"]


class Gate:
    """A provider that answers once it is told to; it keeps no bill, and each answer costs ``COST``."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.open = threading.Event()
        self.upstream = RawUpstream(self._answer)

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        self.asked.set()
        if b'"stream": true' not in request:
            if not self.open.wait(60):
                return
            connection.sendall(whole("200 OK", BODY))
            return
        # A stream begins at once, and ends when it is told to.
        first, rest = CHUNKS[: CHUNKS.index(b"\n\n") + 2], CHUNKS[CHUNKS.index(b"\n\n") + 2 :]
        head = head_of("200 OK", "content-type: text/event-stream", f"content-length: {len(CHUNKS)}")
        connection.sendall(head + first)
        if self.open.wait(60):
            connection.sendall(rest)


@contextlib.contextmanager
def gated(database_url: str, directory: Path) -> Iterator[tuple[GatewayWorld, Gate]]:
    """A gateway whose provider answers when the test says so, however fast the machine is."""
    gate = Gate()
    with gate.upstream:
        options = {"base_url": f"http://127.0.0.1:{gate.upstream.port}/v1"}
        config = CONFIG | {"idle_seconds": 60}
        with gateway_world(database_url, directory, config=config, provider_options=options) as made:
            yield made, gate


def asking(world: GatewayWorld, gate: Gate, *, stream: bool) -> tuple[threading.Thread, list[Answer]]:
    """A call under way: it has been forwarded, and its end is not there yet."""
    answers: list[Answer] = []
    body = chat("hello", max_tokens=30, stream=stream)

    def send() -> None:
        answers.append(world.office.send("POST", "/openai/v1/chat/completions", body, key=world.key))

    caller = threading.Thread(target=send)
    caller.start()
    assert gate.asked.wait(60)
    return caller, answers


def insist_that_it_was_settled(world: GatewayWorld, name: str, flags: Set[str] = frozenset()) -> None:
    wait_until(
        lambda: world.office.get(f"/v1/authorizations/{name}")["state"] == "settled", seconds=60, what="the settlement"
    )
    view = world.office.get(f"/v1/authorizations/{name}")
    assert atoms(view["settled"]["amount"]) == COST
    assert set(view["flags"]) - {"gateway"} == flags
    assert world.balances()["held"] == 0
    assert world.balances()["spent"] == COST
    verified(world.book.database_url)


def forwarded(world: GatewayWorld, calls: int) -> None:
    """Wait until the provider has got so many calls."""
    wait_until(lambda: world.provider.marks()["calls"]["total"] >= calls, seconds=30, what="the call at the provider")


def only_call(world: GatewayWorld) -> str:
    (found,) = world.authorizations()
    return str(found["id"])


@pytest.mark.parametrize(("wire", "stream"), FORMS, ids=IDS)
def test_a_client_that_leaves_while_its_answer_is_made_pays_for_it(
    sqlite_world: GatewayWorld, wire: str, stream: bool
) -> None:
    world = sqlite_world
    connection = begin(world, *call_of(wire, "interval=40", stream=stream))
    forwarded(world, 1)
    if stream:
        authorization_of(connection)
        connection.recv(200)
    connection.close()
    found = fate(world, only_call(world))
    assert (found.state, found.settled, found.flags) == ("settled", found.billed, frozenset())
    insist_that_nothing_leaked(world)
    world.insist_that_the_bill_is_spent()


@pytest.mark.parametrize("wire", ["chat", "messages"])
def test_a_stream_whose_client_left_may_be_cut_instead(tmp_path: Path, wire: str) -> None:
    with gateway_world(sqlite_url(tmp_path), tmp_path, config=CONFIG | {"client_gone": "cut"}) as world:
        connection = begin(world, *call_of(wire, "out=60 interval=100", stream=True))
        name = authorization_of(connection)
        while b"data" not in connection.recv(4096):
            pass
        connection.close()
        found = fate(world, name)
        assert (found.state, found.flags) == ("settled", {"estimated"})
        (line,) = world.provider.await_bill(1)
        assert line["outcome"] == "disconnected", "the provider was told to stop"
        assert line["output_tokens"] < 60
        assert found.settled < 60 * 15_000 + 200 * 3_000, "not all that was held is settled"
        insist_that_nothing_leaked(world)


def test_a_client_that_leaves_the_line_holds_nothing_and_is_not_forwarded(sqlite_world: GatewayWorld) -> None:
    world = sqlite_world
    dear = chat("hello [[fake out=5 ttfb=2500]]", max_tokens=1_000_000, model="gpt-4o-mini")
    first = begin(world, "/openai/v1/chat/completions", dear)
    forwarded(world, 1)
    second = begin(world, "/openai/v1/chat/completions", dear | {"n": 1, "max_tokens": 900_000})
    time.sleep(0.3)
    second.close()
    found = fate(world, authorization_of(first))
    assert (found.state, found.settled) == ("settled", found.billed)
    insist_that_nothing_leaked(world)
    assert len(world.provider.bill()["lines"]) == len(world.authorizations(state="settled"))
    world.insist_that_the_bill_is_spent()


def test_a_client_that_does_not_read_fills_no_memory_and_is_billed_in_full(tmp_path: Path) -> None:
    """The stream is far longer than every buffer on the way: the provider has to wait, until the reader is given up."""
    config = CONFIG | {"idle_seconds": 2, "total_seconds": 120}
    with gateway_world(sqlite_url(tmp_path), tmp_path, allocated="100.00", config=config) as world:
        body = chat("hello [[fake out=60000]]", max_tokens=60_000, stream=True)
        process = psutil.Process(world.server.pid)
        # A client that reads shows what such a stream takes in any case.
        assert world.office.send("POST", "/openai/v1/chat/completions", body, key=world.key).status == 200
        before = process.memory_info().rss
        with begin(world, "/openai/v1/chat/completions", body) as connection:
            name = authorization_of(connection)
            most = before
            deadline = time.monotonic() + 60
            while world.office.get(f"/v1/authorizations/{name}")["state"] == "held" and time.monotonic() < deadline:
                most = max(most, process.memory_info().rss)
                time.sleep(0.05)
            found = fate(world, name)
        assert (found.state, found.settled) == ("settled", found.billed)
        assert most - before < 16_000_000
        insist_that_nothing_leaked(world)


@contextlib.contextmanager
def locked(world: GatewayWorld) -> Iterator[None]:
    """Hold SQLite's write lock, as another program would."""
    path = world.book.database_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_ledger_that_is_locked_when_a_call_ends_is_told_once_it_is_free(tmp_path: Path, stream: bool) -> None:
    with gated(sqlite_url(tmp_path), tmp_path) as (world, gate):
        caller, answers = asking(world, gate, stream=stream)
        with locked(world):
            gate.open.set()
            caller.join(60)
            assert [answer.status for answer in answers] == [200], "the client waits for one attempt and no more"
        insist_that_it_was_settled(world, answers[0].headers["x-bursar-authorization"])


def test_a_stop_while_the_ledger_is_locked_tells_it_once_more_at_the_end(tmp_path: Path) -> None:
    with gated(sqlite_url(tmp_path), tmp_path) as (world, gate):
        caller, answers = asking(world, gate, stream=False)
        with locked(world):
            gate.open.set()
            caller.join(60)
            world.server.terminate()
        assert world.server.wait() == 0
        world.server.start()
        insist_that_it_was_settled(world, answers[0].headers["x-bursar-authorization"])


def test_a_database_that_is_away_when_a_call_ends_is_told_once_it_is_back(
    postgres_server: Any, postgresql_url: str, tmp_path: Path
) -> None:
    with gated(postgresql_url, tmp_path) as (world, gate):
        caller, answers = asking(world, gate, stream=False)
        postgres_server.stop()
        try:
            gate.open.set()
            caller.join(60)
            assert [answer.status for answer in answers] == [200]
            refused = world.office.send("POST", "/openai/v1/chat/completions", chat("x", max_tokens=9), key=world.key)
            assert refused.status == 503
            assert len(gate.upstream.requests) == 1, "nothing is forwarded that cannot be held"
        finally:
            postgres_server.start()
        wait_until(lambda: world.office.send("GET", "/readyz").status == 200, seconds=60, what="the database's return")
        insist_that_it_was_settled(world, answers[0].headers["x-bursar-authorization"])


def meanwhile_revoked(world: GatewayWorld, name: str) -> None:
    """The agent's key ends."""
    (key,) = [item for item in world.office.get("/v1/keys?limit=200")["items"] if item["role"] == "agent"]
    world.office.make(f"/v1/keys/{key['id']}/revoke", {})


def meanwhile_frozen(world: GatewayWorld, name: str) -> None:
    """The agent is frozen."""
    world.office.make("/v1/agents/crawler/freeze", {"reason": "looks wrong"})


def meanwhile_released(world: GatewayWorld, name: str) -> None:
    """Finance gives the hold back, thinking that the call was not made."""
    finance = world.office.make_person("finance", "fred")
    world.office.make(f"/v1/authorizations/{name}/release", {"reason": "thought lost"}, key=finance)


MEANWHILE: dict[str, tuple[Any, set[str]]] = {
    "revoked": (meanwhile_revoked, set()),
    "frozen": (meanwhile_frozen, set()),
    "released": (meanwhile_released, {"late"}),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", MEANWHILE)
def test_real_spend_is_recorded_whatever_happened_meanwhile(
    database_url: str, tmp_path: Path, name: str, stream: bool
) -> None:
    does, flags = MEANWHILE[name]
    with gated(database_url, tmp_path) as (world, gate):
        caller, answers = asking(world, gate, stream=stream)
        call = only_call(world)
        does(world, call)
        gate.open.set()
        caller.join(60)
        assert [answer.status for answer in answers] == [200]
        insist_that_it_was_settled(world, call, flags)


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_stop_lets_calls_finish_that_end_in_time(world: GatewayWorld, stream: bool) -> None:
    world.server.stop()
    world.server.flags = tuple(flag if flag != "3" else "25" for flag in world.server.flags)
    world.server.start()
    connection = begin(world, *call_of("chat", "ttfb=300 interval=30", stream=stream))
    forwarded(world, 1)
    world.server.stop()
    answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (b"data: [DONE]" in answer) == stream
    world.server.start()
    world.insist_that_the_bill_is_spent()
    insist_that_nothing_leaked(world)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_stop_marks_what_does_not_end_in_time(world: GatewayWorld, stream: bool) -> None:
    connection = begin(world, *call_of("chat", "interval=1000", stream=stream))
    forwarded(world, 1)
    call = only_call(world)
    if stream:
        authorization_of(connection)
    started = time.monotonic()
    world.server.stop()
    assert time.monotonic() - started < 25
    answer = rest_of(connection)
    if stream:
        assert b"upstream_broken" in answer or b"stopped" in answer
        assert b"[DONE]" not in answer
    else:
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b'"code":"stopping"' in answer
    world.server.start()
    found = fate(world, call)
    assert found.state == "unknown"
    (line,) = world.provider.await_bill(1)
    assert found.held >= (found.billed or 0)
    assert line["client_request_id"] == call
    insist_that_nothing_leaked(world)
    verified(world.book.database_url)


def clients(world: GatewayWorld) -> list[tuple[Any, Any]]:
    """The two real clients, and one call of each."""
    openai_client = openai.OpenAI(base_url=world.openai_url, api_key=world.key)
    anthropic_client = anthropic.Anthropic(base_url=world.anthropic_url, api_key=world.key)

    def chat_call(prompt: str, model: str | None = None) -> Any:
        messages: Any = [{"role": "user", "content": prompt}]
        return openai_client.chat.completions.create(model=model or "gpt-4o-mini", messages=messages, max_tokens=30)

    def messages_call(prompt: str, model: str | None = None) -> Any:
        messages: Any = [{"role": "user", "content": prompt}]
        return anthropic_client.messages.create(model=model or "claude-sonnet-4-5", messages=messages, max_tokens=30)

    return [(openai, chat_call), (anthropic, messages_call)]


def test_each_attempt_of_the_real_clients_is_a_call_of_its_own(sqlite_world: GatewayWorld) -> None:
    """Both repeat 429 and 5xx twice: three calls are held, each ends once, and none is settled."""
    world = sqlite_world
    for package, call in clients(world):
        for status, state in ((429, "released"), (500, "held")):
            before, seen = len(world.authorizations()), len(world.provider.seen())
            with pytest.raises(package.APIStatusError):
                call(f"hello [[fake status={status}]]")
            attempts = world.provider.seen()[seen:]
            assert [request.header("x-stainless-retry-count") for request in attempts] == ["0", "1", "2"]
            made = world.authorizations()[: len(world.authorizations()) - before]
            assert {request.header("x-client-request-id") for request in attempts} == {one["id"] for one in made}
            assert [one["state"] for one in made] == [state] * 3
    assert world.provider.billed_atoms() == world.balances()["spent"] == 0


def test_the_real_clients_do_not_repeat_what_bursar_denied(sqlite_world: GatewayWorld) -> None:
    world = sqlite_world
    for package, call in clients(world):
        before = len(world.provider.seen())
        denied_before = len(world.authorizations(state="denied"))
        with pytest.raises(package.PermissionDeniedError) as denied:
            call("hello", model="no-such-model")
        assert denied.value.response.headers["x-should-retry"] == "false"
        assert "price" in str(denied.value)
        assert len(world.authorizations(state="denied")) == denied_before + 1
        assert len(world.provider.seen()) == before


def test_a_provider_that_cannot_be_reached_costs_nothing(sqlite_world: GatewayWorld) -> None:
    world = sqlite_world
    world.provider.stop()
    try:
        for wire, stream in FORMS:
            path, body = call_of(wire, "", stream=stream)
            answer = world.office.send("POST", path, body, key=world.key)
            assert answer.status == 502
            assert "upstream_unreachable" in str(error_of(answer.body))
            found = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
            assert (found["state"], found["settled"]["amount"]) == ("released", "0.00")
    finally:
        world.provider.start()
    insist_that_nothing_leaked(world)
    assert KEY not in world.server.log_text()
