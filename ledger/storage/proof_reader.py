"""What verify reads of the stored book, every page in a short transaction of its own.

Owns the statements. Invariants: no transaction stays open while anything is computed, so none is open longer than a
page takes to read; values come as the driver gives them, so that a value of a wrong type shows; every statement is
bounded by a page, whatever the length of the book.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, text

from ledger.core import changeset
from ledger.core.changeset import TableSpec
from ledger.storage.engine import create_engine, raise_translated
from ledger.storage.errors import StorageError
from ledger.storage.tables import metadata

PAGE_RECORDS: Final = 1_000
PAGE_ROWS: Final = 2_000
KEYS_PER_TRANSACTION: Final = 2_000
"""Looked up one by one: a second at most, and few enough looks that a book in use is caught up with."""
Row = tuple[Any, ...]
Connect = Callable[[], AbstractContextManager[Connection]]
"""Gives a connection in a transaction of its own, which ends with the block: ``Engine.connect``, or whatever stands in
for it where what is read is not committed yet."""


def _columns(spec: TableSpec) -> str:
    return ", ".join(spec.columns[1:])


def _range_statement(spec: TableSpec) -> str:
    order = ", ".join(spec.key[1:])
    return (
        f"SELECT {_columns(spec)} FROM {spec.name}"
        f" WHERE book_id = :book AND log_index >= :start AND log_index < :stop ORDER BY {order}"
    )


_RECORDS: Final = text(_range_statement(changeset.LOG_RECORDS))
_TRANSFERS: Final = text(_range_statement(changeset.TRANSFERS))
_TEXTS: Final = text(_range_statement(changeset.TEXTS))
_LEAVES: Final = text(
    "SELECT log_index, body, leaf_hash FROM log_records"
    " WHERE book_id = :book AND log_index >= :start AND log_index < :stop ORDER BY log_index"
)
_HEAD: Final = text(f"SELECT {_columns(changeset.HEADS)} FROM book_heads WHERE book_id = :book")
_BOOK: Final = text(f"SELECT {_columns(changeset.BOOKS)} FROM books WHERE book_id = :book")
_BODY: Final = text("SELECT body FROM log_records WHERE book_id = :book AND log_index = :index")
_NEXT: Final = text("SELECT min(log_index) FROM log_records WHERE book_id = :book AND log_index >= :start")
INDEXED: Final = (changeset.LOG_RECORDS, changeset.TRANSFERS, changeset.TEXTS)
"""Tables whose key begins with a log index."""


def _astray_statement(spec: TableSpec, bound: str) -> Any:
    return text(f"SELECT log_index FROM {spec.name} WHERE book_id = :book AND {bound} ORDER BY log_index LIMIT 1")


_BEHIND: Final = tuple((spec.name, _astray_statement(spec, "log_index >= :size")) for spec in INDEXED)
_BEFORE: Final = tuple((spec.name, _astray_statement(spec, "log_index < 0")) for spec in INDEXED)


class Standing(NamedTuple):
    """The head and the book at one moment, without the book's id, as stored (None: not there), and what stands where
    nothing may: (table, log index) pairs before the first record or behind the last; and which of the tables of head
    and book have more than one row."""

    head: Row | None
    book: Row | None
    astray: tuple[tuple[str, int], ...]
    twice: tuple[str, ...] = ()


class LogPage(NamedTuple):
    """Rows of a range of log indexes, without their book, each list in the order of its primary key."""

    records: list[Row]
    transfers: list[Row]
    texts: list[Row]


class ProofReader:
    """Reads one book of a database. Raises StorageError from every method but ``close``."""

    def __init__(self, connect: Connect, book_id: int) -> None:
        self._connect = connect
        self._book_id = book_id

    @property
    def connect(self) -> Connect:
        """What gives connections to the database."""
        return self._connect

    def standing(self) -> Standing:
        """The book's head and settings, read at one moment."""
        with self._connect() as connection:
            return self._standing(connection)

    def _standing(self, connection: Connection) -> Standing:
        heads = self._rows(connection, _HEAD)
        books = self._rows(connection, _BOOK)
        size = heads[0][0] if heads else 0
        astray = [(name, row[0]) for name, behind in _BEHIND for row in self._rows(connection, behind, size=size)]
        astray += [(name, row[0]) for name, before in _BEFORE for row in self._rows(connection, before)]
        stored = ((changeset.HEADS.name, heads), (changeset.BOOKS.name, books))
        twice = tuple(name for name, rows in stored if len(rows) > 1)
        return Standing(heads[0] if heads else None, books[0] if books else None, tuple(astray), twice)

    def size(self) -> int:
        """How many records the head counts, 0 where it does not say."""
        with self._connect() as connection:
            heads = self._rows(connection, _HEAD)
        size = heads[0][0] if heads else 0
        return size if type(size) is int else 0

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, int]]:
        """A short transaction, and the book's id: for what is read of the tables of proofs. Bytes that are no text are
        read as such, with surrogates in their place."""
        with self._connect() as connection:
            driver: Any = connection.connection.driver_connection
            if not isinstance(driver, sqlite3.Connection):
                yield connection, self._book_id
                return
            before, driver.text_factory = driver.text_factory, _any_text
            try:
                yield connection, self._book_id
            finally:
                driver.text_factory = before

    def log_page(self, start: int, stop: int) -> LogPage:
        """Log records, transfers and texts of log indexes from ``start`` to before ``stop``."""
        with self._connect() as connection:
            return LogPage(
                *(
                    self._rows(connection, statement, start=start, stop=stop)
                    for statement in (_RECORDS, _TRANSFERS, _TEXTS)
                )
            )

    def leaf_page(self, start: int, stop: int) -> list[Row]:
        """(log index, body, leaf hash) of log indexes from ``start`` to before ``stop``."""
        with self._connect() as connection:
            return self._rows(connection, _LEAVES, start=start, stop=stop)

    def next_index(self, start: int) -> int | None:
        """The first log index at or after ``start``, or None."""
        with self._connect() as connection:
            found: int | None = self._rows(connection, _NEXT, start=start)[0][0]
            return found

    def body(self, index: int) -> bytes:
        """The body of a record, empty where there is none."""
        with self._connect() as connection:
            rows = self._rows(connection, _BODY, index=index)
            return bytes(rows[0][0]) if rows else b""

    def pages(self, spec: TableSpec) -> Iterator[list[Row]]:
        """Rows of a table without their book, in the order of the primary key, each page in its own transaction."""
        key = spec.key[1:]
        places = [spec.columns.index(column) - 1 for column in key]
        names = [f"key{at}" for at in range(len(key))]
        first = f"SELECT {_columns(spec)} FROM {spec.name} WHERE book_id = :book"
        last = f" ORDER BY {', '.join(key)} LIMIT {PAGE_ROWS}"
        after = f" AND ({', '.join(key)}) > ({', '.join(f':{name}' for name in names)})"
        with self._connect() as connection:
            page = self._rows(connection, text(first + last))
        statement = text(first + after + last)
        while page:
            yield page
            if len(page) < PAGE_ROWS:
                return
            place = {name: page[-1][at] for name, at in zip(names, places, strict=True)}
            with self._connect() as connection:
                page = self._rows(connection, statement, **place)

    def rows_at_head(self, wanted: Sequence[tuple[TableSpec, Row]]) -> tuple[Standing, list[list[Row]]]:
        """The standing of the book, and at the same moment the rows of each primary key: one, or none, or several where
        the database has lost its constraints. At most ``KEYS_PER_TRANSACTION`` keys."""
        with self._connect() as connection:
            standing = self._standing(connection)
            found: list[list[Row]] = []
            for spec, key in wanted:
                match = " AND ".join(f"{column} = :key{at}" for at, column in enumerate(spec.key[1:]))
                statement = text(f"SELECT {_columns(spec)} FROM {spec.name} WHERE book_id = :book AND {match}")
                found.append(self._rows(connection, statement, **{f"key{at}": value for at, value in enumerate(key)}))
            return standing, found

    def rows(self, connection: Connection, statement: str, **values: Any) -> list[Row]:
        """The rows that a statement about the book (``:book``) gives over a connection of ``reading``."""
        return self._rows(connection, text(statement), **values)

    def _rows(self, connection: Connection, statement: Any, **values: Any) -> list[Row]:
        parameters = {"book": self._book_id, **values}
        try:
            return _fetched(connection, statement, parameters)
        except StorageError as error:
            if "decode" not in str(error):
                raise
        # SQLite keeps any bytes as text; from here on, those that are no text are read as such and compared.
        driver: Any = connection.connection.driver_connection
        driver.text_factory = _any_text
        return _fetched(connection, statement, parameters)


def _fetched(connection: Connection, statement: Any, parameters: dict[str, Any]) -> list[Row]:
    """The rows as the driver's own tuples: nothing between the driver and the comparison converts a value."""
    cursor = connection.execute(statement, parameters).cursor
    try:
        return list(cursor.fetchall()) if cursor is not None else []
    except (sqlite3.Error, psycopg.Error) as error:
        raise_translated(error)


def _any_text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")


def open_database(database_url: str) -> Engine:
    """An engine for verify. Raises UnsupportedUrl."""
    return create_engine(database_url, pool_size=1)


def names_of_books(connect: Connect) -> dict[int, str]:
    """Id to name of every book that has a head, a row in ``books`` or a log record; a name is empty where ``books`` has
    none. Raises StorageError."""
    names: dict[int, str] = {}
    for table in (changeset.HEADS.name, changeset.LOG_RECORDS.name):
        names.update(dict.fromkeys(_book_ids(connect, table), ""))
    with connect() as connection:
        # Compared byte by byte later on; here a name is what a report is called, and no bytes stop the work.
        named = "CAST(name AS BLOB)" if connection.dialect.name == "sqlite" else "name"
        for book_id, name in connection.execute(text(f"SELECT book_id, {named} FROM books WHERE book_id IS NOT NULL")):
            names[book_id] = name.decode(errors="replace") if isinstance(name, bytes) else name or ""
    return names


def books_by_table(connect: Connect) -> Iterator[tuple[str, list[int]]]:
    """Each table, and the ids of the books that have rows in it. Raises StorageError."""
    for name in metadata.tables:
        yield name, _book_ids(connect, name)


def tables_of_no_book(connect: Connect) -> list[str]:
    """Tables with a row that has no book id at all, which only a database without its constraints has. Raises
    StorageError."""
    with connect() as connection:
        return [
            name
            for name in metadata.tables
            if connection.execute(text(f"SELECT 1 FROM {name} WHERE book_id IS NULL LIMIT 1")).one_or_none() is not None
        ]


def _book_ids(connect: Connect, table: str) -> list[int]:
    """The distinct book ids of a table: one look-up in its key for each, however many rows a book has."""
    found: list[int] = []
    with connect() as connection:
        row = connection.execute(text(f"SELECT min(book_id) FROM {table}")).one()
        while row[0] is not None:
            found.append(row[0])
            row = connection.execute(
                text(f"SELECT min(book_id) FROM {table} WHERE book_id > :book"), {"book": row[0]}
            ).one()
    return found
