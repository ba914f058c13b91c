"""Shares of successes: how far the one seen may be from the one that is there, and how far two differ.

Invariant: intervals lie within what a share can be, from 0 to 1, also of a few and where all or none succeeded.
"""

import math
from typing import Final, NamedTuple

Z_95: Final = 1.959963984540054
"""What a normal value stays within, to both sides, 95 times in a hundred."""


class Interval(NamedTuple):
    """From ``low`` to ``high``, both included."""

    low: float
    high: float


class Share(NamedTuple):
    """``successes`` of ``trials``, one at least."""

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The share that was seen."""
        return self.successes / self.trials


def wilson(share: Share, z: float = Z_95) -> Interval:
    """The score interval of a share: E. B. Wilson, *Probable inference, the law of succession, and statistical
    inference*, JASA 22 (1927). It keeps its promise for a handful of trials, where the textbook's does not (Brown, Cai
    and DasGupta, *Interval estimation for a binomial proportion*, Statistical Science 16, 2001)."""
    n = share.trials
    if n <= 0 or not 0 <= share.successes <= n:
        raise ValueError("successes are from none to all of one trial at least")
    seen = share.value
    middle = seen + z * z / (2 * n)
    spread = z * math.sqrt(seen * (1 - seen) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if share.successes == 0 else (middle - spread) / scale
    high = 1.0 if share.successes == n else (middle + spread) / scale
    return Interval(max(low, 0.0), min(high, 1.0))


def difference(first: Share, second: Share, z: float = Z_95) -> Interval:
    """The interval of ``first`` less ``second``, out of both score intervals: method 10 of R. G. Newcombe, *Interval
    estimation for the difference between independent proportions*, Statistics in Medicine 17 (1998)."""
    (low1, high1), (low2, high2) = wilson(first, z), wilson(second, z)
    seen1, seen2 = first.value, second.value
    between = seen1 - seen2
    return Interval(
        max(between - math.hypot(seen1 - low1, high2 - seen2), -1.0),
        min(between + math.hypot(high1 - seen1, seen2 - low2), 1.0),
    )
