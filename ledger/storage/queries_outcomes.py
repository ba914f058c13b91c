"""Reading what was reported of runs, and the runs of a period.

Every function reads as of a log size. Invariant: the cost is a look-up for each run that is asked for, and runs of a
period are a stretch of one index.
"""

from collections.abc import Collection

from sqlalchemy import BigInteger, Connection, literal, select, tuple_

from ledger.core.run import Run, RunOutcome
from ledger.storage.keyed import rows_by_key
from ledger.storage.tables import run_outcomes, runs


def outcomes_of(
    connection: Connection, book_id: int, names: Collection[str], *, size: int | None = None
) -> dict[str, RunOutcome]:
    """Run to the last that was reported of it, as the first ``size`` records say (None: all); of those of which
    something was."""
    if not names:
        return {}
    columns = run_outcomes.c
    conditions = () if size is None else (columns.created_index < size,)
    found: dict[str, RunOutcome] = {}
    for row in rows_by_key(connection, run_outcomes, book_id, columns.run, names, *conditions):
        known = found.get(row.run)
        if known is None or known.created_index < row.created_index:
            found[row.run] = RunOutcome(*row)
    return found


def list_opened(
    connection: Connection,
    book_id: int,
    *,
    starts_at: int,
    ends_at: int,
    size: int,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Run]:
    """Runs that were opened from ``starts_at`` (included) to ``ends_at`` (not included), oldest first, continuing after
    (opened_at, name); at most ``limit``."""
    columns = runs.c
    low = after if after is not None else (starts_at, "")
    statement = (
        select(runs)
        .where(
            columns.book_id == book_id,
            tuple_(columns.opened_at, columns.name) > tuple_(literal(low[0], BigInteger), literal(low[1])),
            columns.opened_at < ends_at,
            columns.created_index < size,
        )
        .order_by(columns.opened_at, columns.name)
        .limit(limit)
    )
    return [Run(*row) for row in connection.execute(statement)]
