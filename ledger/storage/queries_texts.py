"""Reading which free texts stand beside the log, and which were redacted.

Invariant: every function reads one book, by an index led by its id, and no text itself.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, or_, select

from ledger.storage.archive_rows import last_range
from ledger.storage.tables import log_records, redactions, texts


class TextLine(NamedTuple):
    """A free text that is there: its record and field, and the record's kind and body, None where it is archived."""

    log_index: int
    field: str
    kind: str | None
    body: bytes | None


def list_texts(
    connection: Connection,
    book_id: int,
    *,
    start: int,
    stop: int,
    fields: Sequence[str] = (),
    limit: int,
) -> list[TextLine]:
    """At most ``limit`` texts of records ``start`` to before ``stop``, of any of ``fields`` (none: all), in the order
    of (log index, field)."""
    place, field = texts.c.log_index, texts.c.field
    archived = last_range(connection, book_id)
    there: ColumnElement[bool] = log_records.c.log_index.is_not(None)
    if archived is not None:
        there = or_(there, place < archived.stop)
    statement = (
        select(place, field, log_records.c.kind, log_records.c.body)
        .outerjoin(log_records, (log_records.c.book_id == texts.c.book_id) & (log_records.c.log_index == place))
        .where(texts.c.book_id == book_id, place >= start, place < stop, there)
    )
    if fields:
        statement = statement.where(field.in_(fields))
    rows = connection.execute(statement.order_by(place, field).limit(limit))
    return [TextLine(row[0], row[1], row[2], None if row[3] is None else bytes(row[3])) for row in rows]


def redactions_among(connection: Connection, book_id: int, indexes: Collection[int]) -> set[int]:
    """Which records are redactions, told by what they redacted; for those whose kind stands in an archive."""
    statement = select(redactions.c.created_index).where(
        redactions.c.book_id == book_id, redactions.c.created_index.in_(indexes)
    )
    return set(connection.execute(statement.distinct()).scalars())


def redacted_at(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, dict[str, int]]:
    """Log index to field to the record that redacted it, where one did; for the few that a page refers to."""
    statement = select(redactions.c.log_index, redactions.c.field, redactions.c.created_index).where(
        redactions.c.book_id == book_id, redactions.c.log_index.in_(indexes)
    )
    found: dict[int, dict[str, int]] = {}
    for row in connection.execute(statement.order_by(redactions.c.log_index, redactions.c.field)):
        found.setdefault(row.log_index, {})[row.field] = row.created_index
    return found
