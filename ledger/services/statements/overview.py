"""What a document for people says before its lines: totals, spend over time and by payee, and how wide figures are.

Owns ``Overview``, which one pass over the lines makes; the lines themselves are then read a second time, so that a long
statement needs the memory of one page of lines. Invariant: an overview adds up what ``Totals`` adds up, and nothing is
rounded.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final, NamedTuple

from ledger.core.statement import Statement, Totals
from ledger.services.pages.bars import Bar
from ledger.services.pages.figures import Figures, fraction_digits, grouped

BARS_MAX: Final = 92
"""A quarter by day; beyond, months and then years are added up."""
CHARTS_MAX: Final = 3
"""Currencies that get charts: those with the most lines."""
NAMES_MAX: Final = 8
OTHERS: Final = "all others"
NONE: Final = "(none)"
Month = tuple[int, int]


class Charts(NamedTuple):
    """What is drawn of one currency: bars over time, and of payees. ``each`` is day, month or year; ``scale`` says how
    high the bars are."""

    currency: str
    each: str
    over_time: list[Bar]
    by_payee: list[Bar]
    scale: str


class Overview:
    """The sums of a statement's lines. ``spent_on`` is what was spent on each day, by currency, in atoms (on the
    statement of an account: how its balance changed); ``fractions`` the most digits after the point that any figure of
    a currency has; ``reach`` how far from zero any of them gets, in atoms."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self.totals = Totals()
        self.spent_on: dict[str, dict[date, int]] = {}
        self.reach: dict[str, int] = {}
        self.fractions: dict[str, int] = {}
        self._count()

    def _count(self) -> None:
        statement = self._statement
        for line in statement.lines(self.totals):
            self._see(line.currency, line.amount, line.balance, line.cost)
            if line.cost:
                days = self.spent_on.setdefault(line.currency, {})
                days[line.day] = days.get(line.day, 0) + line.cost
        for balances in (statement.opening, statement.closing, statement.held):
            for currency, atoms in balances.items():
                self._see(currency, atoms)
        for currency in statement.currencies:
            self._see(currency, statement.closing.get(currency, 0) - statement.opening.get(currency, 0))
        totals = self.totals
        for subtotals in (totals.movements, totals.by_payee, totals.by_category, totals.by_agent):
            for (_, currency), found in subtotals.items():
                self._see(currency, found.amount)
        for hold in statement.holds():
            self._see(hold.currency, hold.held)

    def _see(self, currency: str, *amounts: int) -> None:
        digits = self._statement.digits[currency]
        for atoms in amounts:
            self.fractions[currency] = max(self.fractions.get(currency, 0), fraction_digits(atoms, digits))
            self.reach[currency] = max(self.reach.get(currency, 0), abs(atoms))

    @property
    def figures(self) -> Figures:
        """How the statement's amounts are shown."""
        return Figures(self._statement.digits, max(self.fractions.values(), default=0))

    @property
    def is_one_currency(self) -> bool:
        """Whether the currency need not stand beside each line."""
        return len(self._statement.currencies) == 1

    def charts(self) -> list[Charts]:
        """What to draw, for the currencies with the most lines that anything was spent in."""
        lines: dict[str, int] = {}
        for (_, currency), found in self.totals.movements.items():
            lines[currency] = lines.get(currency, 0) + found.lines
        drawn = [currency for currency, days in self.spent_on.items() if any(days.values())]
        drawn.sort(key=lambda currency: (-lines.get(currency, 0), currency))
        return [self._charts(currency) for currency in drawn[:CHARTS_MAX]]

    def _charts(self, currency: str) -> Charts:
        each, over_time = self._over_time(currency)
        digits, amounts = self._statement.digits[currency], [0, *(bar.atoms for bar in over_time)]
        scale = f"highest {grouped(max(amounts), digits)}"
        if min(amounts) < 0:
            scale += f", lowest {grouped(min(amounts), digits)}"
        return Charts(currency, each, over_time, self._by_payee(currency), scale)

    def _over_time(self, currency: str) -> tuple[str, list[Bar]]:
        period, days = self._statement.period, self.spent_on[currency]
        digits = self._statement.digits[currency]
        if (period.last - period.first).days < BARS_MAX:
            ordinals = range(period.first.toordinal(), period.last.toordinal() + 1)
            named = [(day := date.fromordinal(ordinal), f"{day.day}", days.get(day, 0)) for ordinal in ordinals]
            sparse = 1 if len(named) <= 31 else 7
            return "day", [
                Bar(name if at % sparse == 0 else "", atoms, grouped(atoms, digits))
                for at, (_, name, atoms) in enumerate(named)
            ]
        months = _months(period.first, period.last)
        first, last = min(days), max(days)
        if len(months) > BARS_MAX:
            # So long a period may be mostly empty, and is drawn from its first line to its last.
            months = _months(first, last)
        if len(months) <= BARS_MAX:
            by_month = _sums(((day.year, day.month), atoms) for day, atoms in days.items())
            sparse = 1 if len(months) <= 14 else 6
            return "month", [
                Bar(f"{year}-{month:02d}" if at % sparse == 0 else "", by_month.get((year, month), 0), "")
                for at, (year, month) in enumerate(months)
            ]
        by_year = _sums(((day.year, 0), atoms) for day, atoms in days.items())
        years = range(max(first.year, last.year - BARS_MAX + 1), last.year + 1)
        sparse = 1 if len(years) <= 20 else 10
        return "year", [
            Bar(str(year) if at % sparse == 0 else "", by_year.get((year, 0), 0), "") for at, year in enumerate(years)
        ]

    def _by_payee(self, currency: str) -> list[Bar]:
        digits = self._statement.digits[currency]
        found = [(name or NONE, one.amount) for (name, code), one in self.totals.by_payee.items() if code == currency]
        found.sort(key=lambda item: (-abs(item[1]), item[0]))
        if len(found) > NAMES_MAX:
            found[NAMES_MAX - 1 :] = [(OTHERS, sum(atoms for _, atoms in found[NAMES_MAX - 1 :]))]
        return [Bar(name, atoms, grouped(atoms, digits)) for name, atoms in found]


def _months(first: date, last: date) -> list[Month]:
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [(number // 12, number % 12 + 1) for number in numbers]


def _sums(amounts: Iterable[tuple[Month, int]]) -> dict[Month, int]:
    added: dict[Month, int] = {}
    for key, atoms in amounts:
        added[key] = added.get(key, 0) + atoms
    return added
