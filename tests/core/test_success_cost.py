"""What a success costs: worked numbers, what the intervals promise, and when there is nothing to say."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.probability import student_t_quantile
from ledger.core.success_cost import RunSums, compare_costs, cost_of_success, interval_of_cost

Runs = Iterable[tuple[int, bool]]


def sums(runs: Runs) -> RunSums:
    """The sums of (cost, success)."""
    made = RunSums()
    for cost, success in runs:
        made.add(cost, success)
    return made


def test_by_hand() -> None:
    """Six runs, of which four succeed: 100 atoms for four successes are 25 each.

    Means: cost 100/6, success 4/6. Variances of the means, over n (n - 1) = 30: cost (2,000 - 100^2/6) / 30 = 11.111,
    success (4 - 16/6) / 30 = 0.04444, covariance (60 - 400/6) / 30 = -0.2222; Student's t for 5 degrees of freedom is
    2.5706, its square 6.6079. So a = 0.44444 - 0.29369 = 0.15076, b = 11.1111 + 1.46842 = 12.5795, c = 277.778 - 73.421
    = 204.356, and the bounds are (12.5795 -/+ sqrt(158.244 - 30.808)) / 0.15076 = 8.56 and 158.3.
    """
    found = sums([(10, True), (10, True), (20, True), (20, True), (10, False), (30, False)])
    assert (found.squares, found.successful) == (2_000, 60)
    assert cost_of_success(found) == 25
    interval = interval_of_cost(found)
    assert interval is not None
    assert interval == pytest.approx((8.56, 158.3), rel=2e-3)


def test_where_all_succeed_it_is_the_mean_and_its_error() -> None:
    """Then nothing is left of the ratio: Student's interval of the mean cost."""
    costs = [5, 9, 14, 6, 8, 12, 7]
    found = interval_of_cost(sums((cost, True) for cost in costs))
    mean = Fraction(sum(costs), len(costs))
    error = math.sqrt(sum((cost - mean) ** 2 for cost in costs) / (len(costs) - 1) / len(costs))
    reach = student_t_quantile(0.975, len(costs) - 1) * error
    assert found == pytest.approx((float(mean) - reach, float(mean) + reach))


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [(5, True)],
        [(5, False)] * 30,
        # One success in thirty could as well have been none: no bound on what one costs.
        [(5, True)] + [(5, False)] * 29,
    ],
)
def test_too_little_to_say(runs: list[tuple[int, bool]]) -> None:
    """None, and not an interval that means nothing."""
    assert interval_of_cost(sums(runs)) is None


@given(st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), min_size=2, max_size=60))
def test_the_cost_is_within_its_interval(runs: list[tuple[int, bool]]) -> None:
    """Whatever the runs; and at each bound the theorem's condition is an equation."""
    found = sums(runs)
    interval, cost = interval_of_cost(found), cost_of_success(found)
    if interval is None or cost is None:
        return
    assert interval.low <= float(cost) * (1 + 1e-9) + 1e-6
    assert float(cost) * (1 - 1e-9) - 1e-6 <= interval.high


def alike(seed: int, count: int, *, chance: float = 0.5, scale: float = 1.0) -> RunSums:
    """Simulated runs: costs spread as those of agents are, dearer where they fail."""
    source = random.Random(seed)
    return sums(
        (round(source.lognormvariate(0, 0.8) * 1e6 * scale * (1 if success else 1.5)), success)
        for success in (source.random() < chance for _ in range(count))
    )


def test_twice_as_dear_is_seen_and_turns_round() -> None:
    """With 200 runs of each; asked the other way round it is the reciprocal, as sure."""
    first, second = alike(1, 200, scale=2), alike(2, 200)
    found, turned = compare_costs(first, second), compare_costs(second, first)
    assert found is not None
    assert turned is not None
    assert 1.5 < found.times < 2.7
    assert found.interval.low > 1.2
    assert found.chance < 1e-4
    assert turned.times == pytest.approx(1 / found.times)
    assert turned.interval == pytest.approx((1 / found.interval.high, 1 / found.interval.low))
    assert turned.chance == pytest.approx(found.chance)


def test_too_few_are_not_compared() -> None:
    """Fewer than 20 runs, fewer than 10 successes, or nothing spent."""
    enough = alike(3, 100)
    few = (alike(4, 19, chance=1), alike(5, 200, chance=0.02), sums([(0, True)] * 50), RunSums())
    for sums_of_few in few:
        assert compare_costs(sums_of_few, enough) is None
        assert compare_costs(enough, sums_of_few) is None


def test_costs_that_never_vary() -> None:
    """Without any spread, equal is equal and different is different."""
    one, same, other = (sums([(cost, True)] * 20) for cost in (5, 5, 6))
    assert compare_costs(one, same) == (1.0, (1.0, 1.0), 1.0)
    found = compare_costs(other, one)
    assert found is not None
    assert (found.chance, round(found.times, 6)) == (0.0, 1.2)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "chance"), [(30, 0.5), (100, 0.3), (50, 0.9), (400, 0.1)])
def test_the_interval_holds_and_no_difference_is_found_where_there_is_none(count: int, chance: float) -> None:
    """Near 95 times in a hundred of 3,000 simulations, and near 5 false alarms: costs are far from normal."""
    true = math.exp(0.32) * 1e6 * (chance + (1 - chance) * 1.5) / chance
    held = bounded = alarms = compared = 0
    for seed in range(3_000):
        first = alike(seed, count, chance=chance)
        interval = interval_of_cost(first)
        bounded += interval is not None
        held += interval is not None and interval.low <= true <= interval.high
        found = compare_costs(first, alike(10**6 + seed, count, chance=chance))
        compared += found is not None
        alarms += found is not None and found.chance < 0.05
    assert bounded > 2_900
    assert 0.90 <= held / bounded <= 0.98
    assert compared > 2_000
    assert alarms / compared <= 0.075
