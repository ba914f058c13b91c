"""Holds whose outcome is not known and whose time has run out: what a policy may have settled without a person.

Invariant: one look-up per book in the index of states; holds that are open are few, whatever the length of a book.
"""

from sqlalchemy import Connection, select

from ledger.core.authorization import FLAG_UNKNOWN, HELD, Authorization
from ledger.storage.tables import authorizations

PAGE_ROWS = 200


def unknown_and_overdue(connection: Connection, book_id: int, now: int, *, after: int = -1) -> list[Authorization]:
    """Open holds that are flagged ``unknown`` and whose ``expires_at`` (microseconds) is ``now`` or before: at most
    ``PAGE_ROWS``, oldest first, made by records behind index ``after``."""
    columns = authorizations.c
    statement = (
        select(authorizations)
        .where(
            columns.book_id == book_id,
            columns.state == HELD,
            columns.created_index > after,
            columns.flags.bitwise_and(FLAG_UNKNOWN) != 0,
            columns.expires_at <= now,
        )
        .order_by(columns.created_index)
        .limit(PAGE_ROWS)
    )
    return [Authorization(*row) for row in connection.execute(statement)]
