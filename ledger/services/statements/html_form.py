"""A statement as one HTML page: for a browser, a mail, and a printer.

Invariants: the page needs nothing beside itself, no network and no script; every text is escaped where it becomes
markup (``pages.markup``); the lines are written as they are read, whatever their number.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from ledger.core.statement import Statement
from ledger.services.pages import bars
from ledger.services.pages.figures import Figures
from ledger.services.pages.markup import (
    FONT,
    Column,
    Markup,
    element,
    page_end,
    page_start,
    row,
    stacked,
    table,
)
from ledger.services.pages.paper import A4, Paper
from ledger.services.statements.overview import Charts, Overview
from ledger.services.statements.wording import LineWords, Wording

PIECES_AT_ONCE: Final = 200
_DAY: Final = Column("Day", "day")
_WHAT: Final = Column("What")
_CURRENCY: Final = Column("Currency", "code")
_AMOUNT: Final = Column("Amount", "figure")
_BALANCE: Final = Column("Balance", "figure")


def write_html(statement: Statement, paper: Paper = A4) -> Iterator[bytes]:
    """The pieces of the page. Raises StatementBroken where the statement does not add up."""
    pieces = _pieces(statement, paper)
    while some := list(islice(pieces, PIECES_AT_ONCE)):
        yield "".join(some).encode()


def _pieces(statement: Statement, paper: Paper) -> Iterator[str]:
    overview = Overview(statement)
    wording = Wording(statement, overview.figures)
    yield page_start(f"{wording.title}, {wording.period}", paper)
    yield element(
        "header",
        element("div", f"Book {statement.book}", css="book"),
        element("h1", wording.title),
        element("p", f"{wording.period}, both days included, in {statement.timezone}"),
        element("p", f"{wording.balance_is} {wording.currencies_are}", css="small"),
    )
    yield "<main>\n"
    yield from _balances(statement, overview.figures)
    yield from _charts(overview, wording)
    yield from _lines(statement, overview, wording)
    yield from _blocks(overview, wording)
    yield from _holds(statement, overview, wording)
    yield "</main>\n"
    yield _foot(wording)
    yield page_end()


def _balances(statement: Statement, figures: Figures) -> Iterator[str]:
    columns = (_CURRENCY, Column("Opening", "figure"), Column("Closing", "figure"), Column("Held", "figure"))
    rows = (
        row(
            columns,
            (currency, *(_of(figures, found, currency) for found in (statement.opening, statement.closing)),
             _of(figures, statement.held, currency)),
        )
        for currency in sorted({*statement.currencies, *statement.held})
    )  # fmt: skip
    yield element("h2", "Balances")
    yield from table(columns, rows, caption="Opening and closing balances", css="balances")
    yield element("p", "What is held is in no line below; it is listed apart.", css="small")


def _of(figures: Figures, balances: Mapping[str, int], currency: str) -> str:
    return figures.aligned(balances.get(currency, 0), currency)


def _charts(overview: Overview, wording: Wording) -> Iterator[str]:
    for charts in overview.charts():
        yield from _chart(charts, wording)
    note = wording.charts_note(overview)
    if note:
        yield element("p", note, css="small")


def _chart(charts: Charts, wording: Wording) -> Iterator[str]:
    title = f"{wording.spent} by {charts.each}, in {charts.currency}"
    yield element("h2", title)
    yield element("figure", Markup(bars.upright(title, charts.over_time, font=FONT, scale=charts.scale)))
    title = f"{wording.spent} by payee, in {charts.currency}"
    yield element("h2", title)
    yield element("figure", Markup(bars.lying(title, charts.by_payee, font=FONT)))


def _columns(is_one_currency: bool, *rest: Column) -> tuple[Column, ...]:
    return (_DAY, _WHAT, *(() if is_one_currency else (_CURRENCY,)), *rest)


def _lines(statement: Statement, overview: Overview, wording: Wording) -> Iterator[str]:
    one, figures = overview.is_one_currency, overview.figures
    columns = _columns(one, _AMOUNT, _BALANCE)

    def edge(day: str, what: str, balances: Mapping[str, int]) -> Iterator[str]:
        for currency in statement.currencies:
            shown = _of(figures, balances, currency)
            yield row(columns, (day, what, *(() if one else (currency,)), "", shown), css="edge")

    def rows() -> Iterator[str]:
        yield from edge(statement.period.first.isoformat(), "Opening balance", statement.opening)
        for line in statement.lines():
            words = wording.line(line)
            yield row(columns, (*_cells(words, one), words.amount, words.balance))
        yield from edge(statement.period.last.isoformat(), "Closing balance", statement.closing)

    yield element("h2", "Lines")
    yield from table(columns, rows(), caption="Lines")
    if not overview.totals.lines:
        yield element("p", "Nothing moved this balance in the period.")


def _cells(words: LineWords, is_one_currency: bool) -> tuple[str, ...]:
    when = stacked(("", words.day), ("small", words.time))
    kind = Markup(element("strong", words.kind) + "  ")
    subject = Markup(kind + element("span", words.subject)) if words.subject else kind
    what = stacked(("", subject), ("small", words.details), ("note", words.notes))
    return (when, what) if is_one_currency else (when, what, words.currency)


def _blocks(overview: Overview, wording: Wording) -> Iterator[str]:
    one = overview.is_one_currency
    columns = (
        Column("Name"), Column("Lines", "figure"), *(() if one else (_CURRENCY,)), _AMOUNT,
    )  # fmt: skip
    yield '<div class="blocks">\n'
    for title, found in wording.subtotals(overview.totals):
        rows = [
            row(columns, (each.name, each.lines, *(() if one else (each.currency,)), each.amount)) for each in found
        ]
        yield _section(title, table(columns, rows, caption=title))
    called = wording.called(overview.totals)
    if called:
        columns = (Column("Lines that are"), Column("Lines", "figure"))
        yield _section("Lines to look at", table(columns, [row(columns, each) for each in called], caption="Look at"))
    yield "</div>\n"


def _section(title: str, content: Iterable[str]) -> str:
    return element("section", element("h2", title), Markup("".join(content))) + "\n"


def _holds(statement: Statement, overview: Overview, wording: Wording) -> Iterator[str]:
    one = len({*statement.currencies, *statement.held}) == 1
    columns = _columns(one, Column("Held", "figure"))
    yield element("h2", "Held, and in no line above")
    if not any(statement.held.values()):
        yield element("p", "Nothing was held when this statement was made.")
        return

    def rows() -> Iterator[str]:
        for hold in statement.holds():
            words = wording.hold(hold)
            yield row(columns, (*_cells(words, one), words.amount))

    yield from table(columns, rows(), caption="Held")


def _foot(wording: Wording) -> str:
    facts = "".join(
        row((Column(""), Column("", "mono")), fact) for fact in wording.log()
    )  # fmt: skip
    return element(
        "footer",
        element("h2", "The log that this stands on"),
        Markup(f"<table><tbody>\n{facts}</tbody></table>\n"),
        *(element("p", sentence, css="small") for sentence in wording.verifying()),
    )
