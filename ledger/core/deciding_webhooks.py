"""Decisions on webhook endpoints: registering, rotating the secret, removing.

Invariants: each is one log record; no secret is written, only its name; what was removed stays removed.
"""

from typing import Any

from ledger.core.changeset import copy_of
from ledger.core.command_webhooks import RegisterWebhook, RemoveWebhook, RotateWebhook
from ledger.core.finishing import finish
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.webhook import Webhook, events_text
from ledger.core.working import Batch, request_of


def register_webhook(batch: Batch, asked: RegisterWebhook) -> Outcome:
    """Register an endpoint."""
    who = batch.admit(asked)
    events = events_text(asked.events)
    listed = events.split(" ")
    packed = request_of({"operation": asked.operation, "url": asked.url, "events": listed})
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    row = Webhook(
        batch.book_id, asked.id, asked.url, events, asked.secret, None, None, who[0], batch.now, None, batch.index,
        batch.index,
    )  # fmt: skip
    batch.webhooks[asked.id] = row
    body: dict[str, Any] = {"webhook": asked.id, "url": asked.url, "events": listed, "secret": asked.secret}
    return finish(batch, asked, who, packed, "webhook", asked.id, body, [])


def _active(batch: Batch, reference: str) -> Webhook:
    """The batch's own copy of an endpoint that was not removed; refuses any other."""
    found = batch.webhooks.get(reference)
    if found is None:
        known = batch.snapshot.webhooks[reference]
        if known is None:
            refuse(Status.NOT_FOUND, f"there is no webhook {reference}")
        found = copy_of(known)
    if found.removed_at is not None:
        refuse(Status.WRONG_STATE, f"{reference} was removed at {moment_text(found.removed_at)}", state="removed")
    return found


def rotate_webhook(batch: Batch, asked: RotateWebhook) -> Outcome:
    """Make another secret the one that signs; a secret from an earlier rotation ends at once."""
    who = batch.admit(asked)
    request = {"operation": asked.operation, "webhook": asked.webhook, "overlap_seconds": asked.overlap_seconds}
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    row = _active(batch, asked.webhook)
    replaced = row.secret
    until = batch.now + asked.overlap_seconds * SECOND
    row.previous_secret, row.previous_until, row.secret = replaced, until, asked.secret
    row.changed_index = batch.index
    batch.webhooks[row.id] = row
    body: dict[str, Any] = {
        "webhook": row.id,
        "secret": asked.secret,
        "replaces": replaced,
        "replaced_expires_at": moment_text(until),
    }
    return finish(batch, asked, who, packed, "webhook_rotation", row.id, body, [])


def remove_webhook(batch: Batch, asked: RemoveWebhook) -> Outcome:
    """Remove an endpoint; its secrets sign nothing more."""
    who = batch.admit(asked)
    packed = request_of({"operation": asked.operation, "webhook": asked.webhook})
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    row = _active(batch, asked.webhook)
    row.removed_at = batch.now
    row.previous_secret = row.previous_until = None
    row.changed_index = batch.index
    batch.webhooks[row.id] = row
    return finish(batch, asked, who, packed, "webhook_removal", row.id, {"webhook": row.id, "url": row.url}, [])
