"""The authorizer: the one place that changes a book.

Requests queue up; while one batch commits, the next collects (group commit, no artificial delay). One batch is one
transaction on one book: lock the head, read what is missing, decide, write, move the head, commit, then answer.
Invariants: nothing is acknowledged before its commit; a snapshot is used only while its size and root equal the head's;
a command that cannot be processed fails alone; each book always goes to the same writer thread.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.core.command import Command
from ledger.core.outcome import Outcome
from ledger.services.batch_report import BatchReport
from ledger.services.batch_writer import BatchWriter
from ledger.services.errors import CommandFailed, Stopping
from ledger.services.queue import CommandQueue, Deliver, Result, Submission
from ledger.services.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """Bounds of the authorizer. Counts are commands; times are seconds."""

    queue_commands_max: int = 10_000
    batch_commands_max: int = 1_024
    writers: int = 1
    clock_jump_seconds: float = 300.0
    lock_timeout_seconds: float = 5.0


def _resolve(settled: list[tuple["asyncio.Future[list[Result]]", list[Result]]]) -> None:
    for future, results in settled:
        if not future.done():
            future.set_result(results)


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
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        self.sources = sources or Sources()
        self._settings = settings or AuthorizerSettings()
        writers = 1 if database_url.startswith("sqlite") else self._settings.writers
        self._queues = [
            CommandQueue(
                commands_max=self._settings.queue_commands_max,
                batch_commands_max=self._settings.batch_commands_max,
            )
            for _ in range(writers)
        ]
        self._writers = [
            BatchWriter(
                database_url,
                sources=self.sources,
                clock_jump_seconds=self._settings.clock_jump_seconds,
                lock_timeout_seconds=self._settings.lock_timeout_seconds,
            )
            for _ in range(writers)
        ]
        self._on_batch = on_batch
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the writer threads. They connect when they have something to do."""
        for position, (queue, writer) in enumerate(zip(self._queues, self._writers, strict=True)):
            thread = threading.Thread(target=self._run, args=(queue, writer), name=f"writer-{position}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, *, deadline_seconds: float) -> None:
        """Take nothing more in, finish what is queued within the deadline, and answer the rest with Stopping."""
        for queue in self._queues:
            queue.stop()
        for thread in self._threads:
            thread.join(deadline_seconds)
        for queue in self._queues:
            for submission in queue.drain():
                failed: list[Result] = [Stopping("this server is shutting down") for _ in submission.commands]
                self._hand_over([(submission, failed)])

    @property
    def queue_depth(self) -> int:
        """Commands waiting now."""
        return sum(queue.depth for queue in self._queues)

    def submit(self, book_id: int, commands: Sequence[Command], deliver: Deliver) -> None:
        """Queue commands; ``deliver`` gets their results, in order, on the writer's thread once they are durable.

        Raises Overloaded or Stopping, and then nothing was queued.
        """
        self._queue_of(book_id).put(Submission(book_id, commands, deliver=deliver))

    async def decide(self, book_id: int, command: Command) -> Outcome:
        """Decide one command durably. Raises ServiceError."""
        result = (await self._ask(book_id, (command,), dry=False))[0]
        if isinstance(result, Exception):
            raise result
        return result

    async def decide_all(self, book_id: int, commands: Sequence[Command]) -> list[Result]:
        """Decide commands in order, each on its own merits. Raises Overloaded or Stopping for all of them."""
        return await self._ask(book_id, commands, dry=False)

    async def evaluate(self, book_id: int, command: Command) -> Outcome:
        """What the decision would be now; writes nothing. Raises ServiceError."""
        result = (await self._ask(book_id, (command,), dry=True))[0]
        if isinstance(result, Exception):
            raise result
        return result

    def decide_now(self, book_id: int, command: Command, *, timeout_seconds: float = 60.0) -> Outcome:
        """Decide one command and wait for it on this thread: for the command line and for tests. Raises ServiceError."""
        done = threading.Event()
        kept: list[Result] = []

        def deliver(results: list[Result]) -> None:
            kept.extend(results)
            done.set()

        self.submit(book_id, (command,), deliver)
        if not done.wait(timeout_seconds):
            raise CommandFailed(f"no answer within {timeout_seconds} seconds")
        if isinstance(kept[0], Exception):
            raise kept[0]
        return kept[0]

    def _queue_of(self, book_id: int) -> CommandQueue:
        return self._queues[book_id % len(self._queues)]

    async def _ask(self, book_id: int, commands: Sequence[Command], *, dry: bool) -> list[Result]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Result]] = loop.create_future()
        self._queue_of(book_id).put(Submission(book_id, commands, loop, future, dry=dry))
        return await future

    def _run(self, queue: CommandQueue, writer: BatchWriter) -> None:
        while (batch := queue.take()) is not None:
            commands = [command for submission in batch for command in submission.commands]
            results, report = writer.process(batch[0].book_id, commands, dry=batch[0].dry)
            answered: list[tuple[Submission, list[Result]]] = []
            at = 0
            for submission in batch:
                answered.append((submission, results[at : at + len(submission.commands)]))
                at += len(submission.commands)
            self._hand_over(answered)
            if self._on_batch is not None:
                self._on_batch(report)
        writer.close()

    def _hand_over(self, answered: list[tuple[Submission, list[Result]]]) -> None:
        """Answer a batch: one wake-up per event loop, however many wait on it."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[list[Result]], list[Result]]]] = {}
        for submission, results in answered:
            if submission.loop is not None and submission.future is not None:
                by_loop.setdefault(submission.loop, []).append((submission.future, results))
            elif submission.deliver is not None:
                submission.deliver(results)
        for loop, settled in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, settled)
