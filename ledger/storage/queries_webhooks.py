"""Reading endpoints, events and deliveries, as lists show them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, literal, select, tuple_

from ledger.core.webhook import Webhook
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import webhook_endpoints
from ledger.storage.tables_webhooks import webhook_deliveries, webhook_events, webhook_health

DELIVERIES_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint and how it has been answering; times in microseconds."""

    webhook: Webhook
    failing_since: int | None
    disabled_at: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class EventView:
    """An event as it is sent."""

    id: str
    log_index: int
    type: str
    created_at: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """How sending one event to one endpoint has gone; times in microseconds."""

    webhook: str
    event: str
    log_index: int
    type: str
    state: str
    attempts: int
    next_at: int
    attempted_at: int | None
    result: str | None


def _endpoints() -> Any:
    w, h = webhook_endpoints, webhook_health
    return select(w, h.c.failing_since, h.c.disabled_at, h.c.reason).outerjoin(
        h, and_(h.c.book_id == w.c.book_id, h.c.webhook == w.c.id)
    )


def _endpoint(row: Any) -> EndpointView:
    return EndpointView(Webhook(*row[:-3]), *row[-3:])


def endpoint(connection: Connection, book_id: int, webhook: str) -> EndpointView | None:
    """One endpoint, also one that was removed, or None."""
    w = webhook_endpoints
    row = connection.execute(_endpoints().where(w.c.book_id == book_id, w.c.id == webhook)).one_or_none()
    return None if row is None else _endpoint(row)


def count_endpoints(connection: Connection, book_id: int) -> int:
    """How many endpoints of a book were not removed."""
    w = webhook_endpoints
    statement = select(func.count()).where(w.c.book_id == book_id, w.c.removed_at.is_(None))
    return int(connection.execute(statement).scalar_one())


def list_endpoints(
    connection: Connection, book_id: int, *, after: str | None = None, limit: int = 50
) -> Page[EndpointView]:
    """Endpoints that were not removed, oldest first, continuing after an id."""
    w = webhook_endpoints
    statement = _endpoints().where(w.c.book_id == book_id, w.c.removed_at.is_(None))
    if after is not None:
        statement = statement.where(w.c.id > after)
    rows = connection.execute(statement.order_by(w.c.id).limit(bounded(limit) + 1)).all()
    return page_of(rows, limit, _endpoint, lambda item: (item.webhook.id,))


def event(connection: Connection, book_id: int, identity: str) -> EventView | None:
    """One event, or None."""
    e = webhook_events
    row = connection.execute(
        select(e.c.id, e.c.log_index, e.c.type, e.c.created_at, e.c.payload).where(
            e.c.book_id == book_id, e.c.id == identity
        )
    ).one_or_none()
    return None if row is None else EventView(*row)


def list_events(
    connection: Connection,
    book_id: int,
    *,
    kind: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int = 50,
) -> Page[EventView]:
    """Events, newest first, continuing after a (log index, id)."""
    e = webhook_events
    statement = select(e.c.id, e.c.log_index, e.c.type, e.c.created_at, e.c.payload).where(e.c.book_id == book_id)
    if kind is not None:
        statement = statement.where(e.c.type == kind)
    if after is not None:
        statement = statement.where(tuple_(e.c.log_index, e.c.id) < tuple_(*map(literal, after)))
    rows = connection.execute(statement.order_by(e.c.log_index.desc(), e.c.id.desc()).limit(bounded(limit) + 1)).all()
    return page_of(rows, limit, lambda row: EventView(*row), lambda item: (item.log_index, item.id))


def _deliveries() -> Any:
    d, e = webhook_deliveries, webhook_events
    return select(
        d.c.webhook, d.c.event, d.c.log_index, e.c.type, d.c.state, d.c.attempts, d.c.next_at, d.c.attempted_at,
        d.c.result,
    ).join(e, and_(e.c.book_id == d.c.book_id, e.c.id == d.c.event))  # fmt: skip


def deliveries_of(connection: Connection, book_id: int, identity: str) -> list[DeliveryView]:
    """The deliveries of an event, by endpoint, at most ``DELIVERIES_SHOWN_MAX``."""
    d = webhook_deliveries
    statement = _deliveries().where(d.c.book_id == book_id, d.c.event == identity)
    return [
        DeliveryView(*row) for row in connection.execute(statement.order_by(d.c.webhook).limit(DELIVERIES_SHOWN_MAX))
    ]


def list_deliveries(
    connection: Connection,
    book_id: int,
    webhook: str,
    *,
    state: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int = 50,
) -> Page[DeliveryView]:
    """The deliveries to an endpoint, newest event first, continuing after a (log index, event)."""
    d = webhook_deliveries
    statement = _deliveries().where(d.c.book_id == book_id, d.c.webhook == webhook)
    if state is not None:
        statement = statement.where(d.c.state == state)
    if after is not None:
        statement = statement.where(tuple_(d.c.log_index, d.c.event) < tuple_(*map(literal, after)))
    rows = connection.execute(
        statement.order_by(d.c.log_index.desc(), d.c.event.desc()).limit(bounded(limit) + 1)
    ).all()
    return page_of(rows, limit, lambda row: DeliveryView(*row), lambda item: (item.log_index, item.event))
