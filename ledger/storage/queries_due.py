"""Which books have holds whose time has come: what the sweeper asks before it takes any lock.

Invariant: one look-up per book in the partial index of what is due; nothing is counted or summed.
"""

from sqlalchemy import Connection, exists, select

from ledger.storage.tables import authorizations, books


def books_due(connection: Connection, now: int) -> list[int]:
    """The ids of books with an open hold due at ``now`` (microseconds) or before."""
    due = exists().where(
        authorizations.c.book_id == books.c.book_id,
        authorizations.c.due_at.is_not(None),
        authorizations.c.due_at <= now,
    )
    return list(connection.execute(select(books.c.book_id).where(due).order_by(books.c.book_id)).scalars())
