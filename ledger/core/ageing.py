"""How long what is owed has been owed.

Where nothing says which debt a payment was for, it pays the oldest first (FIFO): so what is still owed is what was
accrued last. Invariant: the buckets add up to what is owed.
"""

from collections.abc import Iterable
from typing import Final

BUCKET_DAYS: Final = (30, 60, 90)
"""The last day of each bucket; behind it, the last one has no end."""
BUCKETS: Final = len(BUCKET_DAYS) + 1
OLDEST_DAYS: Final = BUCKET_DAYS[-1]


def bucket_of(age: int) -> int:
    """Which bucket a debt of so many days is in; what is not due yet is in the first."""
    return sum(age > last for last in BUCKET_DAYS)


def aged(owed: int, accrued: Iterable[tuple[int, int]]) -> list[int]:
    """What is owed, in atoms and by bucket. ``accrued`` are (age in days, atoms) of what was owed anew, the youngest
    first, as far back as ``OLDEST_DAYS``; what they do not explain is older."""
    buckets = [0] * BUCKETS
    left = max(owed, 0)
    for age, amount in accrued:
        part = min(max(amount, 0), left)
        buckets[bucket_of(age)] += part
        left -= part
        if not left:
            break
    buckets[-1] += left
    return buckets
