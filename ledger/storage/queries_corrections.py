"""Reading corrections that wait or waited for a second person, the rules that made them wait, and reversals.

Invariant: lists are newest first and walk an index; what a page refers to is read with one statement for the page.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, literal, select

from ledger.core.correction import EXPIRED, PENDING, Correction, CorrectionRule
from ledger.core.ids import ADJUSTMENT, CHARGE, is_id
from ledger.core.journal import LogRecord
from ledger.storage.keyed import rows_by_key
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import authorizations, log_records
from ledger.storage.tables_corrections import correction_rules, corrections, reversals

RULES_MAX: Final = 500
"""Rules that are shown: one for each currency and unit of a book."""


def correction(connection: Connection, book_id: int, reference: str) -> Correction | None:
    """The correction of that id, or None."""
    statement = select(corrections).where(corrections.c.book_id == book_id, corrections.c.id == reference)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Correction(*row)


def corrections_named(connection: Connection, book_id: int, references: Collection[str]) -> dict[str, Correction]:
    """Id to correction, of those that are there; for the few that a page refers to."""
    columns = corrections.c
    statement = select(corrections).where(columns.book_id == book_id, columns.id.in_(sorted(references)))
    return {row.id: Correction(*row) for row in connection.execute(statement)}


def list_corrections(
    connection: Connection,
    book_id: int,
    *,
    state: str | None,
    now: int,
    after: int | None = None,
    limit: int = 50,
) -> Page[Correction]:
    """Corrections in one state (None: all), newest first, continuing after a ``created_index``. At ``now``
    (microseconds) those that are pending and out of time count as expired."""
    columns = corrections.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if state is not None:
        conditions.append(columns.state == (PENDING if state == EXPIRED else state))
    if state == PENDING:
        conditions.append(columns.expires_at > now)
    elif state == EXPIRED:
        conditions.append(columns.expires_at <= now)
    if after is not None:
        conditions.append(columns.created_index < after)
    statement = select(corrections).where(*conditions).order_by(columns.created_index.desc()).limit(bounded(limit) + 1)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Correction(*row), lambda item: (item.created_index,))


def list_rules(connection: Connection, book_id: int) -> list[CorrectionRule]:
    """The rules of a book, by currency."""
    statement = (
        select(correction_rules)
        .where(correction_rules.c.book_id == book_id)
        .order_by(correction_rules.c.currency)
        .limit(RULES_MAX)
    )
    return [CorrectionRule(*row) for row in connection.execute(statement)]


def list_reversals(
    connection: Connection, book_id: int, *, after: int | None = None, limit: int = 50
) -> Page[LogRecord]:
    """The records that reverse others, newest first, continuing after a log index; those that are archived are not
    listed."""
    columns = reversals.c
    statement: Select[Any] = (
        select(log_records)
        .join(
            reversals, (columns.book_id == log_records.c.book_id) & (columns.created_index == log_records.c.log_index)
        )
        .where(columns.book_id == book_id)
        .order_by(columns.created_index.desc())
        .limit(bounded(limit) + 1)
    )
    if after is not None:
        statement = statement.where(columns.created_index < after)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: LogRecord(*row), lambda item: (item.log_index,))


def reversed_by(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, int]:
    """Record to the record that reversed it, of those that were; for the few of a page."""
    rows = rows_by_key(connection, reversals, book_id, reversals.c.log_index, indexes)
    return {row.log_index: row.created_index for row in rows}


def reversing(connection: Connection, book_id: int, indexes: Collection[int]) -> set[int]:
    """Those of the records that reverse another; for the few of a page."""
    rows = rows_by_key(connection, reversals, book_id, reversals.c.created_index, indexes)
    return {row.created_index for row in rows}


def record_named(connection: Connection, book_id: int, reference: str) -> int | None:
    """The log index of the charge or the adjustment of that id, or None."""
    if is_id(reference, CHARGE):
        statement = select(authorizations.c.created_index).where(
            authorizations.c.book_id == book_id, authorizations.c.id == reference
        )
    elif is_id(reference, ADJUSTMENT):
        # The kind stands in the statement itself: of a parameter neither database knows that the partial index has it.
        statement = (
            select(log_records.c.log_index)
            .where(
                log_records.c.book_id == book_id,
                log_records.c.kind == literal("adjustment", literal_execute=True),
                log_records.c.subject == reference,
            )
            .limit(1)
        )
    else:
        return None
    found: int | None = connection.execute(statement).scalar_one_or_none()
    return found
