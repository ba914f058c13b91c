"""Reading spend lines and daily totals: pages of lines in the order of statements, and what was spent before a moment.

Every function reads as of a log size: what was recorded later is as if it were not there. Invariants: a page is a
stretch of one index; a sum over all history is one over daily totals, corrected by the few lines that were recorded
after the log size and count for earlier days.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, ColumnElement, Connection, case, literal, select, tuple_

from ledger.core.approval import GRANT
from ledger.core.money import currency_digits
from ledger.core.principal import Agent
from ledger.core.spend_line import SPEND_KINDS, SpendLine, date_of, day_number
from ledger.core.windows import day_start
from ledger.storage.archive_rows import refuse_archived
from ledger.storage.keyed import rows_by_key
from ledger.storage.sums import halves, whole
from ledger.storage.tables import agents, approval_votes, log_records, names, runs
from ledger.storage.tables_finance import spend_cursor, spend_days, spend_lines

Place = tuple[int, int, int]
"""Where a line stands in the order of statements: effective_at, log index, position."""
LATER_MAX: Final = 5_000
"""Records behind a log size, at most, whose lines are looked at one by one."""
SCOPED_COLUMNS: Final = ("agent", "budget", "payee", "run")


@dataclass(frozen=True, slots=True)
class LineScope:
    """Which lines: those with one of ``values`` in ``column`` (one of SCOPED_COLUMNS), or all (None)."""

    column: str | None = None
    values: tuple[str, ...] = ()

    def condition(self, *, hidden: bool = False) -> tuple[ColumnElement[bool], ...]:
        """What rows of ``spend_lines`` must fulfil; ``hidden``, so that no index of the scope's serves."""
        if self.column is None:
            return ()
        column: ColumnElement[Any] = spend_lines.c[self.column]
        column = column + "" if hidden else column
        if len(self.values) == 1:
            return (column == self.values[0],)
        return (column.in_(self.values),)


def billed_atoms(currency: str) -> ColumnElement[int]:
    """``SpendLine.billed`` of the lines in a currency."""
    columns = spend_lines.c
    if currency_digits(currency) is None:
        return columns.amount
    return case((columns.authorization_id.is_(None), columns.amount), else_=columns.owed)


def list_lines(
    connection: Connection,
    book_id: int,
    scope: LineScope,
    *,
    starts_at: int,
    ends_at: int,
    size: int,
    after: Place | None = None,
    limit: int,
) -> list[SpendLine]:
    """Lines of the first ``size`` records that count for a moment from ``starts_at`` (included) to ``ends_at`` (not
    included), in the order of statements, continuing after a place; at most ``limit``. The scope has one value at
    most."""
    columns = spend_lines.c
    order: list[Any] = [columns.effective_at, columns.log_index, columns.position]
    low: tuple[Any, ...] = after if after is not None else (starts_at, -1, -1)
    high: tuple[Any, ...] = (ends_at, -1, -1)
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id, columns.log_index + 0 < size]
    if scope.column is not None:
        # As one row, so that nothing but the scope's own index serves (``queries_accounts.stretch_of``).
        order.insert(0, columns[scope.column])
        low, high = (scope.values[0], *low), (scope.values[0], *high)
        conditions.append(columns[scope.column].is_not(None))
    place = tuple_(*order)
    statement = (
        select(spend_lines).where(*conditions, place > _place(low), place < _place(high)).order_by(*order).limit(limit)
    )
    return [SpendLine(*row) for row in connection.execute(statement)]


def _place(values: tuple[Any, ...]) -> ColumnElement[Any]:
    return tuple_(*(literal(value, BigInteger) if isinstance(value, int) else literal(value) for value in values))


def _sum_lines(connection: Connection, *conditions: ColumnElement[bool]) -> dict[str, int]:
    """What lines add up to, by currency."""
    columns = spend_lines.c
    statement = select(columns.currency, *halves(columns.amount)).where(*conditions).group_by(columns.currency)
    return {row[0]: whole(*row[1:]) for row in connection.execute(statement)}


def spent_of_run(connection: Connection, book_id: int, run: str, *, before: int, size: int) -> dict[str, int]:
    """What a run had spent before a moment, by currency, out of its own lines."""
    columns = spend_lines.c
    return _sum_lines(
        connection, columns.book_id == book_id, columns.run == run, columns.effective_at < before,
        columns.log_index + 0 < size,
    )  # fmt: skip


def measured_before(
    connection: Connection, book_id: int, scope: LineScope, measure: Literal["authority", "owed"], *, before: int,
    size: int,
) -> dict[str, int]:  # fmt: skip
    """What all lines of a scope with one value add to a measure before a moment, as the first ``size`` records say; by
    currency. It reads every one of them: for balances whose transfers are archived."""
    columns = spend_lines.c
    statement = (
        select(columns.currency, *halves(columns[measure]))
        .where(
            columns.book_id == book_id, *scope.condition(), columns.effective_at < before, columns.log_index + 0 < size
        )
        .group_by(columns.currency)
    )
    return {row[0]: whole(*row[1:]) for row in connection.execute(statement)}


def spent_before(
    connection: Connection, book_id: int, scope: LineScope, *, before: int, size: int, timezone: str
) -> dict[str, int]:
    """What agents (or the whole book) had spent before ``before``, the start of a day, as the first ``size`` records
    say; by currency. Raises RecordArchived for a size within an archive.

    Daily totals stand for every record that has lines. What was recorded behind ``size`` is taken off them: all of it,
    one by one, where that is little; else what is backdated, since nothing else can count for days that had ended when
    the last of the first ``size`` records was written, and the day of that record itself is added up line by line.
    """
    columns = spend_lines.c
    newest = _recorded_at(connection, book_id, size - 1)
    if newest is None:
        return {}
    if _written(connection, book_id) - size <= LATER_MAX:
        until = before
        later = _sum_later(connection, book_id, scope, before=before, size=size)
    else:
        until = before if before <= newest else day_start(timezone, date_of(day_number(timezone, newest)))
        backdated = columns.effective_at != columns.recorded_at
        # By when they were recorded, and all else asked of expressions, so that only the few that are backdated are
        # looked at, and no other index serves.
        later = _sum_lines(
            connection, columns.book_id == book_id, backdated, columns.recorded_at >= newest,
            columns.log_index + 0 >= size, columns.effective_at + 0 < until, *scope.condition(hidden=True),
        )  # fmt: skip
    totals = _days_before(connection, book_id, scope, day_number(timezone, until))
    for currency, amount in later.items():
        totals[currency] = totals.get(currency, 0) - amount
    if until != before:
        today = _sum_lines(
            connection, columns.book_id == book_id, *scope.condition(), columns.effective_at >= until,
            columns.effective_at < before, columns.log_index + 0 < size,
        )  # fmt: skip
        for currency, amount in today.items():
            totals[currency] = totals.get(currency, 0) + amount
    return {currency: amount for currency, amount in sorted(totals.items()) if amount}


def _written(connection: Connection, book_id: int) -> int:
    """How many records have lines."""
    found: int | None = connection.execute(
        select(spend_cursor.c.next_index).where(spend_cursor.c.book_id == book_id)
    ).scalar_one_or_none()
    return found or 0


def _sum_later(connection: Connection, book_id: int, scope: LineScope, *, before: int, size: int) -> dict[str, int]:
    """What the few lines behind ``size`` add to the days before ``before``. The scope is looked at here, so that a
    stretch of the log is read, whatever the planner thinks of the scope's index."""
    columns = spend_lines.c
    statement = select(columns.currency, columns.amount, *([columns[scope.column]] if scope.column else [])).where(
        columns.book_id == book_id, columns.log_index >= size, columns.effective_at + 0 < before
    )
    among = frozenset(scope.values)
    sums: dict[str, int] = {}
    for currency, amount, *named in connection.execute(statement):
        if not named or named[0] in among:
            sums[currency] = sums.get(currency, 0) + amount
    return sums


def _days_before(connection: Connection, book_id: int, scope: LineScope, day: int) -> dict[str, int]:
    columns = spend_days.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id, columns.day < day]
    if scope.column is not None:
        column = columns[scope.column]
        conditions.append(column == scope.values[0] if len(scope.values) == 1 else column.in_(scope.values))
    statement = select(columns.currency, *halves(columns.amount)).where(*conditions).group_by(columns.currency)
    return {row[0]: whole(*row[1:]) for row in connection.execute(statement)}


def _recorded_at(connection: Connection, book_id: int, log_index: int) -> int | None:
    statement = select(log_records.c.recorded_at).where(
        log_records.c.book_id == book_id, log_records.c.log_index == log_index
    )
    found: int | None = connection.execute(statement).scalar_one_or_none()
    if found is None:
        refuse_archived(connection, book_id, log_index)
    return found


def has_corrections(connection: Connection, book_id: int, *, size: int) -> bool:
    """Whether any line of the first ``size`` records corrects another."""
    statement = (
        select(spend_lines.c.log_index)
        .where(
            spend_lines.c.book_id == book_id, spend_lines.c.corrects.is_not(None), spend_lines.c.log_index + 0 < size
        )
        # The order of the index that has corrections only.
        .order_by(spend_lines.c.corrects, spend_lines.c.log_index)
        .limit(1)
    )
    return connection.execute(statement).first() is not None


def corrections_of(
    connection: Connection, book_id: int, indexes: Collection[int], *, size: int
) -> dict[int, list[SpendLine]]:
    """Log index of a corrected record to the lines, in order, that correct it; for the few of a page."""
    columns = spend_lines.c
    statement = (
        select(spend_lines)
        .where(
            columns.book_id == book_id,
            columns.corrects.in_(sorted(indexes)),
            columns.corrects.is_not(None),
            columns.log_index + 0 < size,
        )
        # The order of the index that has corrections only.
        .order_by(columns.corrects, columns.log_index)
    )
    found: dict[int, list[SpendLine]] = {}
    rows = connection.execute(statement)
    for line in sorted((SpendLine(*row) for row in rows), key=lambda line: (line.log_index, line.position)):
        found.setdefault(line.corrects or 0, []).append(line)
    return found


def corrected_lines(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, list[SpendLine]]:
    """Log index to every line at it, in order, of those that have any; for the few records of a page."""
    rows = rows_by_key(connection, spend_lines, book_id, spend_lines.c.log_index, indexes)
    found: dict[int, list[SpendLine]] = {}
    for line in sorted((SpendLine(*row) for row in rows), key=lambda line: (line.log_index, line.position)):
        found.setdefault(line.log_index, []).append(line)
    return found


def lines_at(connection: Connection, book_id: int, indexes: Collection[int]) -> dict[int, SpendLine]:
    """Log index to the line of an authorization or charge at it, of those that have one; for the few of a page."""
    columns = spend_lines.c
    rows = rows_by_key(
        connection, spend_lines, book_id, columns.log_index, indexes, columns.position == 0,
        columns.kind.in_(SPEND_KINDS),
    )  # fmt: skip
    return {row.log_index: SpendLine(*row) for row in rows}


def granters(connection: Connection, book_id: int, approvals: Collection[str]) -> dict[str, list[str]]:
    """Approval to the persons who granted it, in order."""
    columns = approval_votes.c
    statement = (
        select(columns.approval, columns.person)
        .where(columns.book_id == book_id, columns.approval.in_(sorted(approvals)), columns.verdict == GRANT)
        .order_by(columns.approval, columns.created_index, columns.seat)
    )
    found: dict[str, list[str]] = {}
    for approval, person in connection.execute(statement):
        found.setdefault(approval, []).append(person)
    return found


def agents_below(connection: Connection, book_id: int, top: Agent, *, size: int) -> list[str]:
    """The agent or team itself and every agent below it that the first ``size`` records made, by name."""
    inside = f"{top.path}/{top.name}" if top.path else top.name
    columns = agents.c
    statement = select(columns.name).where(
        columns.book_id == book_id,
        columns.created_index < size,
        (columns.name == top.name)
        | (columns.path == inside)
        | ((columns.path > f"{inside}/") & (columns.path < f"{inside}0")),
    )
    return sorted(connection.execute(statement).scalars())


def name_is_known(connection: Connection, book_id: int, kind: str, name: str, *, size: int) -> bool:
    """Whether the first ``size`` records knew a category or payee."""
    statement = select(names.c.created_index).where(
        names.c.book_id == book_id, names.c.kind == kind, names.c.name == name, names.c.created_index < size
    )
    return connection.execute(statement).first() is not None


def run_named(connection: Connection, book_id: int, reference: str, *, size: int) -> str | None:
    """The name of the run that a name or an id stands for: one that was opened, or a name that lines bear."""
    statement = (
        select(runs.c.name)
        .where(
            runs.c.book_id == book_id,
            (runs.c.name == reference) | (runs.c.id == reference),
            runs.c.created_index < size,
        )
        .order_by(case((runs.c.name == reference, 0), else_=1))
        .limit(1)
    )
    found: str | None = connection.execute(statement).scalar_one_or_none()
    if found is not None:
        return found
    columns = spend_lines.c
    bearing = (
        select(columns.run)
        .where(columns.book_id == book_id, columns.run == reference, columns.log_index + 0 < size)
        .order_by(columns.run, columns.effective_at, columns.log_index, columns.position)
        .limit(1)
    )
    borne: str | None = connection.execute(bearing).scalar_one_or_none()
    return borne
