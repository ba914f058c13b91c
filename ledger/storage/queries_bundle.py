"""What a bundle says beside the records, as it was when the log had a given size.

Invariant: what is read here is a function of the log up to that size, however far the book has gone on since.
"""

from sqlalchemy import Connection, and_, func, select

from ledger.core.book import Book
from ledger.storage.tables import books, log_records, policies, policy_versions, redactions


def policies_in_force(connection: Connection, book_id: int, size: int) -> dict[str, int]:
    """Name to version of the policies that decided when the log had ``size`` records."""
    versions = policy_versions.c
    newest = (
        select(
            versions.policy,
            func.max(versions.version).label("version"),
            func.max(versions.created_index).label("created_index"),
        )
        .where(versions.book_id == book_id, versions.created_index < size)
        .group_by(versions.policy)
        .subquery()
    )
    joined = newest.join(policies, and_(policies.c.book_id == book_id, policies.c.name == newest.c.policy))
    rows = connection.execute(
        select(newest, policies.c.retired, policies.c.changed_index).select_from(joined).order_by(newest.c.policy)
    ).all()
    found = {}
    for name, version, created_index, retired, changed_index in rows:
        if changed_index >= size:
            # The row has moved on since; the log says whether it was retired by then.
            retired = _retired(connection, book_id, name, created_index, size)
        if not retired:
            found[name] = version
    return found


def _retired(connection: Connection, book_id: int, name: str, start: int, stop: int) -> bool:
    columns = log_records.c
    statement = select(columns.log_index).where(
        columns.book_id == book_id, columns.log_index > start, columns.log_index < stop,
        columns.kind == "policy_retirement", columns.subject == name,
    )  # fmt: skip
    return connection.execute(statement.limit(1)).one_or_none() is not None


def redacted_since(
    connection: Connection, book_id: int, start: int, stop: int, size: int
) -> list[tuple[int, str, int]]:
    """(log index, field, the record that redacted it) of texts beside records ``start`` to before ``stop`` that are
    gone for a record at or behind ``size``, in order."""
    columns = redactions.c
    statement = select(columns.log_index, columns.field, columns.created_index).where(
        columns.book_id == book_id, columns.log_index >= start, columns.log_index < stop, columns.created_index >= size
    )
    return [tuple(row) for row in connection.execute(statement.order_by(columns.log_index, columns.field))]


def book_taking(connection: Connection, book: Book) -> Book | None:
    """A book that has the id or the name of ``book``, or None. Scans the few books there are."""
    statement = select(books).where((books.c.book_id == book.book_id) | (books.c.name == book.name))
    row = connection.execute(statement.order_by(books.c.book_id).limit(1)).first()
    return None if row is None else Book(*row)
