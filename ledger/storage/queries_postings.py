"""An account's postings in the order of the days they count for, and its balance at the start of a day.

Every function reads as of a log size. Invariant: a posting that was not backdated is read from the account's own
stretch of the log, in which the order of the log is that of time; the few that were come from the partial index that
has only such; so both streams are in order, and are merged where they are read.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, literal, select, text, tuple_, union_all

from ledger.storage.queries_accounts import balance_at_size, stretch_of
from ledger.storage.queries_log import size_at
from ledger.storage.sums import halves, whole
from ledger.storage.tables import accounts, log_records, transfers


class EffectivePosting(NamedTuple):
    """One account's side of a transfer: ``amount`` in atoms, above zero for a debit; ``kind`` and ``subject`` are those
    of the record that caused it."""

    effective_at: int
    log_index: int
    position: int
    amount: int
    other_account: str
    recorded_at: int
    kind: str
    subject: str


def balance_before(connection: Connection, book_id: int, account_no: int, *, before: int, size: int) -> int:
    """The balance (debits less credits, in atoms) of what counts for moments earlier than ``before`` (microseconds), as
    the first ``size`` records say."""
    first = min(size, size_at(connection, book_id, before - 1))
    balance = balance_at_size(connection, book_id, account_no, first)
    if first == size:
        return balance
    columns = transfers.c
    for side, sign in ((columns.debit_no, 1), (columns.credit_no, -1)):
        statement = select(*halves(columns.amount)).where(
            columns.book_id == book_id,
            side == account_no,
            # The partial index's condition, word for word; the index of the log is asked of an expression, so that
            # nothing but that index serves.
            columns.effective_at != columns.recorded_at,
            columns.effective_at < before,
            columns.log_index + 0 >= first,
            columns.log_index + 0 < size,
        )
        balance += sign * whole(*connection.execute(statement).one())
    return balance


def log_range(connection: Connection, book_id: int, *, starts_at: int, ends_at: int, size: int) -> tuple[int, int]:
    """Log indexes, [first, stop), of the records written from ``starts_at`` to before ``ends_at``, among the first
    ``size``."""
    first = min(size, size_at(connection, book_id, starts_at - 1))
    return first, min(size, size_at(connection, book_id, ends_at - 1))


def list_in_order(
    connection: Connection, book_id: int, account_no: int, *, low: tuple[int, int], stop: int, limit: int
) -> list[EffectivePosting]:
    """Postings from place ``low`` (log index, position; included) to before log index ``stop``, in the order of the
    log; also those that are backdated, which whoever asks leaves out: a planner that does not know how few they are
    would rather sort."""
    columns = transfers.c
    sides = []
    for mine, other, sign in ((columns.debit_no, columns.credit_no, 1), (columns.credit_no, columns.debit_no, -1)):
        narrowed = (
            _side(other, sign)
            .where(columns.book_id == book_id, *stretch_of(mine, account_no, low, (stop, 0)))
            .order_by(mine, columns.log_index, columns.position)
            .limit(limit)
            .subquery()
        )
        sides.append(select(narrowed))
    _keep_to_indexes(connection)
    return _postings(connection, sides, limit, ("log_index", "position"))


def list_backdated(
    connection: Connection,
    book_id: int,
    account_no: int,
    *,
    low: tuple[int, int, int],
    ends_at: int,
    size: int,
    limit: int,
) -> list[EffectivePosting]:
    """Postings that were recorded later than they count for, after place ``low`` (effective_at, log index, position;
    not included), in order."""
    columns = transfers.c
    sides = []
    for mine, other, sign in ((columns.debit_no, columns.credit_no, 1), (columns.credit_no, columns.debit_no, -1)):
        narrowed = (
            _side(other, sign)
            .where(
                columns.book_id == book_id,
                mine == account_no,
                columns.effective_at != columns.recorded_at,
                columns.effective_at >= low[0],
                tuple_(columns.effective_at, columns.log_index, columns.position) > tuple_(*map(literal, low)),
                columns.effective_at < ends_at,
                columns.log_index < size,
            )
            .order_by(columns.effective_at, columns.log_index, columns.position)
            .limit(limit)
            .subquery()
        )
        sides.append(select(narrowed))
    _keep_to_indexes(connection)
    return _postings(connection, sides, limit, ("effective_at", "log_index", "position"))


def _keep_to_indexes(connection: Connection) -> None:
    """Let PostgreSQL, until the transaction ends, read a page in the order of an index: on a table that was never
    analyzed it takes an account's postings for a handful, and would sort all of them for every page."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        connection.execute(text("SET LOCAL enable_sort = off"))


def _side(other: ColumnElement[int], sign: int) -> Select[Any]:
    return select(transfers, other.label("other_no"), literal(sign).label("sign"))


def _postings(
    connection: Connection, sides: Sequence[Select[Any]], limit: int, order: tuple[str, ...]
) -> list[EffectivePosting]:
    """The sides merged, with the cause and the other account of the few that are left."""
    merged = union_all(*sides).subquery()
    source = merged.join(
        log_records,
        and_(log_records.c.book_id == merged.c.book_id, log_records.c.log_index == merged.c.log_index),
    ).join(accounts, and_(accounts.c.book_id == merged.c.book_id, accounts.c.account_no == merged.c.other_no))
    statement = (
        select(
            merged.c.effective_at, merged.c.log_index, merged.c.position, merged.c.amount, accounts.c.name,
            merged.c.recorded_at, log_records.c.kind, log_records.c.subject, merged.c.sign,
        )
        .select_from(source)
        .order_by(*(merged.c[name] for name in order))
        .limit(limit)
    )  # fmt: skip
    return [EffectivePosting(*row[:3], row.amount * row.sign, *row[4:8]) for row in connection.execute(statement)]
