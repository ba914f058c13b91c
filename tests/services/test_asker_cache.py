"""The gateway's cache of who asks: how old an answer may be, how often it reads, and how much it keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core.command import Command, FreezeAgent
from ledger.core.command_budgets import FreezeBook
from ledger.core.outcome import Outcome, Status
from ledger.services import asker_cache
from ledger.services.asker import Asker, read_asker
from ledger.services.asker_cache import LIVES_SECONDS, READS_AT_ONCE, REFRESH_SECONDS, AskerCache
from ledger.services.settings_seen import SettingsSeen
from ledger.storage.engine import create_engine
from ledger.storage.errors import Unavailable
from tests.services.live_world import LiveWorld


class Counted:
    """Reads askers as the cache does, counts them, and may be told to wait or to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        monkeypatch.setattr(asker_cache, "read_asker", self)

    def __call__(self, connection: Any, book_id: int, key_digest: bytes, *, budget: str | None) -> Asker | None:
        with self._lock:
            self.reads += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.gate.wait(30)
            if self.fails:
                raise Unavailable("the database is away")
            return read_asker(connection, book_id, key_digest, budget=budget)
        finally:
            with self._lock:
                self.at_once -= 1


class Clock:
    """Seconds that the test counts."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(world: LiveWorld) -> Iterator[Engine]:
    """The reading engine of the world's database."""
    made = create_engine(world.url)
    yield made
    made.dispose()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What the cache reads with."""
    return Counted(monkeypatch)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's loop."""
    asyncio.run(asyncio.wait_for(work(), 60))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not condition():
        await asyncio.sleep(0.005)


def frozen(world: LiveWorld, value: bool) -> None:
    """Freeze the crawler, or let it go."""
    assert world.do(FreezeAgent, world.admin, agent="crawler", frozen=value, reason="test").status is Status.DONE


def test_an_entry_is_served_refreshed_and_then_waited_for(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """Young: as it is. Older: once more while it is read again. Old: nobody is answered with it."""
    clock = Clock()
    digest = world.crawler.key_digest or b""

    async def work() -> None:
        cache = AskerCache(engine, clock=clock)

        async def found() -> Status | None:
            asker = await cache.get(world.book_id, digest, None)
            assert asker is not None
            return asker.frozen

        assert await found() is None
        frozen(world, True)
        clock.now = REFRESH_SECONDS - 0.01
        assert (await found(), counted.reads) == (None, 1)
        clock.now = REFRESH_SECONDS
        assert await found() is None
        await until(lambda: counted.reads == 2 and not cache._reading)
        assert (await found(), counted.reads) == (Status.AGENT_FROZEN, 2)
        frozen(world, False)
        clock.now += LIVES_SECONDS
        assert (await found(), counted.reads) == (None, 3)

    run(work)


def test_what_nobody_changed_is_not_read_again(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """As long as the writer keeps finding the book as it left it; a change of its own, or of another process, is read,
    and so is a book on which nothing was decided for a while."""
    clock = Clock()
    digest = world.crawler.key_digest or b""
    writer = world.writer()

    def settings(book_id: int) -> SettingsSeen | None:
        seen = writer.settings_seen(book_id)
        return SettingsSeen(seen.epoch, decided_at) if seen is not None else None

    def decide(*commands: Command) -> None:
        nonlocal decided_at
        results, _ = writer.process(world.book_id, commands or (world.ask("0.01"),), dry=False)
        assert all(isinstance(result, Outcome) for result in results), results
        decided_at = clock.now

    async def work() -> None:
        cache = AskerCache(engine, clock=clock, settings=settings)

        async def found() -> Status | None:
            asker = await cache.get(world.book_id, digest, None)
            assert asker is not None
            return asker.frozen

        async def read_again(expected: Status | None) -> None:
            before = counted.reads
            clock.now += LIVES_SECONDS
            assert (await found(), counted.reads) == (expected, before + 1)

        decide()
        assert (await found(), counted.reads) == (None, 1)
        for _ in range(10):
            clock.now += LIVES_SECONDS
            decide()
            assert (await found(), counted.reads) == (None, 1)
        await read_again(None)

        clock.now += LIVES_SECONDS
        decide(world.command(FreezeAgent, world.admin, agent="crawler", frozen=True, reason="here"))
        assert (await found(), counted.reads) == (Status.AGENT_FROZEN, 3)

        frozen(world, False)
        clock.now += LIVES_SECONDS
        decide()
        assert (await found(), counted.reads) == (None, 4)
        clock.now += LIVES_SECONDS
        decide(world.command(FreezeBook, world.admin, frozen=True, reason="here"))
        assert (await found(), counted.reads) == (Status.BOOK_FROZEN, 5)

    decided_at = 0.0
    try:
        run(work)
    finally:
        writer.close()


def test_many_that_miss_at_once_read_once(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """Also where some of them give up waiting; another budget is another reading."""
    digest = world.crawler.key_digest or b""

    async def work() -> None:
        cache = AskerCache(engine)
        counted.gate.clear()
        waiting = [asyncio.create_task(cache.get(world.book_id, digest, None)) for _ in range(50)]
        await until(lambda: counted.reads == 1)
        for task in waiting[:25]:
            task.cancel()
        await asyncio.sleep(0.02)
        counted.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:25])
        assert {answer.agent for answer in answers[25:] if isinstance(answer, Asker)} == {"crawler"}
        assert (counted.reads, len(cache)) == (1, 1)
        assert (await cache.get(world.book_id, digest, "nowhere")).budget_problem is Status.UNKNOWN_BUDGET  # type: ignore[union-attr]
        assert (counted.reads, len(cache)) == (2, 2)

    run(work)


def test_what_is_not_there_is_remembered_too(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """Whoever guesses keys does not make the database read for each guess of the same one."""

    async def work() -> None:
        cache = AskerCache(engine)
        for _ in range(3):
            assert await cache.get(world.book_id, b"\xee" * 32, None) is None
        assert counted.reads == 1

    run(work)


def test_it_is_bounded(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """In what it keeps, where the longest read goes first, and in how many reads go on at a time."""
    digest = world.crawler.key_digest or b""

    async def work() -> None:
        cache = AskerCache(engine, entries=3)
        for name in ("a", "b", "c", "d"):
            await cache.get(world.book_id, digest, name)
        assert (len(cache), counted.reads) == (3, 4)
        for name in ("d", "c", "b"):
            await cache.get(world.book_id, digest, name)
        assert counted.reads == 4
        await cache.get(world.book_id, digest, "a")
        assert (len(cache), counted.reads) == (3, 5)
        counted.gate.clear()
        waiting = [asyncio.create_task(cache.get(world.book_id, bytes([n]) * 32, None)) for n in range(20)]
        await until(lambda: counted.at_once == READS_AT_ONCE)
        await asyncio.sleep(0.05)
        counted.gate.set()
        await asyncio.gather(*waiting)
        assert (counted.most_at_once, counted.reads) == (READS_AT_ONCE, 25)

    run(work)


def test_a_database_that_is_away(world: LiveWorld, engine: Engine, counted: Counted) -> None:
    """Whoever must wait is told; who still has an answer is served; nothing of the failure is kept."""
    clock = Clock()
    digest = world.crawler.key_digest or b""

    async def work() -> None:
        cache = AskerCache(engine, clock=clock)
        counted.fails = True
        with pytest.raises(Unavailable):
            await cache.get(world.book_id, digest, None)
        assert len(cache) == 0
        counted.fails = False
        assert await cache.get(world.book_id, digest, None) is not None
        counted.fails = True
        clock.now = REFRESH_SECONDS
        assert await cache.get(world.book_id, digest, None) is not None
        await until(lambda: counted.reads == 3 and not cache._reading)
        clock.now = LIVES_SECONDS
        with pytest.raises(Unavailable):
            await cache.get(world.book_id, digest, None)

    run(work)
