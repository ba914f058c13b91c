"""How fast a budget is spent, and the day on which it runs out at that rate, with its range.

The days looked at are taken for a sample of the days to come. Invariants: the rate is exact; the range is the one that
a prediction from so few days has, and there is none where the days are too few to say; nothing depends on when it is
asked.
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.core.probability import student_t_quantile

DAYS_DEFAULT: Final = 14
"""Two weeks, so that each day of the week counts as often."""
DAYS_MAX: Final = 366
DAYS_MIN: Final = 7
SPENDING_DAYS_MIN: Final = 3
"""With fewer days, or fewer on which anything was spent, there is no range."""
AHEAD_DAYS_MAX: Final = 3650
ONE_SIDED_90: Final = 0.9
"""So the range holds the day 80 times in a hundred, with 10 to each side of it."""

RUNS_OUT: Final = "runs_out"
NOT_ENOUGH_DAYS: Final = "not_enough_days"
NOTHING_SPENT: Final = "nothing_spent"
NOTHING_LEFT: Final = "nothing_left"
BEYOND: Final = "beyond_ten_years"
FORECASTS: Final = (RUNS_OUT, NOT_ENOUGH_DAYS, NOTHING_SPENT, NOTHING_LEFT, BEYOND)


class Forecast(NamedTuple):
    """``status`` is one of FORECASTS. ``days`` were looked at, on which ``per_day`` atoms were spent on average.
    ``day`` is when the money runs out at that rate; ``earliest`` and ``latest`` bound it, and are None where that
    cannot be said; a ``latest`` of None with an ``earliest`` means that it may last for good."""

    status: str
    days: int
    per_day: Fraction
    day: date | None = None
    earliest: date | None = None
    latest: date | None = None


def forecast(left: int, spent: Sequence[int], today: date) -> Forecast:
    """When ``left`` atoms run out, counted from the end of ``today``, if days go on like those whose spending is given,
    in atoms, one figure for each day and zero for a day without."""
    days = len(spent)
    total = sum(spent)
    per_day = Fraction(total, days) if days else Fraction(0)
    if left <= 0:
        return Forecast(NOTHING_LEFT, days, per_day)
    if total <= 0:
        return Forecast(NOTHING_SPENT if days else NOT_ENOUGH_DAYS, days, per_day)
    ahead = math.ceil(left / per_day)
    if ahead > AHEAD_DAYS_MAX:
        return Forecast(BEYOND, days, per_day)
    day = today + timedelta(days=ahead)
    if days < DAYS_MIN or sum(amount > 0 for amount in spent) < SPENDING_DAYS_MIN:
        return Forecast(NOT_ENOUGH_DAYS, days, per_day, day)
    soonest, last = _range(left, spent, per_day)
    # Rounding to whole days keeps the order; the day itself is always within.
    return Forecast(
        RUNS_OUT, days, per_day, day, today + timedelta(days=min(soonest, ahead)),
        None if last is None or last > AHEAD_DAYS_MAX else today + timedelta(days=max(last, ahead)),
    )  # fmt: skip


def _range(left: int, spent: Sequence[int], per_day: Fraction) -> tuple[int, int | None]:
    """Days after which it runs out at the soonest and at the latest.

    T days to come spend T times their mean, which differs from the mean m of the n days seen by an error of variance
    s^2 (1/T + 1/n): G. J. Hahn and W. Q. Meeker, *Statistical Intervals* (1991), section 4.8. So the bounds are where
    (T m - left)^2 = k^2 s^2 (T + T^2 / n), with k of Student's t.
    """
    n = len(spent)
    variance = float(sum((amount - per_day) ** 2 for amount in spent) / (n - 1))
    k2s2 = student_t_quantile(ONE_SIDED_90, n - 1) ** 2 * variance
    mean = float(per_day)
    a = mean**2 - k2s2 / n
    b = left * mean + k2s2 / 2
    c = float(left) ** 2
    root = math.sqrt(max(b * b - a * c, 0.0))
    # The smaller root in a form that loses no digits, and holds also where a is zero or below it.
    soonest = math.ceil(c / (b + root))
    return max(soonest, 1), math.ceil((b + root) / a) if a > 0 else None
