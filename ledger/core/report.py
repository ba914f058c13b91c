"""Reports: tables over the whole book, each a function of what was asked and of a size of the log.

Owns their names, what each may be asked with, and the shape that every format writes: tables of named columns. A row
has one currency at most, so that an amount is an integer of atoms beside it. Invariants: a report that is asked again
with the same parameters and size is the same for ever; what does not add up is not given out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.core.money import divide_half_even
from ledger.core.statement import StatementLog

TRIAL_BALANCE: Final = "trial-balance"
INCOME: Final = "income"
PAYABLES: Final = "payables"
BUDGETS: Final = "budgets"
CHARGEBACK: Final = "chargeback"
OUTCOMES: Final = "outcomes"

PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    TRIAL_BALANCE: ("as_of",),
    INCOME: ("period", "per"),
    PAYABLES: ("as_of",),
    BUDGETS: ("as_of", "days"),
    CHARGEBACK: ("period", "by", "per", "agent"),
    OUTCOMES: ("period", "by", "baseline", "without_outcome", "agent"),
}
"""Report to what it may be asked with, beside a size of the log."""
REPORTS: Final = tuple(PARAMETERS)
OWN_REPORTS: Final = (CHARGEBACK, OUTCOMES)
"""What an agent may ask of itself."""

TEAM: Final = "team"
AGENT: Final = "agent"
RUN: Final = "run"
PAYEE: Final = "payee"
CATEGORY: Final = "category"
BUDGET: Final = "budget"
RESOURCE: Final = "resource"
LABEL: Final = "label."
CHARGEBACK_KEYS: Final = (TEAM, AGENT, RUN, PAYEE, CATEGORY, BUDGET, RESOURCE)
OUTCOME_KEYS: Final = (TEAM, AGENT, PAYEE, CATEGORY, BUDGET, RESOURCE)
DAILY_KEYS: Final = (TEAM, AGENT, PAYEE, CATEGORY, BUDGET)
"""What daily totals tell apart; for all else the lines of the period are read."""
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}", re.ASCII)

PER_ALL: Final = "all"
PER: Final = (PER_ALL, "day", "week", "month", "quarter", "year")
EXCLUDED: Final = "excluded"
FAILED: Final = "failed"
WITHOUT_OUTCOME: Final = (EXCLUDED, FAILED)
"""How runs count of which nobody has said what became of them: not at all, or as failed."""

NOBODY: Final = "(none)"
"""A row for what has no such name."""
SEVERAL: Final = "(several)"
"""A row for runs that have several."""


class ReportRefused(ValueError):
    """What was asked for is no report: ``field`` is the parameter to change, and the message says how."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(message)
        self.field = field_name


class ReportBroken(Exception):
    """Figures that were found in two ways are not the same: what one is read from is damaged or was changed while it
    was read. ``bursar verify`` names where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is asked with; None: nothing was said. ``agent`` narrows it to one agent, by its name."""

    name: str
    period: str | None = None
    as_of: str | None = None
    by: str | None = None
    per: str | None = None
    days: int | None = None
    baseline: str | None = None
    without_outcome: str | None = None
    agent: str | None = None

    def check(self) -> None:
        """Raises ReportRefused for a report that there is not, or a parameter that is not for it."""
        if self.name not in PARAMETERS:
            raise ReportRefused("report", f'there is no report "{self.name[:40]}"; use one of {", ".join(REPORTS)}')
        taken = PARAMETERS[self.name]
        for parameter in dict.fromkeys(name for names in PARAMETERS.values() for name in names):
            if getattr(self, parameter) is not None and parameter not in taken:
                raise ReportRefused(parameter, f"{self.name} takes no {parameter}; it takes {', '.join(taken)}")
        for parameter, allowed in (("per", PER), ("without_outcome", WITHOUT_OUTCOME)):
            said = getattr(self, parameter)
            if said is not None and said not in allowed:
                raise ReportRefused(parameter, f'"{said[:40]}" is no {parameter}; use one of {", ".join(allowed)}')


def parse_by(text: str | None, allowed: Sequence[str]) -> str:
    """What a report is by: one of ``allowed``, or ``label.NAME``. Raises ReportRefused."""
    named = f"{', '.join(allowed)}, or label.NAME"
    if text is None:
        raise ReportRefused("by", f"say what it is by: {named}")
    if text in allowed or (text.startswith(LABEL) and _LABEL_NAME.fullmatch(text.removeprefix(LABEL))):
        return text
    raise ReportRefused("by", f'"{text[:80]}" is nothing that it can be by; use {named}')


# Kinds of columns. A cell is None where there is nothing to say.
WORD: Final = "text"
DAY: Final = "day"
COUNT: Final = "count"
MONEY: Final = "money"
"""Atoms of the currency in the row's column ``currency``."""
NUMBER: Final = "number"
"""Decimal text, rounded already."""
KINDS: Final = (WORD, DAY, COUNT, MONEY, NUMBER)
CURRENCY: Final = "currency"

Cell = str | int | date | None


class Column(NamedTuple):
    """``name`` is part of the contract of CSV and JSON; ``kind`` is one of KINDS."""

    name: str
    kind: str = WORD


@dataclass(slots=True)
class Table:
    """One table of a report; a row has a cell for each column."""

    name: str
    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """One more row. Raises ValueError for one that does not fit the columns."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.name} has {len(self.columns)} columns, and a row has {len(cells)} cells")
        self.rows.append(cells)

    def currency_of(self, row: Sequence[Cell]) -> str | None:
        """The currency that the amounts of a row are in."""
        for column, cell in zip(self.columns, row, strict=True):
            if column.name == CURRENCY:
                return None if cell is None else str(cell)
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """One report. ``parameters`` are those that it was made with, also where they were not said; ``digits`` those of
    each currency; ``notes`` are sentences on how to read it."""

    name: str
    book: str
    timezone: str
    parameters: Mapping[str, str]
    log: StatementLog
    digits: Mapping[str, int]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


def words(*names: str) -> tuple[Column, ...]:
    """Columns of texts."""
    return tuple(Column(name) for name in names)


def amounts(*names: str) -> tuple[Column, ...]:
    """Columns of money."""
    return tuple(Column(name, MONEY) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of figures that are no money."""
    return tuple(Column(name, NUMBER) for name in names)


def counts(*names: str) -> tuple[Column, ...]:
    """Columns of whole numbers."""
    return tuple(Column(name, COUNT) for name in names)


def rounded(value: Fraction, digits: int) -> str:
    """A figure with so many digits after the point, half-even."""
    scaled = divide_half_even(value.numerator * 10**digits, value.denominator)
    sign = "-" if scaled < 0 else ""
    whole, rest = divmod(abs(scaled), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}" if digits else f"{sign}{whole}"


def percent(part: int, of: int) -> str | None:
    """A share in percent with two digits after the point; None of nothing, or of less."""
    return rounded(Fraction(100 * part, of), 2) if of > 0 else None


def atoms_of(value: Fraction) -> int:
    """The nearest whole atom."""
    return divide_half_even(value.numerator, value.denominator)
