"""How endpoints, events and deliveries are shown: from records as answers to commands, and from rows as reads.

Invariant: no secret is in a record or in a row that is shown here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome
from ledger.storage.queries_webhooks import DeliveryView, EndpointView, EventView
from ledger.storage.tables_webhooks import PENDING


def _log(outcome: Outcome) -> dict[str, Any]:
    return {"index": outcome.log_index, "leaf_hash": outcome.leaf_hash.hex()}


def webhook_answer(outcome: Outcome, scale: Mapping[str, int]) -> dict[str, Any]:
    """The answer to registering, rotating and removing."""
    body = outcome.body or {}
    kind = body["kind"]
    shown: dict[str, Any] = {"id": body["webhook"]}
    if kind == "webhook_rotation":
        shown["previous_secret_until"] = body["replaced_expires_at"]
    elif kind == "webhook_removal":
        shown |= {"url": body["url"], "events": [], "state": "removed", "removed_at": body["time"]}
    else:
        shown |= {
            "url": body["url"],
            "events": body["events"],
            "state": "active",
            "registered_by": body["by"]["principal"],
            "created_at": body["time"],
        }
    return {**shown, "log": _log(outcome)}


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else moment_text(microseconds)


def endpoint_shown(found: EndpointView, now: int) -> dict[str, Any]:
    """An endpoint as lists show it."""
    row = found.webhook
    state = "removed" if row.removed_at is not None else "disabled" if found.disabled_at is not None else "active"
    until = row.previous_until if row.previous_until is not None and row.previous_until > now else None
    return {
        "id": row.id,
        "url": row.url,
        "events": row.events.split(" "),
        "state": state,
        "registered_by": row.registered_by,
        "created_at": moment_text(row.created_at),
        "failing_since": _moment(found.failing_since),
        "disabled_at": _moment(found.disabled_at),
        "reason": found.reason,
        "previous_secret_until": _moment(until),
        "removed_at": _moment(row.removed_at),
        "log": {"index": row.created_index},
    }


def delivery_shown(found: DeliveryView) -> dict[str, Any]:
    """A delivery as lists show it."""
    return {
        "webhook": found.webhook,
        "event": found.event,
        "type": found.type,
        "state": found.state,
        "attempts": found.attempts,
        "next_attempt_at": moment_text(found.next_at) if found.state == PENDING else None,
        "attempted_at": _moment(found.attempted_at),
        "result": found.result,
    }


def event_shown(found: EventView, deliveries: list[DeliveryView] | None = None) -> dict[str, Any]:
    """An event as it is sent, with its id, and with its deliveries where they are given."""
    shown: dict[str, Any] = {"id": found.id, **orjson.loads(found.payload)}
    if deliveries is not None:
        shown["deliveries"] = [delivery_shown(one) for one in deliveries]
    return shown
