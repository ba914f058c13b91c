"""The days, weeks, months, quarters or years that a period is cut into.

Invariant: the parts tile the period: where one ends the next begins, and the first and the last end where it does.
"""

from contextlib import suppress
from datetime import date, timedelta
from typing import Final, NamedTuple

from ledger.core.period import Period, period_of
from ledger.core.report import PER_ALL, ReportRefused

PARTS_MAX: Final = 800
_ONE_DAY: Final = timedelta(days=1)


class Parts(NamedTuple):
    """The parts of a period, in order."""

    periods: tuple[Period, ...]

    def of(self, day: date) -> int:
        """Which part a day of the period is in."""
        low, high = 0, len(self.periods) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.periods[middle].first <= day:
                low = middle
            else:
                high = middle - 1
        return low


def parts_of(period: Period, per: str, timezone: str) -> Parts:
    """The period cut into parts. Raises ReportRefused where there are too many."""
    if per == PER_ALL:
        return Parts((period,))
    found: list[Period] = []
    first = period.first
    while first <= period.last:
        if len(found) == PARTS_MAX:
            raise ReportRefused(
                "per", f"the period has more than {PARTS_MAX} parts; use longer ones or a shorter period"
            )
        following = _following(first, per)
        last = min(following - _ONE_DAY, period.last)
        # A day that the zone skipped has no time of its own, and nothing that counts for it.
        with suppress(ValueError):
            found.append(period_of(first, last, timezone))
        first = following
    return Parts(tuple(found))


def _following(day: date, per: str) -> date:
    """The first day of the part behind the day's."""
    if per == "day":
        return day + _ONE_DAY
    if per == "week":
        return day + timedelta(days=7 - day.weekday())
    months = {"month": 1, "quarter": 3, "year": 12}[per]
    at = day.year * 12 + (day.month - 1) // months * months + months
    return date(at // 12, at % 12 + 1, 1)
