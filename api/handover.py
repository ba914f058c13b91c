"""Between the event loop and the writer threads: commands go over together, and so do their outcomes.

Owns the two hand-overs. Invariants: all commands that became ready in one turn of the loop are queued with one call
for each book, whether or not they may wait in line; all outcomes of one batch wake the loop once; a command that was
queued is never withdrawn, whether or not anybody still waits for it, unless it may wait in line and its caller leaves.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from ledger.core.command import Authorize, Command, Extend
from ledger.core.outcome import Outcome
from ledger.services.authorizer import Authorizer
from ledger.services.place import Place
from ledger.services.queue import Submission

Answer = Outcome | Exception
_Future = asyncio.Future[Outcome]
QUIET_TURNS: Final = 30
"""Turns of an event loop with nothing new, some microseconds each, after which it counts as quiet."""


class Waiting:
    """A command that may wait in line. ``future`` ends with its outcome, or fails with a ServiceError as one of
    ``Handover.decide`` does."""

    __slots__ = ("_place", "future")

    def __init__(self, future: _Future, place: Place | None) -> None:
        self.future = future
        self._place = place

    def leave(self) -> None:
        """Wait no longer. ``future`` then fails with LeftLine, and nothing was recorded; or it ends with the outcome,
        where that was decided first. To be called for a caller that went away: not to leave keeps the place."""
        if self._place is not None:
            self._place.leave()


class _Group:
    """What of one book became ready in one turn of the loop."""

    __slots__ = ("commands", "futures", "waiting")

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.futures: list[_Future] = []
        self.waiting: list[Submission] = []


class Handover:
    """One per event loop; made inside it."""

    __slots__ = ("_arrived", "_asked", "_authorizer", "_loop", "_ready", "_settled", "_waking")

    def __init__(self, authorizer: Authorizer, loop: asyncio.AbstractEventLoop) -> None:
        self._authorizer = authorizer
        self._loop = loop
        self._ready: dict[int, _Group] = {}
        self._arrived: deque[tuple[Sequence[_Future], Sequence[Answer]]] = deque()
        self._waking = False
        self._asked = 0
        self._settled = threading.Event()

    def decide(self, book_id: int, command: Command) -> _Future:
        """A future of the command's outcome. It fails with a ServiceError when the command could not be decided."""
        self._asked += 1
        future: _Future = self._loop.create_future()
        group = self._group(book_id)
        group.commands.append(command)
        group.futures.append(future)
        return future

    def decide_waiting(self, book_id: int, command: Authorize | Extend, wait_seconds: float) -> Waiting:
        """As ``decide``, but where the command would be denied only for what open holds reserve, it stands in line for
        up to ``wait_seconds`` (30 at most). With 0 it is decided at once, and nobody can leave."""
        if wait_seconds <= 0:
            return Waiting(self.decide(book_id, command), None)
        self._asked += 1
        future: _Future = self._loop.create_future()
        place = self._authorizer.place(book_id, wait_seconds)
        deliver = partial(self._deliver, (future,))
        self._group(book_id).waiting.append(Submission(book_id, (command,), deliver, False, self._wake, place))
        return Waiting(future, place)

    def _group(self, book_id: int) -> _Group:
        group = self._ready.get(book_id)
        if group is None:
            if not self._ready:
                self._loop.call_soon(self._submit_ready)
            group = self._ready[book_id] = _Group()
        return group

    async def decide_all(self, book_id: int, commands: Sequence[Command]) -> list[Answer]:
        """The outcomes of commands queued together, in order. Raises ServiceError when none was queued."""
        waiting: asyncio.Future[list[Answer]] = self._loop.create_future()

        def resolve(answers: list[Answer]) -> None:
            if not waiting.done():
                waiting.set_result(answers)

        def deliver(answers: list[Answer]) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(resolve, answers)

        self._authorizer.submit(book_id, commands, deliver)
        return await waiting

    def _submit_ready(self) -> None:
        ready, self._ready = self._ready, {}
        for book_id, group in ready.items():
            submissions = group.waiting
            if group.commands:
                # What was spent, or is not needed any more, comes before those who may wait for it.
                deliver = partial(self._deliver, group.futures)
                submissions = [Submission(book_id, group.commands, deliver, False, self._wake), *submissions]
            try:
                self._authorizer.submit_together(book_id, submissions)
            except Exception as error:
                refused: list[Answer] = [error] * max(len(group.commands), 1)
                for submission in submissions:
                    submission.deliver(refused[: len(submission.commands)])
                self._resolve()

    def _deliver(self, waiting: Sequence[_Future], answers: Sequence[Answer]) -> None:
        """Called by a writer thread for each submission of a batch, before ``_wake``."""
        self._arrived.append((waiting, answers))

    def _wake(self, others_wait: bool) -> threading.Event | None:
        """Called by a writer thread after a batch. While a wake-up is on its way, further outcomes travel with it. The
        event is for where others wait for that: it is set once the answers are written and nobody new has asked for
        some turns of the loop."""
        if self._waking or self._loop.is_closed():
            return None
        self._waking = True
        self._settled.clear()
        self._loop.call_soon_threadsafe(self._resolve_and_settle if others_wait else self._resolve)
        return self._settled if others_wait else None

    def _resolve_and_settle(self) -> None:
        self._resolve()
        self._settle(self._asked, 0)

    def _resolve(self) -> None:
        # The flag falls before the queue is emptied: what arrives in between wakes the loop once more, in vain.
        self._waking = False
        arrived = self._arrived
        while arrived:
            waiting, answers = arrived.popleft()
            for future, answer in zip(waiting, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _settle(self, asked: int, quiet_turns: int) -> None:
        """Watch the loop turn until nobody asks any more."""
        if quiet_turns == QUIET_TURNS:
            self._settled.set()
        elif self._asked == asked:
            self._loop.call_soon(self._settle, asked, quiet_turns + 1)
        else:
            self._loop.call_soon(self._settle, self._asked, 0)
