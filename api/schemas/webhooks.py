"""Bodies of webhooks: endpoints, events, deliveries."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log
from api.schemas.fields import RequestModel
from api.schemas.lists import PageModel
from ledger.core.webhook import EVERY_TYPE, OVERLAP_SECONDS_MAX, SUBSCRIBABLE, URL_LENGTH_MAX

_ASKED = (EVERY_TYPE, *SUBSCRIBABLE)


def _known(text: str) -> str:
    if text not in _ASKED:
        raise PydanticCustomError(
            "event_type", "This is no type of event; use one of {types}", {"types": ", ".join(_ASKED)}
        )
    return text


AskedType = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_known),
    Field(json_schema_extra={"enum": list(_ASKED)}),
]


class WebhookRequest(RequestModel):
    """Have alerts sent to an address; ``events`` names their types, ``*`` all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://alerts.example.com/bursar", "events": ["budget.threshold", "agent.frozen"]}]
        }
    )

    url: Annotated[str, StringConstraints(min_length=1, max_length=URL_LENGTH_MAX, pattern=r"^[!-~]*$")] = Field(
        description="An https URL on a public address."
    )
    events: Annotated[list[AskedType], Field(min_length=1, max_length=len(_ASKED))] = Field(
        default_factory=lambda: [EVERY_TYPE]
    )


class WebhookRotateRequest(RequestModel):
    """Make another secret; the old one signs too for ``overlap_seconds``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 86400}]})

    overlap_seconds: Annotated[int, Field(ge=0, le=OVERLAP_SECONDS_MAX)] = 86_400


class WebhookView(BaseModel):
    """An endpoint. ``secret`` stands in the answer that made it, and nowhere else."""

    id: str
    url: str
    events: list[str]
    state: str = Field(description="active, disabled or removed")
    secret: str | None = Field(default=None, description="What signs, shown once.")
    registered_by: str | None = None
    created_at: str | None = None
    failing_since: str | None = None
    disabled_at: str | None = None
    reason: str | None = Field(default=None, description="Why it is disabled: gone or failing.")
    previous_secret_until: str | None = Field(default=None, description="Until when the secret before signs too.")
    removed_at: str | None = None
    log: Log | None = None


class WebhookRotationView(BaseModel):
    """A new secret of an endpoint, shown once."""

    id: str
    secret: str | None = Field(default=None, description="What signs from now on, shown once.")
    previous_secret_until: str
    log: Log


class DeliveryView(BaseModel):
    """How sending one event to one endpoint has gone."""

    webhook: str
    event: str
    type: str
    state: str = Field(description="pending, delivered, failed or dropped")
    attempts: int
    next_attempt_at: str | None = None
    attempted_at: str | None = None
    result: str | None = Field(default=None, description="http_STATUS, or a word for what went wrong.")


class EventView(BaseModel):
    """An event: ``type``, ``timestamp`` and ``data`` are what is sent."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]
    deliveries: list[DeliveryView] | None = None


class WebhookList(PageModel):
    """A page of endpoints."""

    items: list[WebhookView]


class DeliveryList(PageModel):
    """A page of deliveries."""

    items: list[DeliveryView]


class EventList(PageModel):
    """A page of events."""

    items: list[EventView]
