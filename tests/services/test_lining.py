"""Lines behind the log: written once by however many, never half, made again, and never wrong meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from ledger.core.spend_line import hold_span
from ledger.services import lining
from ledger.services.lining import Liner, LinesUnavailable, Lining
from ledger.services.verify import verify_books
from ledger.storage import queries_holds, spend_rows
from ledger.storage.engine import create_engine
from ledger.storage.errors import Conflict
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld
from tests.services.stored_book import StoredBook

TABLES = {
    "spend_lines": "log_index, position",
    "spend_days": "day, agent, budget, category, payee, currency",
    "spend_holds": "ended_index",
}


class Lines:
    """What writes the lines of a world's book, and the rows it leaves."""

    def __init__(self, world: LiveWorld) -> None:
        self.world = world
        self.engine, self.side = create_engine(world.url), SideWriter(world.url)
        self.liner = Liner(self.engine, self.side)

    def rows(self) -> dict[str, list[Any]]:
        """All rows of the book."""
        with self.engine.connect() as connection:
            return {
                name: connection.execute(
                    text(f"SELECT * FROM {name} WHERE book_id = :book ORDER BY {order}"), {"book": self.world.book_id}
                ).all()
                for name, order in TABLES.items()
            }

    def size(self) -> int:
        """How many records the book has."""
        with self.engine.connect() as connection:
            return int(
                connection.execute(
                    text("SELECT size FROM book_heads WHERE book_id = :book"), {"book": self.world.book_id}
                ).scalar_one()
            )

    def change(self, statement: str) -> None:
        """Change rows behind everybody's back."""
        with self.side.transaction() as connection:
            connection.execute(text(statement), {"book": self.world.book_id})


@pytest.fixture
def lines(world: LiveWorld) -> Iterator[Lines]:
    """A book with some spending, and no line of it written."""
    for number in range(12):
        held = world.hold(world.crawler, "2")
        if number % 4:
            world.settle(world.crawler, held, "0.5", final=number % 3 != 0)
    made = Lines(world)
    yield made
    made.side.close()
    made.engine.dispose()


def test_lines_are_written_up_to_the_end(lines: Lines) -> None:
    """And not again; what comes later is taken from where they stopped."""
    lines.liner.catch_up(lines.world.book_id, lines.size())
    before = lines.rows()
    assert len(before["spend_lines"]) > 9
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert lines.rows() == before
    assert lines.liner.advance(lines.world.book_id) == 0
    lines.world.settle(lines.world.crawler, lines.world.hold(lines.world.crawler, "1"), "1")
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert lines.rows()["spend_lines"][:-1] == before["spend_lines"]


def test_several_at_once_write_each_line_once(lines: Lines) -> None:
    """Four who write the same book in stretches of two records leave what one would have."""
    failures: list[BaseException] = []

    def write() -> None:
        own = Lines(lines.world)
        try:
            while True:
                try:
                    if not own.liner.advance(lines.world.book_id, limit=2):
                        return
                except (Conflict, spend_rows.Conflict):
                    continue
        except BaseException as error:
            failures.append(error)
        finally:
            own.side.close()
            own.engine.dispose()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert failures == []
    written = lines.rows()
    lines.liner.rebuild(lines.world.book_id)
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert lines.rows() == written


def test_a_stretch_is_written_whole_or_not_at_all(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure behind the lines takes them back, with the cursor."""
    lines.liner.advance(lines.world.book_id)
    before = lines.rows()

    def fail(connection: Any, days: Any) -> None:
        raise RuntimeError("the machine stops here")

    with monkeypatch.context() as patch:
        patch.setattr(spend_rows, "_add_days", fail)
        with pytest.raises(RuntimeError, match="the machine stops here"):
            lines.liner.catch_up(lines.world.book_id, lines.size())
    assert lines.rows() == before
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert len(lines.rows()["spend_lines"]) > 9


@pytest.mark.parametrize("statement", ["DELETE FROM spend_cursor WHERE book_id = :book", "rebuild"])
def test_rows_without_a_cursor_are_made_again(lines: Lines, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Taken away some at a time first, so that a row which should not be there is gone."""
    monkeypatch.setattr(lining, "ROWS_CLEARED_AT_ONCE", 3)
    lines.liner.catch_up(lines.world.book_id, lines.size())
    right = lines.rows()
    lines.change("UPDATE spend_lines SET amount = amount + 7 WHERE book_id = :book")
    lines.change("UPDATE spend_days SET lines = lines + 1 WHERE book_id = :book")
    assert lines.rows() != right
    if statement == "rebuild":
        lines.liner.rebuild(lines.world.book_id)
    else:
        lines.change(statement)
    lines.liner.catch_up(lines.world.book_id, lines.size())
    assert lines.rows() == right


def test_who_needs_more_than_a_bound_is_told_to_come_again(lines: Lines) -> None:
    with pytest.raises(LinesUnavailable, match=rf"0 of {lines.size()} records"):
        lines.liner.catch_up(lines.world.book_id, lines.size(), records_max=3)
    assert lines.rows()["spend_lines"] == []


def test_the_background_writes_all_books(lines: Lines) -> None:
    """It says how far it was behind, and then that it is not."""
    behind: list[int] = []
    background = Lining(lines.engine, lines.liner, poll_seconds=1, on_behind=behind.append)
    while background.look():
        continue
    assert behind[0] >= lines.size()
    assert behind[-1] == 0
    assert len(lines.rows()["spend_lines"]) > 9
    background.start()
    background.stop(deadline_seconds=10)


def test_holds_are_found_while_lines_are_behind(lines: Lines) -> None:
    """What ended in records that no row stands for yet is looked up in the log itself."""
    book_id, size = lines.world.book_id, lines.size()
    with lines.engine.connect() as connection:
        at_the_end = queries_holds.open_holds(connection, book_id, size=size)
        before = [queries_holds.open_holds(connection, book_id, size=at) for at in range(1, size)]
    lines.liner.catch_up(book_id, size)
    with lines.engine.connect() as connection:
        assert queries_holds.open_holds(connection, book_id, size=size) == at_the_end
        after = [queries_holds.open_holds(connection, book_id, size=at) for at in range(1, size)]
    opened = [[[hold.opened_index for hold in holds or ()] for holds in several] for several in (before, after)]
    assert opened[0] == opened[1]
    assert max(map(len, opened[0])) > 3


def test_a_span_is_of_those_that_lasted_so_long() -> None:
    """From half of a power of two to before it."""
    for lasted in range(1, 300):
        span = hold_span(1_000, 1_000 + lasted)
        assert 2 ** (span - 1) <= lasted < 2**span


def test_a_book_whose_lines_are_being_written_verifies(lines: Lines) -> None:
    """Whatever the comparison meets of them, also while they are taken away."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        own = Lines(lines.world)
        try:
            while not stop.is_set():
                try:
                    if not own.liner.advance(lines.world.book_id, limit=3):
                        own.liner.rebuild(lines.world.book_id)
                except Conflict:
                    continue
        except BaseException as error:
            failures.append(error)
        finally:
            own.side.close()
            own.engine.dispose()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            (report,) = verify_books(lines.world.url, book=lines.world.book.name)
            assert report.verified, [difference.sentence() for difference in report.differences]
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_a_record_that_cannot_be_read_stops_statements_and_is_named(database_url: str) -> None:
    """Rather than being left out of them."""
    book = StoredBook(database_url)
    rows = book.rows("log_records")
    at = next(index for index, row in enumerate(rows) if row["kind"] == "settlement")
    engine, side = create_engine(database_url), SideWriter(database_url)
    liner = Liner(engine, side)
    liner.rebuild(book.book_id)
    changed = book.with_row("log_records", at, body=b'{"kind":"settlement"}')
    with changed, pytest.raises(LinesUnavailable, match=f"record {at} cannot be read"):
        liner.catch_up(book.book_id, len(rows))
    liner.catch_up(book.book_id, len(rows))
    side.close()
    engine.dispose()
    book.close()
