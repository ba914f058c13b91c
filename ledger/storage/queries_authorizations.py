"""Reading authorizations (charges are rows of the same shape) and runs with their totals.

Invariant: a list is newest first by the log index of the record that made each row, which is unique and rises with
``created_at``; so a page of any filter is a stretch of one index, and a period is a range of log indexes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, union_all

from ledger.core.authorization import STATES, Authorization
from ledger.core.run import Run, RunOutcome, RunTotal
from ledger.storage.archive_rows import last_range, refuse_archived
from ledger.storage.keyed import rows_by_key
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.queries_outcomes import outcomes_of
from ledger.storage.tables import authorizations, log_records, run_totals, runs


@dataclass(frozen=True, slots=True)
class RunWithTotals:
    """A run and its totals, one a currency, sorted; and the last that was reported of it."""

    run: Run
    totals: list[RunTotal]
    outcome: RunOutcome | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationFilter:
    """What a list is narrowed to; None: not at all. ``agent``, ``budget``, ``run`` and ``category`` (what was asked
    for) are names, ``flag`` is one bit, ``created_from`` (included) and ``created_to`` (not included) are microseconds.
    """

    state: str | None = None
    agent: str | None = None
    budget: str | None = None
    run: str | None = None
    category: str | None = None
    flag: int | None = None
    created_from: int | None = None
    created_to: int | None = None


def authorization(connection: Connection, book_id: int, authorization_id: str) -> Authorization | None:
    """The authorization or charge of that id, or None."""
    statement = select(authorizations).where(
        authorizations.c.book_id == book_id, authorizations.c.id == authorization_id
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Authorization(*row)


def authorizations_at(connection: Connection, book_id: int, ids: Collection[str]) -> dict[str, Authorization]:
    """Id to authorization, of those that are there; for the few that a page refers to."""
    rows = rows_by_key(connection, authorizations, book_id, authorizations.c.id, ids)
    return {row.id: Authorization(*row) for row in rows}


def list_authorizations(
    connection: Connection,
    book_id: int,
    wanted: AuthorizationFilter,
    *,
    after: int | None = None,
    limit: int = 50,
) -> Page[Authorization]:
    """Authorizations and charges that fit every filter, newest first, continuing after a ``created_index``."""
    columns = authorizations.c
    conditions: list[ColumnElement[bool]] = [columns.book_id == book_id]
    if wanted.created_from is not None:
        conditions.append(columns.created_index >= _first_index(connection, book_id, wanted.created_from))
    if wanted.created_to is not None:
        conditions.append(columns.created_index < _first_index(connection, book_id, wanted.created_to))
    if after is not None:
        conditions.append(columns.created_index < after)
    for column, value in ((columns.agent, wanted.agent), (columns.budget, wanted.budget), (columns.run, wanted.run)):
        if value is not None:
            conditions.append(column == value)
    if wanted.category is not None:
        # No index has it: a page is looked for among the rows that the other filters leave, open holds above all.
        conditions.append(columns.category == wanted.category)
    if wanted.flag is not None:
        # The first condition is that of the partial index, word for word: a parameter would hide it.
        conditions.append(columns.flags != literal(0, literal_execute=True))
        conditions.append(columns.flags.bitwise_and(wanted.flag) != 0)
    narrowed = any(value is not None for value in (wanted.agent, wanted.budget, wanted.run, wanted.flag))
    if wanted.state is not None:
        # Beside another filter the index on states is the wrong one to walk, and a planner without statistics may
        # not know: an expression keeps it away.
        conditions.append((columns.state + "" if narrowed else columns.state) == wanted.state)
    if narrowed or wanted.state is not None:
        rows = connection.execute(
            select(authorizations).where(*conditions).order_by(columns.created_index.desc()).limit(bounded(limit) + 1)
        ).all()
    else:
        rows = connection.execute(_of_any_state(conditions, bounded(limit))).all()
    return page_of(rows, limit, lambda row: Authorization(*row), lambda item: (item.created_index,))


def _of_any_state(conditions: list[ColumnElement[bool]], limit: int) -> Any:
    """The newest of each state, merged: no index on the record alone is needed for the one list without a filter."""
    newest = [
        select(
            select(authorizations)
            .where(*conditions, authorizations.c.state == state)
            .order_by(authorizations.c.created_index.desc())
            .limit(limit + 1)
            .subquery()
        )
        for state in STATES
    ]
    merged = union_all(*newest).subquery()
    return select(merged).order_by(merged.c.created_index.desc()).limit(limit + 1)


def _first_index(connection: Connection, book_id: int, recorded_at: int) -> int:
    """The index of the first record written at ``recorded_at`` or later; past the log's end when there is none.
    Raises RecordArchived for a moment whose records are archived."""
    statement = (
        select(log_records.c.log_index)
        .where(log_records.c.book_id == book_id, log_records.c.recorded_at >= recorded_at)
        .order_by(log_records.c.recorded_at, log_records.c.log_index)
        .limit(1)
    )
    archived = last_range(connection, book_id)
    if archived is not None and recorded_at <= archived.last_recorded_at:
        refuse_archived(connection, book_id, archived.stop - 1)
    found = connection.execute(statement).scalar_one_or_none()
    return 2**62 if found is None else found


def count_open(connection: Connection, book_id: int) -> dict[str, int]:
    """How many authorizations stand in each open state."""
    statement = (
        select(authorizations.c.state, func.count())
        .where(authorizations.c.book_id == book_id, authorizations.c.state.in_(("held", "pending_approval")))
        .group_by(authorizations.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def run(connection: Connection, book_id: int, reference: str) -> RunWithTotals | None:
    """The run of that name or id with its totals, or None."""
    statement = (
        select(runs)
        .where(runs.c.book_id == book_id, or_(runs.c.name == reference, runs.c.id == reference))
        .order_by((runs.c.name == reference).desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    if row is None:
        return None
    found = Run(*row)
    names = [found.name]
    totals, outcomes = _totals(connection, book_id, names), outcomes_of(connection, book_id, names)
    return RunWithTotals(found, totals.get(found.name, []), outcomes.get(found.name))


def list_runs(
    connection: Connection, book_id: int, *, agent: str | None = None, after: str | None = None, limit: int = 50
) -> Page[RunWithTotals]:
    """Runs with their totals, newest first (an id sorts by the time it was made), continuing after a run's id."""
    statement = select(runs).where(runs.c.book_id == book_id)
    if agent is not None:
        statement = statement.where(runs.c.agent == agent)
    if after is not None:
        statement = statement.where(runs.c.id < after)
    rows = connection.execute(statement.order_by(runs.c.id.desc()).limit(bounded(limit) + 1)).all()
    names = [row.name for row in rows]
    totals, outcomes = _totals(connection, book_id, names), outcomes_of(connection, book_id, names)

    def made(row: Any) -> RunWithTotals:
        return RunWithTotals(Run(*row), totals.get(row.name, []), outcomes.get(row.name))

    return page_of(rows, limit, made, lambda item: (item.run.id,))


def _totals(connection: Connection, book_id: int, names: list[str]) -> dict[str, list[RunTotal]]:
    statement = (
        select(run_totals)
        .where(run_totals.c.book_id == book_id, run_totals.c.run.in_(names))
        .order_by(run_totals.c.run, run_totals.c.currency)
    )
    totals: dict[str, list[RunTotal]] = {}
    for row in connection.execute(statement):
        totals.setdefault(row.run, []).append(RunTotal(*row))
    return totals
