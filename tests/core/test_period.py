"""Periods: their forms, their bounds in a time zone, and what is refused."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.moment import moment_text
from ledger.core.period import parse_period, period_of
from ledger.core.windows import DAY, calendar_bounds, date_at, day_start

ZONES = ("UTC", "Europe/Paris", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia")


@pytest.mark.parametrize(
    ("text", "first", "last", "named"),
    [
        ("2026", "2026-01-01", "2026-12-31", "2026"),
        ("2026-Q1", "2026-01-01", "2026-03-31", "2026-Q1"),
        ("2026-Q4", "2026-10-01", "2026-12-31", "2026-Q4"),
        ("2026-02", "2026-02-01", "2026-02-28", "2026-02"),
        ("2028-02", "2028-02-01", "2028-02-29", "2028-02"),
        ("2026-12", "2026-12-01", "2026-12-31", "2026-12"),
        ("2026-11-05", "2026-11-05", "2026-11-05", "2026-11-05"),
        ("2026-11-01..2026-11-15", "2026-11-01", "2026-11-15", "2026-11-01..2026-11-15"),
        ("2026-11-01..2026-11-30", "2026-11-01", "2026-11-30", "2026-11"),
        ("2026-02-01..2026-04-30", "2026-02-01", "2026-04-30", "2026-02-01..2026-04-30"),
        ("2026-01-01..2026-12-31", "2026-01-01", "2026-12-31", "2026"),
    ],
)
def test_forms(text: str, first: str, last: str, named: str) -> None:
    period = parse_period(text, "Europe/Paris")
    assert (period.first.isoformat(), period.last.isoformat(), period.text) == (first, last, named)
    assert parse_period(period.text, "Europe/Paris") == period


def test_a_month_begins_and_ends_by_the_clock_on_the_wall() -> None:
    period = parse_period("2026-10", "Europe/Paris")
    assert moment_text(period.starts_at) == "2026-09-30T22:00:00.000000Z"
    assert moment_text(period.ends_at) == "2026-10-31T23:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no period"),
        ("november", "is no period"),
        ("2026-13", "is no period"),
        ("2026-Q5", "is no period"),
        ("2026-02-30", "is no day of the calendar"),
        ("2026-11-01..2026-11-31", "is no day of the calendar"),
        ("2026-11-15..2026-11-01", "ends before it begins"),
        ("2026-11..2026-12", "is no period"),
        ("0001", "outside of the years"),
        ("9999-12-31", "outside of the years"),
        ("٢٠٢٦", "is no period"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_period(text, "Europe/Paris")


def test_a_day_that_a_zone_skipped_is_no_period() -> None:
    with pytest.raises(ValueError, match="skipped the day 2011-12-30"):
        parse_period("2011-12-30", "Pacific/Apia")


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.integers(0, 3), st.integers(0, 3))
def test_periods_that_touch_tile_time(zone: str, first: date, one: int, other: int) -> None:
    middle = first + timedelta(days=one + 1)
    try:
        early = period_of(first, middle - timedelta(days=1), zone)
        late = period_of(middle, middle + timedelta(days=other), zone)
    except ValueError:
        # The one day that Samoa skipped.
        assert zone == "Pacific/Apia"
        return
    assert early.ends_at == late.starts_at
    assert early.starts_at < early.ends_at < late.ends_at


@given(st.sampled_from(ZONES), st.integers(631_152_000_000_000, 2_208_988_800_000_000))
def test_the_date_of_a_moment_is_that_of_its_calendar_day(zone: str, moment: int) -> None:
    starts_at, ends_at = calendar_bounds(DAY, timezone=zone, now=moment)
    day = date_at(zone, moment)
    assert day_start(zone, day) == starts_at
    assert day_start(zone, day + timedelta(days=1)) == ends_at
