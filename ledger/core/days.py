"""Days as bodies and rows have them: ISO dates in bodies, days since 1970 in rows.

Invariant: a day is a date of the calendar, without a time zone, as it stands on an invoice.
"""

from datetime import date
from typing import Any, Final

_EPOCH: Final = date(1970, 1, 1).toordinal()


def day_of(text: Any) -> int:
    """Days since 1970 of a date as a body writes it. Raises ValueError for anything but ``YYYY-MM-DD``."""
    found = date.fromisoformat(text)
    if found.isoformat() != text:
        raise ValueError(f'"{text}" is not how a body writes a day')
    return found.toordinal() - _EPOCH


def day_text(day: int) -> str:
    """A day since 1970 as ``YYYY-MM-DD``."""
    return date.fromordinal(day + _EPOCH).isoformat()
