"""Look-ups and updates of a batch go by index on tables that were never analyzed, told by the pages they touch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.numeric import Int8
from sqlalchemy import event, text

from bench.postgres_server import PostgresServer
from ledger.core.changeset import AUTHORIZATIONS, HEADS, TABLES, update_of
from ledger.core.needs import Needs
from ledger.storage import postgresql_writer
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.migrate import upgrade
from ledger.storage.postgresql_arrays import BYTEA, encode
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.queries_accounts import balance_at_size
from ledger.storage.sqlite_writer import SqliteWriter, _idempotency_statement, _lookup_statement, _update_statement
from ledger.storage.writer import open_writer
from tests.storage import rows

ROWS = 30_000
KEYS = 64
PAGES_PER_KEY = 8
"""An index of this size is three pages deep, and a look-up reads the row's page too; the join reads two tables."""

CONSTANT = re.compile(r"SCAN (w|b|CONSTANT ROW|\d+ CONSTANT ROWS)")


@pytest.fixture(scope="module")
def filled(postgres_server) -> Iterator[PostgresqlWriter]:
    """A writer whose statements were prepared on empty tables, on tables that have grown since and know nothing."""
    url = postgres_server.create_database("flat")
    upgrade(url)
    engine = create_migration_engine(url)
    with engine.begin() as connection:
        for table in ("log_records_p0", "idempotency_keys", "authorizations", "transfers_p0", "accounts"):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
    writer = open_writer(url)
    assert isinstance(writer, PostgresqlWriter)
    writer.begin(rows.BOOK_ID, Needs())
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    for size in range(1, ROWS, 3_000):
        writer.begin(rows.BOOK_ID, Needs())
        writer.write_and_commit(rows.holds(size, 3_000))
    yield writer
    writer.close()


def pages_read(writer: PostgresqlWriter, statement: bytes, parameters: tuple[Any, ...]) -> tuple[int, str]:
    """Pages touched by one execution, and its plan."""
    writer.begin(rows.BOOK_ID, Needs())
    cursor = writer.connection.cursor()
    cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
    row = cursor.fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    writer.rollback()
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], str(row[0])


def wanted_ids() -> list[str]:
    """Ids spread over the table, so that no two share a page."""
    return [rows.numbered_id("auth", 1 + at * (ROWS // KEYS)) for at in range(KEYS)]


def test_postgresql_looks_up_by_index(filled: PostgresqlWriter) -> None:
    """64 authorizations cost some pages each, whatever the table's size."""
    statement, types = next(
        (statement, types) for lookup, statement, types in postgresql_writer._LOOKUPS if lookup.need == "authorizations"
    )
    pages, plan = pages_read(filled, statement, (encode(types[0], wanted_ids()), Int8(rows.BOOK_ID)))
    assert KEYS <= pages <= KEYS * PAGES_PER_KEY, plan
    assert "Seq Scan" not in plan


def test_postgresql_finds_prior_answers_by_index(filled: PostgresqlWriter) -> None:
    """Two tables are joined, both by their keys."""
    digests = list(postgresql_writer.digests_of({("agent:crawler", f"key-{1 + at * 400}") for at in range(KEYS)}))
    parameters = (encode(BYTEA, digests), Int8(rows.BOOK_ID))
    pages, plan = pages_read(filled, postgresql_writer._LOOK_UP_IDEMPOTENCY, parameters)
    assert KEYS <= pages <= KEYS * PAGES_PER_KEY, plan


def test_postgresql_updates_by_index(filled: PostgresqlWriter) -> None:
    """Changing 64 authorizations reads no other."""
    statement, types = next(
        (statement, types) for name, statement, types in postgresql_writer._UPDATES if name == "authorizations"
    )
    changed = [rows.authorization(1 + at * (ROWS // KEYS), 1 + at * (ROWS // KEYS)) for at in range(KEYS)]
    columns = list(zip(*(update_of(AUTHORIZATIONS, hold) for hold in changed), strict=True))
    parameters = (*map(encode, types, columns), Int8(KEYS))
    pages, plan = pages_read(filled, statement, parameters)
    # A new version of a row is put into each of the table's indexes.
    assert KEYS <= pages <= KEYS * PAGES_PER_KEY * 5, plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("name", ["counters", "run_totals", "agent_counts"])
def test_postgresql_updates_each_row_by_its_whole_key(filled: PostgresqlWriter, name: str) -> None:
    """A table that was never analyzed is not read by its book and compared with every wanted row."""
    statement, types = next((one, types) for table, one, types in postgresql_writer._UPDATES if table == name)
    spec = next(spec for spec in TABLES if spec.name == name)
    parameters = (*(encode(kind, []) for kind in types), Int8(0))
    cursor = filled.connection.execute(b"EXPLAIN " + statement, parameters, prepare=True)
    conditions = [row[0] for row in cursor.fetchall() if "Index Cond" in row[0]]
    assert conditions, f"{name} is not looked up by an index"
    for column in spec.key:
        assert re.search(rf"\b{column} = \(?v\.{column}\b", conditions[0]), conditions[0]


@pytest.mark.parametrize("account", [0, 2], ids=["without transfers", "with all transfers"])
def test_postgresql_finds_a_past_balance_by_index(
    filled: PostgresqlWriter, postgres_server: PostgresServer, account: int
) -> None:
    """An account that hardly ever moved is not looked for through the whole book."""
    engine = create_engine(postgres_server.url("flat"))
    sent: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, values, _x, _m: sent.append((text, values)))
    with engine.connect() as connection:
        balance = balance_at_size(connection, rows.BOOK_ID, account, ROWS // 2)
        statement, values = sent[-1]
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values).scalar_one()
    engine.dispose()
    assert balance == (0 if account == 0 else 5 * (ROWS // 2 - 1))
    pages = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
    assert pages <= 2 * PAGES_PER_KEY, plan


def test_sqlite_looks_up_by_index(tmp_path) -> None:
    """No look-up of any kind scans its table."""
    upgrade(f"sqlite:///{tmp_path}/b.db")
    writer = SqliteWriter(f"{tmp_path}/b.db", lock_timeout_seconds=1)
    statements = [_lookup_statement(lookup, 4) for lookup in postgresql_writer.LOOKUPS] + [_idempotency_statement(4)]
    for statement in statements:
        places = [None] * statement.count("?")
        plan = [row[3] for row in writer.connection.execute(f"EXPLAIN QUERY PLAN {statement}", places)]
        walked = [step for step in plan if step.startswith("SCAN") and not CONSTANT.fullmatch(step)]
        assert walked == [], plan
        assert any("SEARCH" in step for step in plan)
    writer.close()


def test_sqlite_updates_rows_by_their_keys(tmp_path) -> None:
    """Many together as one by one, whatever the table."""
    upgrade(f"sqlite:///{tmp_path}/b.db")
    writer = SqliteWriter(f"{tmp_path}/b.db", lock_timeout_seconds=1)
    for spec in TABLES:
        if not spec.mutable or spec is HEADS:
            continue
        for count in (1, 2, 32):
            statement = _update_statement(spec, count)
            places = [None] * statement.count("?")
            plan = [row[3] for row in writer.connection.execute(f"EXPLAIN QUERY PLAN {statement}", places)]
            found = " AND ".join(f"{column}=?" for column in spec.key)
            # Where rows may be large their table has row numbers, and the key is an index beside it.
            index = rf"(COVERING )?INDEX sqlite_autoindex_{spec.name}_1"
            by_key = re.compile(rf"SEARCH {spec.name} USING (PRIMARY KEY|{index}) {re.escape(f'({found})')}")
            assert any(by_key.fullmatch(step) for step in plan), plan
    writer.close()
