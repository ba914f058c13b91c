"""Webhook endpoints: the addresses that alerts are sent to, as the log has them, and the names of what is sent.

Invariants: an endpoint's address and the types it asked for never change; a secret is named here and never kept here
(the secret itself stands in a side table); at most two secrets of an endpoint are valid at one time.
"""

from dataclasses import dataclass
from typing import Final

URL_LENGTH_MAX: Final = 2048
ENDPOINTS_MAX: Final = 20
OVERLAP_SECONDS_MAX: Final = 7 * 24 * 3600
EVERY_TYPE: Final = "*"
DISABLED_TYPE: Final = "webhook.disabled"
TEST_TYPE: Final = "webhook.test"

ALERT_TYPES: Final = (
    "budget.threshold", "limit.threshold", "agent.spending_jump", "authorization.overrun", "authorization.mismatch",
    "authorization.forced", "authorization.repriced", "settlement.late", "settlement.estimated", "settlement.unpriced",
    "charge.unauthorized", "approval.waiting", "approval.decided", "correction.requested",
    "agent.frozen", "agent.unfrozen", "budget.frozen", "budget.unfrozen", "book.frozen", "book.unfrozen",
    "period.closed", "period.reopened",
)  # fmt: skip
"""What the log can tell."""
EVENT_TYPES: Final = (*ALERT_TYPES, DISABLED_TYPE, TEST_TYPE)
"""What may be sent; ``docs/webhooks.md`` shows it and a test compares."""
SUBSCRIBABLE: Final = (*ALERT_TYPES, DISABLED_TYPE)
"""What an endpoint can ask for. A test is sent to the endpoint it was asked of, whatever that asked for."""


@dataclass(slots=True)
class Webhook:
    """One row of ``webhook_endpoints``. ``events`` are types in order, joined by spaces, or ``*``; ``secret`` and
    ``previous_secret`` name rows of ``webhook_secrets``, the latter valid until ``previous_until``; times in
    microseconds since 1970 UTC."""

    book_id: int
    id: str
    url: str
    events: str
    secret: str
    previous_secret: str | None
    previous_until: int | None
    registered_by: str
    created_at: int
    removed_at: int | None
    created_index: int
    changed_index: int


def wants(events: str, kind: str) -> bool:
    """Whether an endpoint that asked for ``events`` (as its row has them) is to be told of a type."""
    return events == EVERY_TYPE or kind in events.split(" ")


def events_text(types: tuple[str, ...]) -> str:
    """How a row has the types that an endpoint asked for: each once, in the order of ``SUBSCRIBABLE``."""
    if EVERY_TYPE in types:
        return EVERY_TYPE
    return " ".join(kind for kind in SUBSCRIBABLE if kind in types)
