"""Reading accounts: balances now and at any past moment, postings with running balances, the trial balance.

Invariant: a past balance is what the last transfer of that moment left behind, found by index; history is never summed
up, but for the few backdated transfers when a balance is asked for by effective time.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    literal,
    select,
    tuple_,
    union_all,
)

from ledger.core.account import Account
from ledger.storage.archive_rows import last_range, refuse_archived
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.queries_log import size_at
from ledger.storage.sums import halves, whole
from ledger.storage.tables import accounts, book_heads, log_records, transfers

Basis = Literal["recorded", "effective"]
Place = tuple[int, int]
"""Where a transfer stands in its book: log index, position."""
_FIRST: Final[Place] = (0, 0)
_LAST: Final[Place] = (2**62, 0)


@dataclass(frozen=True, slots=True)
class Posting:
    """One account's side of a transfer. ``amount`` in atoms, above zero for a debit and below for a credit;
    ``balance`` is debits less credits after it; ``kind`` and ``subject`` are those of the log record that caused it."""

    log_index: int
    position: int
    amount: int
    balance: int
    other_account: str
    recorded_at: int
    effective_at: int
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class TrialBalanceLine:
    """One account's balance, in the column where it stands; the other is zero. Atoms."""

    account: str
    kind: str
    role: str
    currency: str
    debit: int
    credit: int


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """All accounts as they were at log size ``size`` with Merkle root ``root``."""

    size: int
    root: bytes
    lines: list[TrialBalanceLine]


def account(connection: Connection, book_id: int, name: str, currency: str) -> Account | None:
    """The account of that name and currency, or None."""
    statement = select(accounts).where(
        accounts.c.book_id == book_id, accounts.c.name == name, accounts.c.currency == currency
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Account(*row)


def accounts_named(connection: Connection, book_id: int, name: str) -> list[Account]:
    """The accounts of that name, one a currency."""
    statement = select(accounts).where(accounts.c.book_id == book_id, accounts.c.name == name)
    return [Account(*row) for row in connection.execute(statement.order_by(accounts.c.currency))]


def list_accounts(
    connection: Connection,
    book_id: int,
    *,
    kind: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 50,
) -> Page[Account]:
    """Accounts by name and currency, continuing after a (name, currency)."""
    statement = select(accounts).where(accounts.c.book_id == book_id)
    if kind is not None:
        statement = statement.where(accounts.c.kind == kind)
    if after is not None:
        statement = statement.where(tuple_(accounts.c.name, accounts.c.currency) > tuple_(*map(literal, after)))
    statement = statement.order_by(accounts.c.name, accounts.c.currency).limit(bounded(limit) + 1)
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Account(*row), lambda item: (item.name, item.currency))


def trial_balance(connection: Connection, book_id: int) -> TrialBalance | None:
    """Every account by name, with the head they belong to, in one statement. None when there is no such book."""
    source = book_heads.outerjoin(accounts, accounts.c.book_id == book_heads.c.book_id)
    columns = (accounts.c.name, accounts.c.kind, accounts.c.role, accounts.c.currency, accounts.c.balance)
    rows = connection.execute(
        select(book_heads.c.size, book_heads.c.root, *columns)
        .select_from(source)
        .where(book_heads.c.book_id == book_id)
        .order_by(accounts.c.name, accounts.c.currency)
    ).all()
    if not rows:
        return None
    lines = [
        TrialBalanceLine(name, kind, role, currency, max(balance, 0), max(-balance, 0))
        for _size, _root, name, kind, role, currency, balance in rows
        if name is not None
    ]
    return TrialBalance(rows[0].size, rows[0].root, lines)


def stretch_of(side: Column[int], account_no: int, low: Place, high: Place) -> tuple[ColumnElement[bool], ...]:
    """Transfers of one side of an account from place ``low`` (included) to ``high`` (not included).

    Compared as a row, and ordered by all of its columns, only the index of that side serves: with the account as a
    plain equality, a planner without statistics would rather walk the whole book backwards by its primary key. For
    the same reason the log index does not stand beside the row once more, by which PostgreSQL could tell partitions
    behind the moment: each partition's index is descended once instead.
    """
    row = tuple_(side, transfers.c.log_index, transfers.c.position)
    return (
        row >= tuple_(*(literal(value, BigInteger) for value in (account_no, *low))),
        row < tuple_(*(literal(value, BigInteger) for value in (account_no, *high))),
    )


def balance_at_size(connection: Connection, book_id: int, account_no: int, size: int) -> int:
    """The balance (debits less credits, in atoms) after the first ``size`` records of the log. Raises RecordArchived
    for a size within an archive."""
    places = []
    for side, balance in (
        (transfers.c.debit_no, transfers.c.debit_balance),
        (transfers.c.credit_no, transfers.c.credit_balance),
    ):
        newest = (
            select(transfers.c.log_index, transfers.c.position, balance.label("balance"))
            .where(transfers.c.book_id == book_id, *stretch_of(side, account_no, _FIRST, (size, 0)))
            .order_by(side.desc(), transfers.c.log_index.desc(), transfers.c.position.desc())
            .limit(1)
            .subquery()
        )
        places.append(select(newest))
    last = union_all(*places).subquery()
    statement = select(last.c.balance).order_by(last.c.log_index.desc(), last.c.position.desc()).limit(1)
    found = connection.execute(statement).scalar_one_or_none()
    if found is not None:
        return int(found)
    archived = last_range(connection, book_id)
    if archived is None:
        return 0
    if size < archived.stop:
        refuse_archived(connection, book_id, size)
    return _balance_before(connection, book_id, account_no, size)


def _balance_before(connection: Connection, book_id: int, account_no: int, size: int) -> int:
    """The balance after ``size`` records of an account whose last transfer by then is archived: what its next transfer
    started from, or what it has now where none came."""
    found = []
    for side, balance, sign in (
        (transfers.c.debit_no, transfers.c.debit_balance, 1),
        (transfers.c.credit_no, transfers.c.credit_balance, -1),
    ):
        row = connection.execute(
            select(transfers.c.log_index, transfers.c.position, balance, transfers.c.amount)
            .where(transfers.c.book_id == book_id, *stretch_of(side, account_no, (size, 0), _LAST))
            .order_by(side, transfers.c.log_index, transfers.c.position)
            .limit(1)
        ).one_or_none()
        if row is not None:
            found.append((row[0], row[1], row[2] - sign * row[3]))
    if found:
        return int(min(found)[2])
    statement = select(accounts.c.balance).where(accounts.c.book_id == book_id, accounts.c.account_no == account_no)
    return int(connection.execute(statement).scalar_one_or_none() or 0)


def balance_at(connection: Connection, book_id: int, account_no: int, moment: int, *, basis: Basis = "recorded") -> int:
    """The balance (debits less credits, in atoms) at ``moment`` (microseconds, that moment included): by what had
    been recorded then, or by what counts for then (``effective``), whenever it was recorded."""
    balance = balance_at_size(connection, book_id, account_no, size_at(connection, book_id, moment))
    if basis == "recorded":
        return balance
    effective, recorded = transfers.c.effective_at, transfers.c.recorded_at
    late = and_(effective <= moment, recorded > moment)
    early = and_(effective > moment, recorded <= moment)
    for side, sign in ((transfers.c.debit_no, 1), (transfers.c.credit_no, -1)):
        for rule, counted in ((late, 1), (early, -1)):
            # effective_at <> recorded_at is the partial index's condition, word for word.
            statement = select(*halves(transfers.c.amount)).where(
                transfers.c.book_id == book_id, side == account_no, effective != recorded, rule
            )
            balance += sign * counted * whole(*connection.execute(statement).one())
    return balance


def list_postings(
    connection: Connection,
    book_id: int,
    account_no: int,
    *,
    recorded_from: int | None = None,
    recorded_to: int | None = None,
    newest_first: bool = True,
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> Page[Posting]:
    """An account's postings in the order of the log, continuing after a (log_index, position); ``recorded_from``
    (included) and ``recorded_to`` (not included) in microseconds. Newest first, the list ends with the oldest that is
    not archived; oldest first, a list that would begin in an archive raises RecordArchived, and so does a moment whose
    records are archived."""
    low, high = _FIRST, _LAST
    if recorded_from is not None:
        low = (size_at(connection, book_id, recorded_from - 1), 0)
    if recorded_to is not None:
        high = (size_at(connection, book_id, recorded_to - 1), 0)
    if after is not None and newest_first:
        high = min(high, after)
    elif after is not None:
        low = max(low, (after[0], after[1] + 1))
    if not newest_first:
        refuse_archived(connection, book_id, low[0])
    statement = _postings(book_id, account_no, (low, high), newest_first=newest_first, limit=bounded(limit))
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: Posting(*row), lambda item: (item.log_index, item.position))


def _postings(
    book_id: int, account_no: int, bounds: tuple[Place, Place], *, newest_first: bool, limit: int
) -> Select[Any]:
    """Each side's stretch of its own index, merged, with the cause and the other account of the few that are left."""
    sides = []
    for mine, other, balance, sign in (
        (transfers.c.debit_no, transfers.c.credit_no, transfers.c.debit_balance, 1),
        (transfers.c.credit_no, transfers.c.debit_no, transfers.c.credit_balance, -1),
    ):
        order = (mine, transfers.c.log_index, transfers.c.position)
        stretch = (
            select(transfers, other.label("other_no"), balance.label("balance"), literal(sign).label("sign"))
            .where(transfers.c.book_id == book_id, *stretch_of(mine, account_no, *bounds))
            .order_by(*((column.desc() for column in order) if newest_first else order))
            .limit(limit + 1)
            .subquery()
        )
        sides.append(select(stretch))
    merged = union_all(*sides).subquery()
    source = merged.join(
        log_records,
        and_(log_records.c.book_id == merged.c.book_id, log_records.c.log_index == merged.c.log_index),
    ).join(accounts, and_(accounts.c.book_id == merged.c.book_id, accounts.c.account_no == merged.c.other_no))
    amount = case((merged.c.sign > 0, merged.c.amount), else_=-merged.c.amount)
    last = (merged.c.log_index, merged.c.position)
    return (
        select(
            merged.c.log_index, merged.c.position, amount, merged.c.balance, accounts.c.name, merged.c.recorded_at,
            merged.c.effective_at, log_records.c.kind, log_records.c.subject,
        )
        .select_from(source)
        .order_by(*((column.desc() for column in last) if newest_first else last))
        .limit(limit + 1)
    )  # fmt: skip
