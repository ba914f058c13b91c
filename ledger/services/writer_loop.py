"""What one writer thread does: batch after batch, and the lines between them.

Owns the loop. Invariants: nothing is acknowledged before its commit; while nobody waits in line, nothing is done for
lines; commands of the queue and lines take turns, and in a batch those who stood in line come before newcomers; when
the queue has stopped and is empty, those in line are decided for good.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ledger.core.command import Command
from ledger.core.line import Line
from ledger.core.outcome import Outcome, Status
from ledger.services.batch_report import BatchReport
from ledger.services.batch_writer import BatchWriter
from ledger.services.errors import LeftLine
from ledger.services.line import Answers, Lines, in_line
from ledger.services.place import Place
from ledger.services.queue import Afterwards, CommandQueue, Result, Submission
from ledger.services.settings_seen import SettingsSeen

TURN_SECONDS_MAX: Final = 0.005
"""How long those who were answered may take to ask again before the next batch is taken without them."""
OnBatch = Callable[[BatchReport], None]
OnWaited = Callable[[str, float], None]
"""Told of each who stood in line: the outcome's code (or the exception's name), and seconds since it asked."""
_logger = logging.getLogger(__name__)


def answer(answers: Iterable[tuple[Submission, list[Result]]], *, others_wait: bool = False) -> list[threading.Event]:
    """Deliver, then call each ``afterwards`` once; the events they return. Somebody who cannot be told (a loop that has
    closed) takes nothing from those who come after. ``others_wait``: the next batch could be taken at once."""
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
            event = afterwards(others_wait)
        except Exception:
            _logger.exception("somebody could not be told of a batch")
        else:
            if event is not None:
                settling.append(event)
    return settling


class WriterLoop:
    """The loop of one thread over its queue, its writer and its lines."""

    def __init__(
        self,
        queue: CommandQueue,
        writer: BatchWriter,
        lines: Lines,
        *,
        on_batch: OnBatch | None,
        on_waited: OnWaited | None,
    ) -> None:
        self.queue = queue
        self.lines = lines
        self._writer = writer
        self._on_batch = on_batch
        self._on_waited = on_waited

    def run(self) -> None:
        """Until the queue was stopped, and nobody waits any more."""
        queue, lines = self.queue, self.lines
        while (batch := queue.take(lines.patience(time.monotonic()))) is not None:
            if lines.is_idle and not any(submission.place is not None for submission in batch):
                if batch:
                    self._batch(batch)
                continue
            self._answer_waiting(lines.take_left())
            if batch:
                self._batch_and_line(batch[0].book_id, batch)
            book_id = lines.next_book(time.monotonic())
            if book_id is not None:
                self._batch_and_line(book_id, [])
        while not lines.is_idle:
            self._answer_waiting(lines.take_left())
            for book_id in lines.book_ids():
                self._batch_and_line(book_id, [])
        self._writer.close()

    def settings_seen(self, book_id: int) -> SettingsSeen | None:
        """What is known of a book's settings; from any thread."""
        return self._writer.settings_seen(book_id)

    def leave(self, place: Place) -> None:
        """Drop whoever has this place, from any thread."""
        self.lines.leave(place)
        self.queue.knock()

    def _batch(self, batch: list[Submission]) -> None:
        """Decide a batch of which nobody may wait, in a book where nobody waits."""
        commands = [command for submission in batch for command in submission.commands]
        results, report = self._writer.process(batch[0].book_id, commands, dry=batch[0].dry)
        at = 0
        answers = []
        for submission in batch:
            end = at + len(submission.commands)
            answers.append((submission, results[at:end]))
            at = end
        self._after(answers, report)

    def _batch_and_line(self, book_id: int, batch: list[Submission]) -> None:
        """Decide those in line who are to be tried, and then a batch, in which newcomers may begin to wait."""
        if batch and batch[0].dry:
            self._batch(batch)
            return
        lines, now, stopping = self.lines, time.monotonic(), self.queue.stopping
        tries = lines.tries(book_id, now, hurry=stopping)
        line = lines.line_of(book_id) if not stopping else None
        left: list[Submission] = []
        staying: list[Submission] = []
        for submission in batch:
            (left if submission.place is not None and submission.place.left else staying).append(submission)
        commands = [one.command for one in tries]
        for submission in staying:
            commands += _commands(submission, line, now)
        if left:
            answer((submission, [LeftLine("the caller left the line")]) for submission in left)
        if not commands:
            return
        results, report = self._writer.process(book_id, commands, dry=False)
        waited: Answers = []
        for one, result in zip(tries, results, strict=False):
            waited += lines.tried(book_id, one, result)
        at = len(tries)
        answers: Answers = []
        for submission in staying:
            end = at + len(submission.commands)
            first = results[at]
            if submission.place is not None and isinstance(first, Outcome) and first.status is Status.WAITING:
                answers += lines.enter(submission, first, now)
            else:
                answers.append((submission, results[at:end]))
            at = end
        if report.records:
            lines.wake(book_id)
        self._count_waited(waited)
        self._after(waited + answers, report)

    def _after(self, answers: Answers, report: BatchReport) -> None:
        settling = answer(answers, others_wait=self.queue.depth > 0)
        if self._on_batch is not None:
            self._on_batch(report)
        if settling and self.queue.depth:
            # Half of the callers wait here and half were just answered. Were the next batch taken now, each would
            # hold one half for ever, at twice the cost of a commit: let those who were answered ask again first.
            deadline = time.monotonic() + TURN_SECONDS_MAX
            for event in settling:
                event.wait(max(deadline - time.monotonic(), 0.0))

    def _answer_waiting(self, answers: Answers) -> None:
        if answers:
            self._count_waited(answers)
            answer(answers)

    def _count_waited(self, answers: Answers) -> None:
        if self._on_waited is None:
            return
        now = time.monotonic()
        for submission, results in answers:
            if submission.place is not None:
                self._on_waited(outcome_code(results[0]), now - submission.place.since)


def outcome_code(result: Result) -> str:
    """The code of an outcome as it is counted; for what was not decided, the exception's name."""
    return result.status.value if isinstance(result, Outcome) else type(result).__name__


def _commands(submission: Submission, line: Line | None, now: float) -> Sequence[Command]:
    """A submission's commands; one that may wait, and whose time is not over, knows of the line before it."""
    place = submission.place
    if place is None or line is None or place.deadline <= now:
        return submission.commands
    return [in_line(command, line) for command in submission.commands]
