"""Spend lines for tests: written up to the end of every book's log, as a server does in the background."""

from __future__ import annotations

from ledger.services.lining import Liner
from ledger.storage import spend_rows
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter


def write_lines(database_url: str, *, records_at_once: int = 7) -> None:
    """Have the lines of every book written, in short stretches, so that what a stretch leaves to the next shows."""
    engine, side = create_engine(database_url, pool_size=1), SideWriter(database_url)
    liner = Liner(engine, side)
    try:
        while True:
            with engine.connect() as connection:
                books = spend_rows.books_behind(connection)
            if not books:
                return
            for book in books:
                liner.advance(book.book_id, limit=records_at_once)
    finally:
        side.close()
        engine.dispose()
