"""Reading months: which there are, what counts for one, and what stands in the way of closing it.

Invariant: a question about the lines of a month is asked day by day or name by name, so that none reads more than a
stretch of one index, however long the month's history.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, or_, select

from ledger.core.authorization import FLAG_UNKNOWN, HELD, ON_EXPIRY_UNKNOWN, PENDING
from ledger.core.closing import EXPLAINED_FLAGS, Explanation, Month
from ledger.core.correction import PENDING as CORRECTION_PENDING
from ledger.core.correction import Correction
from ledger.core.principal import KIND_TEAM, lineage
from ledger.core.spend_line import NOBODY
from ledger.storage.keyed import rows_by_key
from ledger.storage.paging import Page
from ledger.storage.queries_reconciliations import USAGE_KINDS
from ledger.storage.queries_spend import LineScope, billed_atoms, list_lines
from ledger.storage.tables import agents, authorizations, budgets
from ledger.storage.tables_closing import explanations, periods
from ledger.storage.tables_corrections import corrections
from ledger.storage.tables_finance import spend_days, spend_lines

Flagged = tuple[int, str, int]
"""(log index, authorization, flags) of a line."""
_OPEN_MAX: Final = 1_000
"""Open holds of a month that are named, at most."""


def months(connection: Connection, book_id: int) -> list[Month]:
    """Every month on record, in order."""
    statement = select(periods).where(periods.c.book_id == book_id).order_by(periods.c.starts_at)
    return [Month(*row) for row in connection.execute(statement)]


def explanation(connection: Connection, book_id: int, authorization: str) -> Explanation | None:
    """What was explained of an authorization or charge."""
    statement = select(explanations).where(
        explanations.c.book_id == book_id, explanations.c.authorization_id == authorization
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Explanation(*row)


def list_explanations(
    connection: Connection, book_id: int, *, after: int | None = None, limit: int
) -> Page[Explanation]:
    """Explanations, the latest first, continuing after the log index of one."""
    columns = explanations.c
    conditions = [columns.book_id == book_id]
    if after is not None:
        conditions.append(columns.changed_index < after)
    statement = select(explanations).where(*conditions).order_by(columns.changed_index.desc()).limit(limit + 1)
    rows = [Explanation(*row) for row in connection.execute(statement)]
    return Page(rows[:limit], (rows[limit - 1].changed_index,) if len(rows) > limit else None)


def explained(connection: Connection, book_id: int, named: Collection[str]) -> dict[str, int]:
    """Authorization or charge to the flags of it that were explained, as bits."""
    columns = explanations.c
    rows = rows_by_key(
        connection, explanations, book_id, columns.authorization_id, named,
        columns=(columns.authorization_id, columns.flags),
    )  # fmt: skip
    return {row[0]: row[1] for row in rows}


def flagged_lines(connection: Connection, book_id: int, *, starts_at: int, ends_at: int, size: int) -> list[Flagged]:
    """The lines, of the first ``size`` records, that count for a stretch of time (a day, say) and have a flag that
    somebody explains; in order."""
    columns = spend_lines.c
    statement = (
        select(columns.log_index, columns.authorization_id, columns.flags)
        .where(
            columns.book_id == book_id,
            columns.effective_at >= starts_at,
            columns.effective_at < ends_at,
            columns.log_index + 0 < size,
            columns.flags.bitwise_and(EXPLAINED_FLAGS) != 0,
        )
        .order_by(columns.effective_at, columns.log_index, columns.position)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(statement)]


def unknown_holds(connection: Connection, book_id: int, *, starts_at: int, ends_at: int, now: int) -> list[str]:
    """Holds that were made in a stretch of time and of which nobody knows what became, oldest first."""
    columns = authorizations.c
    gone = (columns.on_expiry == ON_EXPIRY_UNKNOWN) & (columns.expires_at <= now)
    statement = (
        select(columns.id)
        .where(
            columns.book_id == book_id, columns.state == HELD, columns.created_at >= starts_at,
            columns.created_at < ends_at, or_(columns.flags.bitwise_and(FLAG_UNKNOWN) != 0, gone),
        )
        .order_by(columns.created_index)
        .limit(_OPEN_MAX)
    )  # fmt: skip
    return list(connection.execute(statement).scalars())


def pending(connection: Connection, book_id: int, *, starts_at: int, ends_at: int) -> list[str]:
    """Requests of a stretch of time that wait for a person, oldest first."""
    columns = authorizations.c
    statement = (
        select(columns.id)
        .where(
            columns.book_id == book_id, columns.state == PENDING, columns.created_at >= starts_at,
            columns.created_at < ends_at,
        )
        .order_by(columns.created_index)
        .limit(_OPEN_MAX)
    )  # fmt: skip
    return list(connection.execute(statement).scalars())


def waiting_corrections(connection: Connection, book_id: int, *, now: int) -> list[Correction]:
    """Corrections that wait for a second person at ``now``, oldest first; at most ``_OPEN_MAX``."""
    columns = corrections.c
    statement = (
        select(corrections)
        .where(columns.book_id == book_id, columns.state == CORRECTION_PENDING, columns.expires_at > now)
        .order_by(columns.created_index)
        .limit(_OPEN_MAX)
    )
    return [Correction(*row) for row in connection.execute(statement)]


def named_in_days(connection: Connection, book_id: int, column: str, *, first: int, last: int) -> list[str]:
    """The agents or payees (``column``) that the totals of some days name, both days included; in order."""
    columns = spend_days.c
    statement = (
        select(columns[column])
        .where(columns.book_id == book_id, columns.day >= first, columns.day <= last, columns[column] != NOBODY)
        .distinct()
    )
    return sorted(connection.execute(statement).scalars())


def billed_in_days(connection: Connection, book_id: int, *, first: int, last: int) -> list[tuple[str, str]]:
    """(payee, currency) in which the totals of some days say that something was spent, or is owed, both days included;
    in order."""
    columns = spend_days.c
    statement = (
        select(columns.payee, columns.currency)
        .where(
            columns.book_id == book_id, columns.day >= first, columns.day <= last, columns.payee != NOBODY,
            or_(columns.amount != 0, columns.owed != 0),
        )
        .distinct()
    )  # fmt: skip
    return sorted((row[0], row[1]) for row in connection.execute(statement))


def is_billed(
    connection: Connection, book_id: int, payee: str, currency: str, *, starts_at: int, ends_at: int, size: int
) -> bool:
    """Whether the first ``size`` records have a line of usage that a payee bills in a currency, and that counts for a
    stretch of time. The taxes of an invoice and its payment are none: no report of usage would have them."""
    columns = spend_lines.c
    statement = (
        select(columns.log_index)
        .where(
            columns.book_id == book_id, columns.payee == payee, columns.payee.is_not(None),
            columns.effective_at >= starts_at, columns.effective_at < ends_at, columns.currency == currency,
            columns.log_index + 0 < size, columns.kind.in_(USAGE_KINDS), billed_atoms(currency) != 0,
        )
        .limit(1)
    )  # fmt: skip
    return connection.execute(statement).first() is not None


def has_lines(
    connection: Connection, book_id: int, column: str, name: str, *, starts_at: int, ends_at: int, size: int
) -> bool:
    """Whether the first ``size`` records have a line of an agent, budget or payee that counts for a stretch of time."""
    scope = LineScope(column, (name,))
    return bool(list_lines(connection, book_id, scope, starts_at=starts_at, ends_at=ends_at, size=size, limit=1))


def budgets_of(connection: Connection, book_id: int, *, size: int) -> list[str]:
    """The budgets that the first ``size`` records made, in order."""
    statement = select(budgets.c.name).where(budgets.c.book_id == book_id, budgets.c.created_index < size)
    return sorted(connection.execute(statement).scalars())


def teams_above(connection: Connection, book_id: int, named: Collection[str]) -> list[str]:
    """The teams that some agents are in, at any depth; in order."""
    columns = agents.c
    rows = rows_by_key(connection, agents, book_id, columns.name, named, columns=(columns.path,))
    above = {name for row in rows for name in lineage(row[0])}
    found = rows_by_key(connection, agents, book_id, columns.name, above, columns=(columns.name, columns.kind))
    return sorted(name for name, kind in found if kind == KIND_TEAM)
