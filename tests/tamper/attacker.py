"""Whoever has the database: a bare copy of it without constraints or triggers, and one connection in one transaction.

Owns the copy, the statements of an attacker, and how verify sees what was not committed. Invariant: what an attack
changes is rolled back after it, so that every attack meets the same book.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import Connection, StaticPool, event

from ledger.core.signing_key import SigningKey
from ledger.services.verify import BookReport, verify_connected
from ledger.services.verify_against import Claim, read_claim
from ledger.storage.engine import connection_info, parse_url, storage_error
from ledger.storage.migrate import upgrade
from ledger.storage.tables import metadata
from tests.tamper.values import NoText
from tests.tamper.workload import SEED, make_books

Row = dict[str, Any]
KEYS = {name: tuple(column.name for column in table.primary_key.columns) for name, table in metadata.tables.items()}
COLUMNS = {name: tuple(column.name for column in table.columns) for name, table in metadata.tables.items()}


class Attacker:
    """One connection to a bare copy of both books. ``rows`` are those of the book under attack, in the order of their
    keys, as they are before any attack; ``others`` those of the book beside it."""

    def __init__(self, database_url: str, *, chance_seed: int = SEED) -> None:
        upgrade(database_url)
        self.book_id, self.other_id = make_books(database_url, chance_seed=chance_seed)
        url = parse_url(database_url)
        self.sqlite = url.drivername == "sqlite"
        self._connection: Any = (
            _bare_sqlite(Path(str(url.database))) if self.sqlite else _bare_postgresql(connection_info(url))
        )
        self._place = "?" if self.sqlite else "%s"
        self._engine = self._transparent_engine()
        self.rows = {name: self.read(name, self.book_id) for name in COLUMNS}
        self.kept = self._witnessed()
        self.others = {name: self.read(name, self.other_id) for name in COLUMNS}

    def close(self) -> None:
        """Give up the copy."""
        self._connection.close()

    # What an attacker does.

    @contextlib.contextmanager
    def attack(self, act: Callable[[Attacker], None]) -> Iterator[None]:
        """The books after ``act``, until the end of the block."""
        self._connection.execute("SAVEPOINT attack")
        try:
            act(self)
            yield
        finally:
            self._connection.execute("ROLLBACK TO SAVEPOINT attack")
            self._connection.execute("RELEASE SAVEPOINT attack")
            if self.sqlite:
                # Verify reads bytes that are no text once it has met some.
                self._connection.text_factory = str

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """Any statement, with a question mark for each value."""
        return self._connection.execute(statement.replace("?", self._place), values)

    def read(self, table: str, book_id: int) -> list[Row]:
        """The rows of a table and a book as they are now, in the order of their keys."""
        columns, order = COLUMNS[table], ", ".join(KEYS[table])
        found = self.execute(
            f"SELECT {', '.join(columns)} FROM {table} WHERE book_id = ? ORDER BY {order}", (book_id,)
        ).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]

    def change(self, table: str, row: Mapping[str, Any], **changes: Any) -> None:
        """Set columns of the row that has the key of ``row``."""
        assigned = ", ".join(
            f"{column} = {'CAST(? AS TEXT)' if isinstance(value, NoText) else '?'}" for column, value in changes.items()
        )
        match = " AND ".join(f"{column} = ?" for column in KEYS[table])
        key = tuple(row[column] for column in KEYS[table])
        values = [value.stored if isinstance(value, NoText) else value for value in changes.values()]
        changed = self.execute(f"UPDATE {table} SET {assigned} WHERE {match}", (*values, *key))
        assert changed.rowcount == 1, (table, key)

    def delete(self, table: str, row: Mapping[str, Any]) -> None:
        """Take a row away."""
        match = " AND ".join(f"{column} = ?" for column in KEYS[table])
        gone = self.execute(f"DELETE FROM {table} WHERE {match}", tuple(row[column] for column in KEYS[table]))
        assert gone.rowcount == 1, (table, row)

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Add a row."""
        places = ", ".join("?" * len(row))
        self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values()))

    def empty(self, table: str) -> None:
        """Take all rows of the book away."""
        self.execute(f"DELETE FROM {table} WHERE book_id = ?", (self.book_id,))

    def put(self, table: str, rows: list[Row]) -> None:
        """Make these all the rows of the book."""
        self.empty(table)
        for row in rows:
            self.insert(table, row)

    # What verify sees.

    def verify(self, *, differences_max: int, kept: bool = False) -> list[BookReport]:
        """Verify both books as they are in the transaction; with ``kept`` against the checkpoint of a witness."""
        against = (self.kept,) if kept else ()
        return list(verify_connected(self.connect, differences_max=differences_max, against=against))

    def _witnessed(self) -> Claim:
        """The last checkpoint and those before, as a witness keeps them that trusts the keys which signed them."""
        rows = self.rows["checkpoints"]
        keys = [SigningKey(**row).verifier() for row in self.rows["signing_keys"]]
        last = read_claim("kept", rows[-1]["note"])
        seen = tuple((row["size"], row["root"]) for row in rows)
        return replace(last, seen=seen, keys=tuple(key for key in keys if key.name == last.origin))

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """The one connection, whose transaction goes on behind the block."""
        with self._engine.connect() as connection:
            yield connection

    def _transparent_engine(self) -> sqlalchemy.Engine:
        """An engine over the one connection, which begins and ends no transaction."""
        url = "sqlite://" if self.sqlite else "postgresql+psycopg://"
        engine = sqlalchemy.create_engine(url, creator=lambda: self._connection, poolclass=StaticPool)
        event.listen(engine, "handle_error", _translate)
        for what in ("do_begin", "do_commit", "do_rollback"):
            setattr(engine.dialect, what, lambda connection: None)
        return engine


def _translate(context: Any) -> Any:
    cause = context.original_exception
    return storage_error(cause) if isinstance(cause, (sqlite3.Error, psycopg.Error)) else None


def _bare_sqlite(path: Path) -> sqlite3.Connection:
    """A copy in memory whose tables have columns and an index on what was their key, and nothing else."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("ATTACH ? AS source", (str(path),))
    for table, columns in COLUMNS.items():
        declared = ", ".join(
            f"{name} {kind}" for _, name, kind, *_ in connection.execute(f"PRAGMA source.table_info({table})")
        )
        connection.execute(f"CREATE TABLE {table} ({declared})")
        connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns)} FROM source.{table}"
        )
        connection.execute(f"CREATE INDEX {table}_key ON {table} ({', '.join(KEYS[table])})")
    connection.execute("DETACH source")
    connection.execute("BEGIN")
    return connection


def _bare_postgresql(info: str) -> psycopg.Connection[Any]:
    """The same in a schema of its own, which the connection sees in place of the true one."""
    connection = psycopg.connect(info)
    connection.execute("CREATE SCHEMA bare")
    for table, columns in COLUMNS.items():
        connection.execute(f"CREATE TABLE bare.{table} AS SELECT {', '.join(columns)} FROM public.{table}")
        connection.execute(f"CREATE INDEX ON bare.{table} ({', '.join(KEYS[table])})")
    connection.execute("SET search_path TO bare")
    connection.commit()
    connection.execute("SELECT 1")
    return connection
