"""Partitions of the log and of transfers on PostgreSQL: which there are, and room for what is written next.

Owns the reading of the catalogue and the calls of the functions that migration 0007 made. Invariants: a range of log
indexes is one partition of ``log_records`` and one of ``transfers``; partitions are made by a function of the owner's,
so whoever writes records owns nothing; a lock that would stop traffic is asked for briefly, and asked for again.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, text

from ledger.core.tiles import TILE_HASHES
from ledger.storage.errors import Busy, StorageError

WIDTH_DEFAULT: Final = 16_777_216
"""256³ log indexes: no tile of the Merkle tree up to the third level spans two partitions."""
WIDTH_MIN: Final = TILE_HASHES
AHEAD: Final = 2
"""How many partitions' widths of room are kept beyond the largest head, as the function of migration 0007 has it: one
whole partition always lies ahead, and part of another."""
_LOCK_TRIES: Final = 30
_LOCK_MILLISECONDS: Final = 1_000

_PARTITIONS: Final = text(
    r"""
    SELECT l.relname, t.relname,
           coalesce(substring(pg_get_expr(l.relpartbound, l.oid) FROM 'FROM \(''?(\d+)')::bigint, 0) AS low,
           substring(pg_get_expr(l.relpartbound, l.oid) FROM 'TO \(''?(\d+)')::bigint AS high,
           pg_total_relation_size(l.oid) + pg_total_relation_size(t.oid)
      FROM pg_inherits li JOIN pg_class l ON l.oid = li.inhrelid AND li.inhparent = 'log_records'::regclass
      JOIN pg_class t ON pg_get_expr(t.relpartbound, t.oid) = pg_get_expr(l.relpartbound, l.oid)
      JOIN pg_inherits ti ON ti.inhrelid = t.oid AND ti.inhparent = 'transfers'::regclass
     ORDER BY high
    """
)


class Partition(NamedTuple):
    """Log indexes from ``low`` to before ``high``: the names of both tables, and their bytes with indexes."""

    log_records: str
    transfers: str
    low: int
    high: int
    size_bytes: int


class Room(NamedTuple):
    """The largest head of all books, and how the last partition ends."""

    head: int
    high: int
    width: int

    @property
    def is_enough(self) -> bool:
        """Whether as much room lies ahead as is kept."""
        return self.high >= self.head + AHEAD * self.width


def is_partitioned(connection: Connection) -> bool:
    """Whether this database keeps its log in partitions: PostgreSQL does, SQLite has one table."""
    return connection.dialect.name == "postgresql"


def partitions(connection: Connection) -> list[Partition]:
    """Every partition, lowest log indexes first; none on SQLite."""
    if not is_partitioned(connection):
        return []
    return [Partition(*row) for row in connection.execute(_PARTITIONS)]


def room(connection: Connection) -> Room | None:
    """How much room there is, None on SQLite, which needs none. Raises StorageError where partitions are missing."""
    there = partitions(connection)
    if not there:
        if is_partitioned(connection):
            raise StorageError("log_records has no partition: run bursar partitions create as the owner of the tables")
        return None
    head = connection.execute(text("SELECT coalesce(max(size), 0) FROM book_heads")).scalar_one()
    return Room(head, there[-1].high, there[-1].high - there[-1].low)


def add_partitions(connection: Connection, needed: int = 0) -> int:
    """Make the partitions that are lacking ahead of every head, or up to the log index ``needed``; how many ranges."""
    made: int = connection.execute(text("SELECT bursar_add_partitions(:needed)"), {"needed": needed}).scalar_one()
    return made


def prepare(engine: Engine, width: int) -> None:
    """Show, in short transactions and with a scan that stops nobody, that the log fits its first partition.

    Does nothing but on PostgreSQL, on tables that are there and are not yet partitioned. Raises StorageError.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        kind = connection.execute(
            text("SELECT CAST(relkind AS text) FROM pg_class WHERE oid = to_regclass('log_records')")
        ).scalar()
        if kind != "r" or connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
            return
        size = connection.execute(text("SELECT coalesce(max(size), 0) FROM book_heads")).scalar_one()
    # What is written while this runs and until the migration has to fit too.
    bound = (size // width + 2) * width

    def add(connection: Connection) -> None:
        there = connection.execute(text("SELECT 1 FROM pg_constraint WHERE conname = 'log_records_until'")).scalar()
        for table in ("log_records", "transfers") if there is None else ():
            connection.execute(
                text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_until CHECK (log_index < {bound}) NOT VALID")
            )

    with_brief_lock(engine, add)
    for table in ("log_records", "transfers"):
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_until"))


def with_brief_lock(engine: Engine, work: Callable[[Connection], None]) -> None:
    """Do ``work`` in a transaction that waits a second at most for each lock, and is tried again when that was not
    enough: whoever waits for such a lock holds up everybody who comes after. Raises Busy, and what ``work`` raises."""
    for attempt in range(_LOCK_TRIES):
        try:
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
                work(connection)
                return
        except Busy:
            time.sleep(min(0.05 * (attempt + 1), 1.0))
    raise Busy("somebody kept the tables of the log locked for longer than could be waited; run this again")
