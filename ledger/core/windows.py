"""Windows: which stretch of time a limit counts, and when the hours of a policy are open.

Everything is integers of microseconds since 1970 UTC; a time zone is the name of an IANA zone. Invariant: the
calendar windows of one period and zone tile time: each instant is in exactly one, and where one ends the next starts.
Minutes lie within hours, hours within days, days within weeks and months, months within years.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from ledger.core.moment import SECOND

AUTHORIZATION: Final = "authorization"
RUN: Final = "run"
MINUTE: Final = "minute"
HOUR: Final = "hour"
DAY: Final = "day"
WEEK: Final = "week"
MONTH: Final = "month"
YEAR: Final = "year"
LIFETIME: Final = "lifetime"
PERIODS: Final = (MINUTE, HOUR, DAY, WEEK, MONTH, YEAR)
WINDOWS: Final = (AUTHORIZATION, RUN, *PERIODS, LIFETIME)

_MINUTE_LENGTH: Final = 60 * SECOND
_HOUR_LENGTH: Final = 60 * _MINUTE_LENGTH
_DAY_LENGTH: Final = 24 * _HOUR_LENGTH
_MINUTES_OF_A_DAY: Final = 24 * 60

# Period -> (width of a bucket in microseconds, how many make the window). A rolling month is 30 days, a year 365.
ROLLING: Final[dict[str, tuple[int, int]]] = {
    MINUTE: (SECOND, 60),
    HOUR: (_MINUTE_LENGTH, 60),
    DAY: (30 * _MINUTE_LENGTH, 48),
    WEEK: (3 * _HOUR_LENGTH, 56),
    MONTH: (12 * _HOUR_LENGTH, 60),
    YEAR: (5 * _DAY_LENGTH, 73),
}

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY: Final = date(1970, 1, 1).weekday()
_STEP: Final = timedelta(microseconds=1)
_ONE_DAY: Final = timedelta(days=1)
# "localtime" means another zone on each machine, and "Factory" that nobody has chosen one.
_NO_REAL_ZONES: Final = frozenset(("localtime", "Factory"))
# How far ahead the next opening is sought: a week, and a day for a change of the clocks.
_OPENING_DAYS: Final = 8


class Hours(NamedTuple):
    """When a policy allows spending, by the clock on the wall.

    ``days``: days of the week, 0 is Monday. ``from_minute`` (included) and ``to_minute`` (not included): minutes since
    midnight, 0 to 1440. Where ``from_minute`` is the greater the hours go on over midnight and belong to the day they
    start on; where both are equal they are the whole day, midnight to midnight.
    """

    days: frozenset[int]
    from_minute: int
    to_minute: int


def is_timezone(name: str) -> bool:
    """Whether this is the name of an IANA zone, spelled as IANA spells it, that means the same on every machine."""
    return name in _timezones()


def calendar_bounds(period: str, *, timezone: str, now: int) -> tuple[int, int]:
    """The calendar window ``[start, end)`` of a period of PERIODS that contains ``now``; ``start <= now < end``.

    - A day goes from local midnight to the next local midnight, so it lasts 23 or 25 hours where the clocks change.
      Where midnight is skipped it starts at the first instant after the gap; where midnight comes twice, at the first
      of the two, and what the clock then shows again belongs to the day that has begun. A date that a zone skips has
      no window.
    - A week starts on Monday, a month on its first day, a year on 1 January, each where that day starts.
    - An hour or minute starts whenever the local clock shows a whole one, and at every change of the clocks: an hour
      that comes twice is two windows, one that is skipped none. None lasts longer than 60 real minutes (60 real
      seconds); a shorter one arises only where the clocks change to or from the middle of an hour, such as on Lord
      Howe Island.

    Raises ValueError for any other period or for a year beyond 1 to 9999, ZoneInfoNotFoundError for an unknown zone.
    """
    if period == DAY:
        return _bounds_of_dates(_same_day, timezone=timezone, now=now)
    if period == HOUR:
        return _bounds_by_clock(_zone(timezone), length=_HOUR_LENGTH, now=now)
    if period == MINUTE:
        return _bounds_by_clock(_zone(timezone), length=_MINUTE_LENGTH, now=now)
    if period not in _FIRST_DATES:
        raise ValueError(f'"{period}" is not a calendar period; use one of {", ".join(PERIODS)}')
    return _bounds_of_dates(_FIRST_DATES[period], timezone=timezone, now=now)


def rolling_first_bucket(*, width: int, count: int, now: int) -> int:
    """The number (instant // width) of the oldest bucket that a rolling window ending at ``now`` counts.

    The window is ``(now - count * width, now]``, and every bucket that touches it counts, whole: so nothing within the
    window is left out, and nothing counts that is older than the window by a bucket's width or more.
    """
    return (now + 1) // width - count


def bucket_leaves_at(*, width: int, count: int, bucket: int) -> int:
    """The first ``now``, in microseconds, at which a rolling window no longer counts this bucket."""
    return (bucket + count + 1) * width - 1


def day_start(timezone: str, day: date) -> int:
    """The first instant of a day, in microseconds: as ``calendar_bounds`` has it. A date that a zone skips starts where
    the next one does. Raises ZoneInfoNotFoundError for an unknown zone."""
    return _start_of_day(timezone, day)


def date_at(timezone: str, now: int) -> date:
    """The date whose day, as ``calendar_bounds`` has it, contains ``now``. Raises ZoneInfoNotFoundError for an unknown
    zone."""
    day = datetime.fromtimestamp(now // SECOND, _zone(timezone)).date()
    while now >= _start_of_day(timezone, day + _ONE_DAY):
        # The clocks went back over midnight: the wall shows yesterday again, but the next day has begun.
        day += _ONE_DAY
    return day


def hours_open(hours: Hours, timezone: str, now: int) -> tuple[bool, int | None]:
    """Whether the hours are open at ``now``, and if not the first instant at which they open, in microseconds.

    The clock on the wall decides: hours that start in the gap of a changing clock open at the first instant after it,
    and those that the clock shows twice are open twice. The instant is None while open, and where nothing opens within
    8 days (no days at all, or the one day of the week is skipped).

    Raises ZoneInfoNotFoundError for an unknown zone.
    """
    zone = _zone(timezone)
    instant, horizon = now, now + _OPENING_DAYS * _DAY_LENGTH
    # Between two changes of the clocks the wall differs from UTC by a constant; no zone has changed twice in a day.
    while instant <= horizon:
        offset = _offset(zone, instant)
        opening = _next_opening(hours, instant + offset)
        if opening is None:
            return False, None
        opening -= offset
        if opening == now:
            return True, None
        following = instant + _DAY_LENGTH
        if _offset(zone, following) != offset:
            following = _change_of_clocks(zone, before=instant, after=following)
        if opening < following:
            return False, opening if opening <= horizon else None
        instant = following
    return False, None


def _next_opening(hours: Hours, wall: int) -> int | None:
    """The first reading of the wall clock at or after ``wall`` at which the hours are open; None if they never are."""
    start, end = hours.from_minute, hours.to_minute
    if start == end:
        start, end = 0, _MINUTES_OF_A_DAY
    elif start > end:
        end += _MINUTES_OF_A_DAY
    if start == end:
        # From the end of a day to its beginning: that is no time at all.
        return None
    today = wall // _DAY_LENGTH
    # Yesterday's hours may go on over midnight; the same day of next week is the last that can be the next.
    for day in range(today - 1, today + 8):
        closing = day * _DAY_LENGTH + end * _MINUTE_LENGTH
        if closing > wall and (day + _EPOCH_WEEKDAY) % 7 in hours.days:
            return max(wall, day * _DAY_LENGTH + start * _MINUTE_LENGTH)
    return None


def _bounds_of_dates(first_date: Callable[[date, int], date], *, timezone: str, now: int) -> tuple[int, int]:
    """The window made of whole local days that contains ``now``."""
    local = datetime.fromtimestamp(now // SECOND, _zone(timezone))
    ahead = 0
    start = _start_of_day(timezone, first_date(local, ahead))
    while True:
        ahead += 1
        end = _start_of_day(timezone, first_date(local, ahead))
        if now < end:
            return start, end
        # The clocks went back over midnight: the wall shows yesterday again, but the next day has begun.
        start = end


def _same_day(day: date, ahead: int) -> date:
    """The day itself, or so many days ahead."""
    return date.fromordinal(day.toordinal() + ahead)


def _monday(day: date, ahead: int) -> date:
    """The Monday of the day's week, or of so many weeks ahead."""
    return date.fromordinal(day.toordinal() - day.weekday() + 7 * ahead)


def _first_of_month(day: date, ahead: int) -> date:
    """The first day of the day's month, or of so many months ahead."""
    year, month = divmod(day.year * 12 + day.month - 1 + ahead, 12)
    return date(year, month + 1, 1)


def _first_of_year(day: date, ahead: int) -> date:
    """1 January of the day's year, or of so many years ahead."""
    return date(day.year + ahead, 1, 1)


_FIRST_DATES: Final[dict[str, Callable[[date, int], date]]] = {
    WEEK: _monday,
    MONTH: _first_of_month,
    YEAR: _first_of_year,
}


def _bounds_by_clock(zone: ZoneInfo, *, length: int, now: int) -> tuple[int, int]:
    """The window between whole hours (or minutes) of the local clock, cut where the clock changes."""
    offset = _offset(zone, now)
    start = now - (now + offset) % length
    end = start + length
    if _offset(zone, start) != offset:
        start = _change_of_clocks(zone, before=start, after=now)
    if _offset(zone, end - 1) != offset:
        end = _change_of_clocks(zone, before=now, after=end - 1)
    return start, end


@lru_cache(maxsize=4096)
def _start_of_day(timezone: str, day: date) -> int:
    """The first instant at which the zone's clock shows this date or a later one."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=_zone(timezone))
    wall = (day.toordinal() - _EPOCH_DAY) * _DAY_LENGTH
    first, second = (_microseconds(midnight.replace(fold=fold).utcoffset()) for fold in (0, 1))
    # A reading that comes twice has the greater offset first; one that is skipped has it second, after the change.
    if first >= second:
        return wall - first
    return _change_of_clocks(_zone(timezone), before=wall - second, after=wall - first)


def _change_of_clocks(zone: ZoneInfo, *, before: int, after: int) -> int:
    """The instant of the one change of the zone's clocks in ``(before, after]``, found by halving.

    Zones change on whole seconds, and zoneinfo does not tell when.
    """
    offset = _offset(zone, before)
    low, high = before // SECOND, after // SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle * SECOND) == offset:
            low = middle
        else:
            high = middle
    return high * SECOND


def _offset(zone: ZoneInfo, instant: int) -> int:
    """What the zone's clock is ahead of UTC at an instant, in microseconds."""
    return _microseconds(datetime.fromtimestamp(instant // SECOND, zone).utcoffset())


def _microseconds(offset: timedelta | None) -> int:
    """A zone's offset in microseconds; a zone of IANA has one at every instant."""
    return 0 if offset is None else offset // _STEP


@lru_cache(maxsize=1024)
def _zone(timezone: str) -> ZoneInfo:
    """The zone of this name, read once."""
    return ZoneInfo(timezone)


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    """The names of all zones, read once."""
    return frozenset(available_timezones()) - _NO_REAL_ZONES


def local_hour(timezone: str, now: int) -> tuple[int, int]:
    """(hour 0 to 23, day of the week 1 for Monday to 7) that the clock on the wall shows at ``now``."""
    wall = now + _offset(_zone(timezone), now)
    day = wall // _DAY_LENGTH
    return wall % _DAY_LENGTH // _HOUR_LENGTH, (_EPOCH_WEEKDAY + day) % 7 + 1
