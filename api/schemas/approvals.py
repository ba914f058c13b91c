"""Bodies of approvals and delegations: votes, what persons are shown, and standing in for each other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.answers import Log, MoneyAnswer, Redacted
from api.schemas.authorizations import BudgetBalances
from api.schemas.fields import Moment, Name, RequestModel, Text
from api.schemas.lists import PageModel
from ledger.core.deciding_delegations import DELEGATION_DAYS_MAX

Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Reason = Annotated[Text, Field(min_length=1)]


class VoteRequest(RequestModel):
    """Grant or refuse, with a reason. ``request_digest`` makes sure of the request: copy it from what was shown."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "in the plan for November"}]})

    request_digest: Digest | None = None
    reason: Reason | None = None


class ForceRequest(RequestModel):
    """Grant every tier at once, against what the policy asks for. The reason stays on record, and the authorization is
    flagged ``forced`` for ever."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the approvers cannot be reached"}]})

    reason: Reason
    request_digest: Digest | None = None


class DelegationRequest(RequestModel):
    """Let another person approve in one's place until ``ends_at`` or for ``ttl_seconds``. An admin may do so for
    another person, and then names them in ``from`` with their ``role``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": "quinn", "ends_at": "2026-12-01"}]})

    to: Name = Field(description="The person who may approve.")
    from_: Name | None = Field(default=None, alias="from", description="In whose place; left out: one's own.")
    role: Literal["approver", "finance", "admin"] | None = None
    starts_at: Moment | None = Field(default=None, description="Left out: at once.")
    ends_at: Moment | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=DELEGATION_DAYS_MAX * 86_400)] | None = None
    reason: Reason | None = None

    @model_validator(mode="after")
    def _one_end(self) -> DelegationRequest:
        if (self.ends_at is None) == (self.ttl_seconds is None):
            raise PydanticCustomError("missing", "Name either ends_at or ttl_seconds")
        return self


class DelegationRevokeRequest(RequestModel):
    """End a delegation before its time."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "back from leave"}]})

    reason: Reason | None = None


class VoteView(BaseModel):
    """One person's vote. ``seat`` is whose right was used: the person's own, or that of who delegated it."""

    person: str
    seat: str
    verdict: Literal["grant", "refuse"]
    at: str
    reason: str | None = None
    redacted: Redacted = None


class ForceView(BaseModel):
    """Who forced a request, and why."""

    by: str
    at: str
    reason: str | None = None
    redacted: Redacted = None


class TierView(BaseModel):
    """One approval that a request needs; ``tier`` is its place in the sequence, from 1."""

    id: str
    state: Literal["waiting", "open", "granted", "refused", "expired", "withdrawn", "forced"]
    tier: int
    policy: str
    version: int
    rule: str
    approvers: list[str] = Field(description="Roles, and persons as person:NAME.")
    quorum: int
    granted: int
    expires_after: int
    opened_at: str | None = None
    expires_at: str | None = Field(default=None, description="Until then persons may decide.")
    decided_at: str | None = None
    request_digest: str
    votes: list[VoteView]
    forced: ForceView | None = None


class AskedFor(BaseModel):
    """The request that an approval is about."""

    authorization: str
    state: str
    agent: str | None = None
    budget: str
    run: str | None = None
    amount: MoneyAnswer
    approved: MoneyAnswer = Field(description="What would be, or is, authorized: less than amount with partial_ok.")
    category: str
    payee: str
    resource: str | None = None
    labels: dict[str, str]
    intent: str | None = None
    redacted: Redacted = None
    ttl_seconds: int = Field(description="How long the hold lives once granted.")
    created_at: str


class ApprovalView(TierView):
    """An approval with the request that it is about."""

    tiers: int = Field(description="How many approvals the request needs in all.")
    requested_by: str
    key_made_by: str = Field(description="Who stands behind the key that the request came with, and so may not vote.")
    request: AskedFor
    log: Log


class ApprovalList(PageModel):
    """A page of approvals."""

    items: list[ApprovalView]


class TierState(BaseModel):
    """An approval and the state it is in now."""

    id: str
    state: str


class ApprovalResponse(BaseModel):
    """What a vote did: to the approval, to the others of the request, and to the authorization."""

    id: str
    state: str
    authorization: str
    authorization_state: str
    agent: str | None = None
    vote: dict[str, Any] | None = None
    granted: int | None = None
    quorum: int | None = None
    changed: list[TierState]
    expires_at: str | None = Field(default=None, description="When the hold expires, once it is granted.")
    flags: list[str] | None = None
    budget: BudgetBalances
    log: Log


class DelegationView(BaseModel):
    """One person may approve in another's place for a time."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    from_: str = Field(alias="from")
    to: str
    role: str = Field(description="The role that the giver had when it was given.")
    starts_at: str
    ends_at: str
    revoked_at: str | None = None
    live: bool | None = Field(default=None, description="Whether it stands now.")
    made_by: str | None = None
    log: Log


class DelegationList(PageModel):
    """A page of delegations."""

    items: list[DelegationView]
