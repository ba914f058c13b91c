"""The journal in the order of the log: transfers with both balances, the accounts they made, spend lines, and what
every account had when a day began.

Every function reads as of a log size or a stretch of log indexes. Invariant: a stretch is read by log index and not by
a count of rows, so that no statement of the database looks at more than the stretch, however few of its rows it wants.
"""

from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from ledger.core.account import Account
from ledger.core.journal import Transfer
from ledger.core.spend_line import SpendLine
from ledger.storage.queries_accounts import balance_at_size
from ledger.storage.queries_log import size_at
from ledger.storage.sums import halves, whole
from ledger.storage.tables import accounts, transfers
from ledger.storage.tables_finance import spend_lines

EVER: Final = (-(2**62), 2**62)
"""From when to before when something counts, in microseconds: whenever."""


def transfers_between(
    connection: Connection, book_id: int, start: int, stop: int, *, span: tuple[int, int] = EVER
) -> list[Transfer]:
    """Transfers of records ``start`` (included) to ``stop`` (not included) that count for moments of ``span``."""
    columns = transfers.c
    statement = (
        select(*(columns[name] for name in Transfer._fields))
        .where(
            columns.book_id == book_id,
            columns.log_index >= start,
            columns.log_index < stop,
            columns.effective_at >= span[0],
            columns.effective_at < span[1],
        )
        .order_by(columns.log_index, columns.position)
    )
    return [Transfer(*row) for row in connection.execute(statement)]


def lines_between(
    connection: Connection, book_id: int, start: int, stop: int, *, span: tuple[int, int] = EVER
) -> list[SpendLine]:
    """Spend lines of these records, as ``transfers_between``."""
    columns = spend_lines.c
    statement = (
        select(spend_lines)
        .where(
            columns.book_id == book_id,
            columns.log_index >= start,
            columns.log_index < stop,
            columns.effective_at >= span[0],
            columns.effective_at < span[1],
        )
        .order_by(columns.log_index, columns.position)
    )
    return [SpendLine(*row) for row in connection.execute(statement)]


class Opened(NamedTuple):
    """An account, and whether it is the first of its name: there may be one in each currency."""

    account: Account
    is_first_of_name: bool


def accounts_from(connection: Connection, book_id: int, *, first_no: int, stop: int, limit: int) -> list[Opened]:
    """Accounts from number ``first_no`` on that records before ``stop`` made, in the order in which they were made."""
    same = aliased(accounts)
    earlier = (
        select(same.c.account_no)
        .where(
            same.c.book_id == accounts.c.book_id,
            same.c.name == accounts.c.name,
            same.c.account_no < accounts.c.account_no,
        )
        .exists()
    )
    statement = (
        select(accounts, earlier.label("is_again"))
        .where(accounts.c.book_id == book_id, accounts.c.account_no >= first_no, accounts.c.created_index < stop)
        .order_by(accounts.c.account_no)
        .limit(limit)
    )
    return [Opened(Account(*row[:-1]), not row[-1]) for row in connection.execute(statement)]


def first_account_made(connection: Connection, book_id: int, start: int) -> int | None:
    """The number of the first account that record ``start`` or a later one made, or None."""
    statement = select(func.min(accounts.c.account_no)).where(
        accounts.c.book_id == book_id, accounts.c.created_index >= start
    )
    return connection.execute(statement).scalar_one()


def first_in_currency(connection: Connection, book_id: int) -> dict[str, int]:
    """Currency to the number of the first account that was made in it."""
    statement = (
        select(accounts.c.currency, func.min(accounts.c.account_no))
        .where(accounts.c.book_id == book_id)
        .group_by(accounts.c.currency)
    )
    return {row.currency: row[1] for row in connection.execute(statement)}


def accounts_at(connection: Connection, book_id: int, numbers: set[int]) -> dict[int, Account]:
    """Number to account; for the few that a page refers to."""
    statement = select(accounts).where(accounts.c.book_id == book_id, accounts.c.account_no.in_(sorted(numbers)))
    return {row.account_no: Account(*row) for row in connection.execute(statement)}


class Behind(NamedTuple):
    """Where the balances that count before a day are found: in what the first ``first`` records left, and in
    ``backdated``, account number to what later records of ``size`` added to earlier days, in atoms."""

    first: int
    backdated: dict[int, int]


def behind(connection: Connection, book_id: int, *, before: int, size: int) -> Behind:
    """What the balances of all accounts before a moment (microseconds) are found from, as the first ``size`` records
    say. Raises RecordArchived."""
    first = min(size, size_at(connection, book_id, before - 1))
    added: dict[int, int] = {}
    if first < size:
        columns = transfers.c
        for side, sign in ((columns.debit_no, 1), (columns.credit_no, -1)):
            statement = (
                select(side, *halves(columns.amount))
                .where(
                    columns.book_id == book_id,
                    # The partial index's condition, word for word.
                    columns.effective_at != columns.recorded_at,
                    columns.effective_at < before,
                    columns.log_index + 0 >= first,
                    columns.log_index + 0 < size,
                )
                .group_by(side)
            )
            for number, upper, lower in connection.execute(statement):
                added[number] = added.get(number, 0) + sign * whole(upper, lower)
    return Behind(first, added)


def balance_behind(connection: Connection, book_id: int, account: Account, found: Behind) -> int:
    """The balance of one account that ``found`` leads to: debits less credits, in atoms."""
    kept = 0
    if account.created_index < found.first:
        kept = balance_at_size(connection, book_id, account.account_no, found.first)
    return kept + found.backdated.get(account.account_no, 0)


def first_effective(connection: Connection, book_id: int, size: int) -> int | None:
    """The earliest moment that a transfer of the first ``size`` records counts for, or None without transfers."""
    columns = transfers.c
    first = connection.execute(
        select(columns.effective_at)
        .where(columns.book_id == book_id, columns.log_index < size)
        .order_by(columns.log_index, columns.position)
        .limit(1)
    ).scalar_one_or_none()
    backdated = connection.execute(
        select(func.min(columns.effective_at)).where(
            columns.book_id == book_id, columns.effective_at != columns.recorded_at, columns.log_index + 0 < size
        )
    ).scalar_one_or_none()
    found = [moment for moment in (first, backdated) if moment is not None]
    return min(found) if found else None
