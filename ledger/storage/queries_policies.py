"""Reading policies: what is live, every version there was, and what their limits have counted.

Invariant: wherever an id is taken, the name is too; every list is bounded.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, or_, select

from ledger.core.counter import Counter
from ledger.core.planning import CounterKey
from ledger.core.policy_row import Policy, PolicyVersion
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import counters, policies, policy_versions

KEYS_PER_STATEMENT: Final = 200
_INNER: Final = policies.alias()
# The names first, out of the index alone: asked for whole rows, SQLite reads every policy of the book.
_BOUND: Final = select(policies).where(
    policies.c.book_id == bindparam("book"),
    policies.c.name.in_(
        select(_INNER.c.name).where(
            _INNER.c.book_id == bindparam("book"),
            _INNER.c.scope_kind.in_(bindparam("kinds", expanding=True)),
            _INNER.c.scope.in_(bindparam("scopes", expanding=True)),
        )
    ),
    policies.c.retired == False,  # noqa: E712
)
_AFTER_ALL: Final = "\N{REPLACEMENT CHARACTER}"


class LivePolicy(NamedTuple):
    """A policy's row (its live version, or its last one once retired), and who made that version when
    (microseconds)."""

    policy: Policy
    made_by: str
    recorded_at: int


def _with_version(*conditions: ColumnElement[bool]) -> Select[Any]:
    joined = policies.join(
        policy_versions,
        and_(
            policy_versions.c.book_id == policies.c.book_id,
            policy_versions.c.policy == policies.c.name,
            policy_versions.c.version == policies.c.version,
        ),
    )
    columns = (policies, policy_versions.c.made_by, policy_versions.c.recorded_at)
    return select(*columns).select_from(joined).where(*conditions)


def _live(row: Row[Any]) -> LivePolicy:
    values = tuple(row)
    return LivePolicy(_policy(values[:-2]), *values[-2:])


def _policy(values: Sequence[Any]) -> Policy:
    made = Policy(*values)
    made.retired = bool(made.retired)
    return made


def policy(connection: Connection, book_id: int, reference: str) -> LivePolicy | None:
    """The policy of that name or id, or None."""
    # A name wins over an id that is spelled alike.
    statement = (
        _with_version(policies.c.book_id == book_id, or_(policies.c.name == reference, policies.c.id == reference))
        .order_by((policies.c.name == reference).desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else _live(row)


def list_policies(
    connection: Connection, book_id: int, *, after: str | None = None, limit: int = 50, retired: bool = False
) -> Page[LivePolicy]:
    """Policies by name: those in force, or with ``retired`` all there ever were."""
    conditions: list[ColumnElement[bool]] = [policies.c.book_id == book_id]
    if not retired:
        conditions.append(policies.c.retired == False)  # noqa: E712
    if after is not None:
        conditions.append(policies.c.name > after)
    statement = _with_version(*conditions).order_by(policies.c.name).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, _live, lambda item: (item.policy.name,))


def list_versions(
    connection: Connection, book_id: int, name: str, *, after: int | None = None, limit: int = 50
) -> Page[PolicyVersion]:
    """The versions of the policy of that name, newest first, continuing after a version."""
    conditions = [policy_versions.c.book_id == book_id, policy_versions.c.policy == name]
    if after is not None:
        conditions.append(policy_versions.c.version < after)
    statement = (
        select(policy_versions).where(*conditions).order_by(policy_versions.c.version.desc()).limit(bounded(limit) + 1)
    )
    rows = connection.execute(statement).all()
    return page_of(rows, limit, lambda row: PolicyVersion(*row), lambda item: (item.version,))


def policy_version(connection: Connection, book_id: int, name: str, version: int) -> PolicyVersion | None:
    """One version of the policy of that name, or None."""
    row = connection.execute(
        select(policy_versions).where(
            policy_versions.c.book_id == book_id,
            policy_versions.c.policy == name,
            policy_versions.c.version == version,
        )
    ).one_or_none()
    return None if row is None else PolicyVersion(*row)


def bound_to(
    connection: Connection, book_id: int, scopes: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Policy, ...]]:
    """The policies in force of each of these scopes (kind, name), by name."""
    found: dict[tuple[str, str], list[Policy]] = {}
    for at in range(0, len(scopes), KEYS_PER_STATEMENT):
        wanted = set(scopes[at : at + KEYS_PER_STATEMENT])
        asked = {
            "book": book_id,
            "kinds": sorted({kind for kind, _ in wanted}),
            "scopes": sorted({name for _, name in wanted}),
        }
        for row in connection.execute(_BOUND, asked):
            made = _policy(row)
            if (made.scope_kind, made.scope) in wanted:
                found.setdefault((made.scope_kind, made.scope), []).append(made)
    return {scope: tuple(sorted(rows, key=lambda row: row.name)) for scope, rows in found.items()}


def counters_at(connection: Connection, book_id: int, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
    """Counters by (meter, key); what was never counted is absent."""
    found: dict[CounterKey, Counter] = {}
    # Meter by meter: SQLite reads every counter of the book for a list of pairs.
    for meter, of_meter in groupby(sorted(keys), key=itemgetter(0)):
        names = [key for _, key in of_meter]
        for at in range(0, len(names), KEYS_PER_STATEMENT):
            statement = select(counters).where(
                counters.c.book_id == book_id,
                counters.c.meter == meter,
                counters.c.key.in_(names[at : at + KEYS_PER_STATEMENT]),
            )
            for row in connection.execute(statement):
                found[row.meter, row.key] = Counter(*row)
    return found


def counters_of(connection: Connection, book_id: int, meter: int, *, prefix: str = "", limit: int) -> list[Counter]:
    """The first ``limit`` counters of a meter whose key begins with ``prefix``, by key."""
    conditions = [counters.c.book_id == book_id, counters.c.meter == meter]
    if prefix:
        conditions += [counters.c.key >= prefix, counters.c.key < prefix + _AFTER_ALL]
    statement = select(counters).where(*conditions).order_by(counters.c.key).limit(limit)
    return [Counter(*row) for row in connection.execute(statement)]
