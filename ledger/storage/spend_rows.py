"""Writing spend lines behind the log: where the cursor of a book stands, what is read from there, and what is kept.

Invariants: ``keep`` moves the cursor from where it was read, in the transaction that writes the rows, or does nothing:
so what a record gives is written once, whatever processes read it; rows without a cursor are taken away, some at a
time, before the first is written again, and nobody writes while they are.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, case, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.core.approval import FORCED, GRANTED
from ledger.core.spend_line import (
    CHARGE,
    ENDING_KINDS,
    RECORD_KINDS,
    SETTLEMENT,
    Origin,
    SpendDay,
    SpendHold,
    SpendLine,
)
from ledger.storage.errors import Conflict
from ledger.storage.keyed import rows_by_key
from ledger.storage.tables import approvals, authorizations, book_heads, log_records
from ledger.storage.tables_finance import spend_cursor, spend_days, spend_holds, spend_lines

CLEARING: Final = -1
"""Where the cursor stands while rows are taken away."""
READ_KINDS: Final = tuple(sorted({*RECORD_KINDS, *ENDING_KINDS}))
"""Kinds of records whose bodies are read."""
_CLEARED: Final = ((spend_lines, "log_index"), (spend_days, "day"), (spend_holds, "ended_index"))


class Behind(NamedTuple):
    """A book whose rows do not stand for its whole log: the log's size, and where reading goes on."""

    book_id: int
    size: int
    next_index: int


class ReadRecord(NamedTuple):
    """A record as far as lines need it: ``body`` is None for a kind that has nothing to do with them."""

    log_index: int
    body: bytes | None


def books_behind(connection: Connection) -> list[Behind]:
    """Every book with records that no row stands for yet."""
    statement = (
        select(book_heads.c.book_id, book_heads.c.size, spend_cursor.c.next_index)
        .outerjoin(spend_cursor, spend_cursor.c.book_id == book_heads.c.book_id)
        .where(spend_cursor.c.next_index.is_(None) | (spend_cursor.c.next_index < book_heads.c.size))
    )
    return [
        Behind(book_id, size, max(next_index or 0, 0)) for book_id, size, next_index in connection.execute(statement)
    ]


def cursor(connection: Connection, book_id: int) -> int | None:
    """How many records the rows of a book stand for; None where nobody has begun, below zero while they are taken
    away."""
    statement = select(spend_cursor.c.next_index).where(spend_cursor.c.book_id == book_id)
    found: int | None = connection.execute(statement).scalar_one_or_none()
    return found


def stretch(connection: Connection, book_id: int, start: int, limit: int) -> list[ReadRecord]:
    """At most ``limit`` records from ``start`` on."""
    body = case((log_records.c.kind.in_(READ_KINDS), log_records.c.body), else_=None)
    statement = (
        select(log_records.c.log_index, body)
        .where(log_records.c.book_id == book_id, log_records.c.log_index >= start)
        .order_by(log_records.c.log_index)
        .limit(limit)
    )
    return [ReadRecord(index, None if body is None else bytes(body)) for index, body in connection.execute(statement)]


def origins(connection: Connection, book_id: int, ids: Collection[str]) -> dict[str, Origin]:
    """What never changes about authorizations and charges, by id."""
    if not ids:
        return {}
    columns = approvals.c
    decided = rows_by_key(
        connection, approvals, book_id, columns.authorization_id, ids, columns.state.in_((GRANTED, FORCED)),
        columns=(columns.authorization_id, columns.position, columns.id),
    )  # fmt: skip
    granted: dict[str, list[str]] = {}
    for authorization, _, approval in sorted(map(tuple, decided)):
        granted.setdefault(authorization, []).append(approval)
    columns = authorizations.c
    rows = rows_by_key(
        connection, authorizations, book_id, columns.id, ids,
        columns=(columns.id, columns.created_index, columns.resource, columns.labels),
    )  # fmt: skip
    return {row[0]: Origin(row[1], row[2], row[3], " ".join(granted.get(row[0], ())) or None) for row in rows}


def corrected_by_line(connection: Connection, book_id: int, log_index: int) -> int | None:
    """What the line of an earlier correction goes back to, where it is written already."""
    statement = select(spend_lines.c.corrects).where(
        spend_lines.c.book_id == book_id, spend_lines.c.log_index == log_index, spend_lines.c.position == 0
    )
    found: int | None = connection.execute(statement).scalar_one_or_none()
    return found


def corrected_before(
    connection: Connection, book_id: int, authorization: str, *, pair: tuple[str, str], since: int, until: int
) -> int | None:
    """What a correction of an authorization goes back to, told by the lines of its records from ``since`` to ``until``
    (included) alone, all of which are written; ``pair`` is (category, payee)."""
    columns = spend_lines.c
    statement = (
        select(columns.log_index, columns.kind, columns.corrects)
        .where(
            columns.book_id == book_id,
            columns.log_index >= since,
            columns.log_index <= until,
            columns.position == 0,
            columns.authorization_id == authorization,
            columns.category == pair[0],
            columns.payee == pair[1],
        )
        .order_by(columns.log_index.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    found: int | None = row[0] if row[1] in (SETTLEMENT, CHARGE) else row[2]
    return found


def begin_clearing(connection: Connection, book_id: int, *, again: bool = False) -> None:
    """Put the cursor to where rows are taken away, of a book that has none; with ``again``, of any."""
    if again:
        connection.execute(update(spend_cursor).where(spend_cursor.c.book_id == book_id).values(next_index=CLEARING))
    add = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        add(spend_cursor).values(book_id=book_id, next_index=CLEARING).on_conflict_do_nothing(),
    )


def clear_some(connection: Connection, book_id: int, *, limit: int) -> int:
    """Take away rows of a book whose cursor stands at ``CLEARING``; how many. The call that finds none left puts the
    cursor to the first record. Raises Conflict when another process has done that."""
    # First, because it locks the row: a second process waits here, and then finds the cursor moved.
    match = (spend_cursor.c.book_id == book_id, spend_cursor.c.next_index == CLEARING)
    if connection.execute(update(spend_cursor).where(*match).values(next_index=CLEARING)).rowcount != 1:
        raise Conflict(f"another process has begun with the lines of book {book_id}")
    for table, column in _CLEARED:
        edge = connection.execute(
            select(table.c[column]).where(table.c.book_id == book_id).order_by(table.c[column]).limit(1).offset(limit)
        ).scalar_one_or_none()
        gone = delete(table).where(table.c.book_id == book_id)
        if edge is not None:
            gone = gone.where(table.c[column] <= edge)
        removed = connection.execute(gone).rowcount
        if removed:
            return removed
    connection.execute(update(spend_cursor).where(*match).values(next_index=0))
    return 0


def keep(
    connection: Connection,
    book_id: int,
    *,
    read_from: int,
    read_to: int,
    lines: Sequence[SpendLine],
    days: Sequence[SpendDay],
    holds: Sequence[SpendHold],
) -> None:
    """Move the cursor from ``read_from`` to ``read_to`` and write what the records between gave.

    Raises Conflict, having changed nothing, when the cursor is not at ``read_from`` any more, and Refused when a row is
    there that should not be.
    """
    moved = connection.execute(
        update(spend_cursor)
        .where(spend_cursor.c.book_id == book_id, spend_cursor.c.next_index == read_from)
        .values(next_index=read_to)
    ).rowcount
    if moved != 1:
        raise Conflict(f"the log of book {book_id} was read from {read_from} by another process")
    if lines:
        connection.execute(insert(spend_lines), [line._asdict() for line in lines])
    if holds:
        connection.execute(insert(spend_holds), [hold._asdict() for hold in holds])
    if days:
        _add_days(connection, days)


def _add_days(connection: Connection, days: Sequence[SpendDay]) -> None:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    added = dialect.insert(spend_days)
    columns = ("amount", "spent", "owed", "lines")
    changes: dict[str, Any] = {name: spend_days.c[name] + added.excluded[name] for name in columns}
    changes["changed_index"] = added.excluded.changed_index
    key = [column.name for column in spend_days.primary_key.columns]
    connection.execute(added.on_conflict_do_update(index_elements=key, set_=changes), [day._asdict() for day in days])
