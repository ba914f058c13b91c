"""The parts that answers share, and the problem body; for the OpenAPI document and for clients' models."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class MoneyAnswer(BaseModel):
    """An amount as exact decimal text with its currency."""

    amount: str = Field(examples=["0.0500"])
    currency: str = Field(examples=["USD"])


class Log(BaseModel):
    """Where the record of this answer stands in the book's log."""

    index: int
    leaf_hash: str | None = None


Redacted = Annotated[
    dict[str, int] | None,
    Field(description="Fields whose free text was removed, each with the log index of the record that says so."),
]


class PolicySaid(BaseModel):
    """A policy that was asked, in the version that answered."""

    name: str
    version: int
    digest: str = Field(description="SHA-256, in hex, of the version's canonical document.")
    shadow: bool | None = Field(default=None, description="True where it is only tried: it refuses nothing.")


class ReasonSaid(BaseModel):
    """Why not. What a limit on amounts saw stands in ``observed``, ``limit`` and ``remaining``, what one on counts saw
    in ``observed_count``, ``limit_count`` and ``remaining_count``; ``observed`` has the request in it."""

    code: str
    rule: str = Field(description="A rule of the ledger, or POLICY/RULE.", examples=["research-agents/day"])
    policy: str | None = None
    detail: str
    observed: MoneyAnswer | None = None
    limit: MoneyAnswer | None = None
    remaining: MoneyAnswer | None = None
    observed_count: int | None = None
    limit_count: int | None = None
    remaining_count: int | None = None
    fits_at: str | None = Field(default=None, description="When it would fit, if nothing else is spent until then.")
    never_fits: bool | None = Field(default=None, description="True where waiting does not help.")


class LimitSaid(BaseModel):
    """One limit of a policy. A limit on amounts has ``limit``, ``used`` and ``remaining``; one on counts, or on how
    often the same request came (window ``within``), has ``limit_count``, ``used_count`` and ``remaining_count``. They$
    are as they stand right after an approved request, and as a denied one or an evaluation found them."""

    policy: str
    id: str
    window: str = Field(examples=["day", "rolling hour", "authorization", "run", "lifetime"])
    limit: MoneyAnswer | None = None
    used: MoneyAnswer | None = None
    remaining: MoneyAnswer | None = None
    limit_count: int | None = None
    used_count: int | None = None
    remaining_count: int | None = None
    resets_at: str | None = Field(default=None, description="When a calendar window ends.")
    key: list[str] | None = Field(default=None, description="The values of the limit's by; a run stands first.")


class ThresholdSaid(BaseModel):
    """One approval threshold, and whether it asks persons."""

    policy: str
    id: str
    window: str
    above: MoneyAnswer
    used: MoneyAnswer
    asks: bool


class RunCapSaid(BaseModel):
    """The cap of the run, as it stands right after an approved request, and as an evaluation found it."""

    limit: MoneyAnswer
    used: MoneyAnswer = Field(description="What the run holds and has spent.")
    remaining: MoneyAnswer


class Decision(BaseModel):
    """The decision with everything it looked at."""

    outcome: str = Field(examples=["approved"])
    reasons: list[ReasonSaid] = Field(description="Why not, the answered reason first.")
    policies: list[PolicySaid]
    limits: list[LimitSaid]
    run_cap: RunCapSaid | None = Field(
        default=None, description="Left out where the run has no cap, and where the request is denied: see reasons."
    )
    approvals: list[ThresholdSaid] | None = Field(default=None, description="Left out where no policy has any.")
    shadow: list[ReasonSaid] | None = Field(
        default=None, description="What policies that are only tried would have refused for."
    )


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
    fits_at: str | None = Field(default=None, description="When a denied request would fit, where that is known.")
    never_fits: bool | None = None
    state: str | None = None
    errors: list[FieldError] | None = None
