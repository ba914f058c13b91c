"""What is still to be told to the ledger after a call has ended, because it could not be told at once.

Owns the tasks that go on telling. Invariant: none of them is forgotten while the process lives; at its end they are
hurried, and what cannot be told even then is given up, so that the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

REPORT_DELAYS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
HURRY_SECONDS: Final = 0.25


def delay_seconds(attempt: int) -> float:
    """How long to wait after this attempt (0 the first)."""
    return REPORT_DELAYS_SECONDS[min(attempt, len(REPORT_DELAYS_SECONDS) - 1)]


class Reports:
    """Reports to the ledger that are still to be recorded, of one process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on reporting in the background."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __len__(self) -> int:
        return len(self._tasks)

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt; hardly at all once the process is to end."""
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, HURRY_SECONDS))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def finish(self, seconds: float) -> None:
        """Wait until all is recorded, at most so long, and give up what is not."""
        self._hurry.set()
        if self._tasks:
            _, left = await asyncio.wait(set(self._tasks), timeout=seconds)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
