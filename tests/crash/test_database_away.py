"""The database goes away and comes back: 503 meanwhile, then service without a restart, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import psutil
import psycopg
import sqlalchemy

from bench.postgres_server import PostgresServer
from tests.crash.checks import check_acknowledged, check_same_books, check_whole
from tests.crash.workload import AGENT, ALLOCATED, BUDGET, Journal, plan, requests_of, work
from tests.support.clients import Answer, Office, authorization, usd
from tests.support.databases import sqlite_url
from tests.support.recorded import Recorded
from tests.support.server import ServerProcess, open_book, verified

SEED = 4711
OUTAGES = 3
SQLITE_LOCK_SECONDS = 5.0


def assert_unavailable(answer: Answer) -> None:
    """A problem that says when to ask again, and that nothing was recorded."""
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1


def server_sessions(postgres: PostgresServer, database_url: str) -> int:
    """How many sessions there are on the database, this one left out."""
    name = sqlalchemy.make_url(database_url).database
    with psycopg.connect(postgres.url("postgres", driver="postgresql")) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone()
    return int(row[0]) if row else 0


def busy_reads(office: Office, key: str) -> None:
    """Have every reading connection of the pool in use once."""
    threads = [threading.Thread(target=office.get, args=("/v1/me",), kwargs={"key": key}) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_postgresql_stops_and_starts(mortal_postgres: PostgresServer, mortal_postgres_url: str, tmp_path: Path) -> None:
    """Under load, again and again: refused meanwhile, served afterwards by the same processes, with as many
    connections and open files as before, and the books are those of clients who met no outage."""
    book, calm = open_book(mortal_postgres_url, "acme"), open_book(mortal_postgres_url, "calm")
    journal = Journal()
    with ServerProcess(mortal_postgres_url, directory=tmp_path) as server:
        office = Office(server.port, book.admin_key)
        key = office.make_agent(AGENT, budget=BUDGET, allocated=ALLOCATED)
        plans = [plan(SEED, f"outage-{number}", flows=12) for number in range(OUTAGES)]
        files = sessions = 0
        for number, planned in enumerate(plans):
            asyncio.run(outage(mortal_postgres, server, planned, key, journal))
            busy_reads(office, key)
            if number == 0:
                files = psutil.Process(server.pid).num_fds()
                sessions = server_sessions(mortal_postgres, mortal_postgres_url)
        busy_reads(office, key)
        # Two writers and eight readers are what the settings allow.
        assert sessions <= 10
        assert server_sessions(mortal_postgres, mortal_postgres_url) <= 10
        assert psutil.Process(server.pid).num_fds() <= files + 4
        check_acknowledged(
            Recorded(mortal_postgres_url, book.book_id), journal, [s for planned in plans for s in requests_of(planned)]
        )
        calm_key = Office(server.port, calm.admin_key).make_agent(AGENT, budget=BUDGET, allocated=ALLOCATED)
        for planned in plans:
            asyncio.run(work(server.port, calm_key, planned, Journal()))
        server.stop()
    verified(mortal_postgres_url)
    crashed = Recorded(mortal_postgres_url, book.book_id)
    check_whole(crashed)
    check_same_books(crashed, Recorded(mortal_postgres_url, calm.book_id))


async def outage(postgres: PostgresServer, server: ServerProcess, planned: list, key: str, journal: Journal) -> None:
    """Stop PostgreSQL while clients work, look at what is answered meanwhile, and start it."""
    office = Office(server.port, key)
    refused = len(journal.refused)
    working = asyncio.create_task(work(server.port, key, planned, journal, patient=True))
    await asyncio.sleep(0.03)
    await asyncio.to_thread(postgres.stop)
    started = time.monotonic()
    for method, path, body in (
        ("POST", "/v1/authorizations", authorization()),
        ("POST", "/v1/authorizations/batch", {"items": [authorization() | {"idempotency_key": "away"}]}),
        ("POST", "/v1/runs", {"name": "run-1"}),
        ("GET", "/v1/me", None),
        ("GET", "/readyz", None),
    ):
        answer = await asyncio.to_thread(office.send, method, path, body)
        if path.endswith("batch"):
            (verdict,) = answer.json["items"]
            assert (verdict["status"], verdict["problem"]["code"]) == (503, "database_unavailable")
        else:
            assert_unavailable(answer)
    assert (await asyncio.to_thread(office.send, "GET", "/healthz")).status == 200
    assert time.monotonic() - started < 10, "a refusal must not take long"
    await asyncio.to_thread(postgres.start)
    await working
    for answer in journal.refused[refused:]:
        assert answer.code in ("database_unavailable", "outcome_unknown")
        assert "retry-after" in answer.headers
    assert len(journal.refused) > refused, "no client noticed"
    assert journal.unanswered == []
    assert (await asyncio.to_thread(office.send, "GET", "/readyz")).status == 200


def test_sqlite_locked_by_someone_else(tmp_path: Path) -> None:
    """Another program holds the file's write lock: writes wait, then 503; reads go on; afterwards all is as before,
    and the refused request left nothing behind."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, directory=tmp_path) as server:
        office = Office(server.port, book.admin_key)
        key = office.make_agent(AGENT, budget=BUDGET)
        size = office.log_size()
        with contextlib.closing(sqlite3.connect(tmp_path / "bursar.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            answer = office.send(
                "POST", "/v1/authorizations", authorization(), key=key, headers={"Idempotency-Key": "locked"}
            )
            assert_unavailable(answer)
            assert SQLITE_LOCK_SECONDS - 1 < time.monotonic() - started < SQLITE_LOCK_SECONDS * 2
            assert office.log_size() == size
            other.execute("ROLLBACK")
        again = office.send(
            "POST", "/v1/authorizations", authorization(), key=key, headers={"Idempotency-Key": "locked"}
        )
        assert (again.status, again.replayed) == (201, False)
        reference = again.json["id"]
        assert office.make(f"/v1/authorizations/{reference}/settle", {"amount": usd("0.5")}, key=key)
        server.stop()
    verified(book.database_url)


def test_sqlite_disk_is_full(tmp_path: Path) -> None:
    """No room to write: 503, nothing recorded, and service again once there is room."""
    book = open_book(sqlite_url(tmp_path))
    with ServerProcess(book.database_url, directory=tmp_path) as server:
        office = Office(server.port, book.admin_key)
        key = office.make_agent(AGENT, budget=BUDGET)
        size = office.log_size()
        # A bound on the size of files, set on the running process, is as good as a full disk.
        process = psutil.Process(server.pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, before[1]))
        answers = [office.send("POST", "/v1/authorizations", authorization(), key=key) for _ in range(3)]
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        # Whether a commit that met the bound is in the file can be told only once the file can be read again.
        assert {answer.code for answer in answers} <= {"database_unavailable", "outcome_unknown"}
        assert [answer.status for answer in answers] == [503] * 3
        assert office.log_size() == size
        assert office.send("POST", "/v1/authorizations", authorization(), key=key).status == 201
        server.stop()
    verified(book.database_url)
    check_whole(Recorded(book.database_url, book.book_id))
