"""A statement as a PDF, to be sent and printed.

Owns what the template ``statement.typ`` is given: words and figures that are ready to be set, so that the template
adds nothing up. Invariants: the same statement gives the same bytes, its date being that of the log's last record; a
statement of more than ``LINES_MAX`` lines is refused with a sentence before anything is set.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ledger.core.moment import SECOND
from ledger.core.statement import Statement
from ledger.services.pages import bars, typesetting
from ledger.services.pages.figures import Figures
from ledger.services.pages.letters import breakable, shortened
from ledger.services.pages.paper import A4, Paper
from ledger.services.pages.typesetting import FONT, TypesettingFailed, typeset
from ledger.services.statements.making import StatementRefused
from ledger.services.statements.overview import Charts, Overview
from ledger.services.statements.wording import LineWords, Wording

LINES_MAX: Final = 12_000
"""Some 550 pages, which take two gigabytes of memory to be set; nobody reads more on paper."""

WORD_MAX: Final = 34
"""Longer words may be broken anywhere; an id, which has 31 letters, is not."""
NAME_MAX: Final = 20


def write_pdf(statement: Statement, paper: Paper = A4) -> Iterator[bytes]:
    """The file, in one piece. Raises StatementRefused where it is too long or PDFs cannot be made here, and
    StatementBroken where it does not add up."""
    if not typesetting.is_installed():
        raise StatementRefused("format", typesetting.MISSING)
    overview = Overview(statement)
    holds = sum(1 for _ in statement.holds())
    if overview.totals.lines + holds > LINES_MAX:
        raise StatementRefused(
            "format",
            f"a PDF has at most {LINES_MAX:,} lines, and this statement has {overview.totals.lines + holds:,}; ask for "
            "csv or xlsx, or for a shorter period",
        )
    data = _document(statement, overview, paper)
    try:
        yield typeset("statement.typ", data, created_at=statement.log.recorded_at // SECOND)
    except TypesettingFailed as error:
        raise StatementRefused("format", str(error)) from error


def _document(statement: Statement, overview: Overview, paper: Paper) -> dict[str, Any]:
    figures, period = overview.figures, statement.period
    wording = Wording(statement, figures)
    one = overview.is_one_currency
    held = sorted({*statement.currencies, *statement.held})
    lines = [_row(wording.line(line)) for line in statement.lines()]
    opening = _edge(statement, figures, period.first.isoformat(), "Opening balance", statement.opening)
    closing = _edge(statement, figures, period.last.isoformat(), "Closing balance", statement.closing)
    holds = [_row(wording.hold(hold)) for hold in statement.holds()]
    return {
        "paper": paper.typst,
        "author": f"Bursar, book {statement.book}",
        "keywords": [str(statement.scope), period.text],
        "over": breakable(f"Book {statement.book}", WORD_MAX),
        "title": wording.title,
        "heading": breakable(wording.title, NAME_MAX),
        "running": shortened(f"{statement.book}: {wording.title}", 80),
        "period": wording.period,
        "foot": f"As of {statement.log.size:,} records, root {statement.log.root.hex()[:16]}\u2026",
        "under": [
            f"{wording.period}, both days included, in {statement.timezone}",
            f"{wording.balance_is} {wording.currencies_are}".strip(),
        ],
        "one_currency": one,
        "one_held": len(held) == 1,
        "balances": {
            "columns": [["Currency", False], ["Opening", True], ["Closing", True], ["Held", True]],
            "rows": [
                [code, *(_of(figures, each, code) for each in (statement.opening, statement.closing, statement.held))]
                for code in held
            ],
            "note": "What is held is in no line below; it is listed apart.",
        },
        "charts": [chart for charts in overview.charts() for chart in _charts(charts, wording)],
        "charts_note": wording.charts_note(overview),
        "opening": opening,
        "lines": lines,
        "closing": closing,
        "widest": [
            _widest(row["amount"] for row in lines),
            _widest(row["balance"] for row in (*opening, *lines, *closing)),
        ],
        "nothing": "Nothing moved this balance in the period.",
        "blocks": _blocks(overview, wording, one),
        "holds": holds,
        "widest_held": [_widest(row["amount"] for row in holds)],
        "nothing_held": "Nothing was held when this statement was made.",
        "log": [[what, breakable(value, 70)] for what, value in wording.log()],
        "verifying": [breakable(words, WORD_MAX) for words in wording.verifying()],
    }


def _widest(figures: Iterable[str]) -> str:
    """The longest figure: digits are of one width, and so are the spaces that stand for them."""
    return max(figures, key=len, default="")


def _of(figures: Figures, balances: Mapping[str, int], currency: str) -> str:
    return figures.aligned(balances.get(currency, 0), currency)


def _edge(
    statement: Statement, figures: Figures, day: str, what: str, balances: Mapping[str, int]
) -> list[dict[str, str]]:
    return [
        {"day": day, "what": what, "currency": currency, "balance": _of(figures, balances, currency)}
        for currency in statement.currencies
    ]


def _row(words: LineWords) -> dict[str, str]:
    said: dict[str, str] = words._asdict()
    for name in ("subject", "details", "notes"):
        said[name] = breakable(said[name], WORD_MAX)
    return said


def _charts(charts: Charts, wording: Wording) -> Iterator[dict[str, str]]:
    title = f"{wording.spent} by {charts.each}, in {charts.currency}"
    yield {"title": title, "svg": bars.upright(title, charts.over_time, font=FONT, scale=charts.scale)}
    title = f"{wording.spent} by payee, in {charts.currency}"
    yield {"title": title, "svg": bars.lying(title, charts.by_payee, font=FONT)}


def _blocks(overview: Overview, wording: Wording, is_one_currency: bool) -> list[dict[str, Any]]:
    columns = [["Name", False], ["Lines", True]]
    columns += [] if is_one_currency else [["Currency", False]]
    made: list[dict[str, Any]] = [
        {
            "title": title,
            "columns": [*columns, ["Amount", True]],
            "rows": [
                [
                    breakable(each.name, NAME_MAX),
                    each.lines,
                    *(() if is_one_currency else (each.currency,)),
                    each.amount,
                ]
                for each in found
            ],
        }
        for title, found in wording.subtotals(overview.totals)
    ]
    called = wording.called(overview.totals)
    if called:
        made.append({"title": "Lines to look at", "columns": [["What", False], ["Lines", True]], "rows": called})
    return made
