"""A report as a CSV file: its tables one behind the other, under the columns of all of them.

Invariants: RFC 4180, with CRLF and UTF-8; the first column says which table a row is of; amounts are plain decimals of
the row's currency; a text that a spreadsheet could take for a formula begins with an apostrophe; the same report gives
the same bytes.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import islice

from ledger.core.money import format_atoms
from ledger.core.report import MONEY, WORD, Cell, Column, Report, Table
from ledger.services.statements.csv_form import ROWS_AT_ONCE, neutral


def write_csv(report: Report) -> Iterator[bytes]:
    """The pieces of the file."""
    names = list(dict.fromkeys(column.name for table in report.tables for column in table.columns))
    yield _lines([["table", *map(neutral, names)]])
    rest = (_row(table, row, names, report.digits) for table in report.tables for row in table.rows)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield _lines(some)


def _row(table: Table, row: tuple[Cell, ...], names: list[str], digits: Mapping[str, int]) -> list[str]:
    currency = table.currency_of(row)
    said = {
        column.name: cell_text(column, cell, currency, digits) for column, cell in zip(table.columns, row, strict=True)
    }
    return [table.name, *(said.get(name, "") for name in names)]


def cell_text(column: Column, cell: Cell, currency: str | None, digits: Mapping[str, int]) -> str:
    """A cell as a spreadsheet takes it."""
    if cell is None:
        return ""
    if isinstance(cell, date):
        return cell.isoformat()
    if column.kind == MONEY and isinstance(cell, int) and currency is not None:
        return format_atoms(cell, digits[currency])
    return neutral(str(cell)) if column.kind == WORD else str(cell)


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
