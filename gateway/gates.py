"""How many calls may be under way: in all, and of one agent.

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

    def __init__(self, *, calls_max: int, calls_per_agent_max: int) -> None:
        self._calls_max = calls_max
        self._per_agent_max = calls_per_agent_max
        self._agents: Counter[tuple[int, str]] = Counter()
        self.under_way = 0

    @contextmanager
    def passing(self, book_id: int, agent: str) -> Iterator[None]:
        """Let a call of an agent pass. Raises Refusal (429, nothing is held) where too many are under way."""
        who = (book_id, agent)
        if self.under_way >= self._calls_max:
            raise Refusal(
                429, "too_many_calls", f"Bursar: {self.under_way} calls are under way, which is as many as may be",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )  # fmt: skip
        if self._agents[who] >= self._per_agent_max:
            raise Refusal(
                429, "too_many_calls",
                f"Bursar: agent {agent} has {self._agents[who]} calls under way, which is as many as it may have",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )  # fmt: skip
        self.under_way += 1
        self._agents[who] += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._agents[who] -= 1
            if not self._agents[who]:
                del self._agents[who]
