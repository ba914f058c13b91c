"""Bodies of spend that is taken over from before the book."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.answers import Log
from api.schemas.fields import Amount, Labels, Line, Metering, Moment, NewName, Reference, RequestModel, RunReference
from api.schemas.money_moves import ClosedBy, MeantFor

ITEMS_MAX: Final = 500
_EXAMPLE: Any = {
    "idempotency_key": "litellm-chatcmpl-123",
    "amount": {"amount": "0.000125", "currency": "USD"},
    "category": "inference",
    "payee": "openai",
    "effective_at": "2026-09-30T11:12:13Z",
    "resource": "gpt-4o",
    "labels": {"team": "search"},
}


class HistoryItem(RequestModel):
    """One piece of spend from before the book, with the idempotency key that the header carries elsewhere."""

    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]([ -~]*[!-~])?$")]
    amount: Amount
    category: NewName
    payee: NewName
    effective_at: Moment = Field(description="The day or moment that it counts for.")
    budget: Reference | None = Field(default=None, description="Shown as spent, out of authority that comes for it.")
    agent: Reference | None = None
    run: RunReference | None = None
    resource: Line | None = None
    labels: Labels = Field(default_factory=dict)
    metering: Metering = Field(default_factory=dict)


class HistoryRequest(RequestModel):
    """Up to 500 pieces of spend from before the book, each taken over on its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE]}]})

    items: Annotated[list[HistoryItem], Field(min_length=1, max_length=ITEMS_MAX)]


class HistoryTaken(BaseModel):
    """One piece of spend as it was taken over."""

    id: str
    effective_at: str
    meant_for: MeantFor = None
    closed_by: ClosedBy = None
    log: Log


class HistoryItemResponse(BaseModel):
    """What became of one item: its own HTTP status, and what was taken over or the problem."""

    status: int
    replayed: bool = False
    history: HistoryTaken | None = None
    problem: dict[str, Any] | None = None


class HistoryResponse(BaseModel):
    """What became of the items, in their order."""

    items: list[HistoryItemResponse]
