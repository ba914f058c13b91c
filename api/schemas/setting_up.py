"""Bodies of what an admin sets up: teams, agents, keys, budgets, runs, units and names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.answers import Decision, Log, MoneyAnswer
from api.schemas.budgets_life import RenewalView
from api.schemas.fields import Amount, NewName, Reference, RequestModel, RunName, RunReference, Score, Text
from api.schemas.remaining import PolicyLeftView

SECONDS_PER_YEAR = 31_536_000
Agents = Annotated[list[Reference], Field(max_length=200)]


class TeamRequest(RequestModel):
    """Make a team, under another team where ``parent`` names one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "research"}]})

    name: NewName
    parent: Reference | None = None


class AgentRequest(RequestModel):
    """Make an agent under a team, or under the agent that spawned it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "crawler", "parent": "research"}]})

    name: NewName
    parent: Reference | None = None


class FreezeRequest(RequestModel):
    """Freeze an agent, a team or a budget with all below it, or the whole book."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "it loops"}]})

    reason: Text | None = None


class KeyRequest(RequestModel):
    """Make a key: role ``agent`` with an agent, any other role with a person. An agent makes one for itself and
    a run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "agent", "agent": "crawler"}]})

    role: Literal["agent", "finance", "admin", "approver", "auditor"]
    agent: Reference | None = None
    person: NewName | None = None
    run: RunReference | None = Field(
        default=None, description="The only run that the key is for, by name or id; with role agent only."
    )
    ttl_seconds: Annotated[int, Field(ge=1, le=10 * SECONDS_PER_YEAR)] | None = Field(
        default=None,
        description="Left out: until it is revoked; where an agent asks, a day. An agent asks for seven days at most.",
    )


class RotateRequest(RequestModel):
    """Make a successor of a key, that lasts ``ttl_seconds`` (left out: until revoked); the old one stays valid for
    ``overlap_seconds``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: Annotated[int, Field(ge=0, le=SECONDS_PER_YEAR)] = 0
    ttl_seconds: Annotated[int, Field(ge=1, le=10 * SECONDS_PER_YEAR)] | None = None


class RevokeRequest(RequestModel):
    """End a key at once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "it leaked"}]})

    reason: Text | None = None


class BudgetRequest(RequestModel):
    """Make a budget in one currency; ``agents`` names the agents and teams that may spend from it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "research", "currency": "USD", "agents": ["crawler"]}]}
    )

    name: NewName
    currency: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    parent: Reference | None = None
    agents: Agents = Field(default_factory=list)


class AssignRequest(RequestModel):
    """Let further agents or teams spend from a budget."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"agents": ["crawler"]}]})

    agents: Annotated[list[Reference], Field(min_length=1, max_length=200)]


class AllocationRequest(RequestModel):
    """Move authority into a budget (or, as a deallocation, back out of it)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": {"amount": "100.00", "currency": "USD"}}]})

    amount: Amount
    reason: Text | None = None


class RunRequest(RequestModel):
    """Open a run. An agent opens its own; an admin names the agent."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "run-42", "cap": {"amount": "5.00", "currency": "USD"}}]}
    )

    name: RunName
    agent: Reference | None = None
    cap: Amount | None = Field(
        default=None, description="What the run may hold and have spent in all, for good; in one currency."
    )


class OutcomeRequest(RequestModel):
    """Say what became of a run. A later report counts in place of an earlier one; both stay on record."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"success": True, "score": 0.8}]})

    success: bool
    score: Score | None = Field(
        default=None, description="How well, from 0 to 1, with at most 6 digits after the point; a number or its text."
    )


class UnitRequest(RequestModel):
    """Define something countable that is not money."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "tokens", "digits": 0}]})

    name: NewName
    digits: Annotated[int, Field(ge=0, le=9)]


class NameRequest(RequestModel):
    """Make a category or payee known."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "inference"}]})

    name: NewName


class AgentView(BaseModel):
    """An agent or team."""

    id: str
    name: str
    kind: str
    parent: str | None = None
    frozen: bool = False
    log: Log | None = None


class KeyView(BaseModel):
    """A key without its secret; ``key`` stands in the answer that made it, and nowhere else."""

    id: str
    role: str
    principal: str
    made_by: str | None = None
    vouched_by: str | None = Field(
        default=None, description="Who made the key that an agent made this one with; may not approve what it asks for."
    )
    run: str | None = Field(default=None, description="The only run that the key is for.")
    key: str | None = Field(default=None, description="The key itself, shown once.")
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    replaces: str | None = Field(default=None, description="After a rotation: the key that this one succeeds.")
    replaced_expires_at: str | None = Field(default=None, description="After a rotation: when the old key ends.")
    log: Log | None = None


class BudgetView(BaseModel):
    """A budget and what is left of it."""

    id: str
    name: str
    parent: str | None = None
    currency: str
    frozen: bool = False
    closed_at: str | None = None
    renewal: RenewalView | None = None
    agents: list[str] | None = None
    available: MoneyAnswer
    held: MoneyAnswer
    spent: MoneyAnswer
    log: Log | None = None


class BudgetAgentsView(BaseModel):
    """A budget to which agents were added: those that could not spend from it before."""

    id: str
    name: str
    currency: str
    agents: list[str]
    log: Log


class RunTotalView(BaseModel):
    """What a run holds and has spent in one currency."""

    currency: str
    approved_count: int
    denied_count: int
    held: MoneyAnswer
    spent: MoneyAnswer


class OutcomeView(BaseModel):
    """What was reported of a run."""

    run: str
    agent: str
    success: bool
    score: str | None = Field(default=None, description="From 0 to 1, as decimal text.", examples=["0.8"])
    reported_by: str
    recorded_at: str
    log: Log


class RunOutcomeView(BaseModel):
    """The last that was reported of a run."""

    success: bool
    score: str | None = Field(default=None, description="From 0 to 1, as decimal text.")
    reported_by: str
    recorded_at: str
    log: Log


class RunView(BaseModel):
    """A run with its totals."""

    id: str
    name: str
    agent: str
    opened_at: str | None = None
    cap: MoneyAnswer | None = Field(default=None, description="What it may hold and have spent in all.")
    remaining: MoneyAnswer | None = Field(
        default=None, description="What the cap leaves: less what is held and spent, never below zero."
    )
    totals: list[RunTotalView] | None = None
    outcome: RunOutcomeView | None = Field(default=None, description="The last that was reported of it, if anything.")
    decision: Decision | None = Field(
        default=None, description="Where policies limit the opening of runs; only in the answer that opened it."
    )
    log: Log | None = None


class UnitView(BaseModel):
    """A unit of the book."""

    name: str
    digits: int
    log: Log | None = None


class NameView(BaseModel):
    """A category or payee."""

    name: str
    log: Log | None = None


class BookView(BaseModel):
    """A book's settings and the head of its log."""

    name: str
    currency: str
    timezone: str
    strict_names: bool
    frozen: bool
    opened_at: str
    log_size: int
    root: str
    recorded_at: str


class MeView(BaseModel):
    """Who a key is, and what it may spend."""

    key: str
    role: str
    principal: str
    book: str
    agent: AgentView | None = None
    run: RunView | None = Field(default=None, description="The only run that the key is for, with its cap and totals.")
    budgets: list[BudgetView]
    may: list[str]
    policies: list[PolicyLeftView] = Field(
        default_factory=list, description="What judges the agent, and what is left of each limit, at most 100."
    )
    more_policies: bool | None = None
