"""The log on PostgreSQL grows into partitions that are made ahead, by whoever runs, once each, and protected each."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ledger.core.needs import Needs
from ledger.services.growing import Growing
from ledger.storage import migrate, partitioning
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.errors import Conflict, NoRoom, Refused, StorageError
from ledger.storage.side_writer import SideWriter
from ledger.storage.writer import BookWriter, open_writer
from tests.storage import rows

WIDTH = 256


@pytest.fixture
def narrow_url(postgresql_url: str) -> str:
    """A migrated database whose partitions are as small as can be."""
    migrate.upgrade(postgresql_url, partition_records=WIDTH)
    return postgresql_url


@pytest.fixture
def owner(narrow_url: str) -> Iterator[Engine]:
    """A connection as the owner of the tables."""
    engine = create_migration_engine(narrow_url)
    yield engine
    engine.dispose()


@pytest.fixture
def narrow_writer(narrow_url: str) -> Iterator[BookWriter]:
    """A writer with a book in that database."""
    opened = open_writer(narrow_url, lock_timeout_seconds=5)
    opened.begin(rows.BOOK_ID, Needs())
    opened.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    yield opened
    opened.close()


def hold(writer: BookWriter, start: int, count: int) -> None:
    """Write one batch of holds."""
    writer.begin(rows.BOOK_ID, Needs())
    writer.write_and_commit(rows.holds(start, count))


def lows(engine: Engine) -> list[int]:
    """Where partitions begin, having looked that each goes on where the one before ended."""
    with engine.connect() as connection:
        found = partitioning.partitions(connection)
    assert [part.high for part in found[:-1]] == [part.low for part in found[1:]]
    assert all(part.log_records == f"log_records_p{part.low}" for part in found)
    assert all(part.transfers == f"transfers_p{part.low}" for part in found)
    return [part.low for part in found]


def test_a_new_database_has_room_ahead(owner: Engine) -> None:
    """The first partition, and two whole ones ahead of it."""
    assert lows(owner) == [0, WIDTH, 2 * WIDTH]
    with owner.connect() as connection:
        room = partitioning.room(connection)
    assert room is not None
    assert room.is_enough
    assert room.width == WIDTH


def test_the_width_is_as_told_or_a_power_of_256(postgresql_url: str) -> None:
    """So that no tile of the tree spans two partitions."""
    migrate.upgrade(postgresql_url)
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        room = partitioning.room(connection)
    engine.dispose()
    assert room is not None
    assert room.width == partitioning.WIDTH_DEFAULT == 256**3


def test_rows_go_to_the_partition_of_their_index(narrow_writer: BookWriter, owner: Engine) -> None:
    """A batch over a border is in both, and read as one."""
    hold(narrow_writer, 1, WIDTH + 9)
    with owner.connect() as connection:
        counts = [
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("log_records_p0", "log_records_p256", "log_records", "transfers_p0", "transfers_p256")
        ]
    assert counts == [WIDTH, 10, WIDTH + 10, WIDTH - 1, 10]


def test_partitions_are_made_ahead(narrow_writer: BookWriter, narrow_url: str, owner: Engine) -> None:
    """The server's background turn makes what is lacking, and nothing where nothing is."""
    reading, side = create_engine(narrow_url), SideWriter(narrow_url)
    growing = Growing(reading, side, interval_seconds=60)
    assert growing.look() == 0
    before = lows(owner)
    hold(narrow_writer, 1, WIDTH)
    assert growing.look() == 1
    assert growing.look() == 0
    assert lows(owner) == [*before, before[-1] + WIDTH]
    side.close()
    reading.dispose()


def test_a_writer_that_finds_no_partition_makes_it(narrow_writer: BookWriter, owner: Engine) -> None:
    """When nothing ran ahead of it: the batch is decided again, and then written."""
    size = 1 + 5 * WIDTH
    with pytest.raises(Conflict, match="partition"):
        hold(narrow_writer, 1, size)
    narrow_writer.rollback()
    hold(narrow_writer, 1, size)
    assert lows(owner)[-1] >= size - size % WIDTH


def test_a_row_that_a_rule_refuses_is_not_taken_for_one_without_a_partition(
    narrow_writer: BookWriter, owner: Engine
) -> None:
    """Both have the same code in PostgreSQL."""
    before = lows(owner)
    batch = rows.holds(1, 1)
    first = list(batch.inserts["transfers"][0])
    first[6] = -1
    batch.inserts["transfers"][0] = tuple(first)
    narrow_writer.begin(rows.BOOK_ID, Needs())
    with pytest.raises(Refused, match="amount_positive"):
        narrow_writer.write_and_commit(batch)
    assert lows(owner) == before


def test_a_writer_that_may_make_no_partition_says_who_may(narrow_writer: BookWriter, owner: Engine) -> None:
    """Nothing is written, and the message names the command."""
    with owner.begin() as connection:
        connection.execute(text("DROP FUNCTION bursar_add_partitions(bigint)"))
    with pytest.raises(NoRoom, match="bursar partitions create"):
        hold(narrow_writer, 1, 5 * WIDTH)
    narrow_writer.rollback()
    hold(narrow_writer, 1, 1)


def test_two_that_make_partitions_at_once_make_each_once(narrow_writer: BookWriter, owner: Engine) -> None:
    """The second waits, and finds what the first made."""
    hold(narrow_writer, 1, 2 * WIDTH)
    made: list[int] = []
    together = threading.Barrier(4)

    def make() -> None:
        with owner.begin() as connection:
            connection.execute(text("SELECT 1"))
            together.wait(30)
            made.append(partitioning.add_partitions(connection))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 4
    assert sum(made) == max(made) > 0
    lows(owner)


@pytest.mark.parametrize("needed", [0, 10**17, -5])
def test_the_function_makes_little_whatever_it_is_called_with(owner: Engine, needed: int) -> None:
    """It runs with its owner's rights, so a server that was taken over can call it as it likes."""
    with owner.begin() as connection:
        assert partitioning.add_partitions(connection, needed) == (64 if needed > 0 else 0)


def test_every_partition_refuses_change(narrow_writer: BookWriter, owner: Engine) -> None:
    """Asked by itself, as its owner; those made later too."""
    hold(narrow_writer, 1, WIDTH)
    with owner.begin() as connection:
        assert partitioning.add_partitions(connection) == 1
    hold(narrow_writer, WIDTH + 1, 3 * WIDTH - 1)
    with owner.connect() as connection:
        parts = partitioning.partitions(connection)
    assert [part.low for part in parts] == [0, WIDTH, 2 * WIDTH, 3 * WIDTH]
    for parent in ("log_records", "transfers"):
        for table in (parent, *(getattr(part, parent) for part in parts)):
            for verb, statement in (
                ("UPDATE", f"UPDATE {table} SET recorded_at = 1"),
                ("DELETE", f"DELETE FROM {table}"),
                ("TRUNCATE", f"TRUNCATE {table}"),
            ):
                expected = f"{parent} is append-only: {verb} is refused"
                with owner.connect() as connection, pytest.raises((StorageError, DBAPIError), match=expected):
                    connection.execute(text(statement))


def test_every_partition_has_the_rules_and_indexes_of_its_parent(owner: Engine) -> None:
    """As the database itself tells of them."""
    query = text(
        "SELECT c.relname, (SELECT array_agg(d ORDER BY d) FROM (SELECT pg_get_constraintdef(oid) AS d"
        " FROM pg_constraint WHERE conrelid = c.oid AND contype IN ('c', 'p')) o),"
        " (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)"
        " FROM pg_class c WHERE c.relname LIKE :pattern AND c.relkind IN ('r', 'p')"
    )
    with owner.connect() as connection:
        for parent in ("log_records", "transfers"):
            found = connection.execute(query, {"pattern": f"{parent}%"}).all()
            assert len(found) >= 3
            assert len({(tuple(rules), indexes) for _, rules, indexes in found}) == 1, found


COUNTED = "SELECT count(*), sum(log_index), max(log_index) FROM "


def test_an_older_log_becomes_the_first_partition_and_one_table_again(postgresql_url: str) -> None:
    """Rows stay, whatever the width, and so do rights that others had; down again, every partition's rows are there."""
    migrate.upgrade(postgresql_url, partition_records=WIDTH)
    writer = open_writer(postgresql_url, lock_timeout_seconds=5)
    writer.begin(rows.BOOK_ID, Needs())
    writer.write_and_commit(rows.setup(), text_secret=rows.SECRET)
    hold(writer, 1, 2 * WIDTH + 7)
    writer.close()
    engine = create_migration_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("GRANT SELECT ON log_records TO PUBLIC"))
        before = [connection.execute(text(COUNTED + table)).one() for table in ("log_records", "transfers")]
    move(engine, "0006")
    with engine.begin() as connection:
        assert [connection.execute(text(COUNTED + table)).one() for table in ("log_records", "transfers")] == before
        assert connection.execute(text("SELECT count(*) FROM pg_inherits")).scalar_one() == 0
        with pytest.raises((StorageError, DBAPIError), match="append-only"), connection.begin_nested():
            connection.execute(text("DELETE FROM log_records"))
    # In two steps, as an upgrade does, so that the scan of a long log is not made under a lock.
    partitioning.prepare(engine, WIDTH)
    partitioning.prepare(engine, WIDTH)
    with engine.connect() as connection:
        validated = text("SELECT bool_and(convalidated) FROM pg_constraint WHERE conname LIKE '%_until'")
        assert connection.execute(validated).scalar_one() is True
    migrate.upgrade(postgresql_url, partition_records=WIDTH)
    with engine.connect() as connection:
        assert [connection.execute(text(COUNTED + table)).one() for table in ("log_records", "transfers")] == before
        assert connection.execute(text("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%_until'")).scalar() == 0
        granted = text("SELECT has_table_privilege('pg_monitor', CAST(:name AS regclass), 'SELECT')")
        assert connection.execute(granted, {"name": "log_records"}).scalar_one() is True
        assert connection.execute(granted, {"name": "log_records_p0"}).scalar_one() is False
    assert lows(engine)[:2] == [0, 4 * WIDTH]
    writer = open_writer(postgresql_url, lock_timeout_seconds=5)
    hold(writer, 2 * WIDTH + 8, 3 * WIDTH)
    writer.close()
    engine.dispose()


def move(engine: Engine, revision: str) -> None:
    """Go back to an earlier revision."""
    with engine.begin() as connection:
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
