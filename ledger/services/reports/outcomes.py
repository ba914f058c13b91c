"""What became of the runs of a period, by label, team, agent or what they bought, and what a success cost.

Invariants: a run belongs to the period in which it was opened, and costs what it spent up to the log size, whenever
that was; a run is in one row only, so that rows are of different runs; memory is bounded by a page of runs and by the
rows.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.core.judging_outcomes import (
    Comparison,
    Group,
    choose_baseline,
    compare_rates,
    compare_success_costs,
    estimated,
    figure,
)
from ledger.core.period import Period
from ledger.core.proportions import wilson
from ledger.core.report import (
    AGENT,
    FAILED,
    LABEL,
    NOBODY,
    SEVERAL,
    TEAM,
    Column,
    ReportRefused,
    Table,
    amounts,
    atoms_of,
    counts,
    numbers,
    rounded,
    words,
)
from ledger.core.run import SCORE_SCALE, Run
from ledger.core.success_cost import cost_of_success, interval_of_cost, is_enough
from ledger.services.reports.chargeback import Values
from ledger.services.reports.reading import Reach
from ledger.services.reports.shaping import Made
from ledger.storage import queries_outcomes, queries_reports

GROUPS_MAX: Final = 1_000
RUNS_AT_ONCE: Final = 200
RATE: Final = "success_rate"
COST: Final = "cost_per_success"
_RATE_DIGITS: Final = 4
_TIMES_DIGITS: Final = 3


class _Judged(NamedTuple):
    """A run as it counts: ``success`` is None where nobody said what became of it and such runs are left out."""

    value: str
    success: bool | None
    score: int | None
    costs: Mapping[str, int]


def outcomes(
    reach: Reach, period: Period, by: str, baseline: str | None, without_outcome: str, agent: str | None
) -> tuple[Made, str | None]:
    """The tables, and the baseline that was compared with."""
    groups: dict[str, Group] = {}
    spent_in: set[str] = set()
    for one in _judged(reach, period, by, without_outcome, agent):
        groups.setdefault(one.value, Group()).add(one.success, one.score, one.costs)
        spent_in.update(one.costs)
        if len(groups) > GROUPS_MAX:
            raise ReportRefused("by", f"runs have more than {GROUPS_MAX} different values of {by}; ask for fewer runs")
    currencies = sorted(spent_in)
    for group in groups.values():
        group.finish(currencies)
    if baseline is not None and baseline not in groups:
        known = ", ".join(sorted(groups)[:20]) or "none, since no run was opened in the period"
        raise ReportRefused("baseline", f"no run has {baseline[:80]} for {by}; the values are {known}")
    base = baseline if baseline is not None else choose_baseline(groups, (NOBODY, SEVERAL))
    tables = (_groups(by, groups), _costs(by, groups, currencies), _comparisons(by, groups, base, currencies))
    return Made(tables, _notes(by, without_outcome)), base


def _notes(by: str, without_outcome: str) -> tuple[str, ...]:
    alone = "count as failed" if without_outcome == FAILED else "are counted apart, and what they cost too"
    notes = [
        "Runs are those opened in the period, with the last outcome reported and all that they spent;"
        f" those without an outcome {alone}.",
        "Intervals are of 95 in a hundred. Differences are judged against the baseline, each as one of several (Holm);"
        " better or worse is said where chance alone would show as much in fewer than 5 cases of a hundred.",
    ]
    if by.startswith(LABEL):
        notes.append(f"A run whose calls have several values of {by} is in the row {SEVERAL}, and in no other.")
    return tuple(notes)


# What each run is, and cost.


def _judged(reach: Reach, period: Period, by: str, without_outcome: str, agent: str | None) -> Iterator[_Judged]:
    teams: dict[str, str] = {}
    if by == TEAM:
        with reach.engine.connect() as connection:
            teams = queries_reports.teams_of_agents(connection, reach.book_id)
    values = Values(by)
    column = None if by in (AGENT, TEAM) else "labels" if by.startswith(LABEL) else by
    for page in _pages(reach, period):
        runs = [run for run in page if agent is None or run.agent == agent]
        names = [run.name for run in runs]
        with reach.engine.connect() as connection:
            said = queries_outcomes.outcomes_of(connection, reach.book_id, names, size=reach.size)
            spent = queries_reports.costs_of_runs(connection, reach.book_id, names, column, size=reach.size)
        costs: dict[str, dict[str, int]] = defaultdict(dict)
        named: dict[str, set[str]] = defaultdict(set)
        for cost in spent:
            of_run = costs[cost.run]
            of_run[cost.currency] = of_run.get(cost.currency, 0) + cost.amount
            named[cost.run].add(values.of(cost.key))
        for run in runs:
            found = said.get(run.name)
            success = found.success if found is not None else False if without_outcome == FAILED else None
            if by == AGENT:
                value = run.agent
            elif by == TEAM:
                value = teams.get(run.agent, NOBODY)
            else:
                value = _value_of(named[run.name])
            yield _Judged(value, success, None if found is None else found.score, costs[run.name])


def _value_of(named: set[str]) -> str:
    """The one value of a run's lines; lines that have none do not speak against it."""
    said = named - {NOBODY}
    return SEVERAL if len(said) > 1 else next(iter(said), NOBODY)


def _pages(reach: Reach, period: Period) -> Iterator[list[Run]]:
    after: tuple[int, str] | None = None
    while True:
        with reach.engine.connect() as connection:
            page = queries_outcomes.list_opened(
                connection, reach.book_id, starts_at=period.starts_at, ends_at=period.ends_at, size=reach.size,
                after=after, limit=RUNS_AT_ONCE,
            )  # fmt: skip
        yield page
        if len(page) < RUNS_AT_ONCE:
            return
        after = (page[-1].opened_at, page[-1].name)


# The tables.


def _groups(by: str, groups: Mapping[str, Group]) -> Table:
    made = Table(
        "runs",
        (Column(by), *counts("runs", "without_outcome", "with_outcome", "successes"),
         *numbers("success_rate", "rate_low", "rate_high"), *counts("scored"), *numbers("mean_score")),
    )  # fmt: skip
    for value, group in sorted(groups.items()):
        share = group.share
        rate: tuple[str | None, ...] = (None, None, None)
        if share is not None:
            low, high = wilson(share)
            exact = Fraction(share.successes, share.trials)
            rate = (rounded(exact, _RATE_DIGITS), figure(low, _RATE_DIGITS), figure(high, _RATE_DIGITS))
        score = rounded(Fraction(group.scores, group.scored * SCORE_SCALE), _RATE_DIGITS) if group.scored else None
        made.add(
            value, group.runs, group.runs - group.counted, group.counted, group.successes, *rate, group.scored, score
        )  # fmt: skip
    return made


def _costs(by: str, groups: Mapping[str, Group], currencies: list[str]) -> Table:
    made = Table(
        "costs",
        (Column(by), *words("currency"), *counts("with_outcome", "successes"),
         *amounts("spent", "spent_without_outcome", "cost_per_run", "cost_per_success", "cost_low", "cost_high")),
    )  # fmt: skip
    for value, group in sorted(groups.items()):
        for currency in currencies:
            sums, apart = group.costs[currency], group.uncounted.get(currency, 0)
            if not sums.runs:
                made.add(value, currency, 0, 0, 0, apart, None, None, None, None)
                continue
            each, interval = cost_of_success(sums), interval_of_cost(sums) if is_enough(sums) else None
            made.add(
                value, currency, sums.runs, sums.successes, sums.costs, apart,
                atoms_of(Fraction(sums.costs, sums.runs)),
                None if each is None else atoms_of(each),
                None if interval is None else estimated(interval.low),
                None if interval is None else estimated(interval.high),
            )  # fmt: skip
    return made


def _comparisons(by: str, groups: Mapping[str, Group], base: str | None, currencies: list[str]) -> Table:
    made = Table(
        "comparisons",
        (*words("measure", "currency"), Column(by), *words("baseline"),
         *numbers("effect", "low", "high", "p", "p_adjusted"), *words("verdict")),
    )  # fmt: skip
    if base is None:
        return made
    for one in compare_rates(groups, base):
        made.add(RATE, None, one.value, base, *_compared(one, _RATE_DIGITS))
    for currency in currencies:
        for one in compare_success_costs(groups, base, currency):
            made.add(COST, currency, one.value, base, *_compared(one, _TIMES_DIGITS))
    return made


def _compared(one: Comparison, digits: int) -> tuple[str | None, ...]:
    if one.effect is None or one.interval is None or one.chance is None or one.adjusted is None:
        return None, None, None, None, None, one.verdict
    return (
        figure(one.effect, digits), figure(one.interval.low, digits), figure(one.interval.high, digits),
        figure(one.chance, _RATE_DIGITS), figure(one.adjusted, _RATE_DIGITS), one.verdict,
    )  # fmt: skip
