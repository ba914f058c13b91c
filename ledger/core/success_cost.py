"""What a success costs: all that runs cost over how many of them succeeded, and how sure that is.

Cost and success are of the same runs, so that their ratio is estimated as one: W. G. Cochran, *Sampling Techniques*
(3rd edition, 1977), chapter 6. Invariants: sums are exact integers, of atoms and of runs; what is estimated from them
is a float and never money; where the runs cannot tell, the answer is None and not a wide guess.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.core.probability import student_t_cdf, student_t_quantile
from ledger.core.proportions import Interval

TWO_SIDED_95: Final = 0.975
RUNS_MIN: Final = 20
SUCCESSES_MIN: Final = 10
"""With fewer, the cost of a success is shown without an interval and not compared: its spread is not known well enough,
and a few runs that happened to cost the same would look certain."""


@dataclass(slots=True)
class RunSums:
    """What runs with an outcome add up to: ``costs`` in atoms, ``squares`` of them, ``successful`` the costs of those
    that succeeded."""

    runs: int = 0
    successes: int = 0
    costs: int = 0
    squares: int = 0
    successful: int = 0

    def add(self, cost: int, success: bool) -> None:
        """Count one more run."""
        self.runs += 1
        self.costs += cost
        self.squares += cost * cost
        if success:
            self.successes += 1
            self.successful += cost


def is_enough(sums: RunSums) -> bool:
    """Whether there are runs and successes enough to say how sure their cost is."""
    return sums.runs >= RUNS_MIN and sums.successes >= SUCCESSES_MIN


class _Spread(NamedTuple):
    """Means of cost and success, and the variances and the covariance of these means."""

    cost: float
    success: float
    cost_cost: float
    success_success: float
    cost_success: float


def _spread(sums: RunSums) -> _Spread:
    n = sums.runs
    scale = Fraction(1, n * (n - 1))
    return _Spread(
        float(Fraction(sums.costs, n)),
        sums.successes / n,
        float((sums.squares - Fraction(sums.costs**2, n)) * scale),
        float((sums.successes - Fraction(sums.successes**2, n)) * scale),
        float((sums.successful - Fraction(sums.costs * sums.successes, n)) * scale),
    )


def cost_of_success(sums: RunSums) -> Fraction | None:
    """Atoms that were spent for each success, exactly; None without a success."""
    return Fraction(sums.costs, sums.successes) if sums.successes else None


def interval_of_cost(sums: RunSums) -> Interval | None:
    """Where the cost of a success lies, in atoms, 95 times in a hundred: E. C. Fieller, *Some problems in interval
    estimation*, Journal of the Royal Statistical Society B 16 (1954). Unlike an estimate plus and minus its error, it
    is not the same to both sides, and says so where successes are too few to bound the cost: then it is None."""
    if sums.runs < 2 or not sums.successes:
        return None
    spread = _spread(sums)
    k2 = student_t_quantile(TWO_SIDED_95, sums.runs - 1) ** 2
    # theta lies in it where (cost - theta * success)^2 <= k2 * variance of that.
    a = spread.success**2 - k2 * spread.success_success
    b = spread.cost * spread.success - k2 * spread.cost_success
    c = spread.cost**2 - k2 * spread.cost_cost
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(max((b - root) / a, 0.0), (b + root) / a)


class Compared(NamedTuple):
    """How many times as much a success costs here as there, its interval, and the chance of so much difference were
    there none."""

    times: float
    interval: Interval
    chance: float


def compare_costs(first: RunSums, second: RunSums) -> Compared | None:
    """The cost of a success of ``first`` over that of ``second``; None where there is not enough to tell.

    On the scale of logarithms, where a ratio is spread alike to both sides, with the variance of each by the delta
    method (Cochran, section 6.3) and degrees of freedom by B. L. Welch, *The generalization of Student's problem*,
    Biometrika 34 (1947)."""
    parts = [_log_variance(sums) for sums in (first, second)]
    costs = [cost_of_success(sums) for sums in (first, second)]
    if parts[0] is None or parts[1] is None or costs[0] is None or costs[1] is None:
        return None
    variance = parts[0] + parts[1]
    between = math.log(costs[0]) - math.log(costs[1])
    if variance <= 0:
        # Every run of both cost the same and succeeded.
        times = math.exp(between)
        return Compared(times, Interval(times, times), 1.0 if costs[0] == costs[1] else 0.0)
    freedom = variance**2 / (parts[0] ** 2 / (first.runs - 1) + parts[1] ** 2 / (second.runs - 1))
    error = math.sqrt(variance)
    chance = 2 * student_t_cdf(-abs(between) / error, freedom)
    reach = student_t_quantile(TWO_SIDED_95, freedom) * error
    return Compared(math.exp(between), Interval(math.exp(between - reach), math.exp(between + reach)), min(chance, 1.0))


def _log_variance(sums: RunSums) -> float | None:
    if not is_enough(sums) or sums.costs <= 0:
        return None
    spread = _spread(sums)
    variance = (
        spread.cost_cost / spread.cost**2
        - 2 * spread.cost_success / (spread.cost * spread.success)
        + spread.success_success / spread.success**2
    )
    return max(variance, 0.0)
