"""Database URLs, and what each session is set to."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text

from ledger.storage.engine import create_engine, parse_url, storage_error
from ledger.storage.errors import Conflict, SchemaOutdated, StorageError, Unavailable, UnsupportedUrl
from ledger.storage.writer import open_writer


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///books.db", "sqlite"),
        ("sqlite+pysqlite:////var/books.db", "sqlite"),
        ("postgresql://ada@localhost/books", "postgresql+psycopg"),
        ("postgres://ada@localhost/books", "postgresql+psycopg"),
        ("postgresql+psycopg://ada@localhost/books?host=/run", "postgresql+psycopg"),
    ],
)
def test_a_url_names_its_driver(given: str, driver: str) -> None:
    """Whatever a platform hands out works."""
    assert parse_url(given).drivername == driver


@pytest.mark.parametrize(
    "given",
    [
        "",
        "books.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///b.db?mode=ro",
        "mysql://h/b",
        "postgresql+asyncpg://h/b",
    ],
)
def test_an_unsupported_url_is_refused_with_the_ones_that_work(given: str) -> None:
    """Before anything connects."""
    with pytest.raises(UnsupportedUrl, match="sqlite:///FILE"):
        create_engine(given)
    with pytest.raises(StorageError):
        open_writer(given)


def test_commits_are_durable(migrated_url: str) -> None:
    """An acknowledged commit is on disk."""
    writer = open_writer(migrated_url)
    ask = writer.connection.execute
    if migrated_url.startswith("sqlite"):
        settings = {
            name: ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "busy_timeout")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 0}
        assert ask("PRAGMA foreign_keys").fetchone() == (1,)
    else:
        assert ask("SHOW synchronous_commit").fetchone() == ("on",)
        assert ask("SHOW default_transaction_isolation").fetchone() == ("read committed",)
        assert ask("SHOW application_name").fetchone() == ("bursar",)
    writer.close()


def test_the_engine_only_reads(migrated_url: str) -> None:
    """Nothing but a writer changes a book."""
    with create_engine(migrated_url).connect() as connection, pytest.raises(Exception, match=r"read-?only"):
        connection.execute(text("INSERT INTO persons VALUES (1, 'ada', 0)"))


def test_a_reader_sees_one_moment(migrated_url: str) -> None:
    """Two statements of one transaction see the same books, whoever commits between them."""
    from tests.storage import rows

    writer = open_writer(migrated_url)
    with create_engine(migrated_url).connect() as connection:
        count = text("SELECT count(*) FROM books")
        assert connection.execute(count).scalar_one() == 0
        writer.begin(rows.BOOK_ID, rows.needs())
        writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
        assert connection.execute(count).scalar_one() == 0
        connection.rollback()
        assert connection.execute(count).scalar_one() == 1
    writer.close()


def test_missing_tables_are_told_apart(database_url: str) -> None:
    """Whoever forgot to migrate reads so."""
    with create_engine(database_url).connect() as connection, pytest.raises(SchemaOutdated, match="bursar migrate"):
        connection.execute(text("SELECT * FROM books"))


def test_an_absent_server_is_unavailable() -> None:
    """From the engine and from a writer alike."""
    url = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(Unavailable):
        create_engine(url).connect()
    with pytest.raises(Unavailable):
        open_writer(url)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (psycopg.errors.DeadlockDetected(), Conflict),
        (psycopg.errors.SerializationFailure(), Conflict),
        (psycopg.errors.AdminShutdown(), Unavailable),
        (psycopg.errors.TooManyConnections(), Unavailable),
        (psycopg.errors.DiskFull(), Unavailable),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Unavailable),
    ],
)
def test_what_a_driver_says_has_one_meaning(error: psycopg.Error, meaning: type[StorageError]) -> None:
    """The caller decides by the class alone."""
    assert type(storage_error(error)) is meaning
