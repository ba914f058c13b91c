"""The authorizer: the one place that changes a book.

Requests queue up; while one batch commits, the next collects (group commit, no artificial delay). One batch is one
transaction on one book: lock the head, read what is missing, decide, write, move the head, commit, then answer.
Invariants: nothing is acknowledged before its commit; a snapshot is used only while its size and root equal the head's;
a command that cannot be processed fails alone; each book always goes to the same writer thread.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.command import Authorize, Command, Extend
from ledger.core.outcome import Outcome
from ledger.services.batch_report import BatchReport as BatchReport
from ledger.services.batch_writer import BatchWriter
from ledger.services.errors import CommandFailed, Stopping
from ledger.services.line import WAIT_SECONDS_MAX, Lines
from ledger.services.place import Place
from ledger.services.queue import Afterwards, CommandQueue, Deliver, Result, Submission
from ledger.services.settings_seen import SettingsSeen
from ledger.services.sources import Sources
from ledger.services.writer_loop import OnBatch, OnWaited, WriterLoop, answer


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """Bounds of the authorizer. Counts are commands, of each writer; times are seconds. ``waiting_commands_max`` may
    stand in line; where that is full, a command is decided as one that does not wait."""

    queue_commands_max: int = 10_000
    waiting_commands_max: int = 10_000
    batch_commands_max: int = 1_024
    writers: int = 1
    clock_jump_seconds: float = 300.0
    lock_timeout_seconds: float = 5.0


class Authorizer:
    """Decides commands durably, in batches, on its own threads.

    Safe to call from any thread once started. One process may have one per database.
    """

    def __init__(
        self,
        database_url: str,
        *,
        sources: Sources | None = None,
        settings: AuthorizerSettings | None = None,
        on_batch: OnBatch | None = None,
        on_waited: OnWaited | None = None,
    ) -> None:
        self.sources = sources or Sources()
        self._settings = settings or AuthorizerSettings()
        writers = 1 if database_url.startswith("sqlite") else self._settings.writers
        self._loops = [
            WriterLoop(
                CommandQueue(
                    commands_max=self._settings.queue_commands_max,
                    batch_commands_max=self._settings.batch_commands_max,
                ),
                BatchWriter(
                    database_url,
                    sources=self.sources,
                    clock_jump_seconds=self._settings.clock_jump_seconds,
                    lock_timeout_seconds=self._settings.lock_timeout_seconds,
                ),
                Lines(members_max=self._settings.waiting_commands_max),
                on_batch=on_batch,
                on_waited=on_waited,
            )
            for _ in range(writers)
        ]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the writer threads. They connect when they have something to do."""
        for position, loop in enumerate(self._loops):
            thread = threading.Thread(target=loop.run, name=f"writer-{position}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, *, deadline_seconds: float) -> None:
        """Take nothing more in, finish what is queued within the deadline, decide those in line for good, and answer
        the rest with Stopping."""
        for loop in self._loops:
            loop.queue.stop()
        deadline = time.monotonic() + deadline_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        stopping = Stopping("this server is shutting down")
        for loop in self._loops:
            answer((submission, [stopping for _ in submission.commands]) for submission in loop.queue.drain())
            answer(loop.lines.abandon())

    @property
    def queue_depth(self) -> int:
        """Commands waiting to be decided now."""
        return sum(loop.queue.depth for loop in self._loops)

    @property
    def line_length(self) -> int:
        """Commands standing in line now."""
        return sum(loop.lines.size for loop in self._loops)

    def settings_seen(self, book_id: int) -> SettingsSeen | None:
        """Until when it is known that nobody changed a book's settings, for those who remember what they read of them.
        With several processes that write to one book, hardly ever."""
        return self._loops[book_id % len(self._loops)].settings_seen(book_id)

    def submit(
        self,
        book_id: int,
        commands: Sequence[Command],
        deliver: Deliver,
        *,
        dry: bool = False,
        afterwards: Afterwards | None = None,
    ) -> None:
        """Queue commands; ``deliver`` gets their results, in order, on the writer's thread once they are durable. With
        ``dry``, they are decided as of now and nothing is written. ``afterwards`` is called once after a whole batch
        was delivered, however many submissions in it name the same.

        Raises Overloaded or Stopping, and then nothing was queued.
        """
        loop = self._loops[book_id % len(self._loops)]
        loop.queue.put(Submission(book_id, commands, deliver, dry, afterwards))

    def submit_waiting(
        self,
        book_id: int,
        command: Authorize | Extend,
        deliver: Deliver,
        *,
        wait_seconds: float,
        afterwards: Afterwards | None = None,
    ) -> Place:
        """Queue one command as ``submit`` does, which may stand in line for ``wait_seconds`` (at most
        ``WAIT_SECONDS_MAX``) where it would be denied only for what open holds reserve. ``leave`` of the place it
        returns gives that up: ``deliver`` then gets LeftLine, or the outcome where it was decided first.

        Raises Overloaded or Stopping, and then nothing was queued.
        """
        place = self.place(book_id, wait_seconds)
        self.submit_together(book_id, [Submission(book_id, (command,), deliver, False, afterwards, place)])
        return place

    def place(self, book_id: int, wait_seconds: float) -> Place:
        """A place for a command of a submission that is handed in soon: its time to wait begins now."""
        loop = self._loops[book_id % len(self._loops)]
        seconds = min(max(wait_seconds, 0.0), WAIT_SECONDS_MAX)
        return Place(now=time.monotonic(), wait_seconds=seconds, on_leave=loop.leave)

    def submit_together(self, book_id: int, submissions: Sequence[Submission]) -> None:
        """Queue submissions to one book with one look at the queue, so that they are decided in one batch where they
        fit into one. One with a ``place`` is one command that may wait in line.

        Raises Overloaded or Stopping, and then nothing was queued.
        """
        self._loops[book_id % len(self._loops)].queue.put(*submissions)

    async def evaluate(self, book_id: int, command: Command) -> Outcome:
        """What the decision would be now; writes nothing. Raises ServiceError."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Result] = loop.create_future()

        def resolve(result: Result) -> None:
            if not waiting.done():
                waiting.set_result(result)

        def deliver(results: list[Result]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(resolve, results[0])

        self.submit(book_id, (command,), deliver, dry=True)
        result = await waiting
        if isinstance(result, Exception):
            raise result
        return result

    def decide_now(
        self, book_id: int, command: Command, *, dry: bool = False, timeout_seconds: float = 60.0
    ) -> Outcome:
        """Decide one command and wait for it here; ``dry`` as of ``submit``. Not for the event loop. Raises
        ServiceError."""
        done = threading.Event()
        kept: list[Result] = []

        def deliver(results: list[Result]) -> None:
            kept.extend(results)
            done.set()

        self.submit(book_id, (command,), deliver, dry=dry)
        if not done.wait(timeout_seconds):
            raise CommandFailed(f"no answer within {timeout_seconds} seconds")
        if isinstance(kept[0], Exception):
            raise kept[0]
        return kept[0]
