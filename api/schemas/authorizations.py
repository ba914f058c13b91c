"""Bodies of authorizations: asking, settling, extending, releasing, batches, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Decision, Log, MoneyAnswer, Redacted
from api.schemas.duplicates import members_of_text
from api.schemas.fields import (
    Amount,
    Evidence,
    Fingerprint,
    Labels,
    Line,
    Metering,
    Name,
    NewName,
    Reference,
    RequestModel,
    RunReference,
    Text,
    TimeToLive,
    WaitSeconds,
)
from api.schemas.rates import ExchangeView
from ledger.core.authorization import TTL_SECONDS_DEFAULT

BATCH_ITEMS_MAX = 1000
_EXAMPLE: dict[str, Any] = {
    "amount": {"amount": "0.0500", "currency": "USD"},
    "category": "inference",
    "payee": "openai",
    "resource": "gpt-5-mini",
    "intent": "summarize ticket 4711",
    "budget": "research",
    "ttl_seconds": 600,
    "labels": {"prompt": "v7"},
}


class AuthorizationRequest(RequestModel):
    """Ask to spend at most ``amount``."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    amount: Amount
    category: Name = Field(description="What kind of spend this is.")
    payee: Name = Field(description="Who will be paid.")
    resource: Line | None = Field(default=None, description="What exactly is used, such as a model's name.")
    intent: Text | None = Field(default=None, description="What it is for, in words.")
    run: RunReference | None = Field(default=None, description="The task that this spend belongs to.")
    budget: Reference | None = Field(default=None, description="Name or id; may be left out by an agent with one.")
    ttl_seconds: TimeToLive = Field(default=TTL_SECONDS_DEFAULT, description="After this the hold expires.")
    wait_seconds: WaitSeconds = Field(
        default=0,
        description="How long to wait in line, where only open holds stand in the way. An answer may come at once.",
    )
    accept_pending: bool = Field(default=False, description="Whether 202 (people must approve) is understood.")
    partial_ok: bool = Field(
        default=False, description="Whether less than the amount is of use: what is free now is approved."
    )
    afford: bool = Field(
        default=False,
        description="Whether less is of use where budget, limits and cap have less in all. Where only open holds are "
        "in the way, the answer is 429: what others hold never makes it less. Not beside partial_ok.",
    )
    on_expiry: Literal["release", "unknown"] = Field(
        default="release", description="At expiry: give the money back, or keep it held until someone settles it."
    )
    labels: Labels = Field(default_factory=dict)
    fingerprint: Fingerprint | None = Field(
        default=None,
        description="What makes two requests the same for the loop rules of policies, beside what they ask for.",
    )

    @model_validator(mode="after")
    def _one_way_to_less(self) -> AuthorizationRequest:
        if self.afford and self.partial_ok:
            raise PydanticCustomError("not_both", "Send afford or partial_ok, not both")
        return self

    def members(self) -> int:
        """As of every request; an amount has two."""
        return len(self.__pydantic_fields_set__) + 2 + len(self.labels)


class BatchItem(AuthorizationRequest):
    """One authorization of a batch, with the idempotency key that the header carries elsewhere."""

    idempotency_key: str | None = Field(default=None, description="1 to 255 printable ASCII characters.")
    wait_seconds: Literal[0] = Field(default=0, description="An item of a batch does not wait in line.")


class BatchRequest(RequestModel):
    """Up to 1000 authorizations, each decided on its own."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [_EXAMPLE | {"idempotency_key": "ticket-4711-1"}]}]}
    )

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=BATCH_ITEMS_MAX)]

    def members(self) -> int:
        """As of every request."""
        return 1 + sum(item.members() for item in self.items)


def _each_once(flags: list[str]) -> list[str]:
    if len(set(flags)) < len(flags):
        raise PydanticCustomError("flag_twice", "Say each flag once")
    return flags


class SettleRequest(RequestModel):
    """Record what was spent against a hold."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"amount": {"amount": "0.0312", "currency": "USD"}, "final": True}]}
    )

    amount: Amount
    final: bool = Field(default=True, description="Whether the rest of the hold is released.")
    category: NewName | None = None
    payee: NewName | None = None
    resource: Line | None = None
    evidence: Evidence | None = Field(
        default=None, description="Kept beside the log record of the settlement, and read with that record."
    )
    metering: Metering = Field(
        default_factory=dict,
        description="What the amount was made from: usage counts, model, tier, prices. In the log, for good.",
    )
    flags: Annotated[list[Literal["estimated", "unpriced"]], Field(max_length=2), AfterValidator(_each_once)] = Field(
        default_factory=list,
        description="estimated: no usage was reported. unpriced: nobody could price the usage. Kept for ever.",
    )

    def members(self) -> int:
        """As of every request; an amount has two."""
        inside = members_of_text(self.evidence) if self.evidence is not None else 0
        return len(self.__pydantic_fields_set__) + 2 + inside + len(self.metering)


class ExtendRequest(RequestModel):
    """Add amount, time, or both to an open hold."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ttl_seconds": 600}]})

    amount: Amount | None = None
    ttl_seconds: TimeToLive | None = None
    wait_seconds: WaitSeconds = Field(
        default=0,
        description="How long to wait in line, where only open holds stand in the way. An answer may come at once.",
    )

    @model_validator(mode="after")
    def _something(self) -> ExtendRequest:
        if self.amount is None and self.ttl_seconds is None:
            raise PydanticCustomError("missing", "Name an amount, ttl_seconds, or both")
        return self


class ReleaseRequest(RequestModel):
    """End a hold without further cost."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the call was not made"}]})

    reason: Text | None = None


class UnknownRequest(RequestModel):
    """Say that nobody knows whether a hold was spent: it stays held until somebody settles or releases it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the provider timed out after it was asked"}]})

    reason: Text | None = None


class BudgetBalances(BaseModel):
    """A budget's balances; in the answer to a decision, right after it."""

    id: str
    name: str | None = None
    available: MoneyAnswer
    held: MoneyAnswer
    spent: MoneyAnswer


class AuthorizationResponse(BaseModel):
    """An authorization as a decision left it."""

    id: str
    state: str
    agent: str | None = None
    run: str | None = None
    amount: MoneyAnswer | None = None
    approved: MoneyAnswer | None = None
    held: MoneyAnswer | None = None
    settled: MoneyAnswer | None = None
    flags: list[str] | None = None
    expires_at: str | None = None
    exchange: ExchangeView | None = None
    decision: Decision | None = None
    approvals: list[dict[str, Any]] | None = Field(
        default=None, description="With 202: the persons' approvals that it waits for, in their sequence."
    )
    budget: BudgetBalances
    log: Log | None = None


class AuthorizationView(BaseModel):
    """An authorization as it stands now. What a settlement or a release was explained with (evidence, reason) stands
    beside its own log record: ``last_log`` is the newest record about this authorization, and each such record names
    the one before it in ``previous``."""

    id: str
    state: str
    agent: str | None = None
    budget: str
    run: str | None = None
    category: str
    payee: str
    resource: str | None = None
    amount: MoneyAnswer
    approved: MoneyAnswer
    held: MoneyAnswer
    settled: MoneyAnswer
    refunded: MoneyAnswer
    repriced: MoneyAnswer = Field(
        description="What repricing added to what was settled, or took off it (below zero); settled leaves it out."
    )
    exchange: ExchangeView | None = None
    flags: list[str]
    reason: str | None = None
    on_expiry: str
    created_at: str
    expires_at: str | None = None
    intent: str | None = Field(default=None, description="Only where one authorization is asked for.")
    redacted: Redacted = None
    decision: Decision | None = Field(
        default=None, description="As it was made on the request; only where one authorization is asked for."
    )
    labels: dict[str, str] = Field(default_factory=dict)
    metering: dict[str, str] = Field(
        default_factory=dict, description="What the latest settlement that said so was metered from."
    )
    approvals: list[dict[str, Any]] | None = Field(
        default=None,
        description="The approvals it needed, with their votes; only where one authorization is asked for.",
    )
    log: Log
    last_log: Log = Field(description="The newest record about this authorization.")


class BatchItemResponse(BaseModel):
    """The verdict on one item: its own HTTP status, and the authorization or the problem."""

    status: int
    replayed: bool = False
    authorization: AuthorizationResponse | None = None
    problem: dict[str, Any] | None = None


class BatchResponse(BaseModel):
    """The verdicts, in the order of the items."""

    items: list[BatchItemResponse]


class EvaluationResponse(BaseModel):
    """What the decision would be now; nothing was recorded."""

    status: int
    decision: Decision | None = None
    approved: MoneyAnswer | None = None
    exchange: ExchangeView | None = None
    budget: BudgetBalances | None = Field(default=None, description="The budget as it is now; nothing is held.")
    problem: dict[str, Any] | None = None
