"""Routes that read what was asked and spent: authorizations, budgets, runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from api.edge_state import context_of
from api.problems import ProblemError
from api.reading import Cursor, Limit, Reading, answer, answer_page, cursor_parts, found, reading
from api.routes.answers import PROBLEMS
from api.routes.views import (
    authorization_view,
    budget_view,
    labels_made,
    labels_of,
    recorded_decision,
    run_currencies,
    run_view,
)
from api.routes.views_approvals import seen_of, tier_view
from api.schemas.authorizations import AuthorizationView
from api.schemas.fields import Moment, moment_or_none
from api.schemas.lists import AuthorizationList, BudgetList, RunList
from api.schemas.setting_up import BudgetView, RunView
from ledger.core.authorization import FLAGS, PENDING
from ledger.core.outcome import Status
from ledger.storage import queries_approvals, queries_authorizations, queries_budgets, queries_log, queries_texts
from ledger.storage.paging import Page
from ledger.storage.queries_authorizations import AuthorizationFilter, RunWithTotals
from ledger.storage.queries_budgets import BudgetBalances

router = APIRouter(prefix="/v1", responses=PROBLEMS)
POLL_SECONDS = 0.25
Reference = Annotated[str, Path(max_length=128, description="Name or id.")]
Printable = Annotated[str | None, Query(max_length=128, pattern="^[ -~]*$")]
State = Literal["denied", "pending_approval", "held", "settled", "released", "expired", "refused"]
Flag = Literal[
    "overrun",
    "late",
    "mismatch",
    "unauthorized",
    "unknown",
    "partial",
    "forced",
    "estimated",
    "unpriced",
    "repriced",
    "gateway",
]


@router.get("/authorizations", response_model=AuthorizationList, tags=["authorizations"])
def list_authorizations(
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: State | None = None,
    agent: Printable = None,
    run: Printable = None,
    budget: Printable = None,
    category: Printable = None,
    flag: Flag | None = None,
    created_from: Annotated[Moment | None, Query(alias="from", description="Created then or later.")] = None,
    created_to: Annotated[Moment | None, Query(alias="to", description="Created before then.")] = None,
) -> Response:
    """List authorizations and charges, newest first. An agent sees its own."""
    with reading(request, "read_own", of_run=True) as read:
        wanted = AuthorizationFilter(
            state=state,
            agent=_agent_filter(read, agent),
            budget=_budget(read, budget).budget.name if budget else None,
            run=_run_filter(read, run),
            category=category,
            flag=FLAGS[flag] if flag else None,
            created_from=moment_or_none(created_from),
            created_to=moment_or_none(created_to),
        )
        page = queries_authorizations.list_authorizations(
            read.connection, read.book_id, wanted, after=cursor_parts(cursor, int), limit=limit
        )
        scale = read.scale(row.currency for row in page.items)
        made = queries_log.records_at(read.connection, read.book_id, [row.created_index for row in page.items])
    return answer_page(page, lambda row: authorization_view(row, scale, labels_made(row, made)))


def _agent_filter(read: Reading, agent: str | None) -> str | None:
    """The agent whose authorizations are listed: an agent's own, whatever it asked for."""
    named = read.agent_named(agent) if agent else None
    if read.agent is None:
        return named
    if named not in (None, read.agent.name):
        raise ProblemError("not_found", f"there is no agent {agent}")
    return read.agent.name


def _run_filter(read: Reading, run: str | None) -> str | None:
    """The run whose authorizations are listed: the key's own, if it is for one, whatever was asked for."""
    named = _run_name(read, run)
    if read.key.run is None:
        return named
    if named not in (None, read.key.run):
        raise ProblemError(Status.NOT_FOUND.value, f"there is no run {run}")
    return read.key.run


def _run_name(read: Reading, run: str | None) -> str | None:
    """The name of a run by name or id; a name that was never opened is a name all the same."""
    if run is None or "_" not in run:
        return run
    opened = queries_authorizations.run(read.connection, read.book_id, run)
    return opened.run.name if opened is not None else run


def _authorization(request: Request, reference: str, *, again: bool) -> dict[str, Any]:
    with reading(request, "read_own", again=again, of_run=True) as read:
        row = queries_authorizations.authorization(read.connection, read.book_id, reference)
        hidden = row is None or (read.agent is not None and row.agent != read.agent.name)
        hidden = hidden or (row is not None and read.key.run not in (None, row.run))
        shown = found(None if hidden else row, f"authorization {reference}")
        texts = queries_log.texts_of(read.connection, read.book_id, shown.created_index)
        intent = next((text.content for text in texts if text.field == "intent"), None)
        made = found(queries_log.record(read.connection, read.book_id, shown.created_index), "record of it")
        redacted = None
        if intent is None:
            redacted = queries_texts.redacted_at(read.connection, read.book_id, [made.log_index]).get(made.log_index)
        scale = read.scale((shown.currency,))
        view = authorization_view(shown, scale, labels_of(made.body), intent, redacted)
        tiers = queries_approvals.approvals_of(read.connection, read.book_id, [shown.id]).get(shown.id)
        if tiers:
            seen = seen_of(read.connection, read.book_id, tiers)
            view["approvals"] = [tier_view(tier, seen) for tier in tiers]
        return view | {"decision": recorded_decision(made.body, scale)}


@router.get("/authorizations/{authorization}", response_model=AuthorizationView, tags=["authorizations"])
async def get_authorization(
    request: Request,
    authorization: Reference,
    wait_seconds: Annotated[int, Query(ge=0, le=30, description="How long to wait for an approval.")] = 0,
) -> Response:
    """One authorization as it stands now, with its labels and its intent. With ``wait_seconds``, answer once people
    have decided, or after that time. What settlements and releases were explained with is read from the log, beside
    their records."""
    stopping = context_of(request).stopping
    deadline = time.monotonic() + wait_seconds
    shown = await asyncio.to_thread(_authorization, request, authorization, again=False)
    while shown["state"] == PENDING and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), POLL_SECONDS)
        if stopping.is_set():
            raise ProblemError("stopping")
        shown = await asyncio.to_thread(_authorization, request, authorization, again=True)
    return answer(shown)


def _budget(read: Reading, reference: str) -> BudgetBalances:
    """A budget that this key may see. Raises ProblemError ``not_found``."""
    budget = queries_budgets.budget(read.connection, read.book_id, reference)
    if budget is not None and read.agent is not None:
        mine = queries_budgets.budgets_of_agents(read.connection, read.book_id, read.own_agents())
        budget = next((item for item in mine if item.budget.name == budget.budget.name), None)
    return found(budget, f"budget {reference}")


@router.get("/budgets", response_model=BudgetList, tags=["budgets"])
def list_budgets(request: Request, limit: Limit = 50, cursor: Cursor = None, parent: Printable = None) -> Response:
    """List budgets by name, with what is left of each. An agent sees those it may spend from."""
    with reading(request, "read_own") as read:
        if read.agent is not None:
            mine = queries_budgets.budgets_of_agents(read.connection, read.book_id, read.own_agents())
            page = _page_of_names(mine, cursor_parts(cursor, str), limit)
        else:
            page = queries_budgets.list_budgets(
                read.connection,
                read.book_id,
                parent=_budget(read, parent).budget.name if parent else None,
                after=cursor_parts(cursor, str),
                limit=limit,
            )
        scale = read.scale(item.budget.currency for item in page.items)
    return answer_page(page, lambda item: budget_view(item, scale))


def _page_of_names(budgets: list[BudgetBalances], after: str | None, limit: int) -> Page[BudgetBalances]:
    """A page of an agent's few budgets, which come sorted."""
    rest = [item for item in budgets if after is None or item.budget.name > after]
    return Page(rest[:limit], (rest[limit - 1].budget.name,) if len(rest) > limit else None)


@router.get("/budgets/{budget}", response_model=BudgetView, tags=["budgets"])
def get_budget(request: Request, budget: Reference) -> Response:
    """One budget, with who may spend from it and what is left."""
    with reading(request, "read_own") as read:
        shown = _budget(read, budget)
        agents = queries_budgets.agents_of_budget(read.connection, read.book_id, shown.budget.name)
        scale = read.scale((shown.budget.currency,))
    return answer(budget_view(shown, scale, agents))


@router.get("/runs", response_model=RunList, tags=["runs"])
def list_runs(request: Request, limit: Limit = 50, cursor: Cursor = None, agent: Printable = None) -> Response:
    """List runs, newest first, with their totals. An agent sees its own."""
    with reading(request, "read_own") as read:
        page = queries_authorizations.list_runs(
            read.connection,
            read.book_id,
            agent=_agent_filter(read, agent),
            after=cursor_parts(cursor, str),
            limit=limit,
        )
        scale = read.scale(currency for item in page.items for currency in run_currencies(item))
    return answer_page(page, lambda item: run_view(item, scale))


def _visible(read: Reading, run: RunWithTotals | None) -> RunWithTotals | None:
    if run is None or read.agent is None:
        return run
    if read.key.run is not None:
        return run if run.run.name == read.key.run else None
    return run if run.run.agent in read.own_agents() else None


@router.get("/runs/{run}", response_model=RunView, tags=["runs"])
def get_run(request: Request, run: Reference) -> Response:
    """One run with its totals per currency."""
    with reading(request, "read_own", of_run=True) as read:
        shown = found(_visible(read, queries_authorizations.run(read.connection, read.book_id, run)), f"run {run}")
        scale = read.scale(run_currencies(shown))
    return answer(run_view(shown, scale))
