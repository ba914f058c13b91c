"""Reading which free texts stand beside the log, and which were redacted.

Invariant: every function reads one book, by an index led by its id, and no text itself.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from ledger.storage.tables import log_records, redactions, texts


class TextLine(NamedTuple):
    """A free text that is there: its record and field, and the record's kind and body."""

    log_index: int
    field: str
    kind: str
    body: bytes


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
    statement = (
        select(place, field, log_records.c.kind, log_records.c.body)
        .join(log_records, (log_records.c.book_id == texts.c.book_id) & (log_records.c.log_index == place))
        .where(texts.c.book_id == book_id, place >= start, place < stop)
    )
    if fields:
        statement = statement.where(field.in_(fields))
    rows = connection.execute(statement.order_by(place, field).limit(limit))
    return [TextLine(row[0], row[1], row[2], bytes(row[3])) for row in rows]


def redacted_at(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, dict[str, int]]:
    """Log index to field to the record that redacted it, where one did; for the few that a page refers to."""
    statement = select(redactions.c.log_index, redactions.c.field, redactions.c.created_index).where(
        redactions.c.book_id == book_id, redactions.c.log_index.in_(indexes)
    )
    found: dict[int, dict[str, int]] = {}
    for row in connection.execute(statement.order_by(redactions.c.log_index, redactions.c.field)):
        found.setdefault(row.log_index, {})[row.field] = row.created_index
    return found
