"""Windows: days and hours where the clocks change, month and year ends, rolling windows and opening hours, as tables;
then properties, and a naive reading of the clock minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.core.moment import SECOND, moment_of
from ledger.core.windows import (
    PERIODS,
    ROLLING,
    WINDOWS,
    Hours,
    bucket_leaves_at,
    calendar_bounds,
    hours_open,
    is_timezone,
    rolling_first_bucket,
)

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ZONES = (
    *("UTC", "Europe/Paris", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/St_Johns"),
    *("Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Beirut", "Africa/Cairo", "Pacific/Apia", "Antarctica/Troll"),
    *("Pacific/Chatham", "Asia/Kolkata"),
)

# Days in words: zone, any time of the day, first instant of the day, first instant of the next day, hours it lasts.
DAYS = {
    "an ordinary day in UTC": ("UTC", "2026-11-23T12:00Z", "2026-11-23T00:00Z", "2026-11-24T00:00Z", "24"),
    "an ordinary day in Paris starts the evening before in UTC": (
        *("Europe/Paris", "2026-11-23T12:00Z", "2026-11-22T23:00Z", "2026-11-23T23:00Z", "24"),
    ),
    "Paris loses an hour in spring": (
        *("Europe/Paris", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", "23"),
    ),
    "Paris gains an hour in autumn": (
        *("Europe/Paris", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "25"),
    ),
    "New York loses an hour in spring": (
        *("America/New_York", "2026-03-08T12:00-04:00", "2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00", "23"),
    ),
    "New York gains an hour in autumn": (
        *("America/New_York", "2026-11-01T12:00-05:00", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00", "25"),
    ),
    "Sao Paulo has no midnight in spring: the day starts at 01:00": (
        *("America/Sao_Paulo", "2018-11-04T12:00-02:00", "2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00", "23"),
    ),
    "Sao Paulo's day before that one is whole": (
        *("America/Sao_Paulo", "2018-11-03T12:00-03:00", "2018-11-03T00:00-03:00", "2018-11-04T01:00-02:00", "24"),
    ),
    "Sao Paulo goes back from midnight to 23:00 in autumn": (
        *("America/Sao_Paulo", "2018-02-17T23:30-03:00", "2018-02-17T00:00-02:00", "2018-02-18T00:00-03:00", "25"),
    ),
    "Havana has no midnight in spring": (
        *("America/Havana", "2026-03-08T12:00-04:00", "2026-03-08T01:00-04:00", "2026-03-09T00:00-04:00", "23"),
    ),
    "Havana has midnight twice in autumn, and the first counts": (
        *("America/Havana", "2026-11-01T00:30-05:00", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00", "25"),
    ),
    "Beirut has no midnight in spring": (
        *("Asia/Beirut", "2026-03-29T12:00+03:00", "2026-03-29T01:00+03:00", "2026-03-30T00:00+03:00", "23"),
    ),
    "Cairo has no midnight in spring": (
        *("Africa/Cairo", "2024-04-26T12:00+03:00", "2024-04-26T01:00+03:00", "2024-04-27T00:00+03:00", "23"),
    ),
    "Lord Howe loses half an hour in spring": (
        *("Australia/Lord_Howe", "2026-10-04T12:00+11:00", "2026-10-04T00:00+10:30", "2026-10-05T00:00+11:00", "23.5"),
    ),
    "Lord Howe gains half an hour in autumn": (
        *("Australia/Lord_Howe", "2026-04-05T12:00+10:30", "2026-04-05T00:00+11:00", "2026-04-06T00:00+10:30", "24.5"),
    ),
    "Kathmandu is five hours and three quarters ahead": (
        *("Asia/Kathmandu", "2026-11-23T12:00+05:45", "2026-11-22T18:15Z", "2026-11-23T18:15Z", "24"),
    ),
    "Apia's last day before it crossed the date line": (
        *("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", "24"),
    ),
    "Apia skipped 30 December 2011": (
        *("Pacific/Apia", "2011-12-31T12:00+14:00", "2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00", "24"),
    ),
    "St Johns went back from a minute past midnight: the new day had begun and goes on": (
        *("America/St_Johns", "2010-11-06T23:30-03:30", "2010-11-07T00:00-02:30", "2010-11-08T00:00-03:30", "25"),
    ),
    "Toronto jumped over midnight from 23:30 to 00:30": (
        *("America/Toronto", "1919-03-31T12:00-04:00", "1919-03-31T00:30-04:00", "1919-04-01T00:00-04:00", "23.5"),
    ),
    "before 1970": ("UTC", "1969-12-31T23:59:59.999999Z", "1969-12-31T00:00Z", "1970-01-01T00:00Z", "24"),
}

# Longer windows: period, zone, any time within, first instant, first instant of the next.
LONGER = {
    "a week from Monday to Monday": ("week", "UTC", "2026-11-25T10:00Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
    "Monday belongs to the week it starts": (
        *("week", "UTC", "2026-11-23T00:00Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
    ),
    "Sunday belongs to the week it ends": (
        *("week", "UTC", "2026-11-29T23:59Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
    ),
    "a week over the end of the year": ("week", "UTC", "2027-01-01T10:00Z", "2026-12-28T00:00Z", "2027-01-04T00:00Z"),
    "a week that loses an hour in Paris": (
        *("week", "Europe/Paris", "2026-03-25T10:00+01:00", "2026-03-23T00:00+01:00", "2026-03-30T00:00+02:00"),
    ),
    "a week of six days in Apia": (
        *("week", "Pacific/Apia", "2011-12-31T10:00+14:00", "2011-12-26T00:00-10:00", "2012-01-02T00:00+14:00"),
    ),
    "a month of 30 days": ("month", "UTC", "2026-11-30T23:59Z", "2026-11-01T00:00Z", "2026-12-01T00:00Z"),
    "a month of 31 days": ("month", "UTC", "2026-01-31T23:59Z", "2026-01-01T00:00Z", "2026-02-01T00:00Z"),
    "February": ("month", "UTC", "2026-02-28T23:59Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"),
    "February in a leap year": ("month", "UTC", "2028-02-29T23:59Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
    "February in 2100, not a leap year": (
        *("month", "UTC", "2100-02-28T23:59Z", "2100-02-01T00:00Z", "2100-03-01T00:00Z"),
    ),
    "December": ("month", "UTC", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
    "a month that gains an hour in New York": (
        *("month", "America/New_York", "2026-11-15T00:00-05:00", "2026-11-01T00:00-04:00", "2026-12-01T00:00-05:00"),
    ),
    "the month has turned in Paris, not yet in UTC": (
        *("month", "Europe/Paris", "2026-07-31T22:30Z", "2026-08-01T00:00+02:00", "2026-09-01T00:00+02:00"),
    ),
    "October has turned in Havana though the clock shows midnight again": (
        *("month", "America/Havana", "2026-11-01T00:00-05:00", "2026-11-01T00:00-04:00", "2026-12-01T00:00-05:00"),
    ),
    "a year": ("year", "UTC", "2026-06-30T00:00Z", "2026-01-01T00:00Z", "2027-01-01T00:00Z"),
    "a leap year": ("year", "UTC", "2028-12-31T23:59Z", "2028-01-01T00:00Z", "2029-01-01T00:00Z"),
    "the year has turned in Kathmandu, not yet in UTC": (
        *("year", "Asia/Kathmandu", "2026-12-31T18:15Z", "2026-12-31T18:15Z", "2027-12-31T18:15Z"),
    ),
}

# Hours and minutes: as above.
SHORTER = {
    "an hour in UTC": ("hour", "UTC", "2026-11-23T12:34:56Z", "2026-11-23T12:00Z", "2026-11-23T13:00Z"),
    "an hour in Kathmandu starts at a quarter past in UTC": (
        *("hour", "Asia/Kathmandu", "2026-11-23T12:34Z", "2026-11-23T12:15Z", "2026-11-23T13:15Z"),
    ),
    "the last hour before Paris skips one": (
        *("hour", "Europe/Paris", "2026-03-29T01:59+01:00", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
    ),
    "the first hour after Paris skips one": (
        *("hour", "Europe/Paris", "2026-03-29T03:00+02:00", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"),
    ),
    "two o'clock in Paris for the first time": (
        *("hour", "Europe/Paris", "2026-10-25T02:30+02:00", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),
    ),
    "two o'clock in Paris for the second time": (
        *("hour", "Europe/Paris", "2026-10-25T02:30+01:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"),
    ),
    "Lord Howe jumps from 02:00 to 02:30: the hour before is whole": (
        *("hour", "Australia/Lord_Howe", "2026-10-04T01:59+10:30", "2026-10-04T01:00+10:30", "2026-10-04T02:30+11:00"),
    ),
    "Lord Howe jumps from 02:00 to 02:30: half an hour is left": (
        *("hour", "Australia/Lord_Howe", "2026-10-04T02:30+11:00", "2026-10-04T02:30+11:00", "2026-10-04T03:00+11:00"),
    ),
    "Lord Howe goes back from 02:00 to 01:30: the hour before is whole": (
        *("hour", "Australia/Lord_Howe", "2026-04-05T01:45+11:00", "2026-04-05T01:00+11:00", "2026-04-05T01:30+10:30"),
    ),
    "Lord Howe goes back from 02:00 to 01:30: half an hour comes again": (
        *("hour", "Australia/Lord_Howe", "2026-04-05T01:45+10:30", "2026-04-05T01:30+10:30", "2026-04-05T02:00+10:30"),
    ),
    "Apia's first hour after the date line": (
        *("hour", "Pacific/Apia", "2011-12-31T00:10+14:00", "2011-12-31T00:00+14:00", "2011-12-31T01:00+14:00"),
    ),
    "St Johns goes back from 00:01 to 23:01: the hour before is cut": (
        *("hour", "America/St_Johns", "2010-11-07T00:00:30-02:30", "2010-11-07T00:00-02:30", "2010-11-07T00:01-02:30"),
    ),
    "St Johns goes back from 00:01 to 23:01: the rest of that hour comes again": (
        *("hour", "America/St_Johns", "2010-11-06T23:30-03:30", "2010-11-06T23:01-03:30", "2010-11-07T00:00-03:30"),
    ),
    "a minute": ("minute", "UTC", "2026-11-23T12:34:56Z", "2026-11-23T12:34Z", "2026-11-23T12:35Z"),
    "the last minute of a year": ("minute", "UTC", "2026-12-31T23:59:59Z", "2026-12-31T23:59Z", "2027-01-01T00:00Z"),
    "a minute in Monrovia, then 44 minutes and 30 seconds behind": (
        *("minute", "Africa/Monrovia", "1971-06-01T12:00:00Z", "1971-06-01T11:59:30Z", "1971-06-01T12:00:30Z"),
    ),
}

WEEKDAYS = frozenset(range(5))
EVERY_DAY = frozenset(range(7))
OFFICE = Hours(WEEKDAYS, 7 * 60, 20 * 60)
NIGHT = Hours(frozenset({4}), 22 * 60, 6 * 60)
ALWAYS = Hours(EVERY_DAY, 0, 1440)

# Opening hours: hours, zone, now, when they open (None: they are open).
OPENINGS = {
    "Monday one microsecond before seven": (OFFICE, "UTC", "2026-11-23T06:59:59.999999Z", "2026-11-23T07:00Z"),
    "Monday at seven": (OFFICE, "UTC", "2026-11-23T07:00Z", None),
    "Monday one microsecond before eight in the evening": (OFFICE, "UTC", "2026-11-23T19:59:59.999999Z", None),
    "Monday at eight in the evening": (OFFICE, "UTC", "2026-11-23T20:00Z", "2026-11-24T07:00Z"),
    "Friday night waits for Monday": (OFFICE, "UTC", "2026-11-27T20:00Z", "2026-11-30T07:00Z"),
    "Saturday waits for Monday, by the clock in Paris": (
        *(OFFICE, "Europe/Paris", "2026-11-28T12:00Z", "2026-11-30T07:00+01:00"),
    ),
    "Friday evening waits over the change of the clocks": (
        *(OFFICE, "Europe/Paris", "2026-03-27T21:00+01:00", "2026-03-30T07:00+02:00"),
    ),
    "Friday evening waits over the change in autumn": (
        *(OFFICE, "America/New_York", "2026-10-30T21:00-04:00", "2026-11-02T07:00-05:00"),
    ),
    "Friday night before it starts": (NIGHT, "UTC", "2026-11-27T21:59Z", "2026-11-27T22:00Z"),
    "Friday night belongs to Friday after midnight": (NIGHT, "UTC", "2026-11-28T05:59:59.999999Z", None),
    "Friday night is over on Saturday at six": (NIGHT, "UTC", "2026-11-28T06:00Z", "2026-12-04T22:00Z"),
    "Thursday night is not Friday night": (NIGHT, "UTC", "2026-11-27T05:00Z", "2026-11-27T22:00Z"),
    "open all day": (ALWAYS, "UTC", "2026-11-23T00:00Z", None),
    "open until midnight, written 24:00": (
        *(Hours(frozenset({0}), 600, 1440), "UTC", "2026-11-24T00:00Z", "2026-11-30T10:00Z"),
    ),
    "open until midnight, written 00:00": (
        *(Hours(frozenset({0}), 600, 0), "UTC", "2026-11-24T00:00Z", "2026-11-30T10:00Z"),
    ),
    "the same time twice means the whole day": (Hours(frozenset({0}), 540, 540), "UTC", "2026-11-23T00:00Z", None),
    "the whole day ends at midnight": (
        *(Hours(frozenset({0}), 540, 540), "UTC", "2026-11-24T00:00Z", "2026-11-30T00:00Z"),
    ),
    "half past two does not exist in Paris: it opens at three": (
        *(Hours(EVERY_DAY, 150, 300), "Europe/Paris", "2026-03-29T01:59+01:00", "2026-03-29T03:00+02:00"),
    ),
    "what lies within the gap does not open that day": (
        *(Hours(EVERY_DAY, 130, 170), "Europe/Paris", "2026-03-29T01:59+01:00", "2026-03-30T02:10+02:00"),
    ),
    "what starts and ends within the gap, from its first minute": (
        *(Hours(EVERY_DAY, 120, 150), "Europe/Paris", "2026-03-29T01:59+01:00", "2026-03-30T02:00+02:00"),
    ),
    "half past two comes twice in Paris: open the first time": (
        *(Hours(EVERY_DAY, 140, 160), "Europe/Paris", "2026-10-25T02:30+02:00", None),
    ),
    "half past two comes twice in Paris: closed in between": (
        *(Hours(EVERY_DAY, 140, 160), "Europe/Paris", "2026-10-25T02:45+02:00", "2026-10-25T02:20+01:00"),
    ),
    "half past two comes twice in Paris: open the second time": (
        *(Hours(EVERY_DAY, 140, 160), "Europe/Paris", "2026-10-25T02:30+01:00", None),
    ),
    "the clock goes back into the hours: open again at the change": (
        *(Hours(EVERY_DAY, 60, 150), "Europe/Paris", "2026-10-25T02:45+02:00", "2026-10-25T02:00+01:00"),
    ),
    "a day without midnight opens at one": (
        *(Hours(frozenset({6}), 0, 1440), "America/Sao_Paulo", "2018-11-03T23:59-03:00", "2018-11-04T01:00-02:00"),
    ),
    "from 24:00 is the midnight at the end of the day": (
        *(Hours(frozenset({0}), 1440, 60), "UTC", "2026-11-23T12:00Z", "2026-11-24T00:00Z"),
    ),
}


def local(zone: str, instant: int) -> datetime:
    """What the calendar and the clock on the wall show."""
    return (EPOCH + timedelta(microseconds=instant)).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(("zone", "now", "start", "end", "lasts"), DAYS.values(), ids=DAYS)
def test_a_day_is_from_midnight_to_midnight(zone: str, now: str, start: str, end: str, lasts: str) -> None:
    """Also where the clocks change, and by one microsecond on either side."""
    first, following = moment_of(start), moment_of(end)
    assert calendar_bounds("day", timezone=zone, now=moment_of(now)) == (first, following)
    assert (following - first) * 10 == round(float(lasts) * 10) * HOUR
    check_edges("day", zone, first, following)


@pytest.mark.parametrize(("period", "zone", "now", "start", "end"), LONGER.values(), ids=LONGER)
def test_weeks_months_and_years(period: str, zone: str, now: str, start: str, end: str) -> None:
    """They start where their first day starts."""
    first, following = moment_of(start), moment_of(end)
    assert calendar_bounds(period, timezone=zone, now=moment_of(now)) == (first, following)
    check_edges(period, zone, first, following)


@pytest.mark.parametrize(("period", "zone", "now", "start", "end"), SHORTER.values(), ids=SHORTER)
def test_hours_and_minutes(period: str, zone: str, now: str, start: str, end: str) -> None:
    """They follow the clock on the wall and never last longer than a real hour or minute."""
    first, following = moment_of(start), moment_of(end)
    assert calendar_bounds(period, timezone=zone, now=moment_of(now)) == (first, following)
    check_edges(period, zone, first, following)


def check_edges(period: str, zone: str, start: int, end: int) -> None:
    """One microsecond before, at and after both ends of a window."""
    for now in (start, start + 1, end - 1):
        assert calendar_bounds(period, timezone=zone, now=now) == (start, end)
    assert calendar_bounds(period, timezone=zone, now=start - 1)[1] == start
    for now in (end, end + 1):
        assert calendar_bounds(period, timezone=zone, now=now)[0] == end


def test_the_windows_a_limit_may_have() -> None:
    """In the order in which a policy lists them; those that can roll are the periods."""
    assert WINDOWS == ("authorization", "run", "minute", "hour", "day", "week", "month", "year", "lifetime")
    assert tuple(ROLLING) == PERIODS == WINDOWS[2:-1]


@pytest.mark.parametrize("period", ["authorization", "run", "lifetime", "fortnight", "Day", ""])
def test_what_is_not_a_period_has_no_bounds(period: str) -> None:
    """And the error names those that have."""
    with pytest.raises(ValueError, match="minute, hour, day, week, month, year"):
        calendar_bounds(period, timezone="UTC", now=0)


@pytest.mark.parametrize("period", PERIODS)
def test_an_unknown_zone_is_an_error(period: str) -> None:
    """Never UTC in silence."""
    with pytest.raises(ZoneInfoNotFoundError):
        calendar_bounds(period, timezone="Europe/Atlantis", now=0)
    with pytest.raises(ZoneInfoNotFoundError):
        hours_open(OFFICE, "Europe/Atlantis", 0)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *[(name, True) for name in (*ZONES, "Etc/UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "CET")],
        *[(name, False) for name in ("", "Europe", "europe/paris", "Europe/Paris ", "Paris", "+01:00", "UTC+1")],
        *[(name, False) for name in ("../etc/passwd", "/etc/localtime", "right/UTC", "posix/UTC", "leapseconds")],
        *[(name, False) for name in ("localtime", "Factory", "a\0b", "é", "x" * 500)],
    ],
)
def test_the_names_of_zones(name: str, known: bool) -> None:
    """Only names that mean the same zone on every machine."""
    assert is_timezone(name) is known


# The properties look where it is hard: around the changes of the clocks of the zones, and anywhere from 1970 to 2100.
CHANGES = (
    *("2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-03-08T07:00Z", "2026-11-01T06:00Z", "2018-11-04T03:00Z"),
    *("2018-02-18T02:00Z", "2026-03-08T05:00Z", "2026-11-01T05:00Z", "2026-10-03T15:30Z", "2026-04-04T15:00Z"),
    *("2011-12-30T10:00Z", "2010-11-07T02:31Z", "2010-03-14T03:31Z", "2026-03-28T22:00Z", "2026-10-24T21:00Z"),
    *("2024-04-25T22:00Z", "2024-10-31T21:00Z", "2026-04-04T14:00Z", "2026-09-26T14:00Z", "1985-12-31T18:30Z"),
)
zones = st.sampled_from(ZONES)
instants = st.one_of(
    st.builds(lambda change, away: moment_of(change) + away, st.sampled_from(CHANGES), st.integers(-2 * DAY, 2 * DAY)),
    st.builds(
        lambda change, away: moment_of(change) + away * 30 * MINUTE, st.sampled_from(CHANGES), st.integers(-60, 60)
    ),
    st.integers(0, moment_of("2100-01-01T00:00Z")),
)


@settings(deadline=None)
@given(zones, st.sampled_from(PERIODS), instants)
def test_windows_tile_time(zone: str, period: str, now: int) -> None:
    """Each instant is in one window, and where one ends the next starts."""
    start, end = calendar_bounds(period, timezone=zone, now=now)
    assert start <= now < end
    check_edges(period, zone, start, end)


@settings(deadline=None)
@given(zones, st.sampled_from(PERIODS), instants, st.integers(0, 3 * DAY))
def test_a_later_instant_is_never_in_an_earlier_window(zone: str, period: str, now: int, later: int) -> None:
    """Two instants share their window, or the later one's starts after the earlier one's has ended."""
    first = calendar_bounds(period, timezone=zone, now=now)
    second = calendar_bounds(period, timezone=zone, now=now + later)
    assert first == second or first[1] <= second[0]


@settings(deadline=None)
@given(zones, st.sampled_from(["minute hour", "hour day", "day week", "day month", "month year"]), instants)
def test_shorter_windows_lie_within_longer_ones(zone: str, pair: str, now: int) -> None:
    """So no day holds part of an hour, and no month part of a day."""
    shorter, longer = (calendar_bounds(period, timezone=zone, now=now) for period in pair.split())
    assert longer[0] <= shorter[0] < shorter[1] <= longer[1]


def day_begun(zone: str, instant: int) -> date:
    """The latest date that the zone has shown in the three hours up to an instant, looked at minute by minute."""
    return max(local(zone, instant - minutes * MINUTE).date() for minutes in range(181))


def name_of_window(period: str, day: date) -> tuple[int, ...]:
    """What people call the window of this day: the ISO year and week, the year and month, ..."""
    names = {
        "day": (day.year, day.month, day.day),
        "week": tuple(day.isocalendar())[:2],
        "month": (day.year, day.month),
        "year": (day.year,),
    }
    return names[period]


@settings(max_examples=60, deadline=None)
@given(zones, st.sampled_from(["day", "week", "month", "year"]), instants)
def test_every_instant_of_a_window_has_its_name_and_its_neighbours_do_not(zone: str, period: str, now: int) -> None:
    """A naive calendar agrees at both ends, in the middle, and one microsecond outside."""
    start, end = calendar_bounds(period, timezone=zone, now=now)
    name = name_of_window(period, day_begun(zone, now))
    for inside in (start, start + 1, (start + end) // 2, end - 1):
        assert name_of_window(period, day_begun(zone, inside)) == name
    assert name_of_window(period, day_begun(zone, start - 1)) < name
    assert name_of_window(period, day_begun(zone, end)) > name


def starts_an_hour(zone: str, instant: int) -> bool:
    """Whether the clock shows a whole hour, or has just been changed; ``instant`` is a whole minute."""
    now, before = local(zone, instant), local(zone, instant - MINUTE)
    return now.minute == 0 or now.utcoffset() != before.utcoffset()


@settings(max_examples=200, deadline=None)
@given(zones, instants)
def test_hours_agree_with_a_walk_minute_by_minute(zone: str, now: int) -> None:
    """Back to where the hour started, and on to where the next does."""
    start = now - now % MINUTE
    while not starts_an_hour(zone, start):
        start -= MINUTE
    end = now - now % MINUTE + MINUTE
    while not starts_an_hour(zone, end):
        end += MINUTE
    assert calendar_bounds("hour", timezone=zone, now=now) == (start, end)


@settings(deadline=None)
@given(zones, instants)
def test_minutes_are_those_of_utc_where_offsets_are_whole_minutes(zone: str, now: int) -> None:
    """As all these zones have had since 1970."""
    start = now - now % MINUTE
    assert calendar_bounds("minute", timezone=zone, now=now) == (start, start + MINUTE)


@pytest.mark.parametrize(
    ("period", "length", "width"),
    [
        ("minute", MINUTE, SECOND),
        ("hour", HOUR, MINUTE),
        ("day", DAY, 30 * MINUTE),
        ("week", 7 * DAY, 3 * HOUR),
        ("month", 30 * DAY, 12 * HOUR),
        ("year", 365 * DAY, 5 * DAY),
    ],
)
def test_the_buckets_of_a_rolling_window_make_it_up(period: str, length: int, width: int) -> None:
    """As many as it takes, and no more."""
    assert ROLLING[period] == (width, length // width)
    assert length % width == 0


@pytest.mark.parametrize(
    ("now", "first"),
    [
        ("2026-11-23T12:00:00Z", "2026-11-23T11:00Z"),
        ("2026-11-23T12:00:00.000001Z", "2026-11-23T11:00Z"),
        ("2026-11-23T12:00:30Z", "2026-11-23T11:00Z"),
        ("2026-11-23T12:00:59.999998Z", "2026-11-23T11:00Z"),
        ("2026-11-23T12:00:59.999999Z", "2026-11-23T11:01Z"),
        ("2026-11-23T12:01:00Z", "2026-11-23T11:01Z"),
    ],
)
def test_a_rolling_hour_counts_whole_minutes(now: str, first: str) -> None:
    """The hour to 12:00:30 counts from 11:00:00. At 12:00:59.999999 the last microsecond of 11:00 is an hour old."""
    width, count = ROLLING["hour"]
    assert rolling_first_bucket(width=width, count=count, now=moment_of(now)) * width == moment_of(first)


rolling = st.sampled_from(list(ROLLING.values()))


@settings(deadline=None)
@given(rolling, st.integers(0, moment_of("2100-01-01T00:00Z")), st.data())
def test_a_rolling_window_never_leaves_out_what_is_in_it(
    window: tuple[int, int], now: int, data: st.DataObject
) -> None:
    """What was spent less than the window's length ago counts, down to the microsecond."""
    width, count = window
    first = rolling_first_bucket(width=width, count=count, now=now)
    age = data.draw(st.one_of(st.just(width * count - 1), st.integers(0, width * count - 1)))
    assert (now - age) // width >= first


@settings(deadline=None)
@given(rolling, st.integers(0, moment_of("2100-01-01T00:00Z")))
def test_a_rolling_window_counts_less_than_a_bucket_too_much(window: tuple[int, int], now: int) -> None:
    """The oldest instant that counts is older than the window by less than a bucket's width."""
    width, count = window
    oldest = rolling_first_bucket(width=width, count=count, now=now) * width
    assert now - oldest < width * count + width


@settings(deadline=None)
@given(rolling, st.integers(0, 4_000_000_000))
@example((SECOND, 60), 0)
def test_a_bucket_leaves_to_the_microsecond(window: tuple[int, int], bucket: int) -> None:
    """Counted one microsecond before, no longer at and after; that is when its last instant is a window old."""
    width, count = window
    leaves = bucket_leaves_at(width=width, count=count, bucket=bucket)
    counted = [rolling_first_bucket(width=width, count=count, now=leaves + step) <= bucket for step in (-1, 0, 1)]
    assert counted == [True, False, False]
    assert leaves - ((bucket + 1) * width - 1) == width * count


@pytest.mark.parametrize(("hours", "zone", "now", "opens"), OPENINGS.values(), ids=OPENINGS)
def test_opening_hours(hours: Hours, zone: str, now: str, opens: str | None) -> None:
    """Open now, or the instant they open; one microsecond before it they are closed, and at it open."""
    instant = moment_of(now)
    if opens is None:
        assert hours_open(hours, zone, instant) == (True, None)
        return
    opening = moment_of(opens)
    assert hours_open(hours, zone, instant) == (False, opening)
    assert hours_open(hours, zone, opening - 1) == (False, opening)
    assert hours_open(hours, zone, opening) == (True, None)


def test_hours_on_no_day_never_open() -> None:
    """There is nothing to wait for."""
    assert hours_open(Hours(frozenset(), 0, 1440), "UTC", 0) == (False, None)


def test_a_friday_that_is_skipped_is_not_foreseen_beyond_eight_days() -> None:
    """Apia had no 30 December 2011, so after Friday 23 the next Friday comes in two weeks."""
    fridays = Hours(frozenset({4}), 540, 600)
    assert hours_open(fridays, "Pacific/Apia", moment_of("2011-12-23T10:00-10:00")) == (False, None)
    opens = moment_of("2012-01-06T09:00+14:00")
    assert hours_open(fridays, "Pacific/Apia", opens - 8 * DAY) == (False, opens)
    assert hours_open(fridays, "Pacific/Apia", opens - 8 * DAY - 1) == (False, None)


def wall_is_open(hours: Hours, wall: datetime) -> bool:
    """Whether hours are open when the clock shows this, told in words: today's hours, or the rest of last night's."""
    minute = wall.hour * 60 + wall.minute
    today, yesterday = wall.weekday() in hours.days, (wall.weekday() - 1) % 7 in hours.days
    if hours.from_minute == hours.to_minute:
        return today
    if hours.from_minute < hours.to_minute:
        return today and hours.from_minute <= minute < hours.to_minute
    return (today and minute >= hours.from_minute) or (yesterday and minute < hours.to_minute)


def naive_hours_open(hours: Hours, zone: str, now: int) -> tuple[bool, int | None]:
    """The same by looking at the clock every minute for eight days."""
    if wall_is_open(hours, local(zone, now)):
        return True, None
    following = now - now % MINUTE + MINUTE
    for instant in range(following, now + 8 * DAY + 1, MINUTE):
        if wall_is_open(hours, local(zone, instant)):
            return False, instant
    return False, None


some_hours = st.builds(
    Hours,
    st.frozensets(st.integers(0, 6)),
    st.one_of(st.integers(0, 1440), st.integers(0, 240)),
    st.one_of(st.integers(0, 1440), st.integers(0, 240)),
)


@settings(max_examples=150, deadline=None)
@given(some_hours, zones, instants)
@example(Hours(EVERY_DAY, 150, 300), "Europe/Paris", moment_of("2026-03-29T00:30Z"))
@example(Hours(EVERY_DAY, 60, 150), "Europe/Paris", moment_of("2026-10-25T00:45Z"))
@example(Hours(frozenset({6}), 100, 110), "Australia/Lord_Howe", moment_of("2026-04-04T14:55Z"))
@example(Hours(frozenset({0}), 1440, 0), "UTC", 1)
def test_opening_hours_agree_with_a_look_at_the_clock_every_minute(hours: Hours, zone: str, now: int) -> None:
    """Over changes of the clocks, midnights and weeks."""
    assert hours_open(hours, zone, now) == naive_hours_open(hours, zone, now)
