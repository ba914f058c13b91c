"""Days and moments that are typed on the command line, in the time zone of the book that they are about."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from ledger.cli.database import BadValue
from ledger.core.moment import moment_of


def moment_typed(text: str, timezone: str, *, option: str) -> int:
    """Microseconds since 1970 UTC of a date (its midnight in the book), or of a date and time with an offset or,
    without one, as the book's clocks show it. Raises BadValue."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(timezone))
        return moment_of(moment.isoformat())
    except (ValueError, OverflowError) as error:
        raise BadValue(
            f"{text} is no day or moment for {option}: write 2026-11-01, 2026-11-01T09:30 (in {timezone}) or"
            " 2026-11-01T09:30:00Z"
        ) from error
