"""Chargeback: what was spent by team, agent, run, payee, category, budget, resource or label, over time.

Invariant: whatever it is by, the rows of a currency add up to what the book (or the one agent) spent in the period,
which is found without them; there is no report where the two differ.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

from ledger.core.buckets import Parts
from ledger.core.canonical import parse
from ledger.core.period import Period
from ledger.core.report import (
    DAILY_KEYS,
    LABEL,
    NOBODY,
    PER_ALL,
    TEAM,
    Column,
    ReportBroken,
    Table,
    amounts,
    counts,
    numbers,
    percent,
    words,
)
from ledger.core.report import DAY as DAY_COLUMN
from ledger.core.spend_line import date_of, number_of
from ledger.core.windows import date_at, day_start
from ledger.services.reports.reading import Reach, check_groups
from ledger.services.reports.shaping import Made
from ledger.storage import queries_reports


class Piece(NamedTuple):
    """What a few lines add: a value of what the report is by, the day, and how many lines of how much."""

    value: str
    day: date
    currency: str
    lines: int
    amount: int


def chargeback(reach: Reach, period: Period, parts: Parts, by: str, per: str, agent: str | None) -> Made:
    """One row for each value, part of the period and currency."""
    sums: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for piece in pieces(reach, period, by, agent):
        total = sums[parts.of(piece.day), piece.value, piece.currency]
        total[0] += piece.lines
        total[1] += piece.amount
        check_groups(len(sums))
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for (_, _, currency), (lines, amount) in sums.items():
        totals[currency][0] += lines
        totals[currency][1] += amount
    checked = _check(reach, period, agent, {currency: amount for currency, (_, amount) in totals.items()})
    days = () if per == PER_ALL else (Column("first_day", DAY_COLUMN), Column("last_day", DAY_COLUMN))
    rows = Table(
        "spend", (Column(by), *days, *words("currency"), *counts("lines"), *amounts("amount"), *numbers("percent"))
    )
    for (at, value, currency), (lines, amount) in sorted(
        sums.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])
    ):
        bounds = () if per == PER_ALL else (parts.periods[at].first, parts.periods[at].last)
        rows.add(value, *bounds, currency, lines, amount, percent(amount, totals[currency][1]))
    summed = Table("totals", words("currency") + counts("lines") + amounts("amount"))
    for currency, (lines, amount) in sorted(totals.items()):
        summed.add(currency, lines, amount)
    notes = ["Amounts are net of refunds and corrections; percent is of the period's total in the currency."]
    if by == TEAM:
        notes.append("Each agent counts for the team that it stands under most closely.")
    if not checked:
        notes.append("Part of the log is archived, so the total was not held against what the book spent.")
    return Made((rows, summed), tuple(notes))


def pieces(reach: Reach, period: Period, by: str, agent: str | None) -> Iterator[Piece]:
    """What the period's spending consists of, told apart by one thing."""
    if by in DAILY_KEYS:
        return _from_days(reach, period, by, agent)
    return _from_lines(reach, period, by, agent)


def _from_days(reach: Reach, period: Period, by: str, agent: str | None) -> Iterator[Piece]:
    teams: dict[str, str] = {}
    if by == TEAM:
        with reach.engine.connect() as connection:
            teams = queries_reports.teams_of_agents(connection, reach.book_id)
    for total in reach.days(number_of(period.first), number_of(period.following), agent):
        if total.owed and not total.amount and not total.spent:
            # Payments, and what converted calls owe in the payee's currency: nothing was spent in it.
            continue
        value = teams.get(total.agent, "") if by == TEAM else getattr(total, by)
        yield Piece(value or NOBODY, date_of(total.day), total.currency, total.lines, total.amount)


def _from_lines(reach: Reach, period: Period, by: str, agent: str | None) -> Iterator[Piece]:
    column = "labels" if by.startswith(LABEL) else by
    values = Values(by)
    day, starts_at, ends_at = period.first, 0, 0
    for line in reach.keyed_lines(column, period, agent):
        if not starts_at <= line.effective_at < ends_at:
            day = date_at(reach.timezone, line.effective_at)
            starts_at, ends_at = line.effective_at, _end_of(reach.timezone, day)
        yield Piece(values.of(line.key), day, line.currency, 1, line.amount)


def _end_of(timezone: str, day: date) -> int:
    return day_start(timezone, date.fromordinal(day.toordinal() + 1))


class Values:
    """The value that a column of lines stands for: itself, or of labels the one of a name. Labels repeat, and are read
    once."""

    REMEMBERED: Final = 10_000

    def __init__(self, by: str) -> None:
        self._label = by.removeprefix(LABEL) if by.startswith(LABEL) else None
        self._known: dict[str, str] = {}

    def of(self, key: str | None) -> str:
        """The value, or ``NOBODY``."""
        if key is None:
            return NOBODY
        if self._label is None:
            return key
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self.REMEMBERED:
                self._known.clear()
            pairs: dict[str, str] = dict(parse(key.encode()))
            found = self._known[key] = pairs.get(self._label, NOBODY)
        return found


def _check(reach: Reach, period: Period, agent: str | None, totals: dict[str, int]) -> bool:
    """Hold the total against what had been spent at both ends; False where that is archived. Raises ReportBroken."""
    before, after = (reach.spent_before(moment, agent) for moment in (period.starts_at, period.ends_at))
    if before is None or after is None:
        return False
    for currency in before.keys() | after.keys() | totals.keys():
        spent = after.get(currency, 0) - before.get(currency, 0)
        if totals.get(currency, 0) != spent:
            raise ReportBroken(
                f"the rows add up to {totals.get(currency, 0)} atoms of {currency}, and {spent} were spent"
            )
    return True
