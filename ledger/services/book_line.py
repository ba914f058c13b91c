"""The line of one book: its queues, who is to be tried next in each, and whose time is over.

Owns ``BookLine``. Invariants: a queue is in the order of arrival, extensions before authorizations; how many of a queue
are tried at once is bounded; those behind one that is gone are tried soon.
"""

import random
from bisect import bisect_left, insort
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final

from ledger.core.line import Line, Pair
from ledger.core.outcome import Status
from ledger.services.queue import Submission

RETRY_SECONDS: Final = (0.1, 0.25)
"""Between these, by chance, lies the interval after which a line is tried again though this process saw nothing move:
other processes, expiries and windows move too."""
TRIES_MIN: Final = 4
TRIES_MAX: Final = 64
"""Bounds of how many of one queue are tried in a batch. It doubles while all of them pass."""
TRIES_BATCH_MAX: Final = 256
DUE_BATCH_MAX: Final = 1_024
order_of = attrgetter("order")
_QueueKey = tuple[str, Status]


class Waiter:
    """One command in line. ``members`` are those who asked for it with the same key, each with a command of its own
    (only the ids differ); the first one's is tried. ``order`` is 0 or 1 (an extension, an authorization) and a number
    that grows."""

    __slots__ = ("budget", "is_tried", "members", "order", "pair", "status")

    def __init__(self, order: tuple[int, int], pair: Pair | None, budget: str, status: Status) -> None:
        self.order = order
        self.pair = pair
        self.budget = budget
        self.status = status
        self.members: list[Submission] = []
        self.is_tried = False


class _Queue:
    """Those of one budget who wait for the same, in order. Where they wait for the budget's money the first blocks the
    rest; else (limits, which may be different ones) those in the middle get their turn too, from ``cursor`` on."""

    __slots__ = ("cursor", "passed", "tried", "waiters", "width")

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.width = TRIES_MIN
        self.tried = self.passed = self.cursor = 0

    def chosen(self, *, blocks: bool) -> list[Waiter]:
        """Who is to be tried next."""
        if self.tried:
            all_passed = self.passed >= self.tried
            self.width = min(max(TRIES_MIN, (self.tried if all_passed else self.passed) * 2), TRIES_MAX)
        chosen = self.waiters[: self.width]
        if not blocks and len(self.waiters) > len(chosen):
            start = self.cursor if len(chosen) <= self.cursor < len(self.waiters) else len(chosen)
            more = self.waiters[start : start + self.width]
            self.cursor = start + len(more)
            chosen += more
        self.tried, self.passed = len(chosen), 0
        return chosen


class BookLine:
    """The lines of one book. ``pending`` are the queues that are to be tried now, ``retry_at`` when all are again."""

    __slots__ = ("deadlines", "digests", "members", "pairs", "pending", "queues", "retry_at")

    def __init__(self, now: float) -> None:
        self.queues: dict[_QueueKey, _Queue] = {}
        self.pairs: dict[Pair, Waiter] = {}
        self.digests: dict[Pair, bytes] = {}
        self.pending: dict[_QueueKey, None] = {}
        self.deadlines: list[tuple[float, int, Submission]] = []
        self.members = 0
        self.retry_at = now + random.uniform(*RETRY_SECONDS)

    def next_at(self) -> float:
        """When somebody here is to be tried: a moment of the monotonic clock."""
        deadlines = self.deadlines
        while deadlines and _is_answered(deadlines[0][2]):
            heappop(deadlines)
        if self.pending:
            return 0.0
        return min(self.retry_at, deadlines[0][0]) if deadlines else self.retry_at

    def file(self, waiter: Waiter) -> None:
        """Put a waiter where its order is."""
        queue = self.queues.get((waiter.budget, waiter.status))
        if queue is None:
            queue = self.queues[waiter.budget, waiter.status] = _Queue()
        insort(queue.waiters, waiter, key=order_of)

    def unfile(self, waiter: Waiter) -> None:
        """Take a waiter out; those behind it are to be tried."""
        key = (waiter.budget, waiter.status)
        queue = self.queues[key]
        del queue.waiters[bisect_left(queue.waiters, waiter.order, key=order_of)]
        queue.passed += 1
        if queue.waiters:
            self.pending.setdefault(key)
        else:
            del self.queues[key]
            self.pending.pop(key, None)

    def refile(self, waiter: Waiter, budget: str, status: Status) -> None:
        """Put a waiter where those stand who wait for this; it keeps its order."""
        if (budget, status) != (waiter.budget, waiter.status):
            self.unfile(waiter)
            waiter.budget, waiter.status = budget, status
            self.file(waiter)

    def wake(self) -> None:
        """Have all queues tried; those that were to be tried already come first."""
        self.pending |= dict.fromkeys(self.queues)

    def line(self) -> Line:
        """What a newcomer finds before it, beside those who are tried in the same batch."""
        authorizations: set[str] = set()
        extensions: set[str] = set()
        for (budget, status), queue in self.queues.items():
            if status is Status.BUDGET_HELD:
                # Extensions stand at the front and authorizations at the back, so that neither walk is long.
                if any(not one.is_tried for one in takewhile(_is_extension, queue.waiters)):
                    extensions.add(budget)
                if any(not one.is_tried for one in takewhile(_is_authorization, reversed(queue.waiters))):
                    authorizations.add(budget)
        return Line(authorizations, extensions, self.digests)

    def chosen(self, now: float, due: Collection[Waiter], *, hurry: bool) -> list[Waiter]:
        """Who is to be tried, in order: those in ``due``, and unless in a ``hurry`` some of each queue that is to be
        tried now, about ``TRIES_BATCH_MAX`` in all."""
        if now >= self.retry_at:
            self.wake()
        chosen = dict.fromkeys(due)
        while self.pending and len(chosen) < TRIES_BATCH_MAX and not hurry:
            key = next(iter(self.pending))
            del self.pending[key]
            chosen |= dict.fromkeys(self.queues[key].chosen(blocks=key[1] is Status.BUDGET_HELD))
        if not self.pending:
            self.retry_at = now + random.uniform(*RETRY_SECONDS)
        waiters = sorted(chosen, key=order_of)
        for waiter in waiters:
            waiter.is_tried = True
        return waiters

    def note_deadline(self, deadline: float, number: int, member: Submission) -> None:
        """Remember when the time of a member is over; ``number`` tells equal moments apart."""
        heappush(self.deadlines, (deadline, number, member))
        if len(self.deadlines) > 2 * self.members + 64:
            # Those who were answered long before their time must not be remembered until it comes.
            self.deadlines = [entry for entry in self.deadlines if not _is_answered(entry[2])]
            heapify(self.deadlines)

    def due(self, now: float) -> dict[Waiter, list[Submission]]:
        """Those whose time is over, at most ``DUE_BATCH_MAX``."""
        found: dict[Waiter, list[Submission]] = {}
        deadlines = self.deadlines
        while deadlines and deadlines[0][0] <= now and len(found) < DUE_BATCH_MAX:
            member = heappop(deadlines)[2]
            if member.place is not None and not member.place.is_answered:
                found.setdefault(member.place.waiter, []).append(member)
        return found

    def is_behind(self, waiter: Waiter) -> bool:
        """Whether somebody who is not tried in the same batch waits for the budget's money before ``waiter``."""
        queue = self.queues.get((waiter.budget, Status.BUDGET_HELD))
        if queue is None:
            return False
        before = islice(queue.waiters, bisect_left(queue.waiters, waiter.order, key=order_of))
        return not all(one.is_tried for one in before)


def _is_extension(waiter: Waiter) -> bool:
    return not waiter.order[0]


def _is_authorization(waiter: Waiter) -> bool:
    return bool(waiter.order[0])


def _is_answered(member: Submission) -> bool:
    return member.place is None or member.place.is_answered
