"""SIGKILL at random moments under load: of the server's process group, and of PostgreSQL.

After each crash the books verify, what was acknowledged is there once, the rest is there whole or not at all; and in
the end the books are those of clients who met no crash.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.postgres_server import PostgresServer
from tests.crash.checks import check_acknowledged, check_same_books, check_whole
from tests.crash.workload import AGENT, ALLOCATED, BUDGET, CLIENTS, Flow, Journal, Step, plan, requests_of, work
from tests.support.clients import Office
from tests.support.databases import sqlite_url
from tests.support.recorded import Recorded
from tests.support.server import OpenBook, ServerProcess, open_book, verified

SEED = int(os.environ.get("BURSAR_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
LONG = os.environ.get("BURSAR_LONG") == "1"
CRASHES = 20 if LONG else 3
FLOWS = 16
WORKERS = ("1", "2")
# Clients, and whether the blow falls at once after an acknowledgement or a moment later. One client alone leaves the
# server nothing to do after its answer: what was acknowledged before it was committed would be lost.
BLOWS = ((12, False), (1, True), (3, True))


class Crashing:
    """A book that meets crashes, a calm one beside it, and everything that was asked of the first so far."""

    def __init__(self, database_url: str, directory: Path) -> None:
        sys.stderr.write(f"BURSAR_CRASH_SEED={SEED} repeats this\n")
        self.chance = random.Random(SEED)
        self.book = open_book(database_url, "crashed")
        self.calm = open_book(database_url, "calm")
        self.server = ServerProcess(database_url, directory=directory)
        self.journal = Journal()
        self.done: list[list[list[Flow]]] = []
        self.key = ""

    def set_up(self) -> None:
        """Make the agent that all clients work as, and its budget."""
        office = Office(self.server.port, self.book.admin_key)
        self.key = office.make_agent(AGENT, budget=BUDGET, allocated=ALLOCATED)

    def recorded(self, book: OpenBook | None = None) -> Recorded:
        """What is in a book."""
        return Recorded(self.book.database_url, (book or self.book).book_id)

    def start_server(self) -> None:
        """With one worker or with two."""
        self.server.flags = ("--workers", self.chance.choice(WORKERS))
        self.server.start()

    def check(self) -> Recorded:
        """What must be so right after a crash, and after everything."""
        verified(self.book.database_url)
        recorded = self.recorded()
        check_acknowledged(recorded, self.journal, self.asked())
        check_whole(recorded)
        return recorded

    def asked(self) -> list[Step]:
        """Every request of every plan so far."""
        return [step for planned in self.done for step in requests_of(planned)]

    def next_plan(self, clients: int = CLIENTS) -> list[list[Flow]]:
        """The next round of work."""
        planned = plan(SEED, f"round-{len(self.done)}", flows=FLOWS, clients=clients)
        self.done.append(planned)
        return planned

    def compare_with_calm(self) -> None:
        """Do all the same in a book that meets no crash, and compare the two."""
        key = Office(self.server.port, self.calm.admin_key).make_agent(AGENT, budget=BUDGET, allocated=ALLOCATED)
        for planned in self.done:
            asyncio.run(work(self.server.port, key, planned, Journal()))
        check_same_books(self.check(), self.recorded(self.calm))


async def work_and_kill(crashing: Crashing, planned: list[list[Flow]], *, at_once: bool) -> None:
    """Start all clients, and kill the server's group after so many acknowledgements, at once or a moment later."""
    after = crashing.chance.randrange(10, len(requests_of(planned)) // 2)
    reached = asyncio.Event()
    answers = 0

    def count() -> None:
        nonlocal answers
        answers += 1
        if answers == after:
            if at_once:
                crashing.server.strike()
            reached.set()

    crashing.journal.on_answer = count
    working = asyncio.create_task(work(crashing.server.port, crashing.key, planned, crashing.journal))
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert not working.done(), "the work ended before the crash"
    if not at_once:
        await asyncio.sleep(crashing.chance.uniform(0, 0.005))
        crashing.server.strike()
    await asyncio.to_thread(crashing.server.kill)
    await working
    crashing.journal.on_answer = lambda: None


@pytest.mark.timeout(1800 if LONG else 300)
def test_kill_of_the_process_group(own_database_url: str, tmp_path: Path) -> None:
    """Kill -9 of all the server's processes, again and again; after each, clients repeat all their keys."""
    crashing = Crashing(own_database_url, tmp_path)
    with crashing.server:
        crashing.set_up()
        for number in range(CRASHES):
            clients, at_once = BLOWS[number % len(BLOWS)]
            planned = crashing.next_plan(clients)
            asyncio.run(work_and_kill(crashing, planned, at_once=at_once))
            assert crashing.journal.unanswered, "nothing was under way"
            recorded = crashing.check()
            by_key = recorded.by_idempotency_key()
            lost = [step for step in crashing.journal.unanswered if step.digest not in by_key]
            kept = [step for step in crashing.journal.unanswered if step.digest in by_key]
            crashing.journal.unanswered.clear()
            crashing.start_server()
            asyncio.run(work(crashing.server.port, crashing.key, planned, crashing.journal))
            assert [step for step in kept if not crashing.journal.told[step.key].replayed] == []
            assert [step for step in lost if crashing.journal.told[step.key].replayed] == []
            assert set(crashing.journal.told) == {step.key for step in crashing.asked()}
        crashing.compare_with_calm()
        crashing.server.stop()


async def work_and_kill_database(crashing: Crashing, planned: list[list[Flow]], postgres: PostgresServer) -> None:
    """Start patient clients, kill PostgreSQL after so many acknowledgements, and start it again."""
    left = crashing.chance.randrange(10, len(requests_of(planned)) // 2)
    reached = asyncio.Event()

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            reached.set()

    crashing.journal.on_answer = count
    working = asyncio.create_task(work(crashing.server.port, crashing.key, planned, crashing.journal, patient=True))
    await reached.wait()
    assert not working.done(), "the work ended before the crash"
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(postgres.start)
    await working


@pytest.mark.timeout(1800 if LONG else 300)
def test_kill_of_postgresql(mortal_postgres: PostgresServer, mortal_postgres_url: str, tmp_path: Path) -> None:
    """Kill -9 of PostgreSQL with all its processes; the server stays, and patient clients get through."""
    crashing = Crashing(mortal_postgres_url, tmp_path)
    crashing.server.flags = ("--workers", "2")
    with crashing.server:
        crashing.set_up()
        for _ in range(CRASHES):
            asyncio.run(work_and_kill_database(crashing, crashing.next_plan(), mortal_postgres))
            crashing.check()
            assert set(crashing.journal.told) == {step.key for step in crashing.asked()}
        assert crashing.journal.unanswered == [], "a request was left without an answer"
        refused = {(answer.code, "retry-after" in answer.headers) for answer in crashing.journal.refused}
        assert refused <= {("database_unavailable", True), ("outcome_unknown", True)}
        assert refused
        crashing.compare_with_calm()
        crashing.server.stop()


def test_kill_of_the_parent_alone(own_database_url: str, tmp_path: Path) -> None:
    """Kill -9 of the supervisor under load: its workers finish what they have, end by themselves, and leave nothing."""
    crashing = Crashing(own_database_url, tmp_path)
    crashing.server.flags = ("--workers", "2")
    with crashing.server:
        crashing.set_up()
        workers = crashing.server.processes()[1:]
        assert len(workers) == 2

        async def kill_the_parent() -> None:
            working = asyncio.create_task(
                work(crashing.server.port, crashing.key, crashing.next_plan(), crashing.journal)
            )
            await asyncio.sleep(0.1)
            os.kill(crashing.server.pid, signal.SIGKILL)
            await working

        asyncio.run(kill_the_parent())
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert alive == []
    crashing.check()


def test_a_worker_killed_alone_is_replaced(tmp_path: Path) -> None:
    """The other worker serves on, a new one comes, and patient clients end with the same books."""
    crashing = Crashing(sqlite_url(tmp_path), tmp_path)
    crashing.server.flags = ("--workers", "2")
    with crashing.server:
        crashing.set_up()
        victim = crashing.server.processes()[1]

        async def kill_one() -> None:
            working = asyncio.create_task(
                work(crashing.server.port, crashing.key, crashing.next_plan(), crashing.journal, patient=True)
            )
            await asyncio.sleep(0.1)
            victim.kill()
            await working

        asyncio.run(kill_one())
        assert set(crashing.journal.told) == {step.key for step in crashing.asked()}
        deadline = time.monotonic() + 30
        while len(crashing.server.processes()) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(crashing.server.processes()) == 3
        crashing.compare_with_calm()
        crashing.server.stop()
