"""Workbooks (XLSX): typed cells, exact numbers, no text that is taken for a formula, the same bytes for the same facts.

Owns how a workbook is opened, laid out for paper and handed out in pieces, and how amounts, texts, days and moments
become cells. Invariants: an amount is a number only where a spreadsheet can hold it exactly (15 digits), else a text
that says it exactly; a user's text is never a formula, a link or markup; rows go to disk as they are written, so memory
does not grow with them; dates within the file are given, so that the same facts give the same bytes.
"""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import xlsxwriter

from ledger.core.moment import SECOND
from ledger.core.money import format_atoms
from ledger.services.pages.neutral import neutral
from ledger.services.pages.paper import Paper

DIGITS_MAX: Final = 15
"""What IEEE doubles, and so spreadsheets, hold exactly."""
ROWS_MAX: Final = 1_048_576
_RICH_TEXT: Final = "<r>"
"""What XlsxWriter takes for markup of its own that it need not escape."""
_PIECE: Final = 65_536
_INK: Final = "#1F4E79"
_PALE: Final = "#EEF3F8"


def is_exact(atoms: int) -> bool:
    """Whether a spreadsheet holds this amount exactly, whatever the digits of its currency."""
    return len(str(abs(atoms)).rstrip("0")) <= DIGITS_MAX


def number(atoms: int, digits: int) -> float:
    """The double that reads as this amount, which ``is_exact``."""
    return float(Decimal(atoms).scaleb(-digits))


def amount_format(digits: int, places: int) -> str:
    """How amounts of a currency are shown: two digits after the point at least, ``places`` at most, points below each
    other."""
    least = min(2, digits)
    return f"#,##0{'.' if max(least, places) else ''}{'0' * least}{'?' * max(0, places - least)}"


def workbook_pieces(fill: Callable[["Book"], None], *, title: str, created_at: int, paper: Paper) -> Iterator[bytes]:
    """The bytes of a workbook that ``fill`` fills. ``created_at`` is the date it bears, in microseconds."""
    with tempfile.TemporaryDirectory(prefix="bursar-xlsx-") as directory:
        path = Path(directory) / "book.xlsx"
        # Rows leave memory as they are written, and every string is a cell of its own.
        options = {"constant_memory": True, "tmpdir": directory, "strings_to_formulas": False, "strings_to_urls": False}
        workbook = xlsxwriter.Workbook(str(path), options)
        created = datetime.fromtimestamp(created_at // SECOND, UTC).replace(tzinfo=None)
        workbook.set_properties({"title": title, "author": "Bursar", "created": created})
        fill(Book(workbook, paper))
        workbook.close()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


class Book:
    """A workbook that is being filled."""

    def __init__(self, workbook: Any, paper: Paper) -> None:
        self._workbook = workbook
        self._paper = paper
        self._styles: dict[tuple[tuple[str, Any], ...], Any] = {}

    def style(self, **said: Any) -> Any:
        """A format with these properties of XlsxWriter; the same ones are one format."""
        key = tuple(sorted(said.items()))
        if key not in self._styles:
            self._styles[key] = self._workbook.add_format({"valign": "top", **said})
        return self._styles[key]

    def sheet(self, name: str, widths: list[int], *, header_row: int | None = None) -> "Sheet":
        """A new sheet with columns of these widths (in letters). Below ``header_row`` it is frozen, and the row is
        printed on every page."""
        made = self._workbook.add_worksheet(name)
        for column, width in enumerate(widths):
            made.set_column(column, column, width)
        made.set_paper(self._paper.excel)
        made.set_landscape()
        made.fit_to_pages(1, 0)
        made.set_footer("&L&A&RPage &P of &N")
        if header_row is not None:
            made.freeze_panes(header_row + 1, 0)
            made.repeat_rows(header_row)
        return Sheet(self, made)


class Sheet:
    """A sheet; rows are written from the top down, and each from left to right."""

    def __init__(self, book: Book, sheet: Any) -> None:
        self._book = book
        self._sheet = sheet

    def text(self, row: int, column: int, text: str | None, **style: Any) -> None:
        """A text, whatever it begins with; nothing where there is none."""
        if not text:
            return
        said = neutral(text)
        if said.startswith(_RICH_TEXT):
            said = f"'{said}"
        # What XML cannot contain would make the file unreadable.
        said = said.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
        self._sheet.write_string(row, column, said, self._book.style(**style))

    def head(self, row: int, titles: list[str]) -> None:
        """The row above columns."""
        style = {"bold": True, "font_color": "#FFFFFF", "bg_color": _INK, "text_wrap": True}
        for column, title in enumerate(titles):
            self._sheet.write_string(row, column, title, self._book.style(**style))

    def integer(self, row: int, column: int, value: int) -> None:
        """A whole number that is no amount."""
        self._sheet.write_number(row, column, value, self._book.style(num_format="0"))

    def day(self, row: int, column: int, day: date) -> None:
        """A day."""
        self._sheet.write_datetime(row, column, datetime(day.year, day.month, day.day), self._book.style(
            num_format="yyyy-mm-dd", align="left"
        ))  # fmt: skip

    def moment(self, row: int, column: int, microseconds: int) -> None:
        """A moment in UTC, to the millisecond: a spreadsheet has nothing finer."""
        moment = datetime.fromtimestamp(microseconds // SECOND, UTC).replace(tzinfo=None)
        shown = moment.replace(microsecond=microseconds % SECOND // 1_000 * 1_000)
        self._sheet.write_datetime(
            row, column, shown, self._book.style(num_format="yyyy-mm-dd hh:mm:ss.000", align="left")
        )

    def amount(
        self,
        row: int,
        column: int,
        atoms: int,
        *,
        digits: int,
        places: int,
        formula: str | None = None,
        bold: bool = False,
    ) -> None:
        """An amount, as a number where it is one exactly. With a formula the amount is what viewers show that do not
        calculate."""
        if not is_exact(atoms):
            self._sheet.write_string(
                row, column, format_atoms(atoms, digits), self._book.style(align="right", bold=bold)
            )
            return
        style = self._book.style(num_format=amount_format(digits, places), bold=bold)
        if formula is None:
            self._sheet.write_number(row, column, number(atoms, digits), style)
        else:
            self._sheet.write_formula(row, column, formula, style, number(atoms, digits))

    def filter(self, first_row: int, last_row: int, columns: int) -> None:
        """Buttons that filter a table by its columns."""
        self._sheet.autofilter(first_row, 0, max(first_row, last_row), columns - 1)


def cell(row: int, column: int, *, sheet: str = "") -> str:
    """A cell's name as formulas write it, with a sheet in front where it is on another one."""
    name = f"${_letters(column)}${row + 1}"
    return f"{sheet}!{name}" if sheet else name


def cells(first_row: int, last_row: int, column: int, *, sheet: str = "") -> str:
    """The cells of a column from one row to another."""
    return f"{cell(first_row, column, sheet=sheet)}:{cell(last_row, column)}"


def _letters(column: int) -> str:
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
