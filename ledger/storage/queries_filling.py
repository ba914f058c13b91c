"""Reading history to fill new limits: which authorizations and runs stand behind a stretch of the log, and its bodies.

Invariant: what one function reads on one connection is one moment; every read is bounded by a range of the log.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from ledger.core.authorization import Authorization
from ledger.core.policy_row import Policy
from ledger.core.run import Run
from ledger.storage.archive_rows import last_range, refuse_archived
from ledger.storage.tables import agents, authorizations, book_heads, budgets, log_records, policies, runs, units

KEYS_PER_STATEMENT: Final = 500
_COUNTED: Final = ("hold", "approval_requested", "charge", "extension", "run")


class Happened(NamedTuple):
    """A record that may have begun a use: its index, kind and subject."""

    log_index: int
    kind: str
    subject: str


def standing(connection: Connection, book_id: int) -> tuple[int, int] | None:
    """(log size, time of the last record in microseconds), or None where there is no such book."""
    row = connection.execute(
        select(book_heads.c.size, book_heads.c.recorded_at).where(book_heads.c.book_id == book_id)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def live_policy(connection: Connection, book_id: int, name: str) -> Policy | None:
    """The live row of a policy, or None."""
    row = connection.execute(
        select(policies).where(policies.c.book_id == book_id, policies.c.name == name)
    ).one_or_none()
    if row is None:
        return None
    found = Policy(*row)
    found.retired = bool(found.retired)
    return found


def unit_digits(connection: Connection, book_id: int, name: str) -> int | None:
    """Digits of a unit of the book, or None."""
    statement = select(units.c.digits).where(units.c.book_id == book_id, units.c.name == name)
    return connection.execute(statement).scalar_one_or_none()


def paths(connection: Connection, book_id: int) -> tuple[dict[str, str], dict[str, str]]:
    """(path of every agent, path of every budget), by name."""
    found = []
    for table in (agents, budgets):
        rows = connection.execute(select(table.c.name, table.c.path).where(table.c.book_id == book_id))
        found.append({row[0]: row[1] for row in rows})
    return found[0], found[1]


def first_index_at(connection: Connection, book_id: int, moment: int) -> int | None:
    """The index of the first record at or after ``moment`` (microseconds), or None. Raises RecordArchived where it, or
    records behind it, are archived."""
    archived = last_range(connection, book_id)
    if archived is not None and moment <= archived.last_recorded_at:
        refuse_archived(connection, book_id, archived.stop - 1)
    statement = (
        select(log_records.c.log_index)
        .where(log_records.c.book_id == book_id, log_records.c.recorded_at >= moment)
        .order_by(log_records.c.recorded_at, log_records.c.log_index)
        .limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()


def happened(connection: Connection, book_id: int, *, start: int, stop: int) -> list[Happened]:
    """What began uses in a range of the log, in order."""
    statement = (
        select(log_records.c.log_index, log_records.c.kind, log_records.c.subject)
        .where(
            log_records.c.book_id == book_id,
            log_records.c.log_index >= start,
            log_records.c.log_index < stop,
            log_records.c.kind.in_(_COUNTED),
        )
        .order_by(log_records.c.log_index)
    )
    return [Happened(*row) for row in connection.execute(statement)]


def authorizations_by_id(connection: Connection, book_id: int, ids: Sequence[str]) -> dict[str, Authorization]:
    """Authorizations and charges by id."""
    found: dict[str, Authorization] = {}
    for at in range(0, len(ids), KEYS_PER_STATEMENT):
        statement = select(authorizations).where(
            authorizations.c.book_id == book_id, authorizations.c.id.in_(ids[at : at + KEYS_PER_STATEMENT])
        )
        for row in connection.execute(statement):
            found[row.id] = Authorization(*row)
    return found


def runs_by_name(connection: Connection, book_id: int, names: Sequence[str]) -> list[Run]:
    """Runs by name."""
    found: list[Run] = []
    for at in range(0, len(names), KEYS_PER_STATEMENT):
        statement = select(runs).where(runs.c.book_id == book_id, runs.c.name.in_(names[at : at + KEYS_PER_STATEMENT]))
        found += [Run(*row) for row in connection.execute(statement)]
    return found


def bodies_of(connection: Connection, book_id: int, *, start: int, stop: int) -> list[bytes]:
    """The bodies of a range of the log, in order."""
    statement = (
        select(log_records.c.body)
        .where(log_records.c.book_id == book_id, log_records.c.log_index >= start, log_records.c.log_index < stop)
        .order_by(log_records.c.log_index)
    )
    return [bytes(body) for body in connection.execute(statement).scalars()]


def bodies_at(connection: Connection, book_id: int, indexes: Sequence[int]) -> dict[int, bytes]:
    """Bodies by log index. Raises RecordArchived."""
    found: dict[int, bytes] = {}
    for at in range(0, len(indexes), KEYS_PER_STATEMENT):
        statement = select(log_records.c.log_index, log_records.c.body).where(
            log_records.c.book_id == book_id, log_records.c.log_index.in_(indexes[at : at + KEYS_PER_STATEMENT])
        )
        found.update({row[0]: bytes(row[1]) for row in connection.execute(statement)})
    for index in indexes:
        if index not in found:
            refuse_archived(connection, book_id, index)
    return found


def size_of(connection: Connection, book_id: int) -> int:
    """The log's size."""
    return connection.execute(
        select(func.coalesce(func.max(book_heads.c.size), 0)).where(book_heads.c.book_id == book_id)
    ).scalar_one()
