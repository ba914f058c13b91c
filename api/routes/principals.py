"""Routes that read who there is: this key, teams and agents, keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.rendering_remaining import currencies_in, policy_left_view
from api.routes.answers import PROBLEMS
from api.routes.views import agent_view, budget_view, key_view, run_currencies, run_view
from api.schemas.lists import AgentList, KeyList
from api.schemas.setting_up import AgentView, KeyView, MeView
from ledger.core import roles
from ledger.core.principal import KIND_AGENT, KIND_TEAM, Agent, Key
from ledger.services.policies.remaining import Holder, what_remains
from ledger.storage import queries_authorizations, queries_budgets, queries_log, queries_principals
from ledger.storage.queries_budgets import BudgetBalances

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Reference = Annotated[str, Path(max_length=64, description="Name or id.")]
Printable = Annotated[str | None, Query(max_length=128, pattern="^[ -~]*$")]


@router.get("/me", response_model=MeView, tags=["keys"])
def me(request: Request) -> Response:
    """Say who this key is, what it may do, the budgets it may spend from, and what policies leave it."""
    with reading(request, "read_own", of_run=True) as read:
        book = found(queries_log.book_by_id(read.connection, read.book_id), "book")
        budgets = queries_budgets.budgets_of_agents(read.connection, read.book_id, read.own_agents())
        run = queries_authorizations.run(read.connection, read.book_id, read.key.run) if read.key.run else None
        currencies = run_currencies(run) if run is not None else set()
        scale = read.scale({*currencies, *(item.budget.currency for item in budgets)})
        shown: dict[str, Any] = {
            "key": read.key.id,
            "role": read.key.role,
            "principal": read.key.principal,
            "book": book.name,
            "agent": agent_view(read.agent) if read.agent is not None else None,
            **({"run": run_view(run, scale)} if run is not None else {}),
            "budgets": [budget_view(item, scale) for item in budgets],
            "may": sorted(name for name in roles.PERMISSIONS if _may(read.key, name)),
            **(_policies(read, read.agent, budgets, book.timezone) if read.agent is not None else {"policies": []}),
        }
    return answer(shown)


def _may(key: Key, operation: str) -> bool:
    return roles.allowed(operation, key.role) and (key.run is None or operation in roles.RUN_SCOPED)


def _policies(read: Reading, agent: Agent, budgets: list[BudgetBalances], timezone: str) -> dict[str, Any]:
    """The policies that judge the agent, with what is left of their limits."""
    now = read.context.sources.now_us()
    holders = [Holder(item.budget.name, item.budget.path) for item in budgets]
    policies, more = what_remains(
        read.connection,
        read.book_id,
        agent=Holder(agent.name, agent.path),
        budgets=holders,
        timezone=timezone,
        now=now,
    )
    scale = read.scale(currencies_in(policies))
    shown: dict[str, Any] = {"policies": [policy_left_view(item, scale, now) for item in policies]}
    return shown | {"more_policies": True} if more else shown


def _list(request: Request, kind: str, limit: int, cursor: str | None, parent: str | None) -> Response:
    with reading(request, "read_all") as read:
        page = queries_principals.list_agents(
            read.connection,
            read.book_id,
            kind=kind,
            parent=read.agent_named(parent) if parent else None,
            after=cursor_parts(cursor, str),
            limit=limit,
        )
    return answer_page(page, agent_view)


def _get(request: Request, kind: str, reference: str) -> Response:
    with reading(request, "read_own") as read:
        agent = queries_principals.agent(read.connection, read.book_id, reference)
        hidden = agent is None or agent.kind != kind or (read.agent is not None and agent.name not in read.own_agents())
        agent = found(None if hidden else agent, f"{kind} {reference}")
    return answer(agent_view(agent))


@router.get("/teams", response_model=AgentList, tags=["teams"])
def list_teams(request: Request, limit: Limit = 50, cursor: Cursor = None, parent: Printable = None) -> Response:
    """List teams by name."""
    return _list(request, KIND_TEAM, limit, cursor, parent)


@router.get("/agents", response_model=AgentList, tags=["agents"])
def list_agents(request: Request, limit: Limit = 50, cursor: Cursor = None, parent: Printable = None) -> Response:
    """List agents by name."""
    return _list(request, KIND_AGENT, limit, cursor, parent)


@router.get("/teams/{team}", response_model=AgentView, tags=["teams"])
def get_team(request: Request, team: Reference) -> Response:
    """One team."""
    return _get(request, KIND_TEAM, team)


@router.get("/agents/{agent}", response_model=AgentView, tags=["agents"])
def get_agent(request: Request, agent: Reference) -> Response:
    """One agent. An agent finds itself and those above it."""
    return _get(request, KIND_AGENT, agent)


@router.get("/keys", response_model=KeyList, tags=["keys"])
def list_keys(request: Request, limit: Limit = 50, cursor: Cursor = None, principal: Printable = None) -> Response:
    """List keys, newest first, those that ended included. ``principal`` is agent:NAME or person:NAME."""
    with reading(request, "read_keys") as read:
        page = queries_principals.list_keys(
            read.connection, read.book_id, principal=principal, after=cursor_parts(cursor, str), limit=limit
        )
    return answer_page(page, key_view)


@router.get("/keys/{key}", response_model=KeyView, tags=["keys"])
def get_key(request: Request, key: Reference) -> Response:
    """One key, without its text."""
    with reading(request, "read_keys") as read:
        shown = found(queries_principals.key_by_id(read.connection, read.book_id, key), f"key {key}")
    return answer(key_view(shown))
