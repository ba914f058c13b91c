"""SIGTERM under load and with clients that hang: status 0 in time, and what was recorded was also answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.crash.checks import check_whole
from tests.crash.workload import AGENT, ALLOCATED, BUDGET, Journal, plan, requests_of, work
from tests.support.clients import Client, NoAnswer, Office, at_once, authorization, request_bytes
from tests.support.databases import sqlite_url
from tests.support.recorded import Recorded
from tests.support.server import ServerProcess, open_book, verified

SEED = 815
SHUTDOWN_SECONDS = 15


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_recorded_was_answered(own_database_url: str, tmp_path: Path, workers: str) -> None:
    """Clients work when the signal comes: each request is either answered, or not on record. A client whose server
    is gone knows where it stands."""
    book = open_book(own_database_url)
    journal = Journal()
    planned = plan(SEED, "shutdown", flows=40)

    async def work_and_stop(server: ServerProcess, key: str) -> float:
        reached = asyncio.Event()
        left = len(requests_of(planned)) // 4

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reached.set()

        journal.on_answer = count
        working = asyncio.create_task(work(server.port, key, planned, journal))
        await reached.wait()
        assert not working.done(), "the work ended before the signal"
        started = time.monotonic()
        server.terminate()
        # Clients that are refused with 503 ask again, until nobody listens any more.
        await working
        await asyncio.to_thread(server.wait)
        return time.monotonic() - started

    with ServerProcess(own_database_url, "--workers", workers, directory=tmp_path) as server:
        key = Office(server.port, book.admin_key).make_agent(AGENT, budget=BUDGET, allocated=ALLOCATED)
        below = server.processes()[1:]
        assert asyncio.run(work_and_stop(server, key)) < SHUTDOWN_SECONDS
        assert server.process.returncode == 0
        assert [process for process in below if process.is_running()] == []
    assert {(answer.code, "retry-after" in answer.headers) for answer in journal.refused} <= {("stopping", True)}
    verified(own_database_url)
    recorded = Recorded(own_database_url, book.book_id)
    check_whole(recorded)
    on_record = recorded.by_idempotency_key()
    answered = {step.digest for step in requests_of(planned) if step.key in journal.told}
    assert answered
    assert {step.digest for step in requests_of(planned) if step.digest in on_record} == answered


def test_a_full_queue_is_finished(tmp_path: Path) -> None:
    """64 requests wait for a lock when the signal comes. The lock is let go in time, and all are carried out and
    answered before the process ends with 0."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, directory=tmp_path) as server:
        key = Office(server.port, book.admin_key).make_agent(AGENT, budget=BUDGET)

        async def ask(client: Client, number: int) -> int:
            return (await client.post("/v1/authorizations", authorization())).status

        with contextlib.closing(sqlite3.connect(tmp_path / "bursar.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked: list[list[int]] = []
            asking = threading.Thread(target=lambda: asked.append(asyncio.run(at_once([server.port], key, 64, ask))))
            asking.start()
            time.sleep(0.7)
            server.terminate()
            time.sleep(0.7)
            other.execute("ROLLBACK")
        asking.join(30)
        assert asked == [[201] * 64]
        assert server.wait(seconds=SHUTDOWN_SECONDS) == 0
    assert Recorded(book.database_url, book.book_id).balance(f"budgets:{BUDGET}:held") == 64 * 10**9


def test_what_cannot_be_finished_is_refused_in_time(tmp_path: Path) -> None:
    """The lock is never let go: the process ends with 0 within its time all the same, the requests that waited are
    told so or lose their connection, and none of them is on record."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, "--shutdown-seconds", "1", directory=tmp_path) as server:
        key = Office(server.port, book.admin_key).make_agent(AGENT, budget=BUDGET)
        before = len(Recorded(book.database_url, book.book_id).log)

        async def ask(client: Client, number: int) -> tuple[int, str]:
            try:
                answer = await client.post("/v1/authorizations", authorization())
            except NoAnswer:
                return (0, "")
            return (answer.status, answer.code)

        with contextlib.closing(sqlite3.connect(tmp_path / "bursar.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked: list[list[tuple[int, str]]] = []
            asking = threading.Thread(target=lambda: asked.append(asyncio.run(at_once([server.port], key, 8, ask))))
            asking.start()
            time.sleep(0.5)
            started = time.monotonic()
            server.terminate()
            assert server.wait(seconds=12) == 0
            took = time.monotonic() - started
            asking.join(30)
        assert took < 1 + 3 + 3
        assert {status for status, _ in asked[0]} <= {503, 0}
    assert len(Recorded(book.database_url, book.book_id).log) == before
    verified(book.database_url)


def test_a_long_poll_is_answered(tmp_path: Path) -> None:
    """A client that waits for an approval is told that the server stops, long before its 30 seconds are over."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, directory=tmp_path) as server:
        office = Office(server.port, book.admin_key)
        key = office.make_agent(AGENT, budget=BUDGET)
        reference = office.make("/v1/authorizations", authorization(), key=key)["id"]
        # A hold that is held is answered at once, however long the client would wait.
        started = time.monotonic()
        assert office.get(f"/v1/authorizations/{reference}?wait_seconds=30", key=key)["state"] == "held"
        assert time.monotonic() - started < 5
        # Nothing is pending before there are policies, so the row is made so behind the server's back.
        with contextlib.closing(sqlite3.connect(tmp_path / "bursar.db")) as other, other:
            other.execute("UPDATE authorizations SET state = 'pending_approval' WHERE id = ?", (reference,))
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as waiting:
            waiting.sendall(request_bytes("GET", f"/v1/authorizations/{reference}?wait_seconds=30", key=key))
            waiting.settimeout(1.0)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            waiting.settimeout(20)
            started = time.monotonic()
            server.terminate()
            # The head and the body may come apart; the server closes behind them.
            answer = b""
            while part := waiting.recv(65536):
                answer += part
            assert b" 503 " in answer
            assert b'"code":"stopping"' in answer
            assert b"\r\nretry-after:" in answer.lower()
            assert time.monotonic() - started < 3
            assert server.wait(seconds=SHUTDOWN_SECONDS) == 0


def test_workers_with_hanging_clients_end_when_their_parent_is_killed(own_database_url: str, tmp_path: Path) -> None:
    """An idle connection, half a head and half a body on each: no process is left, and none keeps the port."""
    book = open_book(own_database_url)
    with (
        ServerProcess(own_database_url, "--workers", "2", directory=tmp_path) as server,
        contextlib.ExitStack() as stack,
    ):
        for number in range(12):
            hanging = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            whole = request_bytes("POST", "/v1/teams", key=book.admin_key, body={"name": "a"}, idempotency_key="k")
            hanging.sendall((b"", whole[:20], whole[:-3])[number % 3])
        time.sleep(0.3)
        below = server.processes()[1:]
        assert len(below) == 2
        psutil.Process(server.pid).kill()
        _, alive = psutil.wait_procs(below, timeout=15)
        assert alive == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=2)
    verified(own_database_url)


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    """An impatient operator sends SIGTERM again and again: the end is still 0."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, "--workers", "2", directory=tmp_path) as server:
        for _ in range(5):
            server.terminate()
            time.sleep(0.05)
        assert server.wait(seconds=SHUTDOWN_SECONDS) == 0
