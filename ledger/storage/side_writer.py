"""Writing side tables, beside the writers that decide.

Invariants: a transaction here is short and touches no row that a decision writes; on SQLite, where there is one lock
for a file, it waits for the lock only briefly and then gives up with ``Busy``, because whoever decides comes first.
"""

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext

from ledger.storage.engine import APPLICATION_NAME, parse_url, prepare_sqlite, storage_error
from ledger.storage.errors import Busy, StorageError
from ledger.storage.sqlite_writer import WAL_PAGES

LOCK_TIMEOUT_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = (0.001, 0.004)
_CONNECT_TIMEOUT_SECONDS: Final = 5


class SideWriter:
    """Connections that may change side tables. Its errors are those of ``ledger.storage.errors``."""

    def __init__(
        self, database_url: str, *, pool_size: int = 2, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> None:
        """Connects to nothing yet. Raises UnsupportedUrl."""
        url = parse_url(database_url)
        self._lock_timeout_seconds = lock_timeout_seconds
        if url.drivername == "sqlite":
            self._engine = sqlalchemy.create_engine(url, pool_size=pool_size, connect_args={"check_same_thread": False})
            event.listen(self._engine, "connect", _connect_sqlite)
            event.listen(self._engine, "begin", self._begin_sqlite)
        else:
            self._engine = sqlalchemy.create_engine(
                url,
                pool_size=pool_size,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                connect_args={
                    "application_name": APPLICATION_NAME,
                    "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
                    "options": f"-c lock_timeout={round(lock_timeout_seconds * 1000)} -c statement_timeout=10000",
                },
            )
        event.listen(self._engine, "handle_error", _translate)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends. Raises Busy, Conflict, Refused, Unavailable."""
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._engine.dispose()

    def _begin_sqlite(self, connection: Connection) -> None:
        deadline = time.monotonic() + self._lock_timeout_seconds
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except Busy:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(*_RETRY_SECONDS))


def _translate(context: ExceptionContext) -> StorageError | None:
    cause = context.original_exception
    if context.is_pre_ping or not isinstance(cause, (sqlite3.Error, psycopg.Error)):
        return None
    return storage_error(cause)


def _connect_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    prepare_sqlite(connection, wait_milliseconds=0, writes=True)
    # What stands here can be made again, and the next decision's commit puts it on disk with its own.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
