"""Until when a writer thread knows that the settings of a book are what they were.

Owns ``SettingsSeen``. Invariant: between two that have the same ``epoch``, nobody changed who may spend from where: no
agent, key, budget, run, policy or freeze, here or in another process.
"""

from collections.abc import Callable
from typing import NamedTuple


class SettingsSeen(NamedTuple):
    """``at`` is when the writer last held the book's lock and found what it knew, in seconds of the monotonic clock."""

    epoch: int
    at: float


SettingsOf = Callable[[int], SettingsSeen | None]
"""What is known of a book; None: nothing."""
