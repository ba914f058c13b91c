"""Connections: what a database URL means, and how each session is set up before it is used.

Invariants: SQLite runs in WAL mode with ``synchronous=FULL``, PostgreSQL with ``synchronous_commit=on``, so an
acknowledged commit is on disk; an engine made here only reads, and each of its transactions sees one snapshot
(REPEATABLE READ, or a deferred BEGIN on SQLite); the writers (``sqlite_writer``, ``postgresql_writer``) write.
"""

import sqlite3
from typing import Any, Final, NoReturn

import psycopg
import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError

from ledger.storage.errors import (
    Busy,
    Conflict,
    Refused,
    SchemaOutdated,
    StorageError,
    Unavailable,
    UnsupportedUrl,
)

APPLICATION_NAME: Final = "bursar"
SQLITE_PAGE_BYTES: Final = 4096
"""Of a new file. A batch changes most pages in one row, and a changed page is written whole: small ones cost least."""
_READER_WAIT_MILLISECONDS: Final = 2_000
_READER_MAP_BYTES: Final = 268_435_456
"""Readers map the file. The writer does not: what it changes it copies anyway, and mapped pages fault once more."""
_POSTGRESQL_DRIVERS: Final = ("postgresql", "postgres", "postgresql+psycopg")
_CONNECT_TIMEOUT_SECONDS: Final = 5

_LOST: Final = ("08", "57P", "53", "58", "XX")
"""Beginnings of SQLSTATE codes that say the server is away, full or broken."""


def parse_url(database_url: str) -> URL:
    """The URL with its driver spelled out: ``sqlite`` or ``postgresql+psycopg``. Raises UnsupportedUrl."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise UnsupportedUrl(
            "the database URL cannot be read; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.database in (None, "", ":memory:") or url.query:
            raise UnsupportedUrl("Bursar keeps SQLite books in a file, without options: write sqlite:///FILE")
        return url.set(drivername="sqlite")
    if url.drivername in _POSTGRESQL_DRIVERS:
        return url.set(drivername="postgresql+psycopg")
    raise UnsupportedUrl(f"{url.drivername} is not supported; write sqlite:///FILE or postgresql://USER@HOST/DATABASE")


def connection_info(url: URL) -> str:
    """The URL as libpq reads it, with its password."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def prepare_sqlite(connection: sqlite3.Connection, *, wait_milliseconds: int, writes: bool) -> None:
    """Set up one SQLite session. ``writes`` False makes the session refuse to write."""
    for pragma in (
        f"busy_timeout={_READER_WAIT_MILLISECONDS}",
        f"page_size={SQLITE_PAGE_BYTES}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-65536" if writes else "cache_size=-8192",
        f"mmap_size={0 if writes else _READER_MAP_BYTES}",
        "journal_size_limit=67108864",
        f"query_only={'OFF' if writes else 'ON'}",
        f"busy_timeout={wait_milliseconds}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def create_engine(database_url: str, *, pool_size: int = 5) -> Engine:
    """An engine for reads. Its errors are those of ``ledger.storage.errors``. Raises UnsupportedUrl."""
    url = parse_url(database_url)
    if url.drivername == "sqlite":
        engine = sqlalchemy.create_engine(url, pool_size=pool_size, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", _connect_sqlite_reader)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        engine = sqlalchemy.create_engine(
            url,
            pool_size=pool_size,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
            connect_args={"application_name": APPLICATION_NAME, "connect_timeout": _CONNECT_TIMEOUT_SECONDS},
        )
        event.listen(engine, "connect", _connect_postgresql_reader)
    event.listen(engine, "handle_error", _translate)
    return engine


def create_migration_engine(database_url: str) -> Engine:
    """An engine that may change tables, without a pool. Raises UnsupportedUrl."""
    url = parse_url(database_url)
    if url.drivername == "sqlite":
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        event.listen(engine, "connect", _connect_sqlite_migration)
        event.listen(engine, "begin", _begin_sqlite_migration)
    else:
        engine = sqlalchemy.create_engine(
            url,
            poolclass=sqlalchemy.NullPool,
            connect_args={"application_name": APPLICATION_NAME, "connect_timeout": _CONNECT_TIMEOUT_SECONDS},
        )
    event.listen(engine, "handle_error", _translate)
    return engine


def _connect_sqlite_reader(connection: Any, _record: Any) -> None:
    # The driver's own transactions start at the first write only; ours start at BEGIN, so that reads share one.
    connection.isolation_level = None
    prepare_sqlite(connection, wait_milliseconds=_READER_WAIT_MILLISECONDS, writes=False)


def _connect_sqlite_migration(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    prepare_sqlite(connection, wait_milliseconds=30_000, writes=True)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_sqlite_migration(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _connect_postgresql_reader(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    connection.commit()


def _translate(context: ExceptionContext) -> StorageError | None:
    if context.is_pre_ping:
        # The pool asks whether a connection is still there, and makes another when the driver's own error says no.
        return None
    cause = context.original_exception
    return storage_error(cause) if isinstance(cause, (sqlite3.Error, psycopg.Error)) else None


def storage_error(cause: BaseException) -> StorageError:
    """What a driver's exception means for whoever waits (a commit excepted, see the writers)."""
    if isinstance(cause, sqlite3.Error):
        return _sqlite_error(cause)
    if isinstance(cause, psycopg.Error):
        return _postgresql_error(cause)
    return StorageError(str(cause))


def _sqlite_error(cause: sqlite3.Error) -> StorageError:
    message = str(cause)
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy("the database file is locked by another process")
    if isinstance(cause, sqlite3.IntegrityError):
        return Refused(message)
    if "no such table" in message or "no such column" in message or "has no column" in message:
        return SchemaOutdated(f"{message}: run bursar migrate")
    if isinstance(cause, (sqlite3.ProgrammingError, sqlite3.InterfaceError)) and not code:
        return StorageError(message) if "closed" not in message else Unavailable(message)
    return Unavailable(message)


def _postgresql_error(cause: psycopg.Error) -> StorageError:
    state = cause.sqlstate
    message = cause.diag.message_primary or str(cause)
    if state is None:
        if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
            return Unavailable(message)
        return StorageError(message)
    if state == "55P03":
        return Busy("another process held the book's head until the deadline")
    # The writers divide by zero where a statement did not change as many rows as it must.
    if state in ("40001", "40P01", "22012"):
        return Conflict(message)
    if state in ("42P01", "42703", "3F000"):
        return SchemaOutdated(f"{message}: run bursar migrate")
    if state.startswith("23"):
        return Refused(message)
    if state.startswith(_LOST) or state in ("25006", "28000", "28P01", "3D000", "25P03", "25P04"):
        return Unavailable(message)
    return StorageError(message)


def raise_translated(cause: sqlite3.Error | psycopg.Error) -> NoReturn:
    """Raise what a driver's exception means, with the driver's as its cause."""
    raise storage_error(cause) from cause
