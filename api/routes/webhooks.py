"""Routes of alerts: endpoints and their secrets, events, deliveries.

Invariants: nobody makes the server look up a name before the key was found to be an admin's; a secret is kept before
the record that names it and forgotten when there is none, so that no endpoint is ever without.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_webhooks import delivery_shown, endpoint_shown, event_shown
from api.reply import json_reply
from api.routes.answers import PROBLEMS
from api.schemas.webhooks import (
    DeliveryList,
    EventList,
    EventView,
    WebhookList,
    WebhookRequest,
    WebhookRotateRequest,
    WebhookRotationView,
    WebhookView,
)
from api.writing import Writing, asking, body_of, response_of, writing
from ledger.core import ids
from ledger.core.command_webhooks import RegisterWebhook, RemoveWebhook, RotateWebhook
from ledger.core.outcome import Status
from ledger.core.webhook import ENDPOINTS_MAX, EVENT_TYPES, TEST_TYPE, wants
from ledger.services.webhook_signing import SECRET_BYTES, secret_text
from ledger.services.webhook_targets import TargetRefused, checked_addresses, parse_target
from ledger.storage import delivery_rows, queries_webhooks
from ledger.storage.queries_webhooks import EndpointView
from ledger.storage.watch_rows import listeners

router = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["webhooks"])
Write = Annotated[Writing, Depends(writing)]
Ask = Annotated[Writing, Depends(asking)]
PRINTABLE = "^[ -~]*$"
WebhookId = Annotated[str, Path(max_length=64, description="Id of an endpoint.")]
EventId = Annotated[str, Path(max_length=64, description="Id of an event.")]


def _endpoint(read: Reading, webhook: str, *, live: bool = False) -> EndpointView:
    """An endpoint that is there; with ``live``, one that was not removed. Raises ProblemError."""
    shown = found(queries_webhooks.endpoint(read.connection, read.book_id, webhook), f"webhook {webhook}")
    if live and shown.webhook.removed_at is not None:
        raise ProblemError(Status.WRONG_STATE.value, f"{webhook} was removed", facts={"state": "removed"})
    return shown


def _check_url(request: Request, url: str) -> None:
    """Refuse an address that nothing would be sent to. Asks the resolver. Raises ProblemError."""
    settings = context_of(request).settings
    try:
        target = parse_target(url, allow_http=settings.webhook_allow_http)
        checked_addresses(target, allow_private=settings.webhook_allow_private)
    except TargetRefused as refused:
        errors = [{"pointer": "/url", "code": refused.code, "detail": str(refused)}]
        raise ProblemError("validation_failed", f"url: {refused}", facts={"errors": errors}) from refused


def _keep_secret(request: Request, book_id: int) -> tuple[str, str]:
    """(name, text) of a new secret that is kept."""
    context = context_of(request)
    secret = context.sources.random_bytes(SECRET_BYTES)
    name = context.sources.new_id(ids.WEBHOOK_SECRET)
    with context.side.transaction() as connection:
        delivery_rows.add_secret(connection, book_id, name, secret, now=context.sources.now_us())
    return name, secret_text(secret)


def _new_endpoint(request: Request, url: str) -> tuple[str, str]:
    """(name, text) of the secret of an endpoint that may be made. Raises ProblemError."""
    with reading(request, RegisterWebhook.operation, again=True) as read:
        if queries_webhooks.count_endpoints(read.connection, read.book_id) >= ENDPOINTS_MAX:
            raise ProblemError(
                Status.WRONG_STATE.value,
                f"a book has at most {ENDPOINTS_MAX} webhooks; remove one first",
                facts={"state": "full"},
            )
        book_id = read.book_id
    _check_url(request, url)
    return _keep_secret(request, book_id)


def _new_secret(request: Request, webhook: str) -> tuple[str, str]:
    """(name, text) of another secret of an endpoint that is there. Raises ProblemError."""
    with reading(request, RotateWebhook.operation, again=True) as read:
        found(queries_webhooks.endpoint(read.connection, read.book_id, webhook), f"webhook {webhook}")
        book_id = read.book_id
    return _keep_secret(request, book_id)


def _forget(request: Request, book_id: int, name: str) -> None:
    with context_of(request).side.transaction() as connection:
        delivery_rows.forget_secret(connection, book_id, name)


async def _decided(
    request: Request, write: Writing, command: RegisterWebhook | RotateWebhook, secret: tuple[str, str]
) -> Response:
    """Have a command decided that names a secret; what no record names is forgotten."""
    response = await write.decide(command, {"secret": secret[1]})
    if response.status_code >= 400 or "idempotency-replayed" in response.headers:
        await asyncio.to_thread(_forget, request, write.key.book_id, secret[0])
    return response


@router.post("/webhooks", status_code=201, response_model=WebhookView)
async def register_webhook(
    request: Request, write: Write, asked: Annotated[WebhookRequest, body_of(WebhookRequest)]
) -> Response:
    """Have alerts sent to an address. The secret that signs them is in this answer and nowhere else, a repeat of the
    request included."""
    secret = await asyncio.to_thread(_new_endpoint, request, asked.url)
    command = RegisterWebhook(
        **write.who, id=write.new_id(ids.WEBHOOK), url=asked.url, events=tuple(asked.events), secret=secret[0]
    )
    return await _decided(request, write, command, secret)


@router.get("/webhooks", response_model=WebhookList)
def list_webhooks(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List endpoints, oldest first, without those that were removed."""
    with reading(request, "read_webhooks") as read:
        page = queries_webhooks.list_endpoints(
            read.connection, read.book_id, after=cursor_parts(cursor, str), limit=limit
        )
    now = context_of(request).sources.now_us()
    return answer_page(page, lambda shown: endpoint_shown(shown, now))


@router.get("/webhooks/{webhook}", response_model=WebhookView)
def get_webhook(request: Request, webhook: WebhookId) -> Response:
    """One endpoint, and how it has been answering."""
    with reading(request, "read_webhooks") as read:
        shown = _endpoint(read, webhook)
    return answer(endpoint_shown(shown, context_of(request).sources.now_us()))


@router.delete("/webhooks/{webhook}", response_model=WebhookView)
async def remove_webhook(webhook: WebhookId, write: Ask) -> Response:
    """Send nothing more to an address. What waits for it is dropped."""
    return await write.decide(RemoveWebhook(**write.who, webhook=webhook))


@router.post("/webhooks/{webhook}/rotate", status_code=201, response_model=WebhookRotationView)
async def rotate_webhook(
    request: Request,
    webhook: WebhookId,
    write: Write,
    asked: Annotated[WebhookRotateRequest, body_of(WebhookRotateRequest)],
) -> Response:
    """Make another secret, shown once. The old one signs too until the overlap is over; one that an earlier rotation
    left ends now."""
    secret = await asyncio.to_thread(_new_secret, request, webhook)
    command = RotateWebhook(**write.who, webhook=webhook, secret=secret[0], overlap_seconds=asked.overlap_seconds)
    return await _decided(request, write, command, secret)


@router.post("/webhooks/{webhook}/test", status_code=202, response_model=EventView)
def test_webhook(request: Request, webhook: WebhookId, ask: Ask) -> Response:
    """Send an event of type webhook.test to an endpoint, whatever it asked for."""
    context = context_of(request)
    with reading(request, RegisterWebhook.operation, again=True) as read:
        shown = _endpoint(read, webhook, live=True)
        if shown.disabled_at is not None:
            raise ProblemError(Status.WRONG_STATE.value, f"enable {webhook} first", facts={"state": "disabled"})
        book_id = read.book_id
    with context.side.transaction() as connection:
        event = delivery_rows.add_event(
            connection,
            book_id,
            kind=TEST_TYPE,
            name=context.sources.new_id(ids.EVENT),
            data={"webhook": webhook},
            now=context.sources.now_us(),
            only=webhook,
        )
    return _accepted(request, book_id, event)


@router.post("/webhooks/{webhook}/enable", response_model=WebhookView)
def enable_webhook(request: Request, webhook: WebhookId, ask: Ask) -> Response:
    """Send to an endpoint again that was disabled because it failed, from what happens next on."""
    context = context_of(request)
    with reading(request, RegisterWebhook.operation, again=True) as read:
        _endpoint(read, webhook, live=True)
        book_id = read.book_id
    with context.side.transaction() as connection:
        delivery_rows.enable(connection, book_id, webhook)
    with context.engine.connect() as connection:
        shown = found(queries_webhooks.endpoint(connection, book_id, webhook), f"webhook {webhook}")
    return answer(endpoint_shown(shown, context.sources.now_us()))


@router.get("/webhooks/{webhook}/deliveries", response_model=DeliveryList)
def list_deliveries(
    request: Request,
    webhook: WebhookId,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[Literal["pending", "delivered", "failed", "dropped"] | None, Query()] = None,
) -> Response:
    """List what was sent to an endpoint, or is to be, newest event first."""
    with reading(request, "read_webhooks") as read:
        _endpoint(read, webhook)
        page = queries_webhooks.list_deliveries(
            read.connection, read.book_id, webhook, state=state, after=cursor_parts(cursor, int, str), limit=limit
        )
    return answer_page(page, delivery_shown)


@router.get("/events", response_model=EventList)
def list_events(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    type: Annotated[
        str | None,
        Query(
            max_length=64,
            pattern=PRINTABLE,
            json_schema_extra={"enum": [*EVENT_TYPES, None]},
            description="Of this type.",
        ),
    ] = None,
) -> Response:
    """List events, newest first. There are events from when the book had its first endpoint, as long as they are
    kept."""
    with reading(request, "read_webhooks") as read:
        page = queries_webhooks.list_events(
            read.connection, read.book_id, kind=type, after=cursor_parts(cursor, int, str), limit=limit
        )
    return answer_page(page, event_shown)


@router.get("/events/{event}", response_model=EventView)
def get_event(request: Request, event: EventId) -> Response:
    """One event with its deliveries."""
    with reading(request, "read_webhooks") as read:
        shown = found(queries_webhooks.event(read.connection, read.book_id, event), f"event {event}")
        deliveries = queries_webhooks.deliveries_of(read.connection, read.book_id, event)
    return answer(event_shown(shown, deliveries))


@router.post("/events/{event}/replay", status_code=202, response_model=EventView)
def replay_event(
    request: Request,
    event: EventId,
    ask: Ask,
    webhook: Annotated[
        str | None,
        Query(
            max_length=64,
            pattern=PRINTABLE,
            description="To this endpoint only; left out: to all that ask for its type.",
        ),
    ] = None,
) -> Response:
    """Send an event again, under the same webhook-id, as if for the first time."""
    context = context_of(request)
    with reading(request, RegisterWebhook.operation, again=True) as read:
        shown = found(queries_webhooks.event(read.connection, read.book_id, event), f"event {event}")
        live = {one.id: one for one in listeners(read.connection, read.book_id)}
        if webhook is None:
            told = [one.id for one in live.values() if wants(one.events, shown.type)]
        else:
            _endpoint(read, webhook, live=True)
            if webhook not in live:
                raise ProblemError(Status.WRONG_STATE.value, f"enable {webhook} first", facts={"state": "disabled"})
            told = [webhook]
        book_id = read.book_id
    with context.side.transaction() as connection:
        delivery_rows.send_again(connection, book_id, event, told, now=context.sources.now_us())
    return _accepted(request, book_id, event)


def _accepted(request: Request, book_id: int, event: str) -> Response:
    """An event that will be sent, with its deliveries."""
    context = context_of(request)
    context.alerting.wake()
    with context.engine.connect() as connection:
        shown = found(queries_webhooks.event(connection, book_id, event), f"event {event}")
        deliveries = queries_webhooks.deliveries_of(connection, book_id, event)
    return response_of(json_reply(202, event_shown(shown, deliveries)))
