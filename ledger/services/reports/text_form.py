"""A report as plain text, for a terminal.

Invariants: figures stand to the right under their heading; a name that is too long is cut where it is shown, and whole
in every other format; no text can move the cursor or hide what comes after it.
"""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.report import DAY, MONEY, WORD, Cell, Column, Report, Table

_WIDEST: Final = 40
_WIDTH: Final = 110
_LEFT: Final = (WORD, DAY)
TITLES: Final = {
    "trial-balance": "Trial balance",
    "income": "Income statement",
    "payables": "Payables",
    "budgets": "Budgets",
    "chargeback": "Chargeback",
    "outcomes": "Outcomes",
}
"""What each report is called in words."""


def write_text(report: Report) -> Iterator[bytes]:
    """The pieces of the text."""
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report.parameters.items())
    log = report.log
    head = [
        f"{TITLES[report.name]} of book {report.book}" + (f": {plain(said)}" if said else ""),
        f"Days are those of {report.timezone}.",
        f"As of {log.size} records, the last of {moment_text(log.recorded_at)}; root {log.root.hex()}",
    ]
    yield _encoded(head)
    for table in report.tables:
        yield _encoded(["", f"{table.name.capitalize()}:", *_table(table, report.digits)])
    notes = [line for note in report.notes for line in textwrap.wrap(plain(note), _WIDTH)]
    yield _encoded(["", *notes] if notes else [])


def _table(table: Table, digits: Mapping[str, int]) -> list[str]:
    if not table.rows:
        return ["(nothing)"]
    columns = table.columns
    cells = [
        [_cell(column, cell, table.currency_of(row), digits) for column, cell in zip(columns, row, strict=True)]
        for row in table.rows
    ]
    heads = [column.name.replace("_", " ") for column in columns]
    widths = [max(len(head), *(len(row[at]) for row in cells)) for at, head in enumerate(heads)]
    return [_line(columns, row, widths) for row in (heads, *cells)]


def _line(columns: tuple[Column, ...], cells: list[str], widths: list[int]) -> str:
    parts = [
        f"{cell:{width}}" if column.kind in _LEFT else f"{cell:>{width}}"
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _cell(column: Column, cell: Cell, currency: str | None, digits: Mapping[str, int]) -> str:
    if cell is None:
        return ""
    if isinstance(cell, date):
        return cell.isoformat()
    if column.kind == MONEY and isinstance(cell, int) and currency is not None:
        return format_atoms(cell, digits[currency])
    shown = plain(str(cell))
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "\u2026"


def plain(text: str) -> str:
    """A text as a terminal can show it, whoever wrote it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
