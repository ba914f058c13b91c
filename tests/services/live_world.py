"""A book on a real database with an agent and money, driven through the real authorizer, and proved at the end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from ledger.core.command import Authorize, Caller, Command, Extend
from ledger.core.outcome import Outcome
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.batch_report import BatchReport
from ledger.services.batch_writer import BatchWriter
from ledger.services.place import Place
from ledger.services.queue import Result
from ledger.services.verify import verify_books
from tests.support.every_kind import LiveLedger
from tests.support.recorded import ATOMS_PER_USD, Recorded

SWEEPER = Caller(None)


class LiveWorld(LiveLedger):
    """Agent ``crawler`` with budget ``research`` of 100 USD."""

    def __init__(self, database_url: str, name: str) -> None:
        super().__init__(database_url, name)
        self.url = database_url
        self.crawler = self.agent("crawler")
        self.budget("research", "100", "crawler")

    @property
    def book_id(self) -> int:
        """The book's id."""
        return self.book.book_id

    def ask(self, amount: str = "1", **fields: object) -> Authorize:
        """A request of the crawler, with a fresh id and idempotency key unless given."""
        fields = {"currency": "USD", "category": "inference", "payee": "openai", "caller": self.crawler} | fields
        caller = fields.pop("caller")
        assert isinstance(caller, Caller)
        asked: Authorize = self.command(Authorize, caller, amount=amount, **fields)
        return asked

    def writer(self) -> BatchWriter:
        """A batch writer of the test's own, as another process would have one."""
        settings = AuthorizerSettings()
        return BatchWriter(
            self.url,
            sources=self.sources,
            clock_jump_seconds=10.0**9,
            lock_timeout_seconds=settings.lock_timeout_seconds,
        )

    def recorded(self) -> Recorded:
        """What is in the tables."""
        return Recorded(self.url, self.book_id)

    def size(self) -> int:
        """How many records the log has."""
        return len(self.recorded().log)

    def dollars(self, account: str) -> float:
        """A stored balance in whole dollars (tests use amounts that a float shows exactly)."""
        return self.recorded().balance(account) / ATOMS_PER_USD

    def prove(self) -> None:
        """The book verifies."""
        (report,) = verify_books(self.url, book=self.book.name)
        assert report.verified, [difference.sentence() for difference in report.differences]


def codes(results: list[Result]) -> list[str]:
    """The status of each result, or the name of its exception."""
    return [one.status.value if isinstance(one, Outcome) else type(one).__name__ for one in results]


@dataclass
class Waiting:
    """A submission to an authorizer, its results once they came, and on which thread; its place where it may stand in
    line."""

    done: threading.Event
    results: list[Result]
    thread: str = ""
    place: Place | None = None

    def deliver(self, results: list[Result]) -> None:
        """Take the results."""
        self.results.extend(results)
        self.thread = threading.current_thread().name
        self.done.set()

    def leave(self) -> None:
        """Leave the line."""
        assert self.place is not None
        self.place.leave()

    def wait(self) -> list[Result]:
        """The results. Fails after a minute."""
        assert self.done.wait(60), "no answer"
        return self.results


class Desk:
    """An authorizer of the test's own on a world's database, as another process would have one; a context manager.

    ``reports`` are those of its batches; ``waited`` is who stood in line: the outcome, and for how many seconds.
    """

    def __init__(self, world: LiveWorld, **settings: Any) -> None:
        self._world = world
        self.reports: list[BatchReport] = []
        self.waited: list[tuple[str, float]] = []
        self.authorizer = Authorizer(
            world.url,
            sources=world.sources,
            settings=AuthorizerSettings(**{"clock_jump_seconds": 10.0**9} | settings),
            on_batch=self.reports.append,
            on_waited=lambda outcome, seconds: self.waited.append((outcome, seconds)),
        )

    def __enter__(self) -> Desk:
        self.authorizer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.authorizer.stop(deadline_seconds=10)

    def submit(self, *commands: Command, book_id: int | None = None) -> Waiting:
        """Queue commands together."""
        waiting = Waiting(threading.Event(), [])
        self.authorizer.submit(book_id or self._world.book_id, commands, waiting.deliver)
        return waiting

    def line_up(self, command: Authorize | Extend, wait_seconds: float = 20.0) -> Waiting:
        """Queue one command that may stand in line."""
        waiting = Waiting(threading.Event(), [])
        waiting.place = self.authorizer.submit_waiting(
            self._world.book_id, command, waiting.deliver, wait_seconds=wait_seconds
        )
        return waiting

    def lined_up(self, number: int) -> None:
        """Wait until so many stand in line."""
        deadline = time.monotonic() + 30
        while self.authorizer.line_length != number:
            assert time.monotonic() < deadline, (self.authorizer.line_length, number)
            time.sleep(0.002)

    def decide(self, *commands: Command) -> list[Result]:
        """Queue commands together and wait."""
        return self.submit(*commands).wait()

    def say(self, *commands: Command) -> list[str]:
        """Queue commands together and wait; the status of each."""
        return codes(self.decide(*commands))
