"""The side tables of alerts: what was told to whom, how far the log was read, and the secrets that sign.

Invariants: no balance and no decision depends on a row here; every primary key and every index is led by ``book_id``;
``webhook_endpoints``, which is a projection, stands with the other projections.
"""

from typing import Any, Final

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table

from ledger.core.changeset import SIDE
from ledger.storage.tables import _big, _bytes, _index, _small, _text, metadata

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
DROPPED: Final = "dropped"
DELIVERY_STATES: Final = (PENDING, DELIVERED, FAILED, DROPPED)
"""Waiting for an attempt; answered with 2xx; given up after the last attempt; given up because the endpoint was
disabled or removed."""


def _side(name: str, key: str, *items: Any) -> Table:
    return Table(
        name,
        metadata,
        _big("book_id"),
        *items,
        PrimaryKeyConstraint("book_id", *key.split()),
        info={"sort": SIDE},
        sqlite_with_rowid=False,
    )


webhook_secrets: Final = _side("webhook_secrets", "id", _text("id"), _bytes("secret"), _big("created_at"))
"""What signs. Written before the record that names it, so that no endpoint is ever without; rows that nothing names
are swept away."""

webhook_events: Final = _side(
    "webhook_events",
    "id",
    _text("id"),
    _big("log_index"),
    _small("ordinal"),
    _text("type"),
    _big("created_at"),
    _bytes("payload"),
    _index("webhook_events_log_index", "log_index", "id"),
)
"""What happened, as the very bytes that are sent. ``log_index`` is the record it derives from, or, of what derives
from none, how far the log had been read."""

webhook_deliveries: Final = _side(
    "webhook_deliveries",
    "webhook event",
    _text("webhook"),
    _text("event"),
    _big("log_index"),
    _text("state"),
    _small("attempts"),
    _big("next_at"),
    _big("attempted_at", null=True),
    _text("result", null=True),
    CheckConstraint(" OR ".join(f"state = '{state}'" for state in DELIVERY_STATES), name="state_listed"),
    CheckConstraint("attempts >= 0", name="attempts_not_negative"),
    _index("webhook_deliveries_due", "webhook", "next_at", where="state = 'pending'"),
    _index("webhook_deliveries_log_index", "webhook", "log_index", "event"),
    _index("webhook_deliveries_event", "event"),
)
"""One event for one endpoint. A claim moves ``next_at`` past the time an attempt may take, so a process that dies
while it sends leaves the row to be sent again."""

webhook_health: Final = _side(
    "webhook_health",
    "webhook",
    _text("webhook"),
    _big("failing_since", null=True),
    _big("disabled_at", null=True),
    _text("reason", null=True),
)
"""How an endpoint has been answering: since when only failures, and whether it was disabled for them."""

watch_cursors: Final = _side(
    "watch_cursors", "", _big("next_index"), _text("holder"), _big("held_until"), _big("swept_at")
)
"""How far a book's log has been read for alerts, and which process reads it just now."""

watch_states: Final = _side(
    "watch_states",
    "kind name",
    _text("kind"),
    _text("name"),
    _text("value"),
    _big("changed_at"),
    _index("watch_states_changed_at", "kind", "changed_at"),
)
"""What must be remembered between records: thresholds that were told, what agents spent on which day."""

SIDE_TABLES: Final = (
    webhook_secrets, webhook_events, webhook_deliveries, webhook_health, watch_cursors, watch_states,
)  # fmt: skip
