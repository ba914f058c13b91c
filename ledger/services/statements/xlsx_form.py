"""A statement as a workbook: a sheet with the balances, one with subtotals, one with the lines, one with the holds.

Owns what stands in which cell, and the formulas that add everything up again from the lines. Invariants: each formula
carries the statement's own figure as what it comes to, so that a viewer that does not calculate shows it; currencies
are never added to each other; where an amount has more digits than a spreadsheet holds, its currency stands without
formulas and says so.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ledger.core.moment import moment_text
from ledger.core.statement import NOBODY, HoldLine, Line, Link, Statement, Subtotals
from ledger.services.pages.figures import fraction_digits
from ledger.services.pages.paper import A4, Paper
from ledger.services.pages.sheets import DIGITS_MAX, ROWS_MAX, Book, Sheet, cell, cells, workbook_pieces
from ledger.services.statements.making import StatementRefused
from ledger.services.statements.overview import NONE, Overview
from ledger.services.statements.wording import FLAGS, Wording, kind_said

LINES_MAX: Final = ROWS_MAX - 1
LINES: Final = "Lines"
COLUMNS: Final = (
    ("Day", 11), ("Counts for (UTC)", 22), ("Recorded (UTC)", 22), ("Kind", 14), ("Authorization", 33), ("Agent", 16),
    ("Run", 16), ("Budget", 16), ("Category", 14), ("Payee", 16), ("Resource", 24), ("Labels", 20),
    ("Approved by", 16), ("Flags", 20), ("Corrects record", 10), ("Corrected by record", 12), ("Other account", 24),
    ("Currency", 9), ("Spent", 16), ("Amount", 16), ("Balance", 18), ("Record", 9), ("Position", 8),
    ("Corrects kind", 14), ("Corrects day", 11), ("Corrects category", 14), ("Corrects payee", 16),
    ("Corrects amount", 16), ("Meant for (UTC)", 22),
)  # fmt: skip
"""The columns of the lines, with their widths in letters: those of the CSV, under names for people."""
_AT: Final = {title: at for at, (title, _) in enumerate(COLUMNS)}
_TOP: Final = 6
"""The row of the heads of the table of balances on the first sheet."""
_STATEMENT: Final = "Statement"
_BALANCES: Final = (
    ("Currency", 26), ("Opening balance", 22), ("Sum of the lines", 22), ("Closing balance", 22),
    ("Closing balance in the ledger", 22), ("Difference", 16), ("Held, and in no line", 20),
)  # fmt: skip


def write_xlsx(statement: Statement, paper: Paper = A4) -> Iterator[bytes]:
    """The pieces of the file. Raises StatementBroken where the statement does not add up, and StatementRefused where it
    has more lines than a sheet has rows."""
    overview = Overview(statement)
    if overview.totals.lines > LINES_MAX:
        raise StatementRefused(
            "format",
            f"a sheet has at most {LINES_MAX:,} lines, and this statement has {overview.totals.lines:,}; ask for csv, "
            "or for a shorter period",
        )
    wording = Wording(statement, overview.figures)
    yield from workbook_pieces(
        _Filling(statement, overview, wording).fill,
        title=f"{wording.title}, {wording.period}",
        created_at=statement.log.recorded_at,
        paper=paper,
    )


class _Money(NamedTuple):
    """How amounts of a currency are written. ``has_formulas``: sums of them are exact in a spreadsheet."""

    digits: int
    places: int
    has_formulas: bool


class _Filling:
    def __init__(self, statement: Statement, overview: Overview, wording: Wording) -> None:
        self._statement = statement
        self._overview = overview
        self._wording = wording
        self._last_row = overview.totals.lines
        self._money = {code: self._measured(code) for code in {*overview.reach, *statement.currencies}}

    def _measured(self, currency: str) -> _Money:
        digits, places = self._statement.digits[currency], self._overview.fractions.get(currency, 0)
        whole = str(self._overview.reach.get(currency, 0) // 10**digits)
        return _Money(digits, places, len(whole) + places <= DIGITS_MAX)

    def fill(self, book: Book) -> None:
        """Every sheet, in order."""
        self._write_balances(book.sheet(_STATEMENT, [width for _, width in _BALANCES]))
        self._write_subtotals(book)
        self._write_lines(book.sheet(LINES, [width for _, width in COLUMNS], header_row=0))
        self._write_holds(book)

    def _amount(
        self, sheet: Sheet, row: int, column: int, atoms: int, currency: str, formula: str | None = None, *,
        bold: bool = False,
    ) -> None:  # fmt: skip
        money = self._money[currency]
        if formula is not None and not money.has_formulas:
            formula = None
        elif formula is not None:
            # What doubles lose behind the last digit is put right at every step.
            formula = f"=ROUND({formula},{money.places})"
        sheet.amount(row, column, atoms, digits=money.digits, places=money.places, formula=formula, bold=bold)

    # The first sheet.

    def _write_balances(self, sheet: Sheet) -> None:
        statement, wording = self._statement, self._wording
        sheet.text(0, 0, f"Book {statement.book}", bold=True)
        sheet.text(1, 0, wording.title, bold=True, font_size=16)
        sheet.text(2, 0, f"{wording.period}, both days included, in {statement.timezone}")
        sheet.text(3, 0, wording.balance_is)
        sheet.head(_TOP, [title for title, _ in _BALANCES])
        held = sorted({*statement.currencies, *statement.held})
        for at, currency in enumerate(held):
            self._write_balance(sheet, _TOP + 1 + at, currency)
        row = _TOP + 2 + len(held)
        inexact = sorted(code for code, money in self._money.items() if not money.has_formulas)
        if inexact:
            why = f"a spreadsheet holds {DIGITS_MAX} digits and some amounts have more; those are texts, and exact"
            sheet.text(row, 0, f"{', '.join(inexact)}: without formulas, because {why}.")
            row += 2
        sheet.text(row, 0, "The log that this stands on", bold=True)
        for what, value in wording.log():
            row += 1
            sheet.text(row, 0, what)
            sheet.text(row, 1, value)
        for sentence in wording.verifying():
            row += 1
            sheet.text(row, 0, sentence)

    def _write_balance(self, sheet: Sheet, row: int, currency: str) -> None:
        statement = self._statement
        opening, closing = statement.opening.get(currency, 0), statement.closing.get(currency, 0)
        sheet.text(row, 0, currency)
        self._amount(sheet, row, 1, opening, currency)
        self._amount(sheet, row, 2, closing - opening, currency, self._sum("Amount", ("Currency", cell(row, 0))))
        self._amount(sheet, row, 3, closing, currency, f"{cell(row, 1)}+{cell(row, 2)}", bold=True)
        self._amount(sheet, row, 4, closing, currency)
        self._amount(sheet, row, 5, 0, currency, f"{cell(row, 3)}-{cell(row, 4)}")
        self._amount(sheet, row, 6, statement.held.get(currency, 0), currency)

    def _sum(self, added: str, *where: tuple[str, str]) -> str | None:
        """The formula that adds up a column of the lines where other columns are as given; None without lines."""
        if not self._last_row:
            return None
        said = ",".join(f"{self._column(title)},{criterion}" for title, criterion in where)
        return f"SUMIFS({self._column(added)},{said})"

    def _column(self, title: str) -> str:
        return cells(1, self._last_row, _AT[title], sheet=LINES)

    # Subtotals.

    def _write_subtotals(self, book: Book) -> None:
        totals, spent = self._overview.totals, self._wording.spent
        sheet = book.sheet("Subtotals", [38, 10, 10, 22])
        row = 0
        for title, subtotals, added, column, said in (
            ("By kind of line", totals.movements, "Amount", "Kind", kind_said),
            (f"{spent} by payee", totals.by_payee, "Spent", "Payee", str),
            (f"{spent} by category", totals.by_category, "Spent", "Category", str),
            (f"{spent} by agent", totals.by_agent, "Spent", "Agent", str),
        ):
            row = self._write_block(sheet, row, title, subtotals, added, column, said)
        called = self._wording.called(totals)
        sheet.head(row, ["Lines to look at", "Lines"])
        for what, count in called:
            row += 1
            sheet.text(row, 0, what)
            sheet.integer(row, 1, int(count.replace(",", "")))

    def _write_block(
        self,
        sheet: Sheet,
        row: int,
        title: str,
        subtotals: Subtotals,
        added: str,
        column: str,
        said: Callable[[str], str],
    ) -> int:
        sheet.head(row, [title, "Lines", "Currency", "Amount"])
        for (name, currency), found in sorted(subtotals.items()):
            row += 1
            sheet.text(row, 0, said(name) if name != NOBODY else NONE)
            sheet.integer(row, 1, found.lines)
            sheet.text(row, 2, currency)
            # "=" stands for cells with nothing in them.
            wanted = cell(row, 0) if name != NOBODY else '"="'
            formula = self._sum(added, (column, wanted), ("Currency", cell(row, 2)))
            self._amount(sheet, row, 3, found.amount, currency, formula)
        return row + 2

    # Lines.

    def _write_lines(self, sheet: Sheet) -> None:
        sheet.head(0, [title for title, _ in COLUMNS])
        balances = {
            currency: cell(_TOP + 1 + at, 1, sheet=_STATEMENT)
            for at, currency in enumerate(sorted({*self._statement.currencies, *self._statement.held}))
        }
        row = 0
        for line in self._statement.lines():
            row += 1
            self._write_line(sheet, row, line, balances[line.currency])
            balances[line.currency] = cell(row, _AT["Balance"])
        sheet.filter(0, row, len(COLUMNS))

    def _write_line(self, sheet: Sheet, row: int, line: Line, before: str) -> None:
        sheet.day(row, 0, line.day)
        sheet.moment(row, 1, line.effective_at)
        sheet.moment(row, 2, line.recorded_at)
        labels = " ".join(f"{name}={value}" for name, value in line.labels)
        corrects = str(line.corrects.log_index) if line.corrects is not None else None
        corrected_by = " ".join(str(link.log_index) for link in line.corrected_by)
        for column, text in enumerate(
            (kind_said(line.kind), line.authorization, line.agent, line.run, line.budget, line.category, line.payee,
             line.resource, labels, ", ".join(line.approved_by), _flags(line.flags), corrects, corrected_by,
             line.other_account, line.currency),
            start=3,
        ):  # fmt: skip
            sheet.text(row, column, text)
        self._amount(sheet, row, 18, line.cost, line.currency)
        self._amount(sheet, row, 19, line.amount, line.currency)
        self._amount(sheet, row, 20, line.balance, line.currency, f"{before}+{cell(row, 19)}")
        sheet.integer(row, 21, line.log_index)
        sheet.integer(row, 22, line.position)
        if line.corrects is not None:
            self._write_corrected(sheet, row, line.corrects)
        if line.meant_for is not None:
            sheet.moment(row, 28, line.meant_for)

    def _write_corrected(self, sheet: Sheet, row: int, link: Link) -> None:
        sheet.text(row, 23, kind_said(link.kind))
        sheet.day(row, 24, link.day)
        sheet.text(row, 25, link.category)
        sheet.text(row, 26, link.payee)
        digits = self._statement.digits[link.currency]
        sheet.amount(row, 27, link.cost, digits=digits, places=fraction_digits(link.cost, digits))

    # Holds.

    def _write_holds(self, book: Book) -> None:
        titles = (
            ("Since (UTC)", 22), ("State", 20), ("Authorization", 33), ("Agent", 16), ("Run", 16), ("Budget", 16),
            ("Category", 14), ("Payee", 16), ("Resource", 24), ("Flags", 20), ("Ends (UTC)", 28), ("Currency", 9),
            ("Held", 16), ("Record", 9),
        )  # fmt: skip
        sheet = book.sheet("Held", [width for _, width in titles], header_row=0)
        sheet.head(0, [title for title, _ in titles])
        row = 0
        for hold in self._statement.holds():
            row += 1
            self._write_hold(sheet, row, hold)
        sheet.filter(0, row, len(titles))

    def _write_hold(self, sheet: Sheet, row: int, hold: HoldLine) -> None:
        sheet.moment(row, 0, hold.opened_at)
        ends = moment_text(hold.expires_at) if hold.expires_at is not None else None
        for column, text in enumerate(
            (kind_said(hold.state), hold.authorization, hold.agent, hold.run, hold.budget, hold.category, hold.payee,
             hold.resource, _flags(hold.flags), ends, hold.currency),
            start=1,
        ):  # fmt: skip
            sheet.text(row, column, text)
        self._amount(sheet, row, 12, hold.held, hold.currency)
        sheet.integer(row, 13, hold.log_index)


def _flags(flags: tuple[str, ...]) -> str:
    return ", ".join(FLAGS.get(flag, flag) for flag in flags)
