"""What has been archived of a book's log, what still stands in the way of it, and the detachment itself.

Invariants: what is archived of a book is a beginning of its log, without a gap; in one transaction the partitions are
detached, empty ones take their place, the rows of books that stay are put there, and what went is noted.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, func, insert, select, text

from ledger.core.authorization import OPEN_STATES
from ledger.storage.errors import RecordArchived
from ledger.storage.partitioning import Partition
from ledger.storage.tables import authorizations, book_heads, books, log_records, transfers
from ledger.storage.tables_archives import log_archives
from ledger.storage.tables_proofs import checkpoints, merkle_tiles
from ledger.storage.tables_webhooks import watch_cursors


class ArchivedRange(NamedTuple):
    """One range of a book that stands in an archive; ``last_recorded_at`` in microseconds."""

    start: int
    stop: int
    name: str
    digest: bytes
    last_recorded_at: int


_RANGES: Final = select(
    log_archives.c.start,
    log_archives.c.stop,
    log_archives.c.name,
    log_archives.c.digest,
    log_archives.c.last_recorded_at,
)


def ranges(connection: Connection, book_id: int) -> list[ArchivedRange]:
    """What is archived of a book, oldest first: a beginning of the log without a gap."""
    c = log_archives.c
    return [_range(row) for row in connection.execute(_RANGES.where(c.book_id == book_id).order_by(c.start))]


def last_range(connection: Connection, book_id: int) -> ArchivedRange | None:
    """The newest range that is archived of a book, or None."""
    return _first(connection, _RANGES.where(log_archives.c.book_id == book_id).order_by(log_archives.c.start.desc()))


def range_of(connection: Connection, book_id: int, index: int) -> ArchivedRange | None:
    """The range that has the record of that index, or None where it is not archived."""
    c = log_archives.c
    return _first(connection, _RANGES.where(c.book_id == book_id, c.start <= index, c.stop > index))


def refuse_archived(connection: Connection, book_id: int, index: int) -> None:
    """Raise RecordArchived where the record of that index is in an archive; for whoever did not find it, or is about to
    read on from it."""
    found = range_of(connection, book_id, index)
    if found is not None:
        raise RecordArchived(f"record {index} has been detached into the archive {found.name}")


def _first(connection: Connection, statement: Select[Any]) -> ArchivedRange | None:
    row = connection.execute(statement.limit(1)).one_or_none()
    return None if row is None else _range(row)


def _range(row: Any) -> ArchivedRange:
    return ArchivedRange(row[0], row[1], row[2], bytes(row[3]), row[4])


def book_names(connection: Connection) -> dict[int, str]:
    """Id to name of every book."""
    return {row[0]: row[1] for row in connection.execute(select(books.c.book_id, books.c.name))}


def heads(connection: Connection) -> dict[int, int]:
    """Log size of every book."""
    return {row[0]: row[1] for row in connection.execute(select(book_heads.c.book_id, book_heads.c.size))}


def books_in(connection: Connection, part: Partition) -> list[int]:
    """The books that have records in a partition, one look-up for each."""
    found: list[int] = []
    statement = text(f"SELECT min(book_id) FROM {part.log_records} WHERE book_id > :after")
    after = connection.execute(statement, {"after": -1}).scalar_one()
    while after is not None:
        found.append(after)
        after = connection.execute(statement, {"after": after}).scalar_one()
    return found


def first_open(connection: Connection, book_id: int, stop: int) -> str | None:
    """An authorization that is open and was made before the record ``stop``, or None."""
    for state in OPEN_STATES:
        found = connection.execute(
            select(authorizations.c.id)
            .where(
                authorizations.c.book_id == book_id,
                authorizations.c.state == state,
                authorizations.c.created_index < stop,
            )
            .order_by(authorizations.c.created_index)
            .limit(1)
        ).scalar_one_or_none()
        if found is not None:
            return str(found)
    return None


def signed_size(connection: Connection, book_id: int) -> int:
    """The size of the newest checkpoint, 0 where there is none."""
    statement = select(func.max(checkpoints.c.size)).where(checkpoints.c.book_id == book_id)
    return connection.execute(statement).scalar_one() or 0


def tiles_below(connection: Connection, book_id: int, level: int, count: int) -> int:
    """How many of the first ``count`` tiles of a level are there."""
    c = merkle_tiles.c
    statement = select(func.count()).where(c.book_id == book_id, c.level == level, c.position >= 0, c.position < count)
    return connection.execute(statement).scalar_one()


def watched_to(connection: Connection, book_id: int) -> int | None:
    """How far alerts have read the book, None where none were ever looked for."""
    statement = select(watch_cursors.c.next_index).where(watch_cursors.c.book_id == book_id)
    return connection.execute(statement).scalar_one_or_none()


def recorded_at(connection: Connection, book_id: int, index: int) -> int | None:
    """The time of a record in microseconds, or None."""
    c = log_records.c
    return connection.execute(
        select(c.recorded_at).where(c.book_id == book_id, c.log_index == index)
    ).scalar_one_or_none()


def records_kept(connection: Connection, part: Partition, kept: Sequence[int], limit: int) -> int:
    """How many records of some books a partition has, counted up to ``limit``."""
    inner = f"SELECT 1 FROM {part.log_records} WHERE book_id = ANY(:books) LIMIT :limit"
    statement = text(f"SELECT count(*) FROM ({inner}) counted")
    return int(connection.execute(statement, {"books": list(kept), "limit": limit}).scalar_one())


def detach(
    connection: Connection,
    part: Partition,
    archived: Iterable[tuple[int, ArchivedRange]],
    kept: Sequence[int],
    *,
    now: int,
    drop: bool,
) -> tuple[str, str]:
    """Detach a partition of both tables, put an empty one in its place with the rows of the books ``kept``, and note
    what was archived of which book. The names that the tables have from now on. For a connection as their owner."""
    names = []
    for table, parent in ((part.log_records, log_records.name), (part.transfers, transfers.name)):
        name = f"{table}_detached_{now // 1_000_000}"
        connection.exec_driver_sql(f"ALTER TABLE {parent} DETACH PARTITION {table}")
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
        names.append(name)
    connection.execute(text("SELECT bursar_make_partition(:low, :high)"), {"low": part.low or None, "high": part.high})
    for name, parent in zip(names, (log_records.name, transfers.name), strict=True):
        if kept:
            connection.execute(
                text(f"INSERT INTO {parent} SELECT * FROM {name} WHERE book_id = ANY(:books)"), {"books": list(kept)}
            )
        # What went with the attachment is made anew: the table is history as before, for as long as it stands here.
        connection.exec_driver_sql(
            f"CREATE TRIGGER {parent}_no_change BEFORE UPDATE OR DELETE ON {name}"
            f" FOR EACH ROW EXECUTE FUNCTION bursar_refuse_change('{parent}')"
        )
    for book_id, range_ in archived:
        connection.execute(insert(log_archives).values(book_id=book_id, detached_at=now, **range_._asdict()))
    if drop:
        for name in names:
            connection.exec_driver_sql(f"DROP TABLE {name}")
    return names[0], names[1]
