"""The parts of a policy file as pydantic models: scope, lists, hours, limits, approvals, reactions.

Owns the fields and their descriptions, which editors show through the JSON Schema and docs/policies.md repeats.
Invariant: a part by itself is well formed; what parts must keep to among each other stands in ``document_checks``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ledger.services.policies.document_fields import (
    AmountText,
    ApprovalDuration,
    Approvers,
    CountedBy,
    CurrencyCode,
    Days,
    Description,
    Duration,
    EndOfHours,
    Expression,
    Globs,
    Labels,
    Slug,
    StartOfHours,
    StrictModel,
    TimeZone,
)
from ledger.services.policies.document_inference import Inference

LIMITS_MAX = 64
APPROVALS_MAX = 16
CONDITIONS_MAX = 16
COUNT_MAX = 1_000_000_000

PerLimit = Literal["authorization", "run", "minute", "hour", "day", "week", "month", "year", "lifetime"]
PerApproval = Literal["authorization", "run", "day"]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]


class Scope(StrictModel):
    """Whose requests the policy judges: exactly one of the four."""

    book: Literal[True] | None = Field(default=None, description="true: every request of the book.")
    team: Slug | None = Field(default=None, description="Requests of every agent below this team, counted together.")
    agent: Slug | None = Field(default=None, description="Requests of this agent and of every agent below it.")
    budget: Slug | None = Field(default=None, description="Requests that spend from this budget or one below it.")


class Lists(StrictModel):
    """Patterns that a request is compared with; case does not matter."""

    categories: Globs | None = Field(default=None, description="Kinds of spend, such as inference.")
    payees: Globs | None = Field(default=None, description="Who is paid, such as openai.")
    resources: Globs | None = Field(
        default=None, description="What exactly is used, such as gpt-5*. A request that names none matches no pattern."
    )


class Hours(StrictModel):
    """When spending is possible at all, in the policy's time zone."""

    days: Days = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], description="Days of the week; by default all."
    )
    start: StartOfHours = Field(default="00:00", alias="from", description="First minute, such as 07:00.")
    end: EndOfHours = Field(
        default="24:00",
        alias="to",
        description="End, which is no longer inside, such as 20:00 or 24:00. Earlier than from: on the next day.",
    )


class Match(StrictModel):
    """Which requests a limit or approval rule is about: every list that is given must match."""

    categories: Globs | None = Field(default=None, description="Kinds of spend.")
    payees: Globs | None = Field(default=None, description="Who is paid.")
    resources: Globs | None = Field(default=None, description="What exactly is used.")
    agents: Globs | None = Field(default=None, description="Names of the asking agents.")
    currencies: Globs | None = Field(default=None, description="Currencies of the request.")
    labels: Labels | None = Field(default=None, description="For each label, patterns of its value.")


class Limit(StrictModel):
    """A cap on money, on the number of requests, or on both."""

    id: Slug = Field(
        description="Name of the limit, unique in the policy. Keep it when you edit the limit, and its use is kept."
    )
    per: PerLimit = Field(description="What the limit is for: each authorization, each run, or a window of time.")
    rolling: bool = Field(
        default=False,
        description="true: the last minute, hour, ... up to now, instead of the one of the calendar. A month has 30 "
        "days and a year 365.",
    )
    max: AmountText | None = Field(
        default=None, description='Most money, held and spent together, as text in quotes: "5.00". "0" is none.'
    )
    max_count: Count | None = Field(
        default=None, description="Most requests that were approved or wait for people. 0 is none."
    )
    currency: CurrencyCode | None = Field(default=None, description="Currency of max, when not the policy's.")
    match: Match | None = Field(default=None, description="Only these requests count, and only they are limited.")
    by: CountedBy | None = Field(
        default=None,
        description="A counter of its own for each agent, run, payee, category, resource or value of label.KEY.",
    )
    on: Literal["runs"] | None = Field(default=None, description="runs: limit how many runs are opened, not spending.")


class Approval(StrictModel):
    """Above an amount people must say yes."""

    id: Slug = Field(description="Name of the rule, unique in the policy; by default approval-1, approval-2, ...")
    above: AmountText = Field(description='People are asked when the amount is more than this: "100.00".')
    per: PerApproval = Field(
        default="authorization", description="What the amount is of: one request, or what a run or day came to with it."
    )
    currency: CurrencyCode | None = Field(default=None, description="Currency of above, when not the policy's.")
    match: Match | None = Field(default=None, description="Only these requests.")
    by: CountedBy | None = Field(default=None, description="Per run or day: a sum of its own for each of these.")
    approvers: Approvers = Field(
        default=["approver"], description="Roles (approver, finance, admin) or person:NAME, any of whom may answer."
    )
    quorum: Annotated[int, Field(ge=1, le=10)] = Field(
        default=1, description="How many different people must grant it."
    )
    expires_after: ApprovalDuration = Field(
        default=86_400,
        description="When nobody answered in this time, the request has expired: 1h, 2d; 24h by default.",
    )


class Loops(StrictModel):
    """When the same request comes again and again."""

    same_request: Annotated[int, Field(ge=2, le=100_000)] = Field(
        description="Most requests of one agent with the same payee, resource, amount and intent; also refused ones."
    )
    within: Duration = Field(description="In how much time: 90s, 10m, 1h; at most 30 days.")
    then: Literal["deny", "freeze"] = Field(default="deny", description="Deny, or also freeze the agent.")


class Overrun(StrictModel):
    """What happens when more was spent than was authorized; the spend is recorded in any case."""

    tolerance_percent: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0, description="Nothing happens up to so many percent above the authorized amount."
    )
    then: Literal["flag", "freeze"] = Field(default="flag", description="Flag it, or also freeze the agent.")


class Mismatch(StrictModel):
    """What happens when what was settled is not what was asked for: another payee, category or resource, or more."""

    more_than: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        description="Nothing happens up to so many mismatches of the agent, counted since it was made."
    )
    then: Literal["flag", "freeze"] = Field(default="flag", description="Flag it, or also freeze the agent.")


class Condition(StrictModel):
    """A condition that must be true, or the request is denied."""

    id: Slug = Field(description="Name of the condition, unique in the policy.")
    expression: Expression = Field(description="An expression in CEL. An error in it denies.")


class PolicyFields(StrictModel):
    """Rules for spending, bound to a book, team, agent or budget."""

    policy: Slug = Field(description="Name of the policy. Applying a file of the same name makes a new version.")
    description: Description | None = Field(default=None, description="For people: what it is for.")
    applies_to: Scope = Field(
        description="Whose requests it judges: one of book, team, agent, budget.",
        json_schema_extra={"minProperties": 1, "maxProperties": 1},
    )
    currency: CurrencyCode | None = Field(
        default=None, description="Currency of every amount below, where a rule does not name its own."
    )
    timezone: TimeZone | None = Field(
        default=None, description="Time zone of hours and calendar windows; by default the book's."
    )
    shadow: bool = Field(default=False, description="true: judge and record, and refuse nothing.")
    allow: Lists | None = Field(
        default=None,
        description="Only these pass. A list that is left out lets anything pass.",
        json_schema_extra={"minProperties": 1},
    )
    deny: Lists | None = Field(
        default=None, description="These never pass, whatever allow says.", json_schema_extra={"minProperties": 1}
    )
    hours: Hours | None = Field(default=None, description="When spending is possible at all.")
    limits: Annotated[list[Limit], Field(max_length=LIMITS_MAX)] = Field(
        default=[], description="Caps on money and on the number of requests; every one must hold."
    )
    approval: Annotated[list[Approval], Field(max_length=APPROVALS_MAX)] = Field(
        default=[], description="Above which amounts people must say yes; every rule that applies must be granted."
    )
    loops: Loops | None = Field(default=None, description="Stop an agent that asks for the same thing again and again.")
    overrun: Overrun | None = Field(default=None, description="When more was spent than was authorized.")
    mismatch: Mismatch | None = Field(default=None, description="When something else was bought than was asked for.")
    when: Annotated[list[Condition], Field(max_length=CONDITIONS_MAX)] = Field(
        default=[], description="Conditions in CEL; each must be true."
    )
    inference: Inference | None = Field(
        default=None,
        description="How the gateway treats inference calls; no decision looks at it.",
        json_schema_extra={"minProperties": 1},
    )
