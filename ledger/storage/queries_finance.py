"""Reading what finance and admins booked: charges, refunds, adjustments, and what a budget was given or gave back.

Invariant: a list is newest first and walks the partial index on the few kinds of record that it is made of, never the
log as a whole.
"""

from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Connection, Select, literal, select, union_all

from ledger.core.account import available_name
from ledger.core.journal import LogRecord
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import accounts, log_records, transfers

FinanceKind = Literal["charge", "refund", "adjustment"]


def list_of_kind(
    connection: Connection, book_id: int, kind: FinanceKind, *, after: int | None = None, limit: int = 50
) -> Page[LogRecord]:
    """The book's records of one kind, newest first, continuing after a log index."""
    statement = _of_kind(book_id, kind, after).order_by(log_records.c.log_index.desc()).limit(bounded(limit) + 1)
    return _page(connection, statement, limit)


def list_allocations(
    connection: Connection,
    book_id: int,
    budget_name: str,
    currency: str,
    *,
    after: int | None = None,
    limit: int = 50,
) -> Page[LogRecord]:
    """What a budget was allocated and what was taken back from it, newest first, continuing after a log index.

    Which budget a record is about is told by its first transfer: an allocation debits what the budget has available, a
    deallocation credits it.
    """
    account_no = (
        select(accounts.c.account_no)
        .where(
            accounts.c.book_id == book_id,
            accounts.c.name == available_name(budget_name),
            accounts.c.currency == currency,
        )
        .scalar_subquery()
    )
    newest = [
        select(
            _of_kind(book_id, kind, after)
            .where(_of_first_transfer(side) == account_no)
            .order_by(log_records.c.log_index.desc())
            .limit(bounded(limit) + 1)
            .subquery()
        )
        for kind, side in (("allocation", transfers.c.debit_no), ("deallocation", transfers.c.credit_no))
    ]
    merged = union_all(*newest).subquery()
    return _page(connection, select(merged).order_by(merged.c.log_index.desc()).limit(limit + 1), limit)


def list_renewals(
    connection: Connection, book_id: int, budget_name: str, *, after: int | None = None, limit: int = 50
) -> Page[LogRecord]:
    """The renewals of a budget, newest first, continuing after a log index."""
    statement = (
        _of_kind(book_id, "renewal", after)
        .where(log_records.c.subject == budget_name)
        .order_by(log_records.c.log_index.desc())
        .limit(bounded(limit) + 1)
    )
    return _page(connection, statement, limit)


def _of_first_transfer(side: Column[int]) -> Any:
    """A side of a record's first transfer. As a join, a planner without statistics would rather walk all that the
    account ever received, once for each record; looked up like this, only the primary key serves."""
    return (
        select(side)
        .where(
            transfers.c.book_id == log_records.c.book_id,
            transfers.c.log_index == log_records.c.log_index,
            transfers.c.position == 0,
        )
        .correlate(log_records)
        .scalar_subquery()
    )


def _of_kind(book_id: int, kind: str, after: int | None) -> Select[Any]:
    # The kind stands in the statement itself: of a parameter neither database knows that the partial index has it.
    conditions: list[ColumnElement[bool]] = [
        log_records.c.book_id == book_id,
        log_records.c.kind == literal(kind, literal_execute=True),
    ]
    if after is not None:
        conditions.append(log_records.c.log_index < after)
    return select(log_records).where(*conditions)


def _page(connection: Connection, statement: Select[Any], limit: int) -> Page[LogRecord]:
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: LogRecord(*row), lambda item: (item.log_index,))
