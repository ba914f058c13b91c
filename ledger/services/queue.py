"""The queue before a writer: bounded, counted in commands, in order of arrival per book.

Owns who waits to be decided. Invariants: a submission is never split over two batches and never withdrawn; books take
turns; what was refused here was never queued.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.core.command import Command
from ledger.core.outcome import Outcome
from ledger.services.errors import Overloaded, Stopping
from ledger.services.place import Place

Result = Outcome | Exception
Deliver = Callable[[list[Result]], None]


Afterwards = Callable[[bool], threading.Event | None]
"""Called on the writer's thread, with whether the next batch could be taken at once. Then the event it returns, if any,
is set once those who were answered have had their turn to ask again."""


@dataclass(slots=True, eq=False)
class Submission:
    """Commands that were handed in together; ``deliver`` gets their results on the writer's thread. ``dry``: decide,
    write nothing. ``afterwards`` is called once when everything in its batch was delivered; see ``Afterwards``. With a
    ``place``, it is one command that may wait in line."""

    book_id: int
    commands: Sequence[Command]
    deliver: Deliver
    dry: bool = False
    afterwards: Afterwards | None = None
    place: Place | None = None


class CommandQueue:
    """Submissions waiting for one writer thread."""

    def __init__(self, *, commands_max: int, batch_commands_max: int) -> None:
        self._commands_max = commands_max
        self._batch_max = batch_commands_max
        self._lanes: dict[int, deque[Submission]] = {}
        self._turns: deque[int] = deque()
        self._condition = threading.Condition()
        self._waiting = False
        self._knocked = False
        self.stopping = False
        self.depth = 0

    def put(self, *submissions: Submission) -> None:
        """Queue submissions of one book, to be taken together if they fit into a batch. Raises Overloaded or Stopping,
        and then none was queued."""
        count = sum(len(submission.commands) for submission in submissions)
        with self._condition:
            if self.stopping:
                raise Stopping("this server is shutting down")
            if self.depth + count > self._commands_max:
                raise Overloaded(f"{self.depth} commands are waiting, which is as many as may wait")
            self.depth += count
            book_id = submissions[0].book_id
            lane = self._lanes.get(book_id)
            if lane is None:
                lane = self._lanes[book_id] = deque()
                self._turns.append(book_id)
            lane.extend(submissions)
            if self._waiting:
                self._condition.notify()

    def take(self, patience_seconds: float | None = None) -> list[Submission] | None:
        """The next batch: submissions of one book, together at most ``batch_commands_max`` commands (one submission
        may be larger by itself). Waits for one: as long as it takes, or at most ``patience_seconds`` or until a knock,
        and then the batch is empty. None once the queue was stopped and is empty."""
        with self._condition:
            while not self._turns:
                if self.stopping:
                    return None
                if self._knocked:
                    self._knocked = False
                    return []
                self._waiting = True
                told = self._condition.wait(patience_seconds)
                self._waiting = False
                if not told and not self._turns and not self.stopping:
                    return []
            book_id = self._turns.popleft()
            lane = self._lanes[book_id]
            batch = [lane.popleft()]
            count = len(batch[0].commands)
            while lane and not batch[0].dry and not lane[0].dry:
                more = len(lane[0].commands)
                if count + more > self._batch_max:
                    break
                batch.append(lane.popleft())
                count += more
            if lane:
                self._turns.append(book_id)
            else:
                del self._lanes[book_id]
            self.depth -= count
            return batch

    def knock(self) -> None:
        """Have ``take`` return, if it waits or once it would wait."""
        with self._condition:
            self._knocked = True
            if self._waiting:
                self._condition.notify()

    def stop(self) -> None:
        """Take nothing more in; what is queued can still be taken."""
        with self._condition:
            self.stopping = True
            self._condition.notify_all()

    def drain(self) -> list[Submission]:
        """Empty the queue of what nobody will take any more."""
        with self._condition:
            left = [submission for lane in self._lanes.values() for submission in lane]
            self._lanes.clear()
            self._turns.clear()
            self.depth = 0
            return left
