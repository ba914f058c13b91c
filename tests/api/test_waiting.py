"""``wait_seconds`` over HTTP, through the lane and through ASGI, on both databases: who waits, who leaves, who is told.

A chunked body never takes the lane, so sending the same request chunked asks the other way.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest

from ledger.storage.migrate import upgrade
from tests.support.clients import Office, authorization, request_bytes, usd
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.running_app import RunningApp
from tests.support.server import OpenBook, ServerProcess, open_book, verified, wait_until

PATH = "/v1/authorizations"
WAYS = ("lane", "asgi")
_NUMBERS = itertools.count()


def in_chunks(message: bytes) -> bytes:
    """The same request with its body as one chunk."""
    head, _, body = message.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    return head + b"\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class Agent:
    """An agent with a budget of 100 USD of its own, and raw connections to a server."""

    def __init__(self, book: OpenBook, server: ServerProcess) -> None:
        self.server = server
        self.office = Office(server.port, book.admin_key)
        self.name = f"agent-{next(_NUMBERS)}"
        self.key = self.office.make_agent(self.name, budget=self.name)

    def post(self, path: str, body: Any, *, port: int | None = None) -> Any:
        """Post as the agent; the whole answer."""
        return Office(port or self.server.port, self.key).send("POST", path, body)

    def hold(self, amount: str) -> str:
        """Hold so much; the authorization's id."""
        answer = self.post(PATH, authorization(amount))
        assert answer.status == 201, answer.body
        return str(answer.json["id"])

    def release(self, reference: str, *, port: int | None = None) -> None:
        """Release a hold, at another server if told so."""
        assert self.post(f"{PATH}/{reference}/release", {}, port=port).status == 200

    def send(self, body: Any, *, way: str = "lane", path: str = PATH, key: str | None = None) -> socket.socket:
        """Send a request and do not wait for its answer."""
        message = request_bytes(
            "POST", path, key=self.key, body=body, idempotency_key=key or uuid.uuid4().hex, port=self.server.port
        )
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=40)
        connection.sendall(message if way == "lane" else in_chunks(message))
        return connection

    def line_up(self, amount: str, *, way: str = "lane", key: str | None = None, seconds: int = 25) -> socket.socket:
        """Send a request that must wait, and return once one more stands in line."""
        before = self.line_length()
        connection = self.send(authorization(amount, wait_seconds=seconds), way=way, key=key)
        self.lined_up(before + 1)
        return connection

    def line_length(self) -> int:
        """How many stand in line at the server, as its metrics say once a second."""
        text = self.office.send("GET", "/metrics").body.decode()
        (found,) = re.findall(r"^bursar_waiting_commands (\d+)", text, re.MULTILINE)
        return int(found)

    def lined_up(self, number: int) -> None:
        """Wait until so many stand in line."""
        wait_until(lambda: self.line_length() == number, seconds=20, what=f"a line of {number}")


def answer_of(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and content of the answer; the connection is closed afterwards."""
    with connection:
        response = HTTPResponse(connection)
        response.begin()
        content = response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(content)


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBook]:
    """A book on a database of either kind; it must verify at the end."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path_factory.mktemp("waiting"))
        upgrade(url)
        yield open_book(url)
        verified(url)
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        upgrade(url)
        yield open_book(url)
        verified(url)


@pytest.fixture(scope="module")
def server(book: OpenBook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on it."""
    with ServerProcess(book.database_url, directory=tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def agent(book: OpenBook, server: ServerProcess) -> Iterator[Agent]:
    """An agent of the test's own; nobody may stand in line afterwards."""
    made = Agent(book, server)
    yield made
    made.lined_up(0)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_answered_when_its_turn_comes(agent: Agent, way: str) -> None:
    """201 as any other, as soon as the hold in its way is released."""
    held = agent.hold("95")
    waiting = agent.line_up("20", way=way)
    started = time.monotonic()
    agent.release(held)
    status, headers, content = answer_of(waiting)
    assert (status, content["state"]) == (201, "held")
    assert "idempotency-replayed" not in headers
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("way", WAYS)
def test_its_time_is_over(agent: Agent, way: str) -> None:
    """429 with Retry-After and the decision, on record."""
    agent.hold("95")
    started = time.monotonic()
    status, headers, content = answer_of(agent.send(authorization("20", wait_seconds=1), way=way))
    assert 0.9 < time.monotonic() - started < 10
    assert (status, content["code"]) == (429, "budget_held")
    assert int(headers["retry-after"]) > 0
    assert content["decision"]["outcome"] == "denied"
    assert agent.office.get(f"{PATH}?agent={agent.name}&state=denied")["items"][0]["id"] == content["authorization"]


@pytest.mark.parametrize("way", WAYS)
def test_who_closes_the_connection_leaves(agent: Agent, way: str) -> None:
    """Nothing is recorded of it, and who stood behind it moves up."""
    agent.hold("90")
    first = agent.line_up("50", way=way)
    second = agent.line_up("6", way=way)
    agent.release(agent.hold("2"))
    size = agent.office.log_size()
    first.close()
    third = agent.send(authorization("9", wait_seconds=25), way=way)
    assert answer_of(second)[0] == 201
    third.close()
    agent.lined_up(0)
    assert agent.office.log_size() == size + 1


def test_a_client_that_is_killed_leaves(agent: Agent) -> None:
    """The system closes its connection, and the line does not wait for it."""
    held = agent.hold("95")
    message = request_bytes(
        "POST", PATH, key=agent.key, body=authorization("20", wait_seconds=30), idempotency_key=uuid.uuid4().hex
    )
    program = (
        "import socket, sys\n"
        f"connection = socket.create_connection(('127.0.0.1', {agent.server.port}))\n"
        "connection.sendall(bytes.fromhex(sys.argv[1]))\n"
        "connection.recv(1)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", program, message.hex()])
    agent.lined_up(1)
    size = agent.office.log_size()
    client.kill()
    client.wait(10)
    agent.lined_up(0)
    assert agent.office.log_size() == size
    agent.release(held)
    assert agent.office.get(f"/v1/budgets/{agent.name}")["held"] == usd("0.00")


def test_a_repeat_joins(agent: Agent) -> None:
    """As a client does whose first connection broke without the server noticing: one hold, the joiner is a replay."""
    held, key = agent.hold("95"), uuid.uuid4().hex
    first = agent.line_up("20", key=key)
    second = agent.line_up("20", key=key, way="asgi")
    other = answer_of(agent.send(authorization("21", wait_seconds=25), key=key))
    assert (other[0], other[2]["code"]) == (422, "idempotency_mismatch")
    agent.release(held)
    (status, headers, content), (status_again, headers_again, content_again) = answer_of(first), answer_of(second)
    assert (status, status_again) == (201, 201)
    assert "idempotency-replayed" not in headers
    assert headers_again["idempotency-replayed"] == "true"
    assert content == content_again


@pytest.mark.parametrize("way", WAYS)
def test_an_extension_waits_before_requests(agent: Agent, way: str) -> None:
    """It was sent later, and is answered first."""
    mine, held = agent.hold("30"), agent.hold("65")
    earlier = agent.line_up("60", way=way)
    later = agent.send({"amount": usd("20"), "wait_seconds": 25}, way=way, path=f"{PATH}/{mine}/extend")
    agent.lined_up(2)
    agent.release(held)
    status, _, content = answer_of(later)
    assert (status, content["held"]) == (200, usd("50.00"))
    agent.release(mine)
    assert answer_of(earlier)[0] == 201


def test_another_process_frees_the_line(book: OpenBook, agent: Agent, tmp_path: Any) -> None:
    """A settlement there is found here within a moment, whether or not anything is asked here."""
    with ServerProcess(book.database_url, directory=tmp_path) as there:
        held = agent.hold("95")
        waiting = agent.line_up("20")
        started = time.monotonic()
        settled = agent.post(f"{PATH}/{held}/settle", {"amount": usd("1.00")}, port=there.port)
        assert settled.status == 200
        assert answer_of(waiting)[0] == 201
        assert time.monotonic() - started < 5


def test_a_hundred_at_once_are_delayed_and_not_refused(agent: Agent) -> None:
    """Worst-case holds of five dollars in a budget of a hundred, each call costing a cent."""
    said: list[int] = []

    def call(number: int) -> None:
        office = Office(agent.server.port, agent.key)
        answer = office.send("POST", PATH, authorization("5.00", wait_seconds=30))
        said.append(answer.status)
        if answer.status == 201:
            reference = answer.json["id"]
            said.append(office.send("POST", f"{PATH}/{reference}/settle", {"amount": usd("0.01")}).status)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said) == [200] * 100 + [201] * 100
    shown = agent.office.get(f"/v1/budgets/{agent.name}")
    assert (shown["spent"], shown["held"]) == (usd("1.00"), usd("0.00"))


def test_metrics_say_who_waited(agent: Agent) -> None:
    """How long, by outcome."""
    agent.hold("95")
    assert answer_of(agent.send(authorization("20", wait_seconds=1)))[0] == 429
    text = agent.office.send("GET", "/metrics").body.decode()
    (seconds,) = re.findall(r'^bursar_waited_seconds_sum\{outcome="budget_held"\} (\S+)', text, re.MULTILINE)
    assert float(seconds) >= 1
    assert 'bursar_decisions_total{operation="authorize",outcome="waiting"}' not in text


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_stops_answers_the_line(book: OpenBook, tmp_path: Any, way: str) -> None:
    """For good: who does not fit is denied, long before its time is over; the server ends with 0."""
    with ServerProcess(book.database_url, directory=tmp_path) as stopping:
        agent = Agent(book, stopping)
        agent.hold("95")
        waiting = agent.line_up("20", way=way)
        started = time.monotonic()
        stopping.terminate()
        status, headers, content = answer_of(waiting)
        assert (status, content["code"]) == (429, "budget_held")
        assert "retry-after" in headers
        assert stopping.wait() == 0
        assert time.monotonic() - started < 10


def test_items_of_a_batch_do_not_wait(own_app: RunningApp) -> None:
    """One that says it would is wrong, and the others are decided."""
    key = own_app.make_agent("crawler", budget="research")
    items = [authorization("1.00", idempotency_key=f"k{wait}", wait_seconds=wait) for wait in (0, 5)]
    answer = own_app.post(f"{PATH}/batch", {"items": items}, key=key)
    assert [item["status"] for item in answer.json["items"]] == [201, 422]
    assert answer.json["items"][1]["problem"]["errors"][0]["pointer"] == "/wait_seconds"


@pytest.mark.parametrize("seconds", [-1, 31, "5", 1.5, True])
def test_wait_seconds_are_bounded(own_app: RunningApp, seconds: Any) -> None:
    """0 to 30, on authorize and on extend."""
    key = own_app.make_agent("crawler", budget="research")
    assert own_app.post(PATH, authorization("1.00", wait_seconds=seconds), key=key).status == 422
    held = own_app.make(PATH, authorization("1.00"), key=key)["id"]
    body = {"amount": usd("1.00"), "wait_seconds": seconds}
    assert own_app.post(f"{PATH}/{held}/extend", body, key=key).status == 422
    assert own_app.post(f"{PATH}/{held}/extend", body | {"wait_seconds": 30}, key=key).status == 200
    assert own_app.post(f"{PATH}/{held}/extend", {"wait_seconds": 5}, key=key).status == 422


def test_an_evaluation_does_not_wait(own_app: RunningApp) -> None:
    """It says at once what would be."""
    key = own_app.make_agent("crawler", budget="research")
    own_app.make(PATH, authorization("95.00"), key=key)
    started = time.monotonic()
    answer = own_app.post("/v1/evaluations", authorization("20.00", wait_seconds=30), key=key)
    assert answer.json["problem"]["code"] == "budget_held"
    assert time.monotonic() - started < 5
