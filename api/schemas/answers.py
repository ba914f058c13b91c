"""The parts that answers share, and the problem body; for the OpenAPI document and for clients' models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class MoneyAnswer(BaseModel):
    """An amount as exact decimal text with its currency."""

    amount: str = Field(examples=["0.0500"])
    currency: str = Field(examples=["USD"])


class Log(BaseModel):
    """Where the record of this answer stands in the book's log."""

    index: int
    leaf_hash: str | None = None


class Decision(BaseModel):
    """The decision with everything it looked at."""

    outcome: str = Field(examples=["approved"])
    reasons: list[dict[str, Any]] = Field(description="Why not, the answered reason first.")
    policies: list[dict[str, Any]]
    limits: list[dict[str, Any]]


class FieldError(BaseModel):
    """One field that cannot be taken."""

    pointer: str = Field(description="JSON pointer to the field.", examples=["/amount/amount"])
    code: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details. Further members depend on the code."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/insufficient_budget"])
    title: str
    status: int
    code: str = Field(examples=["insufficient_budget"])
    detail: str = Field(description="A sentence that says what to change.")
    request_id: str
    decision: Decision | None = None
    state: str | None = None
    errors: list[FieldError] | None = None
