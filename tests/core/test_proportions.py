"""Score intervals of shares and of their differences, against the published examples and by what they promise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.proportions import Share, difference, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_one_share(successes: int, trials: int, low: float, high: float) -> None:
    """Method 3 of the table in R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in
    Medicine 17 (1998), 857-872."""
    assert [round(bound, 4) for bound in wilson(Share(successes, trials))] == [low, high]


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_two_shares(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    """Method 10 of table II in R. G. Newcombe, Interval estimation for the difference between independent proportions,
    Statistics in Medicine 17 (1998), 873-890."""
    assert [round(bound, 4) for bound in difference(Share(*first), Share(*second))] == [low, high]


@given(st.integers(1, 10**7), st.data())
def test_what_was_seen_is_within(trials: int, data: st.DataObject) -> None:
    """And all is from 0 to 1; what failed is the mirror of what succeeded."""
    successes = data.draw(st.integers(0, trials))
    share, low_high = Share(successes, trials), wilson(Share(successes, trials))
    assert 0 <= low_high.low <= share.value <= low_high.high <= 1
    mirrored = wilson(Share(trials - successes, trials))
    assert mirrored.low == pytest.approx(1 - low_high.high, abs=1e-9)
    assert difference(share, share).low <= 0 <= difference(share, share).high


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (2, 1), (-1, 3)])
def test_no_share(successes: int, trials: int) -> None:
    """Of nothing, or of more than there are."""
    with pytest.raises(ValueError, match="none to all"):
        wilson(Share(successes, trials))


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "chance"), [(15, 0.5), (15, 0.1), (60, 0.9), (400, 0.02)])
def test_the_interval_holds_what_is_there(trials: int, chance: float) -> None:
    """About 95 times in a hundred, in 20,000 simulated groups of runs."""
    source = random.Random(trials)
    held = sum(
        (found := wilson(Share(sum(source.random() < chance for _ in range(trials)), trials))).low
        <= chance
        <= found.high
        for _ in range(20_000)
    )
    assert 0.93 <= held / 20_000 <= 0.98
