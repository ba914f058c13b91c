"""The place of one caller who may wait in line.

Owns ``Place``. Invariant: whoever waits may leave at any time and from any thread, and is told what became of it all
the same: that it left, or the outcome where it was decided first.
"""

from collections.abc import Callable
from typing import Any


class Place:
    """``since`` and ``deadline`` are moments of the monotonic clock in seconds. ``waiter`` is what the line remembers
    it under once it stands there, and ``is_answered`` says that the line has told it; both are the writer thread's."""

    __slots__ = ("_on_leave", "deadline", "is_answered", "left", "since", "waiter")

    def __init__(self, *, now: float, wait_seconds: float, on_leave: Callable[["Place"], None]) -> None:
        self.since = now
        self.deadline = now + wait_seconds
        self.left = False
        self.waiter: Any = None
        self.is_answered = False
        self._on_leave = on_leave

    def leave(self) -> None:
        """Wait no longer. What is being decided now is decided; anything else is dropped, with nothing recorded."""
        if not self.left:
            self.left = True
            self._on_leave(self)
