"""Bodies of months: closing them, opening them again, what is in the way, and explanations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.answers import Log, Redacted
from api.schemas.budgets_life import Reason
from api.schemas.fields import RequestModel
from api.schemas.lists import PageModel
from api.schemas.redactions import INDEX_MAX, AuthorizationId

Check = Literal["flags", "unknown_holds", "pending_approvals", "reconciliation", "trial_balance"]
AcceptableCheck = Literal["flags", "unknown_holds", "pending_approvals", "reconciliation"]
_DAY = "A day in the book's time zone, such as 2026-11-05."
_HASH = "64 hexadecimal digits."


class ClosePeriodRequest(RequestModel):
    """Close a month. ``accept`` gives, for each check that may fail, the reason why it does not matter."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"accept": {"reconciliation": "the invoice is late"}}]})

    accept: dict[AcceptableCheck, Reason] = Field(default_factory=dict)


class ReopenRequest(RequestModel):
    """Ask that the month which was closed last be opened again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the invoice of openai came after all"}]})

    reason: Reason


class ApproveReopenRequest(RequestModel):
    """Open a month again, as another person asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "I have seen the invoice"}]})
    reason: Reason | None = None


class ExplanationRequest(RequestModel):
    """Explain what is flagged on an authorization or a charge: named by its id, or by the index of any record of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"authorization": "auth_01jdz3qk4nb7w2c9x8v5t6m0ra", "reason": "a retry was billed twice"}]
        }
    )

    authorization: AuthorizationId | None = None
    index: Annotated[int, Field(ge=0, le=INDEX_MAX)] | None = None
    reason: Reason


class CheckView(BaseModel):
    """What a check found: how many things fail it, and the first of them."""

    name: Check
    failing: int
    items: list[str] = Field(description="At most 20: an id with its flags, a payee, or a currency.")


class CheckAccepted(CheckView):
    """What a check found, and why that was accepted, where it was."""

    accepted: bool
    reason: str | None = None


class StatementDigest(BaseModel):
    """The digest of one statement, made as of the closing's size."""

    scope: str = Field(examples=["budget:research"])
    digest: str = Field(description=_HASH)


class PeriodClosedView(BaseModel):
    """The closing of a month. ``statements`` is empty where there are more than 250; ``digest`` is over all of them."""

    period: str
    state: Literal["closed"]
    from_: str = Field(alias="from")
    to: str
    size: int
    root: str = Field(description=_HASH)
    digest: str = Field(description=_HASH)
    statements: list[StatementDigest]
    statements_count: int
    checks: list[CheckView]
    accepted: list[Check]
    closed_by: str
    closed_at: str
    log: Log


class PeriodReopeningView(BaseModel):
    """A request to open a month again, or its approval."""

    period: str
    state: Literal["reopening", "open"]
    closing: int = Field(description="Log index of the closing.")
    requested_by: str
    approved_by: str | None = None
    log: Log


class PeriodClosing(BaseModel):
    """How a month was closed: as of which log, and the digest over its statements."""

    by: str
    at: str
    log_index: int
    size: int
    root: str = Field(description=_HASH)
    digest: str = Field(description=_HASH)


class PeriodReopening(BaseModel):
    """Who asks that it be opened again."""

    requested_by: str
    requested_at: str
    lapses_at: str


class PeriodView(BaseModel):
    """A month in the book's time zone: ``last_day`` is in it, ``to`` is not."""

    period: str = Field(examples=["2026-11"])
    state: Literal["open", "closed", "reopening"]
    first_day: str = Field(description=_DAY)
    last_day: str = Field(description=_DAY)
    from_: str = Field(alias="from")
    to: str
    is_over: bool
    closed: PeriodClosing | None
    reopening: PeriodReopening | None
    reopened_index: int | None = Field(description="The record that last opened it again.")


class PeriodDetail(PeriodView):
    """A month with its checks: as its closing found them, or as they are now where it is open; and with the digests of
    its statements where it is closed."""

    checks: list[CheckAccepted]
    statements: list[StatementDigest]
    statements_count: int
    redacted: Redacted = None


class PeriodList(PageModel):
    """A page of months, newest first."""

    items: list[PeriodView]


class ExplanationResponse(BaseModel):
    """What was explained."""

    authorization: str
    flags: list[str]
    explained_by: str
    recorded_at: str
    log: Log


class ExplanationView(BaseModel):
    """What was explained of an authorization or charge, and why, as it was said last."""

    authorization: str
    flags: list[str]
    explained_by: str
    log_index: int
    reason: str | None = None
    redacted: Redacted = None


class ExplanationList(PageModel):
    """A page of explanations, newest first."""

    items: list[ExplanationView]
