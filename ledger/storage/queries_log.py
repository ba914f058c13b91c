"""Reading books, their heads and their logs.

Invariant: every function but those that look for books reads one book, by an index led by its id. What one connection
reads within one transaction is one moment (``engine.create_engine``).
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, select

from ledger.core.book import Book, Head, Name, Unit
from ledger.core.journal import LogRecord, Text
from ledger.storage.archive_rows import last_range, refuse_archived
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import book_heads, book_secrets, books, log_records, names, texts, units

_HEAD: Final = select(book_heads).where(book_heads.c.book_id == bindparam("book"))


def book_by_id(connection: Connection, book_id: int) -> Book | None:
    """The book, or None."""
    row = connection.execute(select(books).where(books.c.book_id == book_id)).one_or_none()
    return None if row is None else Book(*row)


def book_by_name(connection: Connection, name: str) -> Book | None:
    """The book of that name, or None. Scans the few books there are."""
    row = connection.execute(select(books).where(books.c.name == name).order_by(books.c.opened_at).limit(1)).first()
    return None if row is None else Book(*row)


def list_books(connection: Connection) -> list[Book]:
    """Every book, oldest first."""
    return [Book(*row) for row in connection.execute(select(books).order_by(books.c.opened_at, books.c.book_id))]


def text_secret(connection: Connection, book_id: int) -> bytes | None:
    """The secret that salts the book's texts, or None."""
    statement = select(book_secrets.c.text_secret).where(book_secrets.c.book_id == book_id)
    return connection.execute(statement).scalar_one_or_none()


def head(connection: Connection, book_id: int) -> Head | None:
    """The book's head, or None."""
    row = connection.execute(_HEAD, {"book": book_id}).one_or_none()
    return None if row is None else Head(*row)


def record(connection: Connection, book_id: int, log_index: int) -> LogRecord | None:
    """One log record, or None. Raises RecordArchived."""
    statement = select(log_records).where(log_records.c.book_id == book_id, log_records.c.log_index == log_index)
    row = connection.execute(statement).one_or_none()
    if row is None:
        refuse_archived(connection, book_id, log_index)
    return None if row is None else LogRecord(*row)


def records(connection: Connection, book_id: int, *, start: int, stop: int) -> list[LogRecord]:
    """Log records ``start`` (included) to ``stop`` (not included), in order; the caller bounds the range."""
    statement = select(log_records).where(
        log_records.c.book_id == book_id, log_records.c.log_index >= start, log_records.c.log_index < stop
    )
    return [LogRecord(*row) for row in connection.execute(statement.order_by(log_records.c.log_index))]


def list_records(
    connection: Connection,
    book_id: int,
    *,
    kinds: Sequence[str] = (),
    start: int = 0,
    stop: int | None = None,
    after: int | None = None,
    newest_first: bool = False,
    limit: int = 50,
) -> Page[LogRecord]:
    """Log records from index ``start`` to before ``stop``, of any of ``kinds`` (none: all), continuing after the
    index ``after``. Newest first, the list ends with the oldest that is not archived; oldest first, a list that would
    begin in an archive raises RecordArchived."""
    if not newest_first:
        refuse_archived(connection, book_id, max(start, 0 if after is None else after + 1))
    index = log_records.c.log_index
    statement = select(log_records).where(log_records.c.book_id == book_id, index >= start)
    if stop is not None:
        statement = statement.where(index < stop)
    if kinds:
        statement = statement.where(log_records.c.kind.in_(kinds))
    if after is not None:
        statement = statement.where(index < after if newest_first else index > after)
    statement = statement.order_by(index.desc() if newest_first else index).limit(bounded(limit) + 1)
    return page_of(
        connection.execute(statement).all(), limit, lambda row: LogRecord(*row), lambda item: (item.log_index,)
    )


def size_at(connection: Connection, book_id: int, recorded_at: int) -> int:
    """How many records the book had when the clock showed ``recorded_at`` (microseconds), that moment included. Raises
    RecordArchived for a moment whose records are archived."""
    statement = (
        select(log_records.c.log_index)
        .where(log_records.c.book_id == book_id, log_records.c.recorded_at <= recorded_at)
        .order_by(log_records.c.recorded_at.desc(), log_records.c.log_index.desc())
        .limit(1)
    )
    last = connection.execute(statement).scalar_one_or_none()
    if last is not None:
        return int(last) + 1
    archived = last_range(connection, book_id)
    if archived is None:
        return 0
    if recorded_at < archived.last_recorded_at:
        refuse_archived(connection, book_id, archived.stop - 1)
    return archived.stop


def texts_of(connection: Connection, book_id: int, log_index: int) -> list[Text]:
    """The free texts that stand beside one record."""
    statement = select(texts).where(texts.c.book_id == book_id, texts.c.log_index == log_index)
    return [Text(*row) for row in connection.execute(statement.order_by(texts.c.field))]


def records_at(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, LogRecord]:
    """Log index to record, of those that are there; for the few that a page refers to."""
    statement = select(log_records).where(log_records.c.book_id == book_id, log_records.c.log_index.in_(indexes))
    return {row.log_index: LogRecord(*row) for row in connection.execute(statement)}


def texts_at(connection: Connection, book_id: int, indexes: Collection[int], field: str) -> dict[int, str]:
    """Log index to the text of one field beside it, where there is one; for the few that a page refers to."""
    statement = select(texts.c.log_index, texts.c.content).where(
        texts.c.book_id == book_id, texts.c.log_index.in_(indexes), texts.c.field == field
    )
    return {row.log_index: row.content for row in connection.execute(statement)}


def list_units(connection: Connection, book_id: int, *, after: str | None = None, limit: int = 50) -> Page[Unit]:
    """The units that the book defines, by name."""
    statement = select(units).where(units.c.book_id == book_id)
    if after is not None:
        statement = statement.where(units.c.name > after)
    rows = _rows(connection, statement.order_by(units.c.name), limit)
    return page_of(rows, limit, lambda row: Unit(*row), lambda item: (item.name,))


def unit(connection: Connection, book_id: int, name: str) -> Unit | None:
    """The unit of that name, or None."""
    row = connection.execute(select(units).where(units.c.book_id == book_id, units.c.name == name)).one_or_none()
    return None if row is None else Unit(*row)


def list_names(
    connection: Connection, book_id: int, kind: str, *, after: str | None = None, limit: int = 50
) -> Page[Name]:
    """The categories or payees (``kind``) that the book knows, by name."""
    statement = select(names).where(names.c.book_id == book_id, names.c.kind == kind)
    if after is not None:
        statement = statement.where(names.c.name > after)
    rows = _rows(connection, statement.order_by(names.c.name), limit)
    return page_of(rows, limit, lambda row: Name(*row), lambda item: (item.name,))


def _rows(connection: Connection, statement: Select[Any], limit: int) -> Sequence[Row[Any]]:
    return connection.execute(statement.limit(bounded(limit) + 1)).all()
