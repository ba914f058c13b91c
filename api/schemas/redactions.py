"""Bodies of redactions, and of the list of free texts that are there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log
from api.schemas.budgets_life import Reason
from api.schemas.fields import Moment, Reference, RequestModel

TextField = Literal["evidence", "intent", "reason"]
Ground = Literal["erasure", "mistake", "other", "retention", "secret"]
INDEX_MAX = 2**53 - 1
AuthorizationId = Annotated[str, StringConstraints(pattern="^(?:auth|chg)_[0-9a-z]{26}$")]


class RedactionRequest(RequestModel):
    """Remove free texts for good, of one of: an authorization or charge, one record of the log, or every record from
    ``before`` a moment, perhaps of one agent only. One request removes at most 200; ``more_from`` in the answer says
    where the next goes on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "authorization": "auth_01jdz3qk4nb7w2c9x8v5t6m0ra",
                    "fields": ["intent"],
                    "ground": "erasure",
                    "reason": "the customer asked for it, ticket 4711",
                },
                {"before": "2026-08-01", "ground": "retention", "reason": "older than 90 days"},
            ]
        }
    )

    authorization: AuthorizationId | None = Field(default=None, description="Every record about it.")
    index: Annotated[int, Field(ge=0, le=INDEX_MAX)] | None = Field(default=None, description="One record of the log.")
    before: Moment | None = Field(default=None, description="Every record from before this moment.")
    agent: Reference | None = Field(default=None, description="With before: only what is by or about this agent.")
    fields: Annotated[list[TextField], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Left out: every free text."
    )
    start: Annotated[int, Field(ge=0, le=INDEX_MAX)] | None = Field(
        default=None, description="more_from of the answer before."
    )
    ground: Ground = Field(default="other", description="Why, in a word that stays readable for good.")
    reason: Reason

    @model_validator(mode="after")
    def _one_selection(self) -> RedactionRequest:
        given = [name for name in ("authorization", "index", "before") if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("selection", "Give one of authorization, index and before")
        if self.agent is not None and self.before is None:
            raise PydanticCustomError("selection", "Give agent together with before")
        if self.start is not None and self.index is not None:
            raise PydanticCustomError("selection", "One record needs no start")
        return self


class TextPlace(BaseModel):
    """A free text, by the index of the record that it stands or stood beside, and its field."""

    index: int
    field: str


class RedactionView(BaseModel):
    """What was removed. ``more_from`` stands in the first answer only, not in a repeat: null when nothing is left; so
    does ``note``, which says what is left to be done about the database: null when nothing is."""

    id: str
    ground: str
    texts: list[TextPlace]
    recorded_at: str
    more_from: int | None = None
    note: str | None = None
    log: Log


class TextList(BaseModel):
    """One page of free texts that are there."""

    items: list[TextPlace]
    next_cursor: str | None
