"""Reading reconciliations: one, lists of them, those of a period; and what the ledger says was spent with a payee.

Invariants: what is read as of a log size leaves out whatever was recorded later; a list is newest first.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, literal, or_, select, tuple_
from sqlalchemy.types import BigInteger

from ledger.core.reconciliation import Reconciliation
from ledger.core.spend_line import ADJUSTMENT, HISTORY, SETTLEMENT, SPEND_KINDS, SpendLine
from ledger.storage.keyed import rows_by_key
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.queries_spend import billed_atoms
from ledger.storage.sums import halves, whole
from ledger.storage.tables import authorizations, log_records
from ledger.storage.tables_finance import spend_lines
from ledger.storage.tables_reconciliations import reconciliations

USAGE_KINDS: Final = (*SPEND_KINDS, ADJUSTMENT, HISTORY)
"""Kinds of lines that say what was used of a payee, or correct that. Taxes of an invoice, and payments, are none."""
BOOKED_KINDS: Final = tuple(kind for kind in USAGE_KINDS if kind not in (SETTLEMENT, HISTORY))
"""Those that a comparison can lead to."""


def reconciliation(connection: Connection, book_id: int, reference: str) -> Reconciliation | None:
    """One by its id."""
    columns = reconciliations.c
    row = connection.execute(
        select(reconciliations).where(columns.book_id == book_id, columns.id == reference)
    ).one_or_none()
    return None if row is None else _made(row)


def list_reconciliations(
    connection: Connection, book_id: int, *, payee: str | None = None, after: int | None = None, limit: int = 50
) -> Page[Reconciliation]:
    """All of a book, or those of a payee, newest first, continuing after the log index of one."""
    columns = reconciliations.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if payee is not None:
        conditions.append(columns.payee == payee)
    if after is not None:
        conditions.append(columns.created_index < after)
    rows = connection.execute(
        select(reconciliations).where(*conditions).order_by(columns.created_index.desc()).limit(bounded(limit) + 1)
    ).all()
    return page_of(rows, limit, _made, lambda row: (row.created_index,))


def of_period(connection: Connection, book_id: int, starts_at: int, ends_at: int, size: int) -> list[Reconciliation]:
    """Those among the first ``size`` records whose period has a moment from ``starts_at`` (included) to ``ends_at``
    (not included), newest first. ``core.reconciliation.makes_good`` says whether they leave anything out."""
    columns = reconciliations.c
    rows = connection.execute(
        select(reconciliations)
        .where(
            columns.book_id == book_id,
            columns.ends_at > starts_at,
            columns.starts_at < ends_at,
            columns.created_index < size,
        )
        .order_by(columns.created_index.desc())
    )
    return [_made(row) for row in rows]


def used_total(
    connection: Connection, book_id: int, payee: str, currency: str, *, starts_at: int, ends_at: int, size: int
) -> int:
    """What the first ``size`` records say was spent with a payee in a period, in atoms, as the payee bills it: the
    lines that count for it. What was converted counts in the currency that is owed."""
    columns = spend_lines.c
    # As one row, so that nothing but the payee's own index serves.
    place = tuple_(columns.payee, columns.effective_at)
    row = connection.execute(
        select(*halves(billed_atoms(currency))).where(
            columns.book_id == book_id,
            columns.payee.is_not(None),
            place >= _place(payee, starts_at),
            place < _place(payee, ends_at),
            columns.currency == currency,
            columns.log_index + 0 < size,
            columns.kind.in_(USAGE_KINDS),
        )
    ).one()
    return whole(*row)


def used_lines(
    connection: Connection, book_id: int, payee: str, currency: str, *, starts_at: int, ends_at: int, size: int,
    after: tuple[int, int, int] | None = None, limit: int,
) -> list[SpendLine]:  # fmt: skip
    """The lines of ``used_total``, in the order of statements, continuing after a place (effective_at, log index,
    position); at most ``limit``. A line of what was converted that says only what its budget spent is none."""
    columns = spend_lines.c
    order = (columns.payee, columns.effective_at, columns.log_index, columns.position)
    low = after if after is not None else (starts_at, -1, -1)
    statement = (
        select(spend_lines)
        .where(
            columns.book_id == book_id,
            columns.payee.is_not(None),
            tuple_(*order) > _place(payee, *low),
            tuple_(*order) < _place(payee, ends_at, -1, -1),
            columns.currency == currency,
            columns.log_index + 0 < size,
            columns.kind.in_(USAGE_KINDS),
            or_(billed_atoms(currency) != 0, columns.amount == 0),
        )
        .order_by(*order)
        .limit(limit)
    )
    return [SpendLine(*row) for row in connection.execute(statement)]


def origins_of(connection: Connection, book_id: int, ids: Collection[str]) -> dict[str, tuple[int, str | None]]:
    """Authorization or charge to (when it was asked for, what it was metered from)."""
    columns = authorizations.c
    rows = rows_by_key(
        connection, authorizations, book_id, columns.id, ids, columns=(columns.id, columns.created_at, columns.metering)
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def booked_among(connection: Connection, book_id: int, payee: str, currency: str, indexes: Collection[int]) -> set[int]:
    """Which of these log indexes are charges of a payee, or corrections of what was spent with it."""
    columns = spend_lines.c
    # Asked of an expression, so that the index of the payee, who may have most of all lines, does not serve.
    rows = rows_by_key(
        connection, spend_lines, book_id, columns.log_index, indexes, columns.payee + "" == payee,
        columns.currency == currency, columns.kind.in_(BOOKED_KINDS), columns=(columns.log_index,),
    )  # fmt: skip
    return {row[0] for row in rows}


def bodies_of(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, tuple[bytes, bytes]]:
    """Log index to (body, leaf hash) of records; those that were archived are not there."""
    columns = log_records.c
    rows = rows_by_key(
        connection, log_records, book_id, columns.log_index, indexes,
        columns=(columns.log_index, columns.body, columns.leaf_hash),
    )  # fmt: skip
    return {row[0]: (bytes(row[1]), bytes(row[2])) for row in rows}


def _place(payee: str, *place: int) -> Any:
    return tuple_(literal(payee), *(literal(value, BigInteger) for value in place))


def _made(row: Any) -> Reconciliation:
    made = Reconciliation(*row)
    # SQLite has no boolean of its own.
    made.accepted = bool(made.accepted)
    return made
