"""A stored book with a record of every kind, on either database, whose rows a test may change behind Bursar's back.

Invariant: what a test changes is put back before the next one, so that one book serves a whole module.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from ledger.core.changeset import APPEND_ONLY
from ledger.storage.engine import connection_info, parse_url
from ledger.storage.migrate import upgrade
from ledger.storage.partitioning import WIDTH_DEFAULT
from ledger.storage.tables import metadata
from tests.support.every_kind import LiveLedger, play
from tests.support.spend import write_lines

Row = dict[str, Any]


class StoredBook:
    """The database, and a connection that no constraint or trigger stops."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        upgrade(database_url)
        ledger = LiveLedger(database_url)
        play(ledger)
        ledger.close()
        write_lines(database_url)
        self._open(ledger.book.book_id)

    @classmethod
    def beside(cls, database_url: str, book_id: int) -> StoredBook:
        """As of a book that is there already."""
        made = cls.__new__(cls)
        made.url = database_url
        made._open(book_id)
        return made

    def _open(self, book_id: int) -> None:
        self.book_id = book_id
        url = parse_url(self.url)
        self._connection: Any
        if url.drivername == "sqlite":
            self._connection = sqlite3.connect(Path(str(url.database)), isolation_level=None)
            self._connection.execute("PRAGMA ignore_check_constraints=ON")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._place = "?"
            for spec in APPEND_ONLY:
                for verb in ("update", "delete"):
                    self._connection.execute(f"DROP TRIGGER {spec.name}_no_{verb}")
            return
        self._connection = psycopg.connect(connection_info(url), autocommit=True)
        self._place = "%s"
        for spec in APPEND_ONLY:
            self._connection.execute(f"ALTER TABLE {spec.name} DISABLE TRIGGER USER")
        # Whoever owns the tables can make room for records anywhere.
        behind = self._connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'log_records'::regclass")
        self._connection.execute(
            "SELECT bursar_make_partition(%s, %s)", (behind.fetchone()[0] * WIDTH_DEFAULT, 2**63 - 1)
        )
        named = self._connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
            " AND connamespace = 'public'::regnamespace AND coninhcount = 0"
        ).fetchall()
        for table, constraint in named:
            self._connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"')

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(self, table: str) -> list[Row]:
        """The rows of a table, in key order."""
        columns = [column.name for column in metadata.tables[table].columns]
        key = ", ".join(column.name for column in metadata.tables[table].primary_key.columns)
        found = self._connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key}").fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]

    @contextlib.contextmanager
    def with_rows(self, table: str, rows: Sequence[Row]) -> Iterator[None]:
        """The table with exactly these rows, until the end of the block."""
        before = self.rows(table)
        self.put(table, rows)
        try:
            yield
        finally:
            self.put(table, before)

    @contextlib.contextmanager
    def with_row(self, table: str, at: int, **changes: Any) -> Iterator[None]:
        """The table with some columns of one row changed, until the end of the block."""
        rows = self.rows(table)
        rows[at] |= changes
        with self.with_rows(table, rows):
            yield

    def everything(self) -> dict[str, list[Row]]:
        """The rows of every table."""
        return {name: self.rows(name) for name in metadata.tables}

    def put_everything(self, rows: dict[str, list[Row]]) -> None:
        """Make these the rows of every table: what restoring a copy does."""
        for name in metadata.tables:
            self.put(name, rows[name])

    def set_last(self, table: str, column: str, value: str) -> None:
        """Set a column of the last row to what a piece of SQL gives."""
        key = [column.name for column in metadata.tables[table].primary_key.columns]
        match = " AND ".join(f"{name} = {self._place}" for name in key)
        row = self.rows(table)[-1]
        values = tuple(row[name] for name in key)
        self._connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {match}", values)

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Make these all the rows of a table."""
        self._connection.execute("BEGIN")
        try:
            self._connection.execute(f"DELETE FROM {table}")
            for row in rows:
                places = ", ".join([self._place] * len(row))
                statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
                self._connection.execute(statement, tuple(row.values()))
        except Exception:
            # Otherwise every test behind the one whose rows break a rule would fail too.
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def other_value(value: Any, column: Any) -> Any:
    """Another value that the column can hold."""
    if value is None:
        return {"BIGINT": 7, "TEXT": "other"}[str(column.type)]
    if str(column.type) == "BOOLEAN":
        return not value
    if isinstance(value, int):
        return value + 1_000_003
    if isinstance(value, str):
        return value + "x"
    return bytes([value[0] ^ 1]) + value[1:] if value else b"x"
