"""FOCUS rows as CSV.

Invariants: RFC 4180 with CRLF and UTF-8; amounts are plain decimals and moments are UTC, as FOCUS writes both; null is
the empty cell; a text that a spreadsheet could take for a formula begins with an apostrophe.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from ledger.core.moment import SECOND, moment_text
from ledger.core.money import format_atoms
from ledger.services.journal.focus_rows import AMOUNT, COLUMNS, COUNT, MOMENT, TEXT, WHOLE, FocusRow, focus_rows
from ledger.services.journal.making import Journal
from ledger.services.journal.pieces import csv_pieces
from ledger.services.statements.csv_form import neutral


def write_focus(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file. Raises JournalBroken."""
    rows = (_cells(row) for row in focus_rows(journal))
    return csv_pieces(chain([list(COLUMNS)], rows) if journal.header else rows)


def _cells(row: FocusRow) -> list[str]:
    return [
        "" if value is None else _WRITTEN[sort](value, row.digits)
        for value, sort in zip(row.values, COLUMNS.values(), strict=True)
    ]


def _moment(value: int, digits: int) -> str:
    text = moment_text(value)
    return text if value % SECOND else text.replace(".000000Z", "Z")


_WRITTEN: Final[dict[str, Callable[[Any, int], str]]] = {
    TEXT: lambda value, digits: neutral(value),
    AMOUNT: format_atoms,
    COUNT: lambda value, digits: str(value),
    WHOLE: lambda value, digits: str(value),
    MOMENT: _moment,
}
