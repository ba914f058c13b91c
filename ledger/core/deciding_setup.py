"""Decisions that set a book up: the book itself, teams and agents, budgets, units, names, freezes.

Invariants: a name is unique for its kind and never reused; agents and teams share one kind of name, because either can
be a parent; each is one log record.
"""

from typing import Any

from ledger.core import account as accounts
from ledger.core.beginning import begin
from ledger.core.book import CATEGORY, Book, Head, Name, Unit
from ledger.core.budget import DEPTH_MAX as BUDGET_DEPTH_MAX
from ledger.core.budget import Budget, BudgetAgent
from ledger.core.changeset import Changeset, copy_of, row_of
from ledger.core.command import (
    AddName,
    AssignBudget,
    CreateAgent,
    CreateBudget,
    DefineUnit,
    FreezeAgent,
)
from ledger.core.deciding_keys import add_person, key_body
from ledger.core.finding_budgets import open_budget
from ledger.core.finishing import finish
from ledger.core.merkle import EMPTY_ROOT, Frontier
from ledger.core.money import UNIT_DIGITS_MAX, currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET
from ledger.core.principal import (
    DEPTH_MAX,
    KIND_AGENT,
    OWNER_PRINCIPAL,
    Agent,
    Key,
    lineage,
)
from ledger.core.refusal import refuse
from ledger.core.roles import ADMIN
from ledger.core.snapshot import Snapshot
from ledger.core.working import Batch

OWNER_PERSON = "owner"


def open_book(*, book: Book, text_secret: bytes, key_id: str, key_digest: bytes) -> Changeset:
    """The changeset that opens a book: its first record, and the first admin key's. ``book.opened_at`` is the time."""
    empty = Snapshot(book, Head(book.book_id, 0, EMPTY_ROOT, b"", 0, 0, False), Frontier(), text_secret)
    batch = Batch(empty, book.opened_at)
    batch.inserts["books"].append(row_of(book))
    body: dict[str, Any] = {
        "book_id": book.book_id,
        "currency": book.currency,
        "timezone": book.timezone,
        "strict_names": book.strict_names,
        "by": {"principal": OWNER_PRINCIPAL},
    }
    batch.record("book", book.name, body, [])
    batch.make("persons", OWNER_PERSON, None)
    key = Key(
        book.book_id, key_digest, key_id, ADMIN, f"person:{OWNER_PERSON}", OWNER_PRINCIPAL, batch.now, None, None,
        batch.index, batch.index,
    )  # fmt: skip
    add_person(batch, OWNER_PERSON)
    batch.keys[key_digest] = key
    batch.record("key", key_id, key_body(key) | {"by": {"principal": OWNER_PRINCIPAL}}, [])
    return batch.changeset()


def create_agent(batch: Batch, asked: CreateAgent) -> Outcome:
    """Make a team or an agent."""
    request = {"name": asked.name, "kind": asked.kind}
    if asked.parent is not None:
        request["parent"] = asked.parent
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    path, parent = "", None
    if asked.parent is not None:
        parent = batch.name_of("agents", asked.parent)
        if parent is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no team or agent {asked.parent} to be the parent")
        above = batch.agent(parent)
        if asked.kind != KIND_AGENT and above.kind == KIND_AGENT:
            refuse(Status.UNKNOWN_AGENT, f"{parent} is an agent; a team belongs to a team or to none")
        path = f"{above.path}/{parent}" if above.path else parent
        if len(lineage(path)) > DEPTH_MAX:
            refuse(Status.TREE_TOO_DEEP, f"at most {DEPTH_MAX} agents and teams may stand above another")
    if batch.fact("agents", asked.name) is not None:
        refuse(Status.NAME_TAKEN, f"the name {asked.name} is taken by an agent or team; names are never reused")
    row = Agent(batch.book_id, asked.name, asked.id, asked.kind, parent, path, False, batch.index, batch.index)
    batch.agents[asked.name] = row
    batch.make("agents", asked.name, row)
    batch.make("aliases", asked.id, asked.name)
    batch.make("agent_budgets", asked.name, ())
    batch.make("bindings", (SCOPE_AGENT, asked.name), ())
    body: dict[str, Any] = {"agent": asked.name, "id": asked.id, "agent_kind": asked.kind}
    if parent is not None:
        body["parent"] = parent
    return finish(batch, asked, who, packed, "agent", asked.name, body, [])


def freeze_agent(batch: Batch, asked: FreezeAgent) -> Outcome:
    """Freeze or unfreeze; effective for the next decision in every process. What is in flight can still settle."""
    who, packed, replay = begin(batch, asked, {"agent": asked.agent, "frozen": asked.frozen})
    if replay is not None:
        return replay
    name = batch.name_of("agents", asked.agent)
    if name is None:
        refuse(Status.NOT_FOUND, f"there is no agent or team {asked.agent}")
    current = batch.agent(name)
    if current.frozen == asked.frozen:
        state = "frozen" if asked.frozen else "active"
        refuse(Status.WRONG_STATE, f"{name} is {state} already", state=state)
    row = batch.agents.get(name) or copy_of(current)
    row.frozen = asked.frozen
    row.changed_index = batch.index
    batch.agents[name] = row
    batch.change_settings()
    body = {"agent": name, "id": row.id, "frozen": asked.frozen}
    return finish(batch, asked, who, packed, "freeze" if asked.frozen else "unfreeze", name, body, [])


def _existing_agents(batch: Batch, agents: tuple[str, ...]) -> list[str]:
    """The names of the agents and teams a command lists, each once; refuses an unknown one."""
    names = []
    for reference in agents:
        name = batch.name_of("agents", reference)
        if name is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent or team {reference}")
        if name not in names:
            names.append(name)
    return names


def _assign(batch: Batch, budget: str, names: list[str]) -> list[str]:
    """Let agents or teams spend from a budget; returns those that could not before."""
    added = [name for name in names if budget not in (batch.fact("agent_budgets", name) or ())]
    for name in added:
        before = batch.fact("agent_budgets", name) or ()
        batch.make("agent_budgets", name, tuple(sorted((*before, budget))))
        batch.inserts["budget_agents"].append(row_of(BudgetAgent(batch.book_id, name, budget, batch.index)))
    return added


def create_budget(batch: Batch, asked: CreateBudget) -> Outcome:
    """Make a budget with its three accounts, empty."""
    request: dict[str, Any] = {"name": asked.name, "currency": asked.currency, "agents": list(asked.agents)}
    if asked.parent is not None:
        request["parent"] = asked.parent
    who, packed, replay = begin(batch, asked, request, asked.currency)
    if replay is not None:
        return replay
    names = _existing_agents(batch, asked.agents)
    path, parent = "", None
    if asked.parent is not None:
        above = open_budget(batch, asked.parent, asked.currency)
        parent = above.name
        path = f"{above.path}/{parent}" if above.path else parent
        if len(lineage(path)) > BUDGET_DEPTH_MAX:
            refuse(Status.TREE_TOO_DEEP, f"at most {BUDGET_DEPTH_MAX} budgets may stand above another")
    if batch.fact("budgets", asked.name) is not None:
        refuse(Status.NAME_TAKEN, f"the name {asked.name} is taken by a budget; names are never reused")
    budget = Budget(
        batch.book_id, asked.name, asked.id, parent, path, asked.currency, False, None, batch.index, batch.index
    )
    batch.add("budgets", asked.name, budget)
    batch.make("aliases", asked.id, asked.name)
    batch.make("bindings", (SCOPE_BUDGET, asked.name), ())
    made = [accounts.available_name(asked.name), accounts.held_name(asked.name), accounts.spent_name(asked.name)]
    for account_name in made:
        batch.make("accounts", account_name, None)
        batch.open_account(account_name, asked.currency)
        del batch.made["accounts"][account_name]
    agents = _assign(batch, asked.name, names)
    body: dict[str, Any] = {
        "budget": asked.name,
        "id": asked.id,
        "currency": asked.currency,
        "agents": agents,
    }
    if parent is not None:
        body["parent"] = parent
    return finish(batch, asked, who, packed, "budget", asked.name, body, [])


def assign_budget(batch: Batch, asked: AssignBudget) -> Outcome:
    """Let further agents or teams spend from a budget."""
    who, packed, replay = begin(batch, asked, {"budget": asked.budget, "agents": list(asked.agents)})
    if replay is not None:
        return replay
    names = _existing_agents(batch, asked.agents)
    budget = open_budget(batch, asked.budget, None)
    added = _assign(batch, budget.name, names)
    body = {"budget": budget.name, "id": budget.id, "currency": budget.currency, "agents": added}
    return finish(batch, asked, who, packed, "budget_agents", budget.name, body, [])


def define_unit(batch: Batch, asked: DefineUnit) -> Outcome:
    """Define a unit that is not money; its scale is fixed for good."""
    request = {"name": asked.name, "digits": asked.digits}
    if currency_digits(asked.name) is not None or not 0 <= asked.digits <= UNIT_DIGITS_MAX:
        batch.admit(asked)
        refuse(Status.UNKNOWN_CURRENCY, f"{asked.name} is a currency, or has more than {UNIT_DIGITS_MAX} digits")
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    if batch.fact("units", asked.name) is not None:
        refuse(Status.NAME_TAKEN, f"the unit {asked.name} is defined already, and its scale is fixed for good")
    unit = Unit(batch.book_id, asked.name, asked.digits, batch.index)
    batch.make("units", asked.name, unit)
    batch.inserts["units"].append(row_of(unit))
    return finish(batch, asked, who, packed, "unit", asked.name, {"unit": asked.name, "digits": asked.digits}, [])


def add_name(batch: Batch, asked: AddName) -> Outcome:
    """Make a category or a payee known to the book."""
    who, packed, replay = begin(batch, asked, {"kind": asked.kind, "name": asked.name})
    if replay is not None:
        return replay
    if batch.fact("names", (asked.kind, asked.name)) is not None:
        refuse(Status.NAME_TAKEN, f"{asked.name} is a {asked.kind} of this book already")
    name = Name(batch.book_id, asked.kind, asked.name, batch.index)
    batch.make("names", (asked.kind, asked.name), name)
    batch.inserts["names"].append(row_of(name))
    body = {"name_kind": asked.kind if asked.kind == CATEGORY else "payee", "name": asked.name}
    return finish(batch, asked, who, packed, "name", asked.name, body, [])
