"""Student's t distribution, Fisher's exact test and Holm's correction, with nothing but the standard library.

Owns the probabilities that reports judge by. They are estimates and no money, so they are floats; whoever shows one
rounds it to a few digits, which are the same on every machine. Invariant: no chance is involved, the same counts give
the same answer.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

_TINY: Final = 1e-300
_STEPS_MAX: Final = 400
_NEGLIGIBLE: Final = 1e-17
_TIE: Final = 1 + 1e-9
"""Two tables whose chances differ by less than this are equally likely, and differ by rounding alone."""


def student_t_cdf(t: float, freedom: float) -> float:
    """P(T <= t) for Student's t with ``freedom`` degrees of freedom (above zero, not necessarily whole)."""
    if freedom <= 0:
        raise ValueError("degrees of freedom are above zero")
    square = t * t
    if square < freedom:
        # From the middle outwards: a small t would be lost in the rounding of what is beyond it.
        within = 0.5 * _incomplete_beta(square / (freedom + square), 0.5, freedom / 2)
        return 0.5 + within if t > 0 else 0.5 - within
    tail = 0.5 * _incomplete_beta(freedom / (freedom + square), freedom / 2, 0.5)
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=4096)
def student_t_quantile(probability: float, freedom: float) -> float:
    """The value that T stays below with ``probability``, for 0.5 <= probability < 1. By bisection: what it is for is
    asked a few times for each report."""
    if not 0.5 <= probability < 1:
        raise ValueError("the probability is from 0.5 to below 1")
    low, high = 0.0, 1.0
    while student_t_cdf(high, freedom) < probability:
        low, high = high, high * 2
    for _ in range(100):
        middle = (low + high) / 2
        if student_t_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by Lentz's evaluation of its continued fraction (NIST DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    fraction = d
    for m in range(1, _STEPS_MAX):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + factor * d
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = 1 + factor / c
            c = c if abs(c) > _TINY else _TINY
            step = c * d
            fraction *= step
        if abs(step - 1) < 1e-15:
            break
    return front * fraction / a


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The two-sided chance, were both alike, of a table no likelier than the one seen; each is (successes, of how
    many). Fisher's exact test (R. A. Fisher, *The Design of Experiments*, 1935), where two-sided means the sum of all
    tables that are no likelier. Every term follows from its neighbour, so nothing is large; those that no longer count
    are left out, so the cost grows with the root of the counts."""
    (a, n1), (b, n2) = first, second
    if not (0 <= a <= n1 and 0 <= b <= n2):
        raise ValueError("successes are from none to all")
    total = a + b
    low, high = max(0, total - n2), min(total, n1)
    if low == high:
        return 1.0
    mode = min(max((total + 1) * (n1 + 1) // (n1 + n2 + 2), low), high)
    weights = dict([(mode, 1.0), *_terms(mode, high, 1, total, n1, n2), *_terms(mode, low, -1, total, n1, n2)])
    seen = weights.get(a, 0.0)
    unlikely = math.fsum(weight for weight in weights.values() if weight <= seen * _TIE)
    return min(1.0, unlikely / math.fsum(weights.values()))


def _terms(mode: int, end: int, step: int, total: int, n1: int, n2: int) -> Iterator[tuple[int, float]]:
    """(successes of the first, chance relative to the mode's) from the mode towards one end."""
    x, weight = mode, 1.0
    while x != end:
        if step > 0:
            weight *= (n1 - x) * (total - x) / ((x + 1) * (n2 - total + x + 1))
        else:
            weight *= x * (n2 - total + x) / ((n1 - x + 1) * (total - x + 1))
        x += step
        if weight < _NEGLIGIBLE:
            return
        yield x, weight


def holm(chances: Sequence[float]) -> list[float]:
    """Chances adjusted for being several, in the order given: S. Holm, *A simple sequentially rejective multiple test
    procedure*, Scandinavian Journal of Statistics 6 (1979). To call those below a level different is wrong about any
    of them at most as often as that level says, however many there are and whatever they share."""
    adjusted = [0.0] * len(chances)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda at: (chances[at], at))):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = least
    return adjusted
