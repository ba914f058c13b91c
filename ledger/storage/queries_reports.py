"""Reading what reports are made of: daily totals, and the lines of a period by run, resource or labels.

Every function reads as of a log size, one page in a transaction. Invariants: a page is a stretch of one index; a daily
total is taken as it stands only where no record behind the size has changed it, and is added up from its lines where
one has, so pages that are read at different moments belong together.
"""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Text, and_, cast, func, literal, or_, select, tuple_

from ledger.core.principal import KIND_TEAM, lineage
from ledger.core.spend_line import NOBODY, SPEND_KINDS, SpendDay, date_of
from ledger.core.windows import day_start
from ledger.storage.sums import halves, whole
from ledger.storage.tables import agents
from ledger.storage.tables_finance import spend_days, spend_lines

DayKey = tuple[int, str, str, str, str, str]
"""Where a daily total stands: day, agent, budget, category, payee, currency."""
Place = tuple[int, int, int]
PAGE_ROWS: Final = 2_000


class KeyedLine(NamedTuple):
    """A line as far as it is sorted by something that daily totals do not tell apart. ``key`` is a run, a resource, or
    labels as canonical JSON."""

    effective_at: int
    log_index: int
    position: int
    key: str | None
    currency: str
    amount: int


class RunCost(NamedTuple):
    """What a run spent under one ``key`` in one currency, in atoms."""

    run: str
    key: str | None
    currency: str
    amount: int


class Correction(NamedTuple):
    """A line that takes back or corrects another, whose log index is ``corrects``."""

    corrects: int
    log_index: int
    position: int
    effective_at: int
    category: str | None
    currency: str
    amount: int


_SPENDS: Final = or_(
    spend_lines.c.amount != 0,
    spend_lines.c.spent != 0,
    and_(spend_lines.c.kind.in_(SPEND_KINDS), spend_lines.c.owed == 0),
)
"""Whether a line says that something was spent, were it nothing: not a payment, and not what a converted call owes in
the payee's currency, whose cost is the line before it."""


def list_days(
    connection: Connection,
    book_id: int,
    *,
    first: int,
    stop: int,
    agent: str | None = None,
    after: DayKey | None = None,
    limit: int = PAGE_ROWS,
) -> list[SpendDay]:
    """Daily totals of the days from ``first`` to before ``stop``, in the order of their keys, continuing after one."""
    columns = spend_days.c
    key = (columns.day, columns.agent, columns.budget, columns.category, columns.payee, columns.currency)
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id, columns.day < stop]
    if agent is not None:
        conditions.append(columns.agent == agent)
    if after is None:
        conditions.append(columns.day >= first)
    else:
        low = [literal(after[0], BigInteger), *map(literal, after[1:])]
        conditions.append(tuple_(*key) > tuple_(*low))
    statement = select(spend_days).where(*conditions).order_by(*key).limit(limit)
    return [SpendDay(*row) for row in connection.execute(statement)]


def day_then(
    connection: Connection, book_id: int, day: int, *, timezone: str, size: int, agent: str | None = None
) -> list[SpendDay]:
    """The totals of one day as the first ``size`` records say, added up from its lines, in the order of their keys."""
    columns = spend_lines.c
    starts_at, ends_at = (day_start(timezone, date_of(at)) for at in (day, day + 1))
    key = [
        func.coalesce(column, NOBODY) for column in (columns.agent, columns.budget, columns.category, columns.payee)
    ]  # fmt: skip
    conditions: list[ColumnElement[bool]] = [
        columns.book_id == book_id, columns.effective_at >= starts_at, columns.effective_at < ends_at,
        columns.log_index + 0 < size,
        or_(columns.kind.in_(SPEND_KINDS), columns.amount != 0, columns.spent != 0, columns.owed != 0),
    ]  # fmt: skip
    if agent is not None:
        conditions.append(columns.agent == agent)
    grouped = [*key, columns.currency]
    sums = [half for column in (columns.amount, columns.spent, columns.owed) for half in halves(column)]
    statement = (
        select(*grouped, *sums, func.count(), func.max(columns.log_index)).where(*conditions).group_by(*grouped)
    )  # fmt: skip
    found = [
        SpendDay(
            book_id, day, *row[:5], whole(*row[5:7]), whole(*row[7:9]), whole(*row[9:11]), row[11], row[12],
        )
        for row in connection.execute(statement)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one[2:7])


def list_keyed(
    connection: Connection,
    book_id: int,
    column: str,
    *,
    starts_at: int,
    ends_at: int,
    size: int,
    agent: str | None = None,
    after: Place | None = None,
    limit: int = PAGE_ROWS,
) -> list[KeyedLine]:
    """Lines that count for a moment from ``starts_at`` (included) to ``ends_at`` (not included), in the order of
    statements, continuing after a place; with the value of ``column``, one of run, resource and labels."""
    columns = spend_lines.c
    order: list[Any] = [columns.effective_at, columns.log_index, columns.position]
    low: list[Any] = [literal(at, BigInteger) for at in (after or (starts_at, -1, -1))]
    high: list[Any] = [literal(at, BigInteger) for at in (ends_at, -1, -1)]
    conditions: list[ColumnElement[bool]] = [
        columns.book_id == book_id, columns.log_index + 0 < size,
        _SPENDS,
    ]  # fmt: skip
    if agent is not None:
        # As one row, so that nothing but the agent's own index serves (``queries_accounts.stretch_of``).
        order.insert(0, columns.agent)
        low, high = [literal(agent), *low], [literal(agent), *high]
        conditions.append(columns.agent.is_not(None))
    statement = (
        select(*order[-3:], columns[column], columns.currency, columns.amount)
        .where(*conditions, tuple_(*order) > tuple_(*low), tuple_(*order) < tuple_(*high))
        .order_by(*order)
        .limit(limit)
    )
    return [KeyedLine(*tuple(row)) for row in connection.execute(statement)]


def costs_of_runs(
    connection: Connection, book_id: int, names: Collection[str], column: str | None, *, size: int
) -> list[RunCost]:
    """What each of a few runs spent, by the value of ``column`` (a column of lines; None: all together)."""
    columns = spend_lines.c
    key: ColumnElement[Any] = cast(literal(None), Text) if column is None else columns[column]
    grouped = [columns.run, columns.currency] if column is None else [columns.run, columns.currency, columns[column]]
    statement = (
        select(columns.run, key, columns.currency, *halves(columns.amount))
        .where(
            columns.book_id == book_id,
            columns.run.in_(sorted(names)),
            columns.run.is_not(None),
            columns.log_index + 0 < size,
            _SPENDS,
        )
        .group_by(*grouped)
    )
    return [RunCost(*row[:3], whole(*row[3:])) for row in connection.execute(statement)]


def list_corrections(
    connection: Connection,
    book_id: int,
    *,
    starts_at: int,
    ends_at: int,
    size: int,
    after: Place | None = None,
    limit: int = PAGE_ROWS,
) -> list[Correction]:
    """Lines of a period that correct others, by what they correct, continuing after (that, log index, position). It
    goes over all corrections of the book, which are few, by the index that has nothing else."""
    columns = spend_lines.c
    order = (columns.corrects, columns.log_index, columns.position)
    conditions = [columns.book_id == book_id, columns.corrects.is_not(None), columns.log_index + 0 < size]
    if after is not None:
        conditions.append(tuple_(*order) > tuple_(*(literal(at, BigInteger) for at in after)))
    conditions.append(and_(columns.effective_at + 0 >= starts_at, columns.effective_at + 0 < ends_at))
    statement = (
        select(*order, columns.effective_at, columns.category, columns.currency, columns.amount)
        .where(*conditions)
        .order_by(*order)
        .limit(limit)
    )  # fmt: skip
    return [Correction(*row) for row in connection.execute(statement)]


def first_moment(connection: Connection, book_id: int, *, size: int) -> int | None:
    """The earliest moment that a line of the first ``size`` records counts for; None without lines."""
    columns = spend_lines.c
    statement = (
        select(columns.effective_at)
        .where(columns.book_id == book_id, columns.log_index + 0 < size)
        .order_by(columns.effective_at, columns.log_index, columns.position)
        .limit(1)
    )
    found: int | None = connection.execute(statement).scalar_one_or_none()
    return found


def teams_of_agents(connection: Connection, book_id: int) -> dict[str, str]:
    """Agent to the team that it stands under most closely, of those that stand under one. What an agent stands under
    never changes."""
    columns = agents.c
    teams: set[str] = set()
    paths: dict[str, str] = {}
    after = ""
    while True:
        page = connection.execute(
            select(columns.name, columns.kind, columns.path)
            .where(columns.book_id == book_id, columns.name > after)
            .order_by(columns.name)
            .limit(PAGE_ROWS)
        ).all()
        for name, kind, path in page:
            if kind == KIND_TEAM:
                teams.add(name)
            else:
                paths[name] = path
        if len(page) < PAGE_ROWS:
            break
        after = page[-1].name
    found = {
        name: next((above for above in reversed(lineage(path)) if above in teams), None) for name, path in paths.items()
    }
    return {name: team for name, team in found.items() if team is not None}
