"""Reading the log for alerts: which books are watched and from where, what is remembered, and telling what was found.

Invariant: ``tell`` moves the cursor from where it was read, or does nothing; so what a record gives is made once,
whatever processes read it.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, case, func, insert, or_, select, update

from ledger.core.alert_memory import Event, Memory, Place
from ledger.core.alerts import SILENT_KINDS, event_id, payload_of
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.moment import moment_of
from ledger.core.webhook import wants
from ledger.storage.errors import Conflict
from ledger.storage.tables import book_heads, books, log_records, units, webhook_endpoints
from ledger.storage.tables_webhooks import (
    PENDING,
    watch_cursors,
    watch_states,
    webhook_deliveries,
    webhook_events,
    webhook_health,
)

_PLACES_PER_STATEMENT: Final = 500


class Watched(NamedTuple):
    """A book with an endpoint: its log's size, the first index an endpoint may be told of, where reading goes on."""

    book_id: int
    size: int
    first_index: int
    next_index: int


class Listener(NamedTuple):
    """An endpoint that is told: what it asked for, and from which record on."""

    id: str
    events: str
    created_index: int


def watched_books(connection: Connection) -> list[Watched]:
    """Every book with an endpoint that was not removed."""
    first = (
        select(webhook_endpoints.c.book_id, func.min(webhook_endpoints.c.created_index).label("first_index"))
        .where(webhook_endpoints.c.removed_at.is_(None))
        .group_by(webhook_endpoints.c.book_id)
        .subquery()
    )
    statement = (
        select(first.c.book_id, book_heads.c.size, first.c.first_index, watch_cursors.c.next_index)
        .join(book_heads, book_heads.c.book_id == first.c.book_id)
        .outerjoin(watch_cursors, watch_cursors.c.book_id == first.c.book_id)
    )
    return [
        Watched(book_id, size, first_index, max(first_index, next_index or 0))
        for book_id, size, first_index, next_index in connection.execute(statement)
    ]


def hold_cursor(connection: Connection, book: Watched, *, holder: str, now: int, until: int) -> bool:
    """Take or keep the right to read a book until ``until`` (microseconds). False when another process has it.

    It spares work and nothing more: that an event is made once is what ``tell`` sees to.
    """
    changed = connection.execute(
        update(watch_cursors)
        .where(
            watch_cursors.c.book_id == book.book_id,
            or_(watch_cursors.c.holder == holder, watch_cursors.c.held_until <= now),
        )
        .values(holder=holder, held_until=until)
    ).rowcount
    if changed:
        return True
    there = select(watch_cursors.c.book_id).where(watch_cursors.c.book_id == book.book_id)
    if connection.execute(there).one_or_none() is not None:
        return False
    connection.execute(
        insert(watch_cursors).values(
            book_id=book.book_id, next_index=book.next_index, holder=holder, held_until=until, swept_at=now
        )
    )
    return True


def cursor(connection: Connection, book_id: int) -> int | None:
    """The index that a book is read from next, or None when nobody has read it."""
    statement = select(watch_cursors.c.next_index).where(watch_cursors.c.book_id == book_id)
    found: int | None = connection.execute(statement).scalar_one_or_none()
    return found


def bodies(connection: Connection, book_id: int, start: int, limit: int) -> list[tuple[int, bytes | None]]:
    """(index, body) of at most ``limit`` records from ``start`` on; no body of a record that tells nothing."""
    body = case((log_records.c.kind.not_in(SILENT_KINDS), log_records.c.body), else_=None)
    statement = (
        select(log_records.c.log_index, body)
        .where(log_records.c.book_id == book_id, log_records.c.log_index >= start)
        .order_by(log_records.c.log_index)
        .limit(limit)
    )
    return [(index, None if body is None else bytes(body)) for index, body in connection.execute(statement)]


def memory(connection: Connection, book_id: int, places: Collection[Place], currencies: Collection[str]) -> Memory:
    """What is remembered about ``places``, with the book's time zone and the digits of its units."""
    timezone = connection.execute(select(books.c.timezone).where(books.c.book_id == book_id)).scalar_one()
    scales = connection.execute(
        select(units.c.name, units.c.digits).where(units.c.book_id == book_id, units.c.name.in_(sorted(currencies)))
    )
    digits = {row.name: row.digits for row in scales}
    return Memory(timezone=timezone, values=values_at(connection, book_id, places), units=digits)


def values_at(connection: Connection, book_id: int, places: Collection[Place]) -> dict[Place, Any]:
    """What is remembered about places; what nothing is remembered of is absent."""
    values: dict[Place, Any] = {}
    # Kind by kind: SQLite reads everything that is remembered of the book for a list of pairs.
    for kind, of_kind in groupby(sorted(places), key=itemgetter(0)):
        names = [name for _, name in of_kind]
        for start in range(0, len(names), _PLACES_PER_STATEMENT):
            statement = select(watch_states.c.name, watch_states.c.value).where(
                watch_states.c.book_id == book_id,
                watch_states.c.kind == kind,
                watch_states.c.name.in_(names[start : start + _PLACES_PER_STATEMENT]),
            )
            for name, value in connection.execute(statement):
                values[kind, name] = parse(value.encode())
    return values


def listeners(connection: Connection, book_id: int) -> list[Listener]:
    """The endpoints of a book that are neither removed nor disabled."""
    statement = (
        select(webhook_endpoints.c.id, webhook_endpoints.c.events, webhook_endpoints.c.created_index)
        .outerjoin(
            webhook_health,
            and_(
                webhook_health.c.book_id == webhook_endpoints.c.book_id,
                webhook_health.c.webhook == webhook_endpoints.c.id,
            ),
        )
        .where(
            webhook_endpoints.c.book_id == book_id,
            webhook_endpoints.c.removed_at.is_(None),
            webhook_health.c.disabled_at.is_(None),
        )
    )
    return [Listener(*row) for row in connection.execute(statement)]


def delivery_row(book_id: int, webhook: str, event: str, log_index: int, now: int) -> dict[str, Any]:
    """A delivery that waits for its first attempt."""
    return {
        "book_id": book_id, "webhook": webhook, "event": event, "log_index": log_index, "state": PENDING,
        "attempts": 0, "next_at": now, "attempted_at": None, "result": None,
    }  # fmt: skip


def tell(
    connection: Connection,
    book_id: int,
    *,
    read_from: int,
    read_to: int,
    events: Sequence[Event],
    remembered: Mapping[Place, Any],
    known: Collection[Place],
    listening: Sequence[Listener],
    now: int,
) -> None:
    """Move the cursor from ``read_from`` to ``read_to`` and keep what was found between: the events, a delivery for
    each endpoint that asked, and what must be remembered (None: nothing; ``known`` are places that had a value).

    Raises Conflict, having changed nothing, when the cursor is not at ``read_from`` any more.
    """
    # First, because it locks the row: a second process waits here, and then finds the cursor moved.
    moved = connection.execute(
        update(watch_cursors)
        .where(watch_cursors.c.book_id == book_id, watch_cursors.c.next_index == read_from)
        .values(next_index=read_to)
    ).rowcount
    if moved != 1:
        raise Conflict(f"the log of book {book_id} was read from {read_from} by another process")
    rows, deliveries = [], []
    for found in events:
        identity = event_id(book_id, found)
        rows.append(
            {
                "book_id": book_id, "id": identity, "log_index": found.log_index, "ordinal": found.ordinal,
                "type": found.type, "created_at": moment_of(found.time), "payload": payload_of(found),
            }
        )  # fmt: skip
        deliveries += [
            delivery_row(book_id, listener.id, identity, found.log_index, now)
            for listener in listening
            if listener.created_index <= found.log_index and wants(listener.events, found.type)
        ]
    if rows:
        connection.execute(insert(webhook_events), rows)
    if deliveries:
        connection.execute(insert(webhook_deliveries), deliveries)
    _remember(connection, book_id, remembered, known, now)


def _remember(
    connection: Connection, book_id: int, remembered: Mapping[Place, Any], known: Collection[Place], now: int
) -> None:
    new = []
    for (kind, name), value in remembered.items():
        match = and_(watch_states.c.book_id == book_id, watch_states.c.kind == kind, watch_states.c.name == name)
        if value is None:
            connection.execute(watch_states.delete().where(match))
            continue
        packed = canonical_bytes(value).decode()
        if (kind, name) in known:
            connection.execute(update(watch_states).where(match).values(value=packed, changed_at=now))
        else:
            new.append({"book_id": book_id, "kind": kind, "name": name, "value": packed, "changed_at": now})
    if new:
        connection.execute(insert(watch_states), new)
