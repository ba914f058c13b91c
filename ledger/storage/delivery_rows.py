"""Deliveries: what is due for which endpoint, claiming it, and keeping how it went.

Invariant: a delivery is claimed by moving its ``next_at`` from where it was read, so two processes never send it at
the same time; what was claimed and never finished is due again.
"""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.core.alert_memory import LIMIT
from ledger.core.alerts import named_event_id
from ledger.core.canonical import canonical_bytes
from ledger.core.moment import moment_text
from ledger.core.webhook import DISABLED_TYPE, Webhook, wants
from ledger.storage.tables import books, webhook_endpoints
from ledger.storage.tables_webhooks import (
    DELIVERED,
    DROPPED,
    FAILED,
    PENDING,
    watch_cursors,
    watch_states,
    webhook_deliveries,
    webhook_events,
    webhook_health,
    webhook_secrets,
)
from ledger.storage.watch_rows import cursor, delivery_row, listeners

SWEPT_AT_ONCE: Final = 500
SECRET_KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long a secret may be without an endpoint: the command that names it follows at once, or never."""


class Claim(NamedTuple):
    """One attempt at one delivery. ``attempts`` counts this one; ``until`` is when the claim ends."""

    book_id: int
    webhook: str
    event: str
    payload: bytes
    attempts: int
    until: int


class Due(NamedTuple):
    """An endpoint for which something is due, with the secrets that sign, newest first."""

    endpoint: Webhook
    secrets: tuple[bytes, ...]


def due_endpoints(connection: Connection, now: int) -> list[Due]:
    """Endpoints that are neither removed nor disabled and have something to be sent by ``now``."""
    d, e = webhook_deliveries, webhook_endpoints
    next_at = (
        select(func.min(d.c.next_at))
        .where(d.c.book_id == e.c.book_id, d.c.webhook == e.c.id, d.c.state == PENDING)
        .scalar_subquery()
    )
    rows = connection.execute(select(e).where(_active(), next_at <= now)).all()
    return [Due(endpoint, secrets_of(connection, endpoint, now)) for endpoint in (Webhook(*row) for row in rows)]


def _active() -> Any:
    disabled = (
        select(webhook_health.c.webhook)
        .where(
            webhook_health.c.book_id == webhook_endpoints.c.book_id,
            webhook_health.c.webhook == webhook_endpoints.c.id,
            webhook_health.c.disabled_at.is_not(None),
        )
        .exists()
    )
    return and_(webhook_endpoints.c.removed_at.is_(None), ~disabled)


def secrets_of(connection: Connection, endpoint: Webhook, now: int) -> tuple[bytes, ...]:
    """The secrets that sign for an endpoint at ``now``, newest first."""
    names = [endpoint.secret]
    if endpoint.previous_secret is not None and (endpoint.previous_until or 0) > now:
        names.append(endpoint.previous_secret)
    statement = select(webhook_secrets.c.id, webhook_secrets.c.secret).where(
        webhook_secrets.c.book_id == endpoint.book_id, webhook_secrets.c.id.in_(names)
    )
    found = {name: bytes(secret) for name, secret in connection.execute(statement)}
    return tuple(found[name] for name in names if name in found)


def claim(connection: Connection, endpoint: Webhook, *, now: int, until: int, limit: int) -> list[Claim]:
    """Claim at most ``limit`` deliveries to an endpoint that are due, the longest due first, until ``until``."""
    d, e = webhook_deliveries, webhook_events
    rows = connection.execute(
        select(d.c.event, d.c.attempts, d.c.next_at, e.c.payload)
        .join(e, and_(e.c.book_id == d.c.book_id, e.c.id == d.c.event))
        .where(d.c.book_id == endpoint.book_id, d.c.webhook == endpoint.id, d.c.state == PENDING, d.c.next_at <= now)
        .order_by(d.c.next_at)
        .limit(limit)
    ).all()
    claims = []
    for event, attempts, next_at, payload in rows:
        claimed = connection.execute(
            update(d)
            .where(_delivery(endpoint.book_id, endpoint.id, event), d.c.state == PENDING, d.c.next_at == next_at)
            .values(next_at=until, attempts=attempts + 1, attempted_at=now)
        ).rowcount
        if claimed == 1:
            claims.append(Claim(endpoint.book_id, endpoint.id, event, bytes(payload), attempts + 1, until))
    return claims


def _delivery(book_id: int, webhook: str, event: str) -> Any:
    d = webhook_deliveries
    return and_(d.c.book_id == book_id, d.c.webhook == webhook, d.c.event == event)


def finish(connection: Connection, made: Claim, *, result: str, delivered: bool, next_at: int | None) -> bool:
    """Keep how an attempt went: delivered; to be tried again at ``next_at``; or, without it, given up. False when the
    claim is no longer the caller's: its time was over, or somebody asked for the event to be sent again."""
    d = webhook_deliveries
    values: dict[str, Any] = {"result": result}
    if delivered:
        values["state"] = DELIVERED
    elif next_at is None:
        values["state"] = FAILED
    else:
        values["next_at"] = next_at
    changed = connection.execute(
        update(d)
        .where(
            _delivery(made.book_id, made.webhook, made.event),
            d.c.state == PENDING,
            d.c.attempts == made.attempts,
            d.c.next_at == made.until,
        )
        .values(**values)
    ).rowcount
    return bool(changed)


def note_success(connection: Connection, made: Claim) -> None:
    """The endpoint answers again."""
    connection.execute(
        update(webhook_health)
        .where(_health(made.book_id, made.webhook), webhook_health.c.failing_since.is_not(None))
        .values(failing_since=None)
    )


def note_failure(connection: Connection, made: Claim, *, now: int) -> int:
    """The endpoint failed; since when it has only failed (microseconds)."""
    h = webhook_health
    _ensure_health(connection, made.book_id, made.webhook)
    connection.execute(
        update(h).where(_health(made.book_id, made.webhook)).values(failing_since=func.coalesce(h.c.failing_since, now))
    )
    since: int = connection.execute(select(h.c.failing_since).where(_health(made.book_id, made.webhook))).scalar_one()
    return since


def _ensure_health(connection: Connection, book_id: int, webhook: str) -> None:
    """Have a row that says nothing yet, unless there is one."""
    insert_in = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert_in(webhook_health).values(book_id=book_id, webhook=webhook).on_conflict_do_nothing())


def _health(book_id: int, webhook: str) -> Any:
    return and_(webhook_health.c.book_id == book_id, webhook_health.c.webhook == webhook)


def disable(connection: Connection, book_id: int, webhook: str, *, reason: str, now: int) -> bool:
    """Send nothing more to an endpoint until an admin enables it: what waits for it is dropped, and the book's other
    endpoints are told. False when it was disabled before."""
    h = webhook_health
    _ensure_health(connection, book_id, webhook)
    changed = connection.execute(
        update(h).where(_health(book_id, webhook), h.c.disabled_at.is_(None)).values(disabled_at=now, reason=reason)
    ).rowcount
    if not changed:
        return False
    drop_waiting(connection, book_id, webhook)
    name = connection.execute(select(books.c.name).where(books.c.book_id == book_id)).scalar_one()
    data = {"book": name, "webhook": webhook, "reason": reason}
    add_event(connection, book_id, kind=DISABLED_TYPE, name=f"{webhook}\x00{now}", data=data, now=now)
    return True


def enable(connection: Connection, book_id: int, webhook: str) -> None:
    """Send to an endpoint again, from what happens next on."""
    connection.execute(
        update(webhook_health)
        .where(_health(book_id, webhook))
        .values(disabled_at=None, failing_since=None, reason=None)
    )


def drop_waiting(connection: Connection, book_id: int, webhook: str) -> int:
    """Give up every delivery that waits for an endpoint; how many there were."""
    d = webhook_deliveries
    return connection.execute(
        update(d).where(d.c.book_id == book_id, d.c.webhook == webhook, d.c.state == PENDING).values(state=DROPPED)
    ).rowcount


def add_event(
    connection: Connection,
    book_id: int,
    *,
    kind: str,
    name: str,
    data: dict[str, Any],
    now: int,
    only: str | None = None,
) -> str:
    """Make an event that derives from no record, for every endpoint that asked for its type, or ``only`` for one.
    Returns its id."""
    identity = named_event_id(f"{book_id}\x00{kind}\x00{name}")
    place = cursor(connection, book_id) or 0
    payload = canonical_bytes({"type": kind, "timestamp": moment_text(now), "data": data})
    connection.execute(
        insert(webhook_events).values(
            book_id=book_id, id=identity, log_index=place, ordinal=0, type=kind, created_at=now, payload=payload
        )
    )
    if only is not None:
        told = [only]
    else:
        told = [listener.id for listener in listeners(connection, book_id) if wants(listener.events, kind)]
    if told:
        rows = [delivery_row(book_id, webhook, identity, place, now) for webhook in told]
        connection.execute(insert(webhook_deliveries), rows)
    return identity


def send_again(connection: Connection, book_id: int, event: str, webhooks: list[str], *, now: int) -> None:
    """Have an event sent to endpoints as if for the first time. Raises LookupError for an event that is not there."""
    e, d = webhook_events, webhook_deliveries
    place = connection.execute(
        select(e.c.log_index).where(e.c.book_id == book_id, e.c.id == event)
    ).scalar_one_or_none()
    if place is None:
        raise LookupError(f"there is no event {event}")
    for webhook in webhooks:
        fresh = delivery_row(book_id, webhook, event, place, now)
        there = connection.execute(
            update(d)
            .where(_delivery(book_id, webhook, event))
            .values(state=PENDING, attempts=0, next_at=now, result=None)
        ).rowcount
        if not there:
            connection.execute(insert(d).values(**fresh))


def add_secret(connection: Connection, book_id: int, name: str, secret: bytes, *, now: int) -> None:
    """Keep a secret under a name, for the command that will name it."""
    connection.execute(insert(webhook_secrets).values(book_id=book_id, id=name, secret=secret, created_at=now))


def forget_secret(connection: Connection, book_id: int, name: str) -> None:
    """Drop a secret whose command was refused."""
    connection.execute(
        delete(webhook_secrets).where(webhook_secrets.c.book_id == book_id, webhook_secrets.c.id == name)
    )


# Sweeping.


def books_to_sweep(connection: Connection, before: int) -> list[int]:
    """Books that were last swept before ``before`` (microseconds)."""
    statement = select(watch_cursors.c.book_id).where(watch_cursors.c.swept_at < before)
    return list(connection.execute(statement).scalars())


def sweep(connection: Connection, book_id: int, *, told_before: int, now: int) -> int:
    """Remove what is no longer needed: events told before ``told_before`` with their deliveries, at most
    ``SWEPT_AT_ONCE``; secrets that nothing names; and drop what waits for removed endpoints. Returns how many events
    went; while that is ``SWEPT_AT_ONCE``, there are more. Two processes may sweep at once: nothing goes that should
    stay."""
    c, e, d, s, w = watch_cursors, webhook_events, webhook_deliveries, webhook_secrets, webhook_endpoints
    rows = connection.execute(
        select(e.c.id, e.c.created_at).where(e.c.book_id == book_id).order_by(e.c.log_index).limit(SWEPT_AT_ONCE)
    ).all()
    old = [event for event, created_at in rows if created_at < told_before]
    if len(old) < SWEPT_AT_ONCE:
        connection.execute(update(c).where(c.c.book_id == book_id).values(swept_at=now))
    if old:
        connection.execute(delete(d).where(d.c.book_id == book_id, d.c.event.in_(old)))
        connection.execute(delete(e).where(e.c.book_id == book_id, e.c.id.in_(old)))
    endpoints = [Webhook(*row) for row in connection.execute(select(w).where(w.c.book_id == book_id))]
    named = [name for row in endpoints if row.removed_at is None for name in (row.secret, row.previous_secret) if name]
    connection.execute(
        delete(s).where(s.c.book_id == book_id, s.c.created_at < now - SECRET_KEPT_US, s.c.id.not_in(named))
    )
    # What a limit was told of long ago is told anew at worst; limits per run would otherwise pile up for ever.
    connection.execute(
        delete(watch_states).where(
            watch_states.c.book_id == book_id, watch_states.c.kind == LIMIT, watch_states.c.changed_at < told_before
        )
    )
    for row in endpoints:
        if row.removed_at is not None:
            drop_waiting(connection, book_id, row.id)
    return len(old)
