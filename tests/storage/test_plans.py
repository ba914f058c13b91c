"""No statement of a batch touches an old partition: told by the plans that were executed, with prepared statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.numeric import Int8
from sqlalchemy import event

from bench.postgres_server import PostgresServer
from ledger.core import changeset
from ledger.core.needs import Needs
from ledger.storage import postgresql_writer
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.postgresql_arrays import BYTEA, encode
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.queries_accounts import balance_at_size
from ledger.storage.writer import open_writer
from tests.storage import rows

WIDTH = 256
SIZE = 4 * WIDTH + 100
"""Four partitions are full, and the fifth is in use."""
OLD = tuple(f"{table}_p{low}" for table in ("log_records", "transfers") for low in range(0, 4 * WIDTH, WIDTH))
NEW = 4 * WIDTH


@pytest.fixture(scope="module")
def grown(postgres_server: PostgresServer) -> Iterator[PostgresqlWriter]:
    """A writer on a book whose log is in its fifth partition."""
    url = postgres_server.create_database("grown")
    upgrade(url, partition_records=WIDTH)
    writer = open_writer(url)
    assert isinstance(writer, PostgresqlWriter)
    writer.begin(rows.BOOK_ID, Needs())
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    for start in range(1, SIZE, 99):
        with_room(writer, start, min(99, SIZE - start))
    yield writer
    writer.close()


def with_room(writer: PostgresqlWriter, start: int, count: int) -> None:
    """Write holds, making a partition where one is missing."""
    for _ in range(2):
        try:
            writer.begin(rows.BOOK_ID, Needs())
            writer.write_and_commit(rows.holds(start, count))
            return
        except postgresql_writer.Conflict:
            writer.rollback()


def executed(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind of node, relation or index) of every node that ran."""
    if plan.get("Actual Loops", 0) > 0:
        for name in ("Relation Name", "Index Name"):
            if name in plan:
                yield plan["Node Type"], plan[name]
        for below in plan.get("Plans", ()):
            yield from executed(below)


def touched(writer: PostgresqlWriter, statement: bytes, parameters: tuple[Any, ...]) -> set[str]:
    """What one execution of a statement read or wrote, with its triggers' relations; rolled back."""
    writer.begin(rows.BOOK_ID, Needs())
    try:
        cursor = writer.connection.cursor()
        cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters, prepare=True)
        row = cursor.fetchone()
        assert row is not None
        found = {name for _, name in executed(row[0][0]["Plan"])}
        return found | {trigger["Relation"] for trigger in row[0][0].get("Triggers", ()) if trigger["Calls"]}
    finally:
        writer.rollback()


def old_of(found: set[str]) -> set[str]:
    """Old partitions and indexes of theirs."""
    return {name for name in found if any(re.match(rf"{part}(_|$)", name) for part in OLD)}


@pytest.mark.parametrize("name", ["log_records", "transfers"])
def test_inserts_touch_the_partition_in_use_alone(grown: PostgresqlWriter, name: str) -> None:
    """Counted by the pages and rows of every other, too."""
    statement, types = next((one, types) for table, one, types in postgresql_writer._INSERTS if table == name)
    batch = rows.holds(SIZE, 8)
    columns = list(zip(*batch.inserts[name], strict=True))[1:]
    before = statistics(grown)
    found = touched(grown, statement, (Int8(rows.BOOK_ID), *map(encode, types, columns)))
    assert old_of(found) == set()
    assert {part: count for part, count in statistics(grown).items() if part in OLD} == {
        part: count for part, count in before.items() if part in OLD
    }


def statistics(writer: PostgresqlWriter) -> dict[str, tuple[int, ...]]:
    """What was read and written of each partition so far, in this session too."""
    writer.connection.execute("SELECT pg_stat_force_next_flush()")
    query = (
        "SELECT relname, seq_scan, coalesce(idx_scan, 0), n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"
        " WHERE relname ~ '^(log_records|transfers)_p'"
    )
    return {row[0]: tuple(row[1:]) for row in writer.connection.execute(query.encode())}


def test_a_prior_answer_is_read_in_its_own_partition(grown: PostgresqlWriter) -> None:
    """Of new keys, which are nearly all, none is looked up in the log; of a repeated one, its own partition only."""

    def look(*names: str) -> set[str]:
        digests = list(postgresql_writer.digests_of({("agent:crawler", name) for name in names}))
        parameters = (encode(BYTEA, digests), Int8(rows.BOOK_ID))
        return touched(grown, postgresql_writer._LOOK_UP_IDEMPOTENCY, parameters)

    assert {name for name in look("never used", "nor this") if name.startswith(("log_records", "transfers"))} == set()
    recent = look(f"key-{NEW + 5}")
    assert old_of(recent) == set()
    assert any(name.startswith(f"log_records_p{NEW}") for name in recent)
    assert {name.split("_pkey")[0] for name in old_of(look(f"key-{WIDTH + 5}"))} == {f"log_records_p{WIDTH}"}


@pytest.mark.parametrize("lookup", postgresql_writer._LOOKUPS, ids=lambda item: item[0].need)
def test_look_ups_touch_no_old_partition(grown: PostgresqlWriter, lookup: Any) -> None:
    """Whatever is looked up; of the log, records at its end."""
    kind, statement, types = lookup
    wanted = [Int8(SIZE - 1)] if kind.table is changeset.LOG_RECORDS else []
    arrays = [encode(one, [int(value) for value in wanted]) for one in types]
    assert old_of(touched(grown, statement, (*arrays, Int8(rows.BOOK_ID)) * len(kind.keys))) == set()


@pytest.mark.parametrize("update", postgresql_writer._UPDATES, ids=lambda item: item[0])
def test_updates_touch_no_partition_at_all(grown: PostgresqlWriter, update: Any) -> None:
    """Neither table is ever updated."""
    _, statement, types = update
    found = touched(grown, statement, (*(encode(kind, []) for kind in types), Int8(0)))
    assert not {name for name in found if name.startswith(("log_records", "transfers"))}


@pytest.mark.parametrize("size", [WIDTH + 9, SIZE])
def test_a_past_balance_looks_into_each_partition_once(
    grown: PostgresqlWriter, postgres_server: PostgresServer, size: int
) -> None:
    """An index of each is descended once for each side, however long each is."""
    engine = create_engine(postgres_server.url("grown"))
    sent: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, values, _x, _m: sent.append((text, values)))
    with engine.connect() as connection:
        assert balance_at_size(connection, rows.BOOK_ID, 2, size) == 5 * (size - 1)
        statement, values = sent[-1]
        (plan,) = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values
        ).scalar_one()
        partitions = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'transfers'::regclass"
        ).scalar_one()
    engine.dispose()
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] <= 2 * 3 * partitions


def test_a_whole_batch_leaves_old_partitions_alone(grown: PostgresqlWriter) -> None:
    """Begun, read, written and committed: not a page of an old partition is counted."""
    before = statistics(grown)
    grown.begin(rows.BOOK_ID, rows.needs())
    grown.write_and_commit(rows.holds(SIZE, 8))
    after = statistics(grown)
    assert {part for part in OLD if after[part] != before[part]} == set()
    assert after[f"log_records_p{NEW}"] != before[f"log_records_p{NEW}"]
