"""The writer on SQLite: the standard library's driver, prepared statements of many rows.

Invariants: ``BEGIN IMMEDIATE`` is the lock (one writer per file, whichever book), retried by ourselves every 0.3 to
1 ms, because the database's own ``busy_timeout`` sleeps so long between tries that a second process starves; SQL text
is made once per table and per power of two of keys, so that statements stay prepared.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Final

from ledger.core import changeset as tables
from ledger.core.book import Book, Head
from ledger.core.changeset import Changeset, TableSpec
from ledger.core.needs import Needs
from ledger.storage.engine import prepare_sqlite, raise_translated
from ledger.storage.errors import Busy, CommitUnknown, Conflict
from ledger.storage.facts import IDEMPOTENCY, IDEMPOTENCY_COLUMNS, LOOKUPS, Facts, Lookup, Opening, Row, digests_of

STATEMENTS_KEPT: Final = 512
KEYS_PER_STATEMENT: Final = 8_192
"""Keys of more columns fit too: SQLite takes 32,766 parameters."""
ROWS_PER_STATEMENT: Final = 32
"""Rows inserted or updated by one statement: a quarter less time than one each, and the interpreter is let go of and
taken back once for all of them, which a busy event loop beside this thread makes slow."""
WAL_PAGES: Final = 8_000
"""Pages in the write-ahead log (32 MB) before a commit copies them back. A page that many commits rewrite is copied
once."""
_RETRY_SECONDS: Final = (0.0003, 0.001)


@cache
def _insert_statement(spec: TableSpec, rows: int = 1) -> str:
    """The statement that inserts ``rows`` rows, a power of two up to ``ROWS_PER_STATEMENT``."""
    places = f"({', '.join('?' * len(spec.columns))})"
    return f"INSERT INTO {spec.name} ({', '.join(spec.columns)}) VALUES {', '.join([places] * rows)}"


@cache
def _update_statement(spec: TableSpec, rows: int = 1) -> str:
    """The statement that updates ``rows`` rows, a power of two up to ``ROWS_PER_STATEMENT``, each found by its key."""
    if rows == 1:
        changes = ", ".join(f"{column} = ?" for column in spec.mutable)
        keys = " AND ".join(f"{column} = ?" for column in spec.key)
        return f"UPDATE {spec.name} SET {changes} WHERE {keys}"
    numbered = {column: f"w.column{at}" for at, column in enumerate((*spec.mutable, *spec.key), start=1)}
    changes = ", ".join(f"{column} = {numbered[column]}" for column in spec.mutable)
    keys = " AND ".join(f"{spec.name}.{column} = {numbered[column]}" for column in spec.key)
    places = f"({', '.join('?' * len(numbered))})"
    return f"UPDATE {spec.name} SET {changes} FROM (VALUES {', '.join([places] * rows)}) w WHERE {keys}"


_INSERTED: Final = tuple(spec for spec in tables.TABLES if spec is not tables.HEADS)
_UPDATED: Final = tuple(spec for spec in tables.TABLES if spec.mutable and spec is not tables.HEADS)
_DELETES: Final = tuple(
    (spec.name, f"DELETE FROM {spec.name} WHERE {' AND '.join(f'{column} = ?' for column in spec.key)}")
    for spec in tables.DELETABLE
)
_READ_HEAD: Final = f"SELECT {', '.join(tables.HEADS.columns)} FROM book_heads WHERE book_id = ?"
_INSERT_HEAD: Final = _insert_statement(tables.HEADS)
_MOVE_HEAD: Final = (
    f"UPDATE book_heads SET {', '.join(f'{column} = ?' for column in tables.HEADS.mutable)}"
    " WHERE book_id = ? AND size = ? AND root = ?"
)
_READ_BOOK: Final = (
    f"SELECT {', '.join(f'b.{column}' for column in tables.BOOKS.columns)}, s.text_secret"
    " FROM books b JOIN book_secrets s ON s.book_id = b.book_id WHERE b.book_id = ?"
)
_READ_DUE: Final = (
    "SELECT id, due_at FROM authorizations WHERE book_id = ? AND due_at IS NOT NULL ORDER BY due_at, id LIMIT ?"
)

_READ_RENEWALS: Final = (
    "SELECT budget, next_at FROM renewals WHERE book_id = ? AND next_at IS NOT NULL ORDER BY next_at, budget LIMIT ?"
)


@cache
def _lookup_statement(lookup: Lookup, places: int) -> str:
    """The statement for ``places`` keys, a power of two. Parameters, per alternative: the book, then the keys."""
    columns = ", ".join(f"t.{column}" for column in lookup.table.columns)
    selects = []
    chosen = f" AND {lookup.where}" if lookup.where else ""
    for key in lookup.keys:
        if len(key) == 1:
            listed = ", ".join("?" * places)
            selects.append(
                f"SELECT {columns} FROM {lookup.table.name} t WHERE t.book_id = ? AND t.{key[0]} IN ({listed}){chosen}"
            )
            continue
        # CROSS JOIN is SQLite's way to say which side is walked: the wanted keys, with one look-up each.
        rows = ", ".join([f"({', '.join('?' * len(key))})"] * places)
        match = " AND ".join(f"t.{column} = w.column{at}" for at, column in enumerate(key, start=1))
        selects.append(
            f"SELECT {columns} FROM (SELECT ? AS book_id) b CROSS JOIN (VALUES {rows}) w"
            f" CROSS JOIN {lookup.table.name} t WHERE t.book_id = b.book_id AND {match}{chosen}"
        )
    return " UNION ".join(selects)


@cache
def _idempotency_statement(places: int) -> str:
    return (
        f"SELECT {', '.join(IDEMPOTENCY_COLUMNS)} FROM idempotency_keys i"
        " LEFT JOIN log_records l ON l.book_id = i.book_id AND l.log_index = i.log_index"
        f" WHERE i.book_id = ? AND i.digest IN ({', '.join('?' * places)})"
    )


def _in_statements(rows: list[Row]) -> Iterator[list[Row]]:
    """The rows in parts that are powers of two, the largest first, so that there are few different statements."""
    start, left = 0, len(rows)
    while left:
        count = min(ROWS_PER_STATEMENT, 1 << (left.bit_length() - 1))
        yield rows[start : start + count]
        start += count
        left -= count


class SqliteWriter:
    """``BookWriter`` on a SQLite file."""

    def __init__(self, path: str, *, lock_timeout_seconds: float) -> None:
        """Open the file. Raises Unavailable."""
        self._lock_timeout_seconds = lock_timeout_seconds
        self._book_id = 0
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS_KEPT,
            )
            prepare_sqlite(self._connection, wait_milliseconds=0, writes=True)
            self._connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        except sqlite3.Error as error:
            raise_translated(error)

    @property
    def connection(self) -> sqlite3.Connection:
        """The driver's connection, for tracing."""
        return self._connection

    def begin(self, book_id: int, needs: Needs) -> Opening:
        """See ``BookWriter``."""
        self._book_id = book_id
        self._lock()
        try:
            row = self._connection.execute(_READ_HEAD, (book_id,)).fetchone()
            return Opening(Head(*row) if row else None, time.time_ns() // 1_000, self._read(needs))
        except sqlite3.Error as error:
            raise_translated(error)

    def _lock(self) -> None:
        deadline: float | None = None
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise_translated(error)
                now = time.monotonic()
                deadline = deadline or now + self._lock_timeout_seconds
                if now >= deadline:
                    raise Busy("another process wrote to the database file until the deadline") from error
                time.sleep(random.uniform(*_RETRY_SECONDS))

    def read(self, needs: Needs) -> Facts:
        """See ``BookWriter``."""
        try:
            return self._read(needs)
        except sqlite3.Error as error:
            raise_translated(error)

    def _read(self, needs: Needs) -> Facts:
        facts = Facts(needs)
        for lookup in LOOKUPS:
            wanted = getattr(needs, lookup.need)
            if wanted:
                facts.rows[lookup.need] = self._look_up(lookup, list(wanted))
        if needs.idempotency:
            facts.digests = digests_of(needs.idempotency)
            rows: list[Row] = []
            facts.rows[IDEMPOTENCY] = rows
            digests = list(facts.digests)
            for start in range(0, len(digests), KEYS_PER_STATEMENT):
                some = digests[start : start + KEYS_PER_STATEMENT]
                places = 1 << (len(some) - 1).bit_length()
                values = (self._book_id, *some, *[None] * (places - len(some)))
                rows += self._connection.execute(_idempotency_statement(places), values)
        return facts

    def _look_up(self, lookup: Lookup, wanted: list[object]) -> list[Row]:
        rows: list[Row] = []
        width = len(lookup.keys[0])
        for start in range(0, len(wanted), KEYS_PER_STATEMENT):
            some = wanted[start : start + KEYS_PER_STATEMENT]
            places = 1 << (len(some) - 1).bit_length()
            flat = some if width == 1 else [part for pair in some for part in pair]  # type: ignore[attr-defined]
            # NULL equals nothing, so the padding finds nothing.
            values = (self._book_id, *flat, *[None] * ((places - len(some)) * width)) * len(lookup.keys)
            rows += self._connection.execute(_lookup_statement(lookup, places), values)
        return rows

    def read_book(self) -> tuple[Book, bytes] | None:
        """See ``BookWriter``."""
        try:
            row = self._connection.execute(_READ_BOOK, (self._book_id,)).fetchone()
        except sqlite3.Error as error:
            raise_translated(error)
        if row is None:
            return None
        book_id, name, currency, timezone, strict_names, opened_at, text_secret = row
        return Book(book_id, name, currency, timezone, bool(strict_names), opened_at), text_secret

    def read_due(self, limit: int) -> list[tuple[str, int]]:
        """See ``BookWriter``."""
        try:
            return self._connection.execute(_READ_DUE, (self._book_id, limit)).fetchall()
        except sqlite3.Error as error:
            raise_translated(error)

    def read_renewals(self, limit: int) -> list[tuple[str, int]]:
        """See ``BookWriter``."""
        try:
            return self._connection.execute(_READ_RENEWALS, (self._book_id, limit)).fetchall()
        except sqlite3.Error as error:
            raise_translated(error)

    def write(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """See ``BookWriter``."""
        try:
            self._write(changeset, text_secret)
        except sqlite3.Error as error:
            raise_translated(error)

    def _write(self, changeset: Changeset, text_secret: bytes | None) -> None:
        connection = self._connection
        head = changeset.head
        if text_secret is None:
            place = (changeset.book_id, changeset.previous_size, changeset.previous_root)
            if connection.execute(_MOVE_HEAD, tables.update_of(tables.HEADS, head)[:-1] + place).rowcount != 1:
                raise Conflict(f"the head of book {changeset.book_id} is no longer at {changeset.previous_size}")
        else:
            if connection.execute(_READ_HEAD, (changeset.book_id,)).fetchone() is not None:
                raise Conflict(f"book {changeset.book_id} has been made meanwhile")
            connection.execute(_INSERT_HEAD, tables.row_of(head))
            connection.execute("INSERT INTO book_secrets VALUES (?, ?)", (changeset.book_id, text_secret))
        inserts = changeset.inserts
        for spec in _INSERTED:
            rows = inserts.get(spec.name)
            if rows:
                self._insert(spec, rows)
        updates = changeset.updates
        for spec in _UPDATED:
            rows = updates.get(spec.name)
            if rows and self._update(spec, rows) != len(rows):
                raise Conflict(f"rows of {spec.name} to be updated are not there")
        if changeset.deletes:
            self._delete(changeset)

    def _delete(self, changeset: Changeset) -> None:
        """Delete rows of side tables, overwriting what they held: what is free in the file says nothing of it."""
        connection = self._connection
        connection.execute("PRAGMA secure_delete = ON")
        try:
            for name, statement in _DELETES:
                connection.executemany(statement, changeset.deletes.get(name, ()))
        finally:
            connection.execute("PRAGMA secure_delete = OFF")

    def _insert(self, spec: TableSpec, rows: list[Row]) -> None:
        execute = self._connection.execute
        for some in _in_statements(rows):
            execute(_insert_statement(spec, len(some)), tuple(chain.from_iterable(some)))

    def _update(self, spec: TableSpec, rows: list[Row]) -> int:
        """How many rows there were to be updated."""
        execute = self._connection.execute
        return sum(
            execute(_update_statement(spec, len(some)), tuple(chain.from_iterable(some))).rowcount
            for some in _in_statements(rows)
        )

    def commit(self) -> None:
        """See ``BookWriter``."""
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise_translated(error)
            # The write-ahead log may hold the commit, or part of it: only reading it back tells.
            raise CommitUnknown(str(error)) from error

    def write_and_commit(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """See ``BookWriter``."""
        self.write(changeset, text_secret=text_secret)
        self.commit()

    def rollback(self) -> None:
        """See ``BookWriter``."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # What cannot be rolled back cannot be used either; the file's own recovery undoes it.
            self.close()

    def close(self) -> None:
        """See ``BookWriter``."""
        # A statement still open would refuse the close; there is none between calls.
        self._connection.close()
