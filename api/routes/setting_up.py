"""Routes of what an admin sets up: teams, agents, keys, budgets, units and names."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from api.reading import role_of_key
from api.routes.answers import PROBLEMS
from api.schemas.budgets_life import UnfreezeRequest
from api.schemas.money_moves import EntryResponse
from api.schemas.setting_up import (
    AgentRequest,
    AgentView,
    AllocationRequest,
    AssignRequest,
    BudgetAgentsView,
    BudgetRequest,
    BudgetView,
    FreezeRequest,
    KeyRequest,
    KeyView,
    NameRequest,
    NameView,
    RevokeRequest,
    RotateRequest,
    TeamRequest,
    UnitRequest,
    UnitView,
)
from api.writing import Writing, body_of, writing
from ledger.core import ids
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.command import (
    AddName,
    Allocate,
    AssignBudget,
    CreateAgent,
    CreateBudget,
    CreateKey,
    Deallocate,
    DefineUnit,
    FreezeAgent,
    RevokeKey,
    RotateKey,
)
from ledger.core.outcome import Status
from ledger.core.principal import KIND_AGENT, KIND_TEAM

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Write = Annotated[Writing, Depends(writing)]
RoleOfKey = Annotated[str, Depends(role_of_key)]
Reference = Annotated[str, Path(max_length=64, description="Name or id.")]
_NO_BUDGET = {Status.UNKNOWN_BUDGET: (Status.NOT_FOUND, "")}
"""A budget that the path names and that is not there is a path that leads nowhere."""


@router.post("/teams", status_code=201, response_model=AgentView, tags=["teams"])
async def create_team(write: Write, asked: Annotated[TeamRequest, body_of(TeamRequest)]) -> Response:
    """Make a team."""
    return await write.decide(
        CreateAgent(**write.who, id=write.new_id(ids.TEAM), name=asked.name, kind=KIND_TEAM, parent=asked.parent)
    )


@router.post("/agents", status_code=201, response_model=AgentView, tags=["agents"])
async def create_agent(write: Write, asked: Annotated[AgentRequest, body_of(AgentRequest)]) -> Response:
    """Make an agent."""
    return await write.decide(
        CreateAgent(**write.who, id=write.new_id(ids.AGENT), name=asked.name, kind=KIND_AGENT, parent=asked.parent)
    )


@router.post("/agents/{agent}/freeze", response_model=AgentView, tags=["agents"])
async def freeze_agent(
    agent: Reference, write: Write, asked: Annotated[FreezeRequest, body_of(FreezeRequest)]
) -> Response:
    """Freeze an agent or a team with all below it: nothing new is approved, what is held can still be settled."""
    return await write.decide(FreezeAgent(**write.who, agent=agent, frozen=True, reason=asked.reason))


@router.post("/agents/{agent}/unfreeze", response_model=AgentView, tags=["agents"])
async def unfreeze_agent(
    agent: Reference, write: Write, asked: Annotated[UnfreezeRequest, body_of(UnfreezeRequest)]
) -> Response:
    """Undo a freeze, with a reason."""
    return await write.decide(FreezeAgent(**write.who, agent=agent, frozen=False, reason=asked.reason))


@router.post("/keys", status_code=201, response_model=KeyView, tags=["keys"])
async def create_key(write: Write, asked: Annotated[KeyRequest, body_of(KeyRequest)]) -> Response:
    """Make a key. Its text is in this answer and nowhere else, a repeat of the request included. An agent makes keys
    for itself, each for one run only; so does an admin with ``run``, for any agent."""
    text, digest = write.new_key(asked.role)
    command = CreateKey(
        **write.who,
        id=write.new_id(ids.KEY),
        digest=digest,
        role=asked.role,
        agent=asked.agent,
        person=asked.person,
        ttl_seconds=asked.ttl_seconds,
        run=asked.run,
    )
    # An agent that is not the asker's is told of as one that is not there.
    return await write.decide(
        command,
        {"key": text},
        instead={Status.NOT_YOURS: (Status.UNKNOWN_AGENT, f"there is no agent {asked.agent} of yours")},
    )


@router.post("/keys/{key}/rotate", status_code=201, response_model=KeyView, tags=["keys"])
async def rotate_key(
    key: Reference, write: Write, role: RoleOfKey, asked: Annotated[RotateRequest, body_of(RotateRequest)]
) -> Response:
    """Make a key's successor, shown once; the old key stays valid for the overlap."""
    text, digest = write.new_key(role)
    command = RotateKey(
        **write.who,
        key=key,
        id=write.new_id(ids.KEY),
        digest=digest,
        overlap_seconds=asked.overlap_seconds,
        ttl_seconds=asked.ttl_seconds,
    )
    return await write.decide(command, {"key": text})


@router.post("/keys/{key}/revoke", response_model=KeyView, tags=["keys"])
async def revoke_key(key: Reference, write: Write, asked: Annotated[RevokeRequest, body_of(RevokeRequest)]) -> Response:
    """End a key at once, in every process. An agent ends those that it made."""
    return await write.decide(RevokeKey(**write.who, key=key, reason=asked.reason))


@router.post("/budgets", status_code=201, response_model=BudgetView, tags=["budgets"])
async def create_budget(write: Write, asked: Annotated[BudgetRequest, body_of(BudgetRequest)]) -> Response:
    """Make a budget."""
    return await write.decide(
        CreateBudget(
            **write.who,
            id=write.new_id(ids.BUDGET),
            name=asked.name,
            currency=asked.currency,
            parent=asked.parent,
            agents=tuple(asked.agents),
        )
    )


@router.post("/budgets/{budget}/agents", response_model=BudgetAgentsView, tags=["budgets"])
async def assign_budget(
    budget: Reference, write: Write, asked: Annotated[AssignRequest, body_of(AssignRequest)]
) -> Response:
    """Let further agents or teams spend from a budget. The answer names those that could not before."""
    command = AssignBudget(**write.who, budget=budget, agents=tuple(asked.agents))
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/budgets/{budget}/allocations", status_code=201, response_model=EntryResponse, tags=["budgets"])
async def allocate(
    budget: Reference, write: Write, asked: Annotated[AllocationRequest, body_of(AllocationRequest)]
) -> Response:
    """Move authority from the parent budget, or from the book's authority, to a budget."""
    command = Allocate(
        **write.who,
        id=write.new_id(ids.ALLOCATION),
        budget=budget,
        amount=asked.amount.amount,
        currency=asked.amount.currency,
        reason=asked.reason,
    )
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/budgets/{budget}/deallocations", status_code=201, response_model=EntryResponse, tags=["budgets"])
async def deallocate(
    budget: Reference, write: Write, asked: Annotated[AllocationRequest, body_of(AllocationRequest)]
) -> Response:
    """Move available authority back to where it came from."""
    command = Deallocate(
        **write.who,
        id=write.new_id(ids.ALLOCATION),
        budget=budget,
        amount=asked.amount.amount,
        currency=asked.amount.currency,
        reason=asked.reason,
    )
    return await write.decide(command, instead=_NO_BUDGET)


@router.post("/units", status_code=201, response_model=UnitView, tags=["units"])
async def define_unit(write: Write, asked: Annotated[UnitRequest, body_of(UnitRequest)]) -> Response:
    """Define a unit that is not money; its scale is fixed for good."""
    return await write.decide(DefineUnit(**write.who, name=asked.name, digits=asked.digits))


@router.post("/categories", status_code=201, response_model=NameView, tags=["names"])
async def add_category(write: Write, asked: Annotated[NameRequest, body_of(NameRequest)]) -> Response:
    """Make a category known to the book."""
    return await write.decide(AddName(**write.who, kind=CATEGORY, name=asked.name))


@router.post("/payees", status_code=201, response_model=NameView, tags=["names"])
async def add_payee(write: Write, asked: Annotated[NameRequest, body_of(NameRequest)]) -> Response:
    """Make a payee known to the book."""
    return await write.decide(AddName(**write.who, kind=PAYEE, name=asked.name))
