"""What outcomes of runs say: how often each kind of run succeeds, what a success costs, and which differences are real.

Owns what is compared with what and when it is worth comparing. Invariants: groups are compared with one baseline, which
is not chosen for its result; of several comparisons of one measure each is judged as one of several; where there is not
enough to tell, that is the answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.core.probability import fisher_exact, holm
from ledger.core.proportions import Interval, Share, difference
from ledger.core.report import rounded
from ledger.core.success_cost import RunSums, compare_costs

LEVEL: Final = 0.05
RUNS_MIN: Final = 10
"""With fewer runs of either group, their shares of successes are not compared."""
BETTER: Final = "better"
WORSE: Final = "worse"
NO_DIFFERENCE: Final = "no_difference_shown"
NOT_ENOUGH: Final = "not_enough_data"
VERDICTS: Final = (BETTER, WORSE, NO_DIFFERENCE, NOT_ENOUGH)


@dataclass(slots=True)
class Group:
    """Runs that have one value in common. ``costs`` are of the runs that count, by currency; ``uncounted`` is what the
    runs cost that do not, because nobody said what became of them. ``scores`` are in millionths."""

    runs: int = 0
    counted: int = 0
    successes: int = 0
    scored: int = 0
    scores: int = 0
    costs: dict[str, RunSums] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)

    def add(self, success: bool | None, score: int | None, costs: Mapping[str, int]) -> None:
        """Count one more run, with what it cost by currency; ``success`` is None where it does not count."""
        self.runs += 1
        if success is None:
            for currency, cost in costs.items():
                self.uncounted[currency] = self.uncounted.get(currency, 0) + cost
            return
        self.counted += 1
        self.successes += success
        if score is not None:
            self.scored += 1
            self.scores += score
        for currency, cost in costs.items():
            self.costs.setdefault(currency, RunSums()).add(cost, success)

    def finish(self, currencies: Iterable[str]) -> None:
        """Count, once all runs are there, those that spent nothing in a currency as runs that cost nothing in it."""
        for currency in currencies:
            sums = self.costs.setdefault(currency, RunSums())
            sums.runs, sums.successes = self.counted, self.successes

    @property
    def share(self) -> Share | None:
        """How many of the runs that count succeeded; None of none."""
        return Share(self.successes, self.counted) if self.counted else None


class Comparison(NamedTuple):
    """A group with the baseline: ``effect`` is the difference of shares, or how many times as much a success costs.
    ``chance`` is how often so much would be seen were there no difference, ``adjusted`` the same for being one of
    several. All are None where there is not enough to tell."""

    value: str
    effect: float | None
    interval: Interval | None
    chance: float | None
    adjusted: float | None
    verdict: str


class _Seen(NamedTuple):
    value: str
    effect: float
    interval: Interval
    chance: float
    is_better: bool


def choose_baseline(groups: Mapping[str, Group], leave_out: Sequence[str]) -> str | None:
    """The group with the most runs that count, the first by name of several; one of ``leave_out`` only where there is
    no other. Not the best one: what is best by luck would make all others look worse than they are."""
    named = [value for value in groups if value not in leave_out] or list(groups)
    return min(named, key=lambda value: (-groups[value].counted, value)) if named else None


def compare_rates(groups: Mapping[str, Group], baseline: str) -> list[Comparison]:
    """How often each group succeeds, less how often the baseline does."""
    base = groups[baseline].share
    seen: dict[str, _Seen | None] = {}
    for value in sorted(groups):
        share = groups[value].share
        if value == baseline:
            continue
        if base is None or share is None or min(base.trials, share.trials) < RUNS_MIN:
            seen[value] = None
            continue
        between = share.value - base.value
        seen[value] = _Seen(value, between, difference(share, base), fisher_exact(share, base), between > 0)
    return _judged(seen)


def compare_success_costs(groups: Mapping[str, Group], baseline: str, currency: str) -> list[Comparison]:
    """What a success costs in each group, as a multiple of what it costs in the baseline."""
    base = groups[baseline].costs.get(currency, RunSums())
    seen: dict[str, _Seen | None] = {}
    for value in sorted(groups):
        if value == baseline:
            continue
        found = compare_costs(groups[value].costs.get(currency, RunSums()), base)
        seen[value] = None if found is None else _Seen(value, *found, found.times < 1)
    return _judged(seen)


def _judged(seen: Mapping[str, _Seen | None]) -> list[Comparison]:
    tested = [one for one in seen.values() if one is not None]
    adjusted = dict(zip((one.value for one in tested), holm([one.chance for one in tested]), strict=True))
    made = []
    for value, one in seen.items():
        if one is None:
            made.append(Comparison(value, None, None, None, None, NOT_ENOUGH))
            continue
        is_real = adjusted[value] < LEVEL
        verdict = (BETTER if one.is_better else WORSE) if is_real else NO_DIFFERENCE
        made.append(Comparison(value, one.effect, one.interval, one.chance, adjusted[value], verdict))
    return made


def figure(value: float, digits: int) -> str:
    """An estimate as text, with so many digits after the point."""
    return rounded(Fraction(value), digits)


def estimated(value: float) -> int:
    """Atoms of an estimate: rounded to four digits that count, so that what no estimate can know is not shown."""
    if value < 1:
        return round(value)
    return int(Fraction(f"{value:.3e}"))
