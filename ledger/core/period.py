"""Periods that statements, reports and closings are for: whole days in the book's time zone.

Invariant: a period is never empty, and of two that touch the one ends where the other begins, across every change of
the clocks.
"""

import re
from datetime import date, timedelta
from typing import Final, NamedTuple

from ledger.core.windows import day_start

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
FORMS: Final = (
    "2026, 2026-Q4, 2026-11, 2026-11-05, or two days with .. between them, both of them included: "
    "2026-11-01..2026-11-15"
)
"""The forms of a period, as messages name them."""
_ONE_DAY: Final = timedelta(days=1)
_YEAR: Final = re.compile(r"(\d{4})", re.ASCII)
_QUARTER: Final = re.compile(r"(\d{4})-Q([1-4])", re.ASCII)
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAY: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)


class Period(NamedTuple):
    """``text`` names it in its shortest form; ``first`` and ``last`` are its days, both in it; ``starts_at``
    (included) and ``ends_at`` (not included) are microseconds."""

    text: str
    first: date
    last: date
    starts_at: int
    ends_at: int

    @property
    def following(self) -> date:
        """The day after the last."""
        return self.last + _ONE_DAY


def parse_period(text: str, timezone: str) -> Period:
    """The period that ``text`` names (one of ``FORMS``), in a time zone. Raises ValueError, saying what to change."""
    first, last = _days(text)
    if last < first:
        raise ValueError(f'the period "{text}" ends before it begins; write the earlier day first')
    if first.year < YEAR_MIN or last.year > YEAR_MAX:
        raise ValueError(f'the period "{text}" lies outside of the years {YEAR_MIN} to {YEAR_MAX}')
    return period_of(first, last, timezone)


def period_of(first: date, last: date, timezone: str) -> Period:
    """The period of whole days from ``first`` to ``last``, both included."""
    starts_at, ends_at = day_start(timezone, first), day_start(timezone, last + _ONE_DAY)
    if starts_at == ends_at:
        raise ValueError(f"{timezone} skipped the day {first.isoformat()}: no time belongs to it")
    return Period(_text(first, last), first, last, starts_at, ends_at)


def _days(text: str) -> tuple[date, date]:
    begin, dots, end = text.partition("..")
    if dots:
        if _DAY.fullmatch(begin) is None or _DAY.fullmatch(end) is None:
            raise _unknown(text)
        return _date(text, begin), _date(text, end)
    if (found := _YEAR.fullmatch(text)) is not None:
        year = _year(text, found[1])
        return date(year, 1, 1), date(year, 12, 31)
    if (found := _QUARTER.fullmatch(text)) is not None:
        month = 3 * int(found[2]) - 2
        return _months(_year(text, found[1]), month, month + 2)
    if (found := _MONTH.fullmatch(text)) is not None and 1 <= int(found[2]) <= 12:
        return _months(_year(text, found[1]), int(found[2]), int(found[2]))
    if _DAY.fullmatch(text) is not None:
        day = _date(text, text)
        return day, day
    raise _unknown(text)


def _year(text: str, digits: str) -> int:
    year = int(digits)
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise ValueError(f'the period "{text}" lies outside of the years {YEAR_MIN} to {YEAR_MAX}')
    return year


def _months(year: int, first: int, last: int) -> tuple[date, date]:
    following = date(year + last // 12, last % 12 + 1, 1)
    return date(year, first, 1), following - _ONE_DAY


def _date(text: str, day: str) -> date:
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise ValueError(f'"{day}" in the period "{text[:40]}" is no day of the calendar') from error


def _unknown(text: str) -> ValueError:
    return ValueError(f'"{text[:40]}" is no period; use {FORMS}')


def _text(first: date, last: date) -> str:
    """The shortest of ``FORMS``."""
    following = last + _ONE_DAY
    if first == last:
        return first.isoformat()
    if first.day == following.day == 1:
        months = (following.year - first.year) * 12 + following.month - first.month
        if months == 1:
            return f"{first.year:04d}-{first.month:02d}"
        if months == 3 and first.month % 3 == 1:
            return f"{first.year:04d}-Q{first.month // 3 + 1}"
        if months == 12 and first.month == 1:
            return f"{first.year:04d}"
    return f"{first.isoformat()}..{last.isoformat()}"
