"""A long history against a short one: whether statements get dearer as a book grows."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from bench.context import DATABASES, Context, Database, Line
from bench.history import load_history
from ledger.core.statement import Scope, Statement
from ledger.services.statements.csv_form import write_csv
from ledger.services.statements.making import Statements
from ledger.storage import queries_log
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter

TARGET = 0.85
SUMMARIES = 15
AGENT = Scope("agent", "history-0007")
BOOK = Scope("book")
PERIOD = "1990-01-01..2090-12-31"


class _Desk:
    """A book with a history, and what makes its statements."""

    def __init__(self, database_url: str) -> None:
        self._engine, self._side = create_engine(database_url), SideWriter(database_url)
        self.statements = Statements(self._engine, self._side)
        with self._engine.connect() as connection:
            self.book_id = queries_log.list_books(connection)[0].book_id
            head = queries_log.head(connection, self.book_id)
        if head is None:
            raise LookupError("the book has no head")
        self.size = head.size

    def make(self, scope: Scope) -> Statement:
        """A statement over the whole history."""
        return self.statements.make(self.book_id, scope, PERIOD)

    def close(self) -> None:
        """Close the connections."""
        self._side.close()
        self._engine.dispose()


def run(context: Context) -> list[Line]:
    """Three lines a database, each as what a long history does in a second ÷ what a short one does: records whose
    lines are written, lines of a statement, and statements without their lines (balances at both ends, and holds)."""
    return [line for database in DATABASES for line in _lines(context, database)]


class _Measured(NamedTuple):
    """What a history does in a second: records whose lines are written, lines of a statement, balances."""

    written: float
    listed: float
    summed: list[float]


def _lines(context: Context, database: Database) -> list[Line]:
    sizes = {"short": context.settings.short_history, "long": context.settings.growth}
    measured = {name: _measure(context.new_database(database), transfers) for name, transfers in sizes.items()}
    short, long = measured["short"], measured["long"]
    medians = {name: statistics.median(each.summed) for name, each in measured.items()}
    named = f"at {sizes['long']:,} transfers ÷ at {sizes['short']:,} on {database}"
    return [
        Line(
            scenario="finance", what=f"records with lines written {named}", ratio=long.written / short.written,
            target=None, detail=f"{long.written:,.0f} ÷ {short.written:,.0f} a second",
            rates={name: [each.written] for name, each in measured.items()},
        ),
        Line(
            scenario="finance", what=f"lines of a statement {named}", ratio=long.listed / short.listed,
            target=TARGET, detail=f"{long.listed:,.0f} ÷ {short.listed:,.0f} a second, as CSV",
            rates={name: [each.listed] for name, each in measured.items()},
        ),
        Line(
            scenario="finance", what=f"balances of a statement {named}", ratio=medians["long"] / medians["short"],
            target=None,
            detail=f"median {1000 / medians['long']:.1f} ms against {1000 / medians['short']:.1f} ms",
            rates={name: each.summed for name, each in measured.items()},
        ),
    ]  # fmt: skip


def _measure(database_url: str, transfers: int) -> _Measured:
    load_history(database_url, transfers)
    desk = _Desk(database_url)
    try:
        written = desk.size / _seconds(lambda: desk.statements.liner.catch_up(desk.book_id, desk.size))
        count = desk.make(BOOK).totals().lines
        listed = count / _seconds(lambda: _write(desk.make(BOOK)))
        return _Measured(written, listed, [1 / _seconds(lambda: desk.make(AGENT)) for _ in range(SUMMARIES)])
    finally:
        desk.close()


def _write(statement: Statement) -> None:
    for _ in write_csv(statement):
        pass


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
