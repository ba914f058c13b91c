"""Putting a whole book into a database, in one transaction: all of it is there at its commit, or nothing ever was.

Owns the one transaction of an import, with one driver-level seam per database: prepared statements of many rows on
SQLite, COPY on PostgreSQL. Invariants: the head goes in first, so that of two imports of one book the second waits and
is refused; rows of append-only tables are only ever inserted; no exception but those of ``ledger.storage.errors`` comes
out.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import URL, Boolean

from ledger.storage.engine import APPLICATION_NAME, connection_info, parse_url, prepare_sqlite, raise_translated
from ledger.storage.errors import Busy, CommitUnknown, Unavailable
from ledger.storage.tables import metadata

LOCK_TIMEOUT_SECONDS: Final = 5
_RETRY_SECONDS: Final = 0.002


class BookLoader(Protocol):
    """One connection with one transaction open."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows. Raises StorageError, upon which nothing of the transaction can stay."""

    def commit(self) -> None:
        """Keep everything. Raises CommitUnknown when the connection dies meanwhile."""


@contextlib.contextmanager
def loading(database_url: str, *, size: int) -> Iterator[BookLoader]:
    """A transaction on a migrated database, with room for a log of ``size`` records, undone unless it was committed.
    Raises Busy, Unavailable, UnsupportedUrl."""
    url = parse_url(database_url)
    loader = _SqliteLoader(str(url.database)) if url.drivername == "sqlite" else _PostgresqlLoader(url, size)
    try:
        yield loader
    finally:
        loader.close()


class _SqliteLoader:
    def __init__(self, path: str) -> None:
        try:
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            prepare_sqlite(self._connection, wait_milliseconds=0, writes=True)
        except sqlite3.Error as error:
            raise_translated(error)
        self._begin()

    def _begin(self) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise_translated(error)
                if time.monotonic() >= deadline:
                    raise Busy("another process wrote to the database file until the deadline") from error
                time.sleep(_RETRY_SECONDS)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See ``BookLoader``."""
        places = ", ".join("?" * len(columns))
        try:
            self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
        except sqlite3.Error as error:
            raise_translated(error)

    def commit(self) -> None:
        """See ``BookLoader``."""
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise_translated(error)
            raise CommitUnknown(str(error)) from error

    def close(self) -> None:
        """Close; what was not committed is gone."""
        self._connection.close()


class _PostgresqlLoader:
    def __init__(self, url: URL, size: int) -> None:
        try:
            self._connection = psycopg.connect(
                connection_info(url), autocommit=True, application_name=APPLICATION_NAME, connect_timeout=5
            )
            self._connection.execute("SET synchronous_commit = on")
            self._connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'".encode())
            # In a transaction of its own: it asks for locks that nobody should wait behind for long.
            self._connection.execute("SELECT bursar_add_partitions(%s)", (size,))
            self._connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        except psycopg.Error as error:
            raise_translated(error)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See ``BookLoader``."""
        # SQLite, where rows may come from, has 0 and 1 for no and yes.
        flags = [
            at for at, column in enumerate(columns) if isinstance(metadata.tables[table].columns[column].type, Boolean)
        ]
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    values = list(row)
                    for at in flags:
                        values[at] = bool(values[at])
                    copy.write_row(values)
        except psycopg.Error as error:
            raise_translated(error)

    def commit(self) -> None:
        """See ``BookLoader``."""
        try:
            self._connection.execute("COMMIT")
        except psycopg.Error as error:
            if self._connection.closed:
                raise CommitUnknown(str(error)) from error
            raise_translated(error)

    def close(self) -> None:
        """Close; what was not committed is gone."""
        with contextlib.suppress(psycopg.Error, Unavailable):
            self._connection.close()
