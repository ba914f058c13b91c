"""How many calls may be under way, in all and of one agent, and how many bytes their bodies may have together.

Invariant: what was let in is let out exactly once, however the call ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.refusals import Refusal

RETRY_AFTER_SECONDS = 1


class Gates:
    """Counts of one process, used on its event loop only."""

    def __init__(self, *, calls_max: int, calls_per_agent_max: int, bodies_bytes_max: int) -> None:
        self._calls_max = calls_max
        self._per_agent_max = calls_per_agent_max
        self._bytes_max = bodies_bytes_max
        self._agents: Counter[tuple[int, str]] = Counter()
        self.under_way = 0
        self.body_bytes = 0

    @contextmanager
    def passing(self, book_id: int, agent: str) -> Iterator[Passage]:
        """Let a call of an agent pass. Raises Refusal (429, nothing is held) where too many are under way."""
        who = (book_id, agent)
        if self.under_way >= self._calls_max:
            raise _too_many(f"{self.under_way} calls are under way, which is as many as may be")
        if self._agents[who] >= self._per_agent_max:
            raise _too_many(f"agent {agent} has {self._agents[who]} calls under way, which is as many as it may have")
        self.under_way += 1
        self._agents[who] += 1
        passage = Passage(self)
        try:
            yield passage
        finally:
            self.under_way -= 1
            self.body_bytes -= passage.size
            self._agents[who] -= 1
            if not self._agents[who]:
                del self._agents[who]

    def admit(self, more: int) -> None:
        """Let in so many more bytes of bodies. Raises Refusal."""
        if more > 0 and self.body_bytes + more > self._bytes_max:
            raise _too_many(f"requests under way have {self.body_bytes} bytes, and this one does not fit beside them")
        self.body_bytes += more


class Passage:
    """One call that was let in."""

    __slots__ = ("_gates", "size")

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self.size = 0

    def carry(self, size: int) -> None:
        """Have a body of this size count, in place of what counted before. Raises Refusal where it does not fit."""
        self._gates.admit(size - self.size)
        self.size = size


def _too_many(what: str) -> Refusal:
    return Refusal(429, "too_many_calls", f"Bursar: {what}", retry_after_seconds=RETRY_AFTER_SECONDS)
