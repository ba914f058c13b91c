"""When a budget runs out: worked numbers, what the range promises, and when there is none."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.burning import (
    BEYOND,
    NOT_ENOUGH_DAYS,
    NOTHING_LEFT,
    NOTHING_SPENT,
    RUNS_OUT,
    forecast,
)

TODAY = date(2026, 11, 30)


def test_by_hand() -> None:
    """Fourteen days that spend 8 and 12 in turn: 10 a day, so 100 last ten days.

    Their variance is 14 x 4 / 13 = 4.3077; Student's t for 13 degrees of freedom and 90 in a hundred is 1.3502, so
    k^2 s^2 = 7.8529. The bounds are the roots of 99.4391 T^2 - 2 x 1003.93 T + 10000: 8.93 and 11.26, so at the soonest
    on the ninth day and at the latest on the twelfth.
    """
    found = forecast(100, [8, 12] * 7, TODAY)
    assert (found.status, found.days, found.per_day) == (RUNS_OUT, 14, 10)
    assert (found.day, found.earliest, found.latest) == (date(2026, 12, 10), date(2026, 12, 9), date(2026, 12, 12))


def test_days_that_never_vary_leave_no_doubt() -> None:
    """The same each day: the same day at the soonest and at the latest; money that lasts into a day ends on it."""
    for left, days in ((70, 7), (71, 8), (79, 8), (80, 8)):
        found = forecast(left, [10] * 14, TODAY)
        assert found.day == found.earliest == found.latest == TODAY + timedelta(days=days), left


@pytest.mark.parametrize(
    ("left", "spent", "status"),
    [
        (0, [5] * 14, NOTHING_LEFT),
        (-3, [5] * 14, NOTHING_LEFT),
        (10, [0] * 14, NOTHING_SPENT),
        (10, [-5] * 14, NOTHING_SPENT),
        (10, [], NOT_ENOUGH_DAYS),
        (10**9, [1] * 14, BEYOND),
    ],
)
def test_nothing_to_say(left: int, spent: list[int], status: str) -> None:
    """Neither a day nor a range."""
    assert forecast(left, spent, TODAY)[0] == status
    assert forecast(left, spent, TODAY)[3:] == (None, None, None)


@pytest.mark.parametrize("spent", [[10] * 6, [0] * 12 + [70, 70]])
def test_too_few_days_have_no_range(spent: list[int]) -> None:
    """Fewer than seven, or fewer than three with spending: the day at this rate, and that this is all that is known."""
    found = forecast(100, spent, TODAY)
    assert found.status == NOT_ENOUGH_DAYS
    assert found.day is not None
    assert (found.earliest, found.latest) == (None, None)


def test_what_may_last_for_good() -> None:
    """One day of fourteen on which nearly all was spent says little about the mean: it may run out soon, or never."""
    found = forecast(1_000, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 500], TODAY)
    assert found.status == RUNS_OUT
    assert found.earliest is not None
    assert found.latest is None


@given(st.integers(1, 10**15), st.lists(st.integers(0, 10**12), min_size=7, max_size=60))
def test_the_day_is_within_its_range(left: int, spent: list[int]) -> None:
    """Whatever was spent; and less money never lasts longer."""
    found, half = forecast(left, spent, TODAY), forecast((left + 1) // 2, spent, TODAY)
    if found.status == RUNS_OUT:
        assert found.earliest is not None
        assert found.day is not None
        assert TODAY < found.earliest <= found.day
        assert found.latest is None or found.day <= found.latest
        assert half.day is not None
        assert half.day <= found.day


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "days"), [(1, 5), (1, 20), (4, 20), (4, 60)])
def test_the_range_holds_the_day(shape: float, days: int) -> None:
    """About 80 times in a hundred of 3,000 simulated budgets, for spending as uneven as that of agents."""
    source = random.Random(days)

    def spend() -> int:
        return round(source.gammavariate(shape, 1 / shape) * 1e6)

    held = 0
    for _ in range(3_000):
        found = forecast(days * 10**6, [spend() for _ in range(14)], TODAY)
        left, day = days * 10**6, TODAY
        while left > 0:
            left -= spend()
            day += timedelta(days=1)
        held += found.earliest is not None and found.earliest <= day and (found.latest is None or day <= found.latest)
    assert 0.74 <= held / 3_000 <= 0.92
