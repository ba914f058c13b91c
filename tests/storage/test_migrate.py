"""Migrations lead to exactly the tables of the metadata, and history cannot be edited with SQL."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from ledger.storage import migrate
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.errors import Refused, StorageError
from ledger.storage.tables import metadata
from ledger.storage.writer import BookWriter


def test_upgrade_leads_to_the_metadata(migrated_url: str) -> None:
    """Alembic finds nothing left to do."""
    engine = create_migration_engine(migrated_url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        assert differences_left(connection, **options) == []


def differences_left(connection: Connection, **options: Any) -> list[Any]:
    """What Alembic would still change. It takes partitions for tables that nobody declared; their parents count."""
    partitions = set()
    if connection.dialect.name == "postgresql":
        partitions = set(connection.execute(text("SELECT relname FROM pg_class WHERE relispartition")).scalars())
    options["include_name"] = lambda name, kind, _: kind != "table" or name not in partitions
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def test_upgrade_makes_the_same_rules(migrated_url: str) -> None:
    """Alembic compares no CHECK, predicate or storage option: ask the databases for their own text of each."""
    engine = create_migration_engine(migrated_url)
    with engine.begin() as connection:
        migrated = declared_rules(connection)
        for statement in ("log_records", "transfers"):
            connection.execute(text(f"DROP TABLE {statement}"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert declared_rules(connection) == migrated
        assert any("overdrawn_index IS NOT NULL" in rule for rule in migrated)


def declared_rules(connection: Connection) -> set[str]:
    """Every table, constraint and index as the database itself writes it, without spaces and order of columns."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL")
        ).scalars()
        parts = (part for sql in rows if "alembic_version" not in sql for part in [sql])
        # SQLite writes a column that is added later behind the last one, on the same line.
        added = r", (?=\w+ (?:TEXT|BIGINT|SMALLINT|INTEGER|BOOLEAN|BLOB)\b)"
        between = rf",\s*\n\s*|\(\s*\n\s*|\n|{added}"
        return {" ".join(sorted(re.split(between, sql))).replace("\t", "") for sql in parts}
    query = """
        WITH declared AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition)
        SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(o.oid) FROM pg_constraint o
         JOIN declared c ON c.oid = conrelid
        UNION SELECT pg_get_indexdef(c.oid) FROM declared c WHERE relkind IN ('i', 'I')
        UNION SELECT relname || ' ' || coalesce(array_to_string(reloptions, ','), '')
         || coalesce(pg_get_partkeydef(c.oid), '') FROM declared c WHERE relkind IN ('r', 'p')
        UNION SELECT attrelid::regclass || ' ' || attname || ' ' || attcollation::regcollation FROM pg_attribute
         JOIN declared c ON c.oid = attrelid
         WHERE attcollation <> 0 AND NOT attisdropped AND relkind IN ('r', 'p')
    """
    return {rule for rule in connection.execute(text(query)).scalars() if "alembic_version" not in rule}


def test_a_database_tells_its_revision(database_url: str) -> None:
    """None before the first migration, then the head; a second upgrade changes nothing."""
    before, head = migrate.current_and_head(database_url)
    assert before is None
    engine = create_engine(database_url)
    assert not migrate.is_current(engine)
    migrate.upgrade(database_url)
    migrate.upgrade(database_url)
    assert migrate.current_and_head(database_url) == (head, head)
    assert migrate.is_current(engine)


def test_an_upgrade_needs_no_working_directory(database_url: str, tmp_path: Path, monkeypatch) -> None:
    """The revisions are found beside the code."""
    monkeypatch.chdir(tmp_path)
    migrate.upgrade(database_url)
    assert len(set(migrate.current_and_head(database_url))) == 1


def test_an_upgrade_that_fails_leaves_nothing(database_url: str) -> None:
    """A table in the way stops the first revision, which then made none of its own."""
    engine = create_migration_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE names (x INTEGER)"))
    with pytest.raises(StorageError):
        migrate.upgrade(database_url)
    with engine.connect() as connection:
        names = connection.dialect.get_table_names(connection)
    assert set(names) <= {"names", "alembic_version"}
    assert migrate.current_and_head(database_url)[0] is None


def test_webhooks_can_be_taken_out_and_put_back(database_url: str) -> None:
    """The revision behind the first goes both ways; what the ledger stands on stays."""
    migrate.upgrade(database_url)
    engine = create_migration_engine(database_url)
    with engine.begin() as connection:
        whole = tables_of(connection)
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with engine.connect() as connection:
        rest = tables_of(connection)
    assert whole - rest >= {"webhook_endpoints", "webhook_events", "webhook_deliveries", "webhook_secrets"}
    assert {"log_records", "transfers", "counters", "policies"} <= rest
    assert not migrate.is_current(engine)
    migrate.upgrade(database_url)
    with engine.connect() as connection:
        assert tables_of(connection) == whole
    engine.dispose()


def tables_of(connection: Connection) -> set[str]:
    """The names of tables, without those of partitions, whose bounds depend on when they were made."""
    return {name for name in connection.dialect.get_table_names(connection) if not re.search(r"_p\d+$", name)}


def test_metering_comes_to_rows_that_are_there_and_goes_again(database_url: str) -> None:
    """Every value of the release before stays through the revision and back; what was repriced stops the way back."""
    move(database_url, to="0002")
    engine = create_migration_engine(database_url)
    with engine.begin() as connection:
        before = declared_rules(connection)
        for number in range(3):
            connection.execute(text(EARLIER_ROW), {"id": f"auth_{number}", "refunded": number})
        rows = connection.execute(text(f"SELECT {EARLIER_COLUMNS} FROM authorizations ORDER BY id")).all()
    migrate.upgrade(database_url)
    added = f"SELECT {EARLIER_COLUMNS}, metering, repriced FROM authorizations ORDER BY id"
    with engine.begin() as connection:
        assert connection.execute(text(added)).all() == [(*row, None, 0) for row in rows]
        with pytest.raises((Refused, DBAPIError)), connection.begin_nested():
            connection.execute(text("UPDATE authorizations SET repriced = -4 WHERE id = 'auth_2'"))
        connection.execute(text("UPDATE authorizations SET repriced = -3 WHERE id = 'auth_2'"))
    with pytest.raises(ValueError, match="auth_2 was repriced"):
        move(database_url, to="0002")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM authorizations WHERE repriced = -3")).scalar() == 1
        connection.execute(text("UPDATE authorizations SET repriced = 0"))
    move(database_url, to="0002")
    with engine.begin() as connection:
        assert connection.execute(text(f"SELECT {EARLIER_COLUMNS} FROM authorizations ORDER BY id")).all() == rows
        assert declared_rules(connection) == before
    migrate.upgrade(database_url)
    assert len(set(migrate.current_and_head(database_url))) == 1
    engine.dispose()


EARLIER_COLUMNS = (
    "book_id, id, agent, budget, run, category, payee, resource, currency, amount, approved, held, settled, refunded, "
    "state, flags, reason, on_expiry, created_at, expires_at, due_at, settled_category, settled_payee, splits, labels, "
    "portions, created_index, changed_index"
)
EARLIER_ROW = f"""
    INSERT INTO authorizations ({EARLIER_COLUMNS}) VALUES
    (1, :id, 'crawler', 'research', 'run-1', 'inference', 'openai', 'gpt-5', 'USD', 9, 8, 0, 5, :refunded, 'settled', 4,
     NULL, 'unknown', 10, 20, NULL, 'inference', 'openai', NULL, '[["a","b"]]', NULL, 3, 4)
"""


def move(database_url: str, *, to: str) -> None:
    """Bring a database to an earlier revision than this version's."""
    engine = create_migration_engine(database_url)
    try:
        with engine.begin() as connection:
            config = migrate.configuration()
            config.attributes["connection"] = connection
            known = MigrationContext.configure(connection).get_current_revision()
            (command.upgrade if known is None else command.downgrade)(config, to)
    finally:
        engine.dispose()


OLD_ROWS = (
    "INSERT INTO runs VALUES (1, 'run-1', 'run_1', 'crawler', 7, 3)",
    "INSERT INTO runs VALUES (2, 'run-1', 'run_2', 'writer', 8, 4)",
)
OLD_KEY = (
    "INSERT INTO api_keys VALUES (1, :digest, 'key_1', 'agent', 'agent:crawler', 'person:ada', 5, NULL, NULL, 1, 1)"
)
REFUSED = (
    "UPDATE runs SET cap = 0, cap_currency = 'USD'",
    "UPDATE runs SET cap = 5",
    "UPDATE runs SET cap_currency = 'USD'",
    "UPDATE api_keys SET run = 'run-1', role = 'finance'",
)


def moved(connection: Connection, revision: str) -> None:
    """Bring the tables to a revision, whichever way that is."""
    config = migrate.configuration()
    config.attributes["connection"] = connection
    there = MigrationContext.configure(connection).get_current_revision() or ""
    (command.upgrade if there < revision else command.downgrade)(config, revision)


def test_runs_and_keys_keep_their_rows(database_url: str) -> None:
    """Up from the revision before with rows in both tables, down again, and up once more: nothing is lost but what the
    revision adds, and a key for one run does not become one for everything."""
    engine = create_migration_engine(database_url)
    old_runs = text("SELECT book_id, name, id, agent, opened_at, created_index FROM runs ORDER BY book_id")
    old_keys = text("SELECT id, role, principal, made_by, created_at, expires_at FROM api_keys")
    with engine.begin() as connection:
        moved(connection, "0002")
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        connection.execute(text(OLD_KEY), {"digest": b"d" * 32})
        runs, keys = connection.execute(old_runs).all(), connection.execute(old_keys).all()
    migrate.upgrade(database_url)
    with engine.begin() as connection:
        assert (connection.execute(old_runs).all(), connection.execute(old_keys).all()) == (runs, keys)
        assert connection.execute(text("SELECT cap, cap_currency FROM runs")).all() == [(None, None)] * 2
        assert connection.execute(text("SELECT run, vouched_by, revoked_at FROM api_keys")).all() == [(None,) * 3]
        connection.execute(text("UPDATE runs SET cap = 5, cap_currency = 'USD' WHERE book_id = 1"))
        connection.execute(text("UPDATE api_keys SET run = 'run-1', vouched_by = 'person:ada'"))
    for statement in REFUSED:
        with engine.connect() as connection, pytest.raises((Refused, DBAPIError)):
            connection.execute(text(statement))
    with engine.begin() as connection:
        moved(connection, "0002")
    with engine.begin() as connection:
        assert (connection.execute(old_runs).all(), connection.execute(old_keys).all()) == (runs, keys)
        assert connection.execute(text("SELECT revoked_at FROM api_keys")).scalars().all() == [5]
        names = {column["name"] for column in inspect(connection).get_columns("runs")}
        assert "cap" not in names
    migrate.upgrade(database_url)
    with engine.connect() as connection:
        assert differences_left(connection) == []
        assert connection.execute(old_runs).all() == runs
    engine.dispose()


@pytest.mark.parametrize("table", ["log_records", "transfers"])
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
def test_history_cannot_be_changed(migrated_url: str, book_writer: BookWriter, table: str, verb: str) -> None:
    """Triggers refuse, whoever asks, and say what they refuse."""
    from tests.storage import rows

    book_writer.begin(rows.BOOK_ID, rows.needs())
    book_writer.write_and_commit(rows.holds(rows.SETUP_SIZE, 2))
    engine = create_migration_engine(migrated_url)
    statement = {
        "UPDATE": f"UPDATE {table} SET recorded_at = 1",
        "DELETE": f"DELETE FROM {table}",
        "TRUNCATE": f"TRUNCATE {table}",
    }[verb]
    if verb == "TRUNCATE" and engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with (
        engine.connect() as connection,
        pytest.raises((Refused, DBAPIError), match=f"{table} is append-only: {verb} is"),
    ):
        connection.execute(text(statement))


@pytest.mark.parametrize("table", ["log_records", "transfers"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        "REPLACE INTO {table} SELECT * FROM {table}",
        "UPDATE OR REPLACE {table} SET recorded_at = 1",
        "INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT DO UPDATE SET recorded_at = 1",
    ],
)
def test_history_cannot_be_replaced(tmp_path: Path, table: str, statement: str) -> None:
    """SQLite replaces a row without its DELETE trigger, whatever a connection has set; the row in the way is seen
    before."""
    from ledger.core.needs import Needs
    from ledger.storage.writer import open_writer
    from tests.storage import rows

    url = f"sqlite:///{tmp_path}/b.db"
    migrate.upgrade(url)
    writer = open_writer(url)
    writer.begin(rows.BOOK_ID, Needs())
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    writer.begin(rows.BOOK_ID, rows.needs())
    writer.write_and_commit(rows.holds(rows.SETUP_SIZE, 2))
    writer.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
            connection.execute(statement.format(table=table))
        connection.rollback()
        assert connection.execute(f"SELECT count(*) FROM {table} WHERE recorded_at = 1").fetchone() == (0,)
