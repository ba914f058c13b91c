"""Moments: microseconds since 1970 UTC as integers inside, RFC 3339 text in bodies and answers.

Invariant: text and integer are exact images of each other, always UTC with six digits and a ``Z``.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND: Final = 1_000_000
MOMENT_MAX: Final = 253_402_300_799 * SECOND
"""The last second of the year 9999: what stands behind it cannot be written."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(microseconds=1)


def moment_text(microseconds: int) -> str:
    """``2026-11-01T00:00:00.000000Z`` for microseconds since 1970 UTC."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z"


def moment_of(text: str) -> int:
    """Microseconds since 1970 UTC of RFC 3339 text with an offset. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f'"{text}" lacks an offset such as Z')
    return (moment - _EPOCH) // _STEP
