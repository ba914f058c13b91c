"""The authorizer: the one place that changes a book.

Requests queue up; while one batch commits, the next collects (group commit, no artificial delay). One batch is one
transaction on one book: lock the head, read what is missing, decide, write, move the head, commit, then answer.
Invariants: nothing is acknowledged before its commit; a snapshot is used only while its size and root equal the head's;
a command that cannot be processed fails alone; each book always goes to the same writer thread.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.core.command import Command
from ledger.core.outcome import Outcome
from ledger.services.batch_report import BatchReport
from ledger.services.batch_writer import BatchWriter
from ledger.services.errors import CommandFailed, Stopping
from ledger.services.queue import Afterwards, CommandQueue, Deliver, Result, Submission
from ledger.services.sources import Sources

TURN_SECONDS_MAX: Final = 0.005
"""How long those who were answered may take to ask again before the next batch is taken without them."""
_logger = logging.getLogger(__name__)


def _answer(answers: Iterable[tuple[Submission, list[Result]]]) -> list[threading.Event]:
    """Deliver, then call each ``afterwards`` once; the events they return. Somebody who cannot be told (a loop that has
    closed) takes nothing from those who come after."""
    last: dict[Afterwards, None] = {}
    settling: list[threading.Event] = []
    for submission, results in answers:
        try:
            submission.deliver(results)
        except Exception:
            _logger.exception("the results of %d commands could not be delivered", len(results))
        if submission.afterwards is not None:
            last[submission.afterwards] = None
    for afterwards in last:
        try:
            event = afterwards()
        except Exception:
            _logger.exception("somebody could not be told of a batch")
        else:
            if event is not None:
                settling.append(event)
    return settling


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """Bounds of the authorizer. Counts are commands; times are seconds."""

    queue_commands_max: int = 10_000
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
        deadline = time.monotonic() + deadline_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        stopping = Stopping("this server is shutting down")
        for queue in self._queues:
            _answer((submission, [stopping for _ in submission.commands]) for submission in queue.drain())

    @property
    def queue_depth(self) -> int:
        """Commands waiting now."""
        return sum(queue.depth for queue in self._queues)

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
        queue = self._queues[book_id % len(self._queues)]
        queue.put(Submission(book_id, commands, deliver, dry, afterwards))

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

    def decide_now(self, book_id: int, command: Command, *, timeout_seconds: float = 60.0) -> Outcome:
        """Decide one command and wait for it here: for the command line and for tests. Raises ServiceError."""
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

    def _run(self, queue: CommandQueue, writer: BatchWriter) -> None:
        while (batch := queue.take()) is not None:
            commands = [command for submission in batch for command in submission.commands]
            results, report = writer.process(batch[0].book_id, commands, dry=batch[0].dry)
            at = 0
            answers = []
            for submission in batch:
                end = at + len(submission.commands)
                answers.append((submission, results[at:end]))
                at = end
            settling = _answer(answers)
            if self._on_batch is not None:
                self._on_batch(report)
            if queue.depth:
                # Half of the callers wait here and half were just answered. Were the next batch taken now, each would
                # hold one half for ever, at twice the cost of a commit: let those who were answered ask again first.
                deadline = time.monotonic() + TURN_SECONDS_MAX
                for event in settling:
                    event.wait(max(deadline - time.monotonic(), 0.0))
        writer.close()
