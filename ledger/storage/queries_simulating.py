"""Reading the past for a simulation: the records that it looks at, page by page, and when runs were opened.

Invariant: every read is bounded by a range of the log or by a list of names.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from ledger.storage.queries_filling import KEYS_PER_STATEMENT
from ledger.storage.tables import runs

_PAGE = text(
    "SELECT log_index, kind, recorded_at, body FROM log_records"
    " WHERE book_id = :book AND log_index >= :start AND log_index < :stop AND kind IN :kinds ORDER BY log_index"
).bindparams(bindparam("kinds", expanding=True))


def past(
    connection: Connection, book_id: int, *, start: int, stop: int, kinds: Collection[str]
) -> Sequence[tuple[int, str, int, bytes]]:
    """(index, kind, moment in microseconds, body) of the records of these kinds in a range of the log, in order."""
    found: Sequence[Any] = connection.execute(
        _PAGE, {"book": book_id, "start": start, "stop": stop, "kinds": sorted(kinds)}
    ).all()
    return found


def runs_opened(connection: Connection, book_id: int, names: Sequence[str]) -> dict[str, int]:
    """Name to the index of the record that opened it, of those runs of ``names`` that were opened."""
    opened: dict[str, int] = {}
    for at in range(0, len(names), KEYS_PER_STATEMENT):
        statement = select(runs.c.name, runs.c.created_index).where(
            runs.c.book_id == book_id, runs.c.name.in_(names[at : at + KEYS_PER_STATEMENT])
        )
        opened.update({row[0]: row[1] for row in connection.execute(statement)})
    return opened
