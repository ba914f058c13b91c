"""What a batch deletes: rows of side tables, by key, gone from the file too where the database can be told so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ledger.core.changeset import Changeset
from ledger.core.journal import Text
from ledger.core.needs import Needs
from ledger.storage.engine import parse_url
from ledger.storage.sqlite_writer import SqliteWriter
from ledger.storage.writer import BookWriter
from tests.storage import rows

BOOK = rows.BOOK_ID
TELLING = "jane.doe@example.com asked for this " * 20
LONG = "the whole story of jane.doe@example.com " * 400


def changed(size: int) -> Changeset:
    """A batch with one record, on a log of ``size`` records."""
    made = Changeset(BOOK, size, rows.root(size), rows.head(size + 1))
    made.inserts = {"log_records": [tuple(rows.record(size, "redaction"))]}
    return made


def written(writer: BookWriter, changeset: Changeset) -> None:
    """A batch, committed."""
    writer.begin(changeset.book_id, Needs())
    writer.write_and_commit(changeset)


def texts(writer: BookWriter) -> list[tuple[int, int, str]]:
    """The keys of the texts that are there, of any book."""
    found = writer.connection.execute("SELECT book_id, log_index, field FROM texts ORDER BY 1, 2, 3").fetchall()  # type: ignore[attr-defined]
    if not isinstance(writer, SqliteWriter):
        writer.rollback()
    return [tuple(row) for row in found]


def test_rows_are_deleted_by_key_in_the_batch(book_writer: BookWriter) -> None:
    """Those that are named and no other, of this book and no other; one that is not there is nobody's loss."""
    first = changed(1)
    first.inserts["texts"] = [tuple(Text(BOOK, 1, field, b"salt", TELLING)) for field in ("evidence", "intent")]
    written(book_writer, first)
    before = texts(book_writer)
    second = changed(2)
    second.deletes = {"texts": [(BOOK, 1, "intent"), (BOOK, 0, "evidence"), (BOOK, 77, "intent")]}
    written(book_writer, second)
    assert texts(book_writer) == [key for key in before if key != (BOOK, 1, "intent")]
    assert (BOOK, 1, "evidence") in texts(book_writer)


def test_what_is_rolled_back_is_not_deleted(book_writer: BookWriter) -> None:
    """The text goes with the record that says so, or not at all."""
    before = texts(book_writer)
    asked = changed(1)
    asked.deletes = {"texts": [(BOOK, 0, "reason")]}
    book_writer.begin(BOOK, Needs())
    book_writer.write(asked)
    book_writer.rollback()
    assert texts(book_writer) == before


def test_what_was_deleted_is_not_in_the_file(migrated_url: str, book_writer: BookWriter) -> None:
    """SQLite: overwritten in its page, on a page of its own, and in the write-ahead log once that is copied back."""
    if not isinstance(book_writer, SqliteWriter):
        return
    file = Path(str(parse_url(migrated_url).database))
    first = changed(1)
    first.inserts["texts"] = [
        tuple(Text(BOOK, 1, "intent", b"salt", TELLING)),
        tuple(Text(BOOK, 1, "evidence", b"salt", LONG)),
    ]
    written(book_writer, first)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"jane.doe" in file.read_bytes()
    second = changed(2)
    second.deletes = {"texts": [(BOOK, 1, "intent"), (BOOK, 1, "evidence")]}
    written(book_writer, second)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for path in file.parent.glob(file.name + "*"):
        assert b"jane.doe" not in path.read_bytes(), path
    (mode,) = book_writer.connection.execute("PRAGMA secure_delete").fetchone()
    assert mode == 0, "commits that delete nothing are not slower for it"
