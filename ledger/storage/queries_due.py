"""Which books have holds or renewals whose time has come: what the sweeper asks before it takes any lock.

Invariant: one look-up per book in each partial index of what is due; nothing is counted or summed.
"""

from sqlalchemy import Connection, exists, or_, select

from ledger.storage.tables import authorizations, books, renewals


def books_due(connection: Connection, now: int) -> list[int]:
    """The ids of books with an open hold or a renewal due at ``now`` (microseconds) or before."""
    due = exists().where(
        authorizations.c.book_id == books.c.book_id,
        authorizations.c.due_at.is_not(None),
        authorizations.c.due_at <= now,
    )
    renewing = exists().where(
        renewals.c.book_id == books.c.book_id,
        renewals.c.next_at.is_not(None),
        renewals.c.next_at <= now,
    )
    statement = select(books.c.book_id).where(or_(due, renewing)).order_by(books.c.book_id)
    return list(connection.execute(statement).scalars())
