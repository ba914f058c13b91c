"""Student's t, Fisher's exact test and Holm's correction against published values and against exact sums."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.probability import fisher_exact, holm, student_t_cdf, student_t_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [
        (0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 10, 2.228), (0.975, 30, 2.042), (0.975, 120, 1.980),
        (0.9, 13, 1.350), (0.95, 5, 2.015), (0.995, 9, 3.250), (0.975, 1e7, 1.960),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(probability: float, freedom: float, value: float) -> None:
    """NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2."""
    assert student_t_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


@given(st.floats(-50, 50), st.floats(0.5, 1e5))
def test_the_distribution_is_symmetric_and_meets_its_quantile(t: float, freedom: float) -> None:
    """P(T <= t) + P(T <= -t) is one; for one and two degrees of freedom it has a plain form."""
    assert student_t_cdf(t, freedom) + student_t_cdf(-t, freedom) == pytest.approx(1, abs=1e-12)
    assert student_t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert student_t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


@pytest.mark.parametrize(("probability", "freedom"), [(0.4, 3), (1, 3)])
def test_what_has_no_quantile(probability: float, freedom: float) -> None:
    """Neither below the middle, which nobody asks for, nor beyond everything."""
    with pytest.raises(ValueError, match=r"0\.5 to below 1"):
        student_t_quantile(probability, freedom)
    with pytest.raises(ValueError, match="above zero"):
        student_t_cdf(1, 0)


@pytest.mark.parametrize(
    ("first", "second", "chance"),
    [
        # The lady tasting tea: Fisher, The Design of Experiments (1935).
        ((3, 4), (1, 4), 34 / 70),
        ((4, 4), (0, 4), 2 / 70),
        # Agresti, Categorical Data Analysis: larynx cancer (21 of 23 and 15 of 18 controlled).
        ((21, 23), (15, 18), 0.6384),
        ((0, 5), (0, 9), 1.0),
        ((5, 5), (9, 9), 1.0),
    ],
)
def test_published_tables(first: tuple[int, int], second: tuple[int, int], chance: float) -> None:
    """Each two-sided."""
    assert fisher_exact(first, second) == pytest.approx(chance, abs=5e-5)


@given(st.integers(1, 25), st.integers(1, 25), st.data())
def test_the_exact_test_is_exact(n1: int, n2: int, data: st.DataObject) -> None:
    """Against the sum of all tables that are no likelier, in whole numbers."""
    a, b = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    total = a + b
    ways = {x: math.comb(n1, x) * math.comb(n2, total - x) for x in range(max(0, total - n2), min(total, n1) + 1)}
    expected = Fraction(sum(way for way in ways.values() if way <= ways[a]), sum(ways.values()))
    assert fisher_exact((a, n1), (b, n2)) == pytest.approx(float(expected), rel=1e-9)
    assert fisher_exact((b, n2), (a, n1)) == pytest.approx(float(expected), rel=1e-9)


def test_many_runs_cost_little() -> None:
    """A million of each: near the root of that many terms, and the value that the normal distribution gives."""
    chance = fisher_exact((500_000, 1_000_000), (501_000, 1_000_000))
    z = (0.501 - 0.5) / math.sqrt(0.5005 * 0.4995 * 2 / 1_000_000)
    assert chance == pytest.approx(math.erfc(z / math.sqrt(2)), rel=5e-3)
    assert fisher_exact((0, 1_000_000), (1_000_000, 1_000_000)) == 0.0
    with pytest.raises(ValueError, match="from none to all"):
        fisher_exact((2, 1), (0, 1))


def test_holm_in_steps() -> None:
    """Four chances by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 no less than the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_makes_a_chance_smaller(chances: list[float]) -> None:
    """Nor changes which is smaller than which."""
    adjusted = holm(chances)
    assert all(chance <= after <= 1 for chance, after in zip(chances, adjusted, strict=True))
    for (one, after), (other, behind) in zip(
        zip(chances, adjusted, strict=True), list(zip(chances, adjusted, strict=True))[1:], strict=False
    ):
        assert (one < other) <= (after <= behind)
