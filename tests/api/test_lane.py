"""The lane of hot requests, byte by byte: however a request arrives, it is answered as the way through ASGI would.

A chunked body never takes the lane, so sending the same request chunked asks the other way.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from api.lane import LANE_BYTES_MAX
from tests.support.clients import Office, authorization, usd
from tests.support.databases import sqlite_url
from tests.support.server import ServerProcess, open_book, wait_until

PATH = "/v1/authorizations"
ENDED = b""


class Wire:
    """A server with an agent, and raw connections to it."""

    def __init__(self, server: ServerProcess, admin_key: str) -> None:
        self.port = server.port
        self.office = Office(server.port, admin_key)
        self.key = self.office.make_agent("crawler", budget="research", allocated="1000000.00")

    def head(
        self, body: bytes, *, path: str = PATH, version: str = "1.1", key: str | None = None, **more: str
    ) -> bytes:
        """The head of a request with a body of known length; ``more`` are further headers, ``_`` for ``-``."""
        headers = {
            "host": "a",
            "authorization": f"Bearer {self.key}",
            "idempotency-key": key or uuid.uuid4().hex,
            "content-type": "application/json",
            "content-length": str(len(body)),
        } | {name.replace("_", "-"): value for name, value in more.items()}
        lines = [f"POST {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode()

    def connect(self) -> socket.socket:
        """A connection that gives up after a while."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def ask(self, *parts: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], Any]:
        """Send parts one by one on a connection of their own; status, headers and content of the answer."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """One answer; what follows on the connection must not have been sent yet."""
    response = HTTPResponse(connection)
    response.begin()
    content = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, json.loads(content) if content else None


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One served book for the whole module."""
    directory: Path = tmp_path_factory.mktemp("lane")
    book = open_book(sqlite_url(directory))
    with ServerProcess(book.database_url, directory=directory) as server:
        yield Wire(server, book.admin_key)


def chunked(body: bytes) -> bytes:
    """A body as one chunk and the end."""
    return (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def packed(content: Any) -> bytes:
    """A JSON body."""
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, packed(authorization())),
        (PATH, packed(authorization("0"))),
        (PATH, packed(authorization(category="no such\x00"))),
        (PATH, packed(authorization("99999999.00"))),
        (PATH, packed(authorization(budget="nowhere"))),
        (PATH, b"{"),
        (PATH, b""),
        (f"{PATH}/auth_00000000000000000000000000/settle", packed({"amount": usd("1"), "final": True})),
        (f"{PATH}/auth_00000000000000000000000000/release", b"{}"),
        (f"{PATH}/nonsense/extend", packed({"ttl_seconds": 5})),
    ],
)
def test_the_lane_answers_what_the_way_through_asgi_answers(wire: Wire, path: str, body: bytes) -> None:
    """Status, headers and members, but for what names one request."""
    in_lane = wire.ask(wire.head(body, path=path), body)
    other = wire.ask(wire.head(body, path=path, content_length="", transfer_encoding="chunked"), chunked(body))
    assert in_lane[0] == other[0]
    assert set(in_lane[1]) == set(other[1])
    if "log" in in_lane[2] or "decision" in in_lane[2]:
        assert set(in_lane[2]) == set(other[2])
        assert in_lane[2].get("code") == other[2].get("code")
    else:
        assert in_lane[2] | {"request_id": ""} == other[2] | {"request_id": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        {"authorization": ""},
        {"authorization": "Bearer bk_agent_nonsense"},
        {"idempotency_key": ""},
        {"idempotency_key": "é"},
        {"content_type": "text/plain"},
    ],
    ids=lambda wrong: str(*wrong),
)
def test_wrong_headers_get_the_same_problem_both_ways(wire: Wire, wrong: dict[str, str]) -> None:
    """The same code from the same table."""
    body = packed(authorization())
    in_lane = wire.ask(wire.head(body, **wrong), body)
    other = wire.ask(wire.head(body, content_length="", transfer_encoding="chunked", **wrong), chunked(body))
    assert in_lane[0] == other[0] >= 400
    assert in_lane[2]["code"] == other[2]["code"]


def test_a_body_may_arrive_in_pieces(wire: Wire) -> None:
    """Even byte by byte, head and body together."""
    body = packed(authorization())
    message = wire.head(body) + body
    assert wire.ask(message[:30], message[30:-20], message[-20:-1], message[-1:], pause=0.02)[0] == 201


def test_requests_sent_ahead_are_answered_in_order(wire: Wire) -> None:
    """Pipelined, lane and others mixed: each answer is its request's."""
    body, key = packed(authorization("2.00")), uuid.uuid4().hex
    with wire.connect() as connection:
        connection.sendall(
            wire.head(body, key=key)
            + body
            + b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
            + wire.head(body, key=key)
            + body
        )
        stream = connection.makefile("rb")
        answers = []
        for _ in range(3):
            status = int(stream.readline().split()[1])
            headers = dict(line.decode().rstrip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
            answers.append((status, headers, json.loads(stream.read(int(headers["content-length"])))))
    assert [status for status, _, _ in answers] == [201, 200, 201]
    assert "idempotency-replayed" not in answers[0][1]
    assert answers[2][1]["idempotency-replayed"] == "true"
    assert answers[0][2]["id"] == answers[2][2]["id"]


def test_a_connection_is_kept_and_closed_as_asked(wire: Wire) -> None:
    """Kept in HTTP/1.1; closed after ``connection: close``, and in HTTP/1.0."""
    body = packed(authorization())
    with wire.connect() as connection:
        for _ in range(3):
            connection.sendall(wire.head(body) + body)
            assert read_answer(connection)[0] == 201
    for head in (wire.head(body, connection="close"), wire.head(body, version="1.0")):
        with wire.connect() as connection:
            connection.sendall(head + body)
            status, headers, _ = read_answer(connection)
            assert (status, headers["connection"]) == (201, "close")
            assert connection.recv(1) == ENDED


def test_a_client_that_waits_to_go_on_is_told_to(wire: Wire) -> None:
    """``Expect: 100-continue`` takes the way through ASGI."""
    body = packed(authorization())
    with wire.connect() as connection:
        connection.sendall(wire.head(body, expect="100-continue"))
        assert connection.recv(64).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert read_answer(connection)[0] == 201


def test_a_large_body_is_taken_the_other_way(wire: Wire) -> None:
    """More than the lane takes and less than the bound: malformed here, but read whole."""
    body = packed(authorization(intent="x" * LANE_BYTES_MAX))
    status, _, problem = wire.ask(wire.head(body), body)
    assert (status, problem["code"]) == (422, "validation_failed")


def test_a_client_that_leaves_withdraws_nothing(wire: Wire) -> None:
    """What was sent whole is decided; repeating the key finds it."""
    body, key = packed(authorization("3.00")), uuid.uuid4().hex
    before = wire.office.log_size()
    with wire.connect() as connection:
        connection.sendall(wire.head(body, key=key) + body)
    wait_until(lambda: wire.office.log_size() == before + 1, seconds=10, what="the decision")
    status, headers, _ = wire.ask(wire.head(body, key=key), body)
    assert (status, headers["idempotency-replayed"]) == (201, "true")
    assert wire.office.log_size() == before + 1


def test_units_that_are_not_money_are_answered_with_their_digits(wire: Wire) -> None:
    """The answer may have to wait for the unit's digits to be read."""
    wire.office.make("/v1/units", {"name": "tokens", "digits": 0})
    wire.office.make("/v1/budgets", {"name": "tokens", "currency": "tokens", "agents": ["crawler"]})
    amount = {"amount": "1000", "currency": "tokens"}
    wire.office.make("/v1/budgets/tokens/allocations", {"amount": amount})
    body = packed(authorization(budget="tokens") | {"amount": {"amount": "7", "currency": "tokens"}})
    status, _, answer = wire.ask(wire.head(body), body)
    assert (status, answer["amount"]) == (201, {"amount": "7", "currency": "tokens"})
    settled = packed({"amount": {"amount": "5", "currency": "tokens"}})
    status, _, answer = wire.ask(wire.head(settled, path=f"{PATH}/{answer['id']}/settle"), settled)
    assert (status, answer["budget"]["spent"]) == (200, {"amount": "5", "currency": "tokens"})


def read_statuses(connection: socket.socket, count: int) -> list[int]:
    """The statuses of answers that come one after the other."""
    stream = connection.makefile("rb")
    statuses = []
    for _ in range(count):
        statuses.append(int(stream.readline().split()[1]))
        headers = dict(line.decode().rstrip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
        stream.read(int(headers["content-length"]))
    return statuses


def test_bytes_of_earlier_requests_are_not_counted_as_a_head(wire: Wire) -> None:
    """Several large requests and the beginning of another, in one packet: all that came whole are answered."""
    body = packed(authorization(budget="research") | {"labels": {f"label-{number}": "x" * 120 for number in range(16)}})
    with wire.connect() as connection:
        connection.sendall(b"".join(wire.head(body) + body for _ in range(9)))
        last = wire.head(body)
        connection.sendall(last[:50])
        assert read_statuses(connection, 9) == [201] * 9
        connection.sendall(last[50:] + body)
        assert read_statuses(connection, 1) == [201]


def test_many_refusals_sent_ahead_are_all_answered(wire: Wire) -> None:
    """Refusals are answered at once, one after the other and not inside one another."""
    bad = wire.head(b"", authorization="")
    with wire.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n" + bad * 1_500)
        assert read_statuses(connection, 1_501) == [200] + [401] * 1_500


def test_a_client_that_does_not_read_is_not_written_to_for_ever(wire: Wire) -> None:
    """What it is owed waits for it; the server stops reading from it meanwhile, and answers all in the end."""
    bad = wire.head(b"", authorization="")
    count = 100_000
    with wire.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        connection.setblocking(False)
        sent, message, idle = 0, bad * count, 0
        while sent < len(message) and idle < 20:
            try:
                sent += connection.send(message[sent : sent + 65_536])
                idle = 0
            except BlockingIOError:
                idle += 1
                time.sleep(0.05)
        assert sent < len(message), "the server took in more requests than it could answer"
        connection.setblocking(True)
        connection.settimeout(15)
        whole = sent // len(bad)
        assert set(read_statuses(connection, whole)) == {401}


def test_decisions_of_policies_are_shown_alike(wire: Wire) -> None:
    """Approved and denied, with limits, thresholds and shadow verdicts: the same members and the same numbers, but for
    what each request adds."""
    key = wire.office.make_agent("spender", budget="spending")
    limits = [
        {"id": "each", "per": "authorization", "max": "5.00"},
        {"id": "ever", "per": "lifetime", "max": "40.00", "max_count": 50, "by": "agent"},
    ]
    for name, more in (
        ("real", {"approval": [{"above": "4.00"}]}),
        ("tried", {"shadow": True, "deny": {"payees": ["*"]}}),
    ):
        document = {"policy": name, "applies_to": {"agent": "spender"}, "currency": "USD", "limits": limits} | more
        wire.office.make("/v1/policies", document)
    for amount, status in (("2.00", 201), ("9.00", 403)):
        body = packed(authorization(amount))
        bearer = f"Bearer {key}"
        in_lane = wire.ask(wire.head(body, authorization=bearer), body)
        head = wire.head(body, authorization=bearer, content_length="", transfer_encoding="chunked")
        other = wire.ask(head, chunked(body))
        assert in_lane[0] == other[0] == status
        decisions = [answer[2]["decision"] for answer in (in_lane, other)]
        assert decisions[0] | {"limits": []} == decisions[1] | {"limits": []}
        for one, two in zip(decisions[0]["limits"], decisions[1]["limits"], strict=True):
            assert list(one) == list(two)
        used = [[limit.get("used_count") for limit in decision["limits"]] for decision in decisions]
        added = 1 if status == 201 else 0
        assert used[1] == [None if count is None else count + added for count in used[0]]
