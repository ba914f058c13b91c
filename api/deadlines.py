"""Requests that have not arrived whole yet, and the end of their patience.

Owns the deadline of every request while its body is read. Invariant: a client that stops sending costs one entry
here and one connection until its deadline, or until the server stops, and nothing longer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

SWEEP_SECONDS: Final = 0.25


class Deadlines:
    """The tasks that are reading a body, oldest first. All have the same time, so the oldest ends first."""

    __slots__ = ("_expired", "_reading", "_stopping", "_timeout_seconds")

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether the server is stopping, so that nobody waits for a slow client any more."""
        return self._stopping

    def enter(self) -> asyncio.Task[Any]:
        """Start the clock for the current task; to be given to ``leave``."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is handled inside a task")
        self._reading[task] = time.monotonic() + self._timeout_seconds
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Stop the clock. True when it had run out, and the task was cancelled for that reason."""
        self._reading.pop(task, None)
        if task not in self._expired:
            return False
        self._expired.discard(task)
        return True

    def sweep(self) -> None:
        """Cancel the tasks whose time has run out; all of them once the server is stopping."""
        now = time.monotonic()
        for task, deadline in list(self._reading.items()):
            if deadline > now and not self._stopping:
                return
            del self._reading[task]
            self._expired.add(task)
            task.cancel()

    def stop(self) -> None:
        """Give up on every request that has not arrived whole."""
        self._stopping = True
        self.sweep()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()
