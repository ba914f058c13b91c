"""Decisions that set a book up: the book itself, teams and agents, keys, budgets, runs, units, names, freezes.

Invariants: a name is unique for its kind and never reused; agents and teams share one kind of name, because either can
be a parent; no secret is written, only a key's digest; each is one log record.
"""

from typing import Any

from ledger.core import account as accounts
from ledger.core.book import CATEGORY, Book, Head, Name, Unit
from ledger.core.budget import DEPTH_MAX as BUDGET_DEPTH_MAX
from ledger.core.budget import Budget, BudgetAgent
from ledger.core.changeset import Changeset, copy_of, row_of
from ledger.core.command import (
    AddName,
    AssignBudget,
    Command,
    CreateAgent,
    CreateBudget,
    CreateKey,
    DefineUnit,
    FreezeAgent,
    RevokeKey,
    RotateKey,
)
from ledger.core.deciding_finance import finish
from ledger.core.finding_budgets import open_budget
from ledger.core.merkle import EMPTY_ROOT, Frontier
from ledger.core.moment import SECOND, moment_text
from ledger.core.money import UNIT_DIGITS_MAX, currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET
from ledger.core.principal import (
    DEPTH_MAX,
    KIND_AGENT,
    OWNER_PRINCIPAL,
    Agent,
    Key,
    Person,
    lineage,
)
from ledger.core.refusal import refuse
from ledger.core.roles import ADMIN
from ledger.core.roles import AGENT as ROLE_AGENT
from ledger.core.snapshot import Snapshot
from ledger.core.working import Batch, request_of

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
    _add_person(batch, OWNER_PERSON)
    batch.keys[key_digest] = key
    batch.record("key", key_id, _key_body(key) | {"by": {"principal": OWNER_PRINCIPAL}}, [])
    return batch.changeset()


def begin(
    batch: Batch, asked: Command, request: dict[str, Any], currency: str | None = None
) -> tuple[tuple[str, str | None], Any, Outcome | None]:
    """Gate, canonical request, and the recorded answer where there is one; refuses an unknown ``currency``."""
    who = batch.admit(asked)
    if currency is not None:
        batch.digits(currency)
    reason = getattr(asked, "reason", None)
    if reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", reason)
    packed = request_of({"operation": asked.operation, **request})
    return who, packed, batch.answered(asked, who[0], packed[1])


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


def _key_body(key: Key) -> dict[str, Any]:
    body: dict[str, Any] = {
        "key": key.id,
        "digest": key.digest.hex(),
        "role": key.role,
        "principal": key.principal,
        "made_by": key.made_by,
    }
    if key.expires_at is not None:
        body["expires_at"] = moment_text(key.expires_at)
    return body


def _add_person(batch: Batch, name: str) -> None:
    if batch.fact("persons", name) is None:
        person = Person(batch.book_id, name, batch.index)
        batch.make("persons", name, person)
        batch.inserts["persons"].append(row_of(person))


def create_key(batch: Batch, asked: CreateKey) -> Outcome:
    """Make a key for an agent or a person."""
    request: dict[str, Any] = {"role": asked.role}
    for field in ("agent", "person", "ttl_seconds"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    if (asked.role == ROLE_AGENT) != (asked.agent is not None) or (asked.role == ROLE_AGENT) == (
        asked.person is not None
    ):
        refuse(
            Status.ROLE_PRINCIPAL_MISMATCH,
            "a key with role agent names an agent; a key with any other role names a person",
        )
    if asked.agent is not None:
        agent = batch.name_of("agents", asked.agent)
        if agent is None or batch.agent(agent).kind != KIND_AGENT:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
        principal = f"agent:{agent}"
    else:
        principal = f"person:{asked.person}"
    expires_at = None if asked.ttl_seconds is None else batch.now + asked.ttl_seconds * SECOND
    key = Key(
        batch.book_id, asked.digest, asked.id, asked.role, principal, who[0], batch.now, expires_at, None,
        batch.index, batch.index,
    )  # fmt: skip
    if asked.person is not None:
        _add_person(batch, asked.person)
    batch.keys[asked.digest] = key
    return finish(batch, asked, who, packed, "key", asked.id, _key_body(key), [])


def _key_by_id(batch: Batch, key_id: str) -> Key:
    found: Key | None = next((key for key in batch.keys.values() if key.id == key_id), None)
    found = found or batch.snapshot.keys_by_id[key_id]
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no key {key_id}")
    if found.revoked_at is not None:
        refuse(Status.WRONG_STATE, f"{key_id} was revoked at {moment_text(found.revoked_at)}", state="revoked")
    return found


def rotate_key(batch: Batch, asked: RotateKey) -> Outcome:
    """Make a key's successor; the old key ends after the overlap, or sooner if it was to expire before."""
    request: dict[str, Any] = {"key": asked.key, "overlap_seconds": asked.overlap_seconds}
    if asked.ttl_seconds is not None:
        request["ttl_seconds"] = asked.ttl_seconds
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    found = _key_by_id(batch, asked.key)
    ends_at = batch.now + asked.overlap_seconds * SECOND
    if found.expires_at is not None:
        if found.expires_at <= batch.now:
            refuse(Status.WRONG_STATE, f"{asked.key} expired at {moment_text(found.expires_at)}", state="expired")
        ends_at = min(ends_at, found.expires_at)
    old = batch.keys.get(found.digest) or copy_of(found)
    old.expires_at = ends_at
    old.changed_index = batch.index
    expires_at = None if asked.ttl_seconds is None else batch.now + asked.ttl_seconds * SECOND
    successor = Key(
        batch.book_id, asked.digest, asked.id, old.role, old.principal, who[0], batch.now, expires_at, None,
        batch.index, batch.index,
    )  # fmt: skip
    batch.keys[old.digest] = old
    batch.keys[asked.digest] = successor
    body = _key_body(successor) | {"replaces": old.id, "replaced_expires_at": moment_text(ends_at)}
    return finish(batch, asked, who, packed, "key_rotation", asked.id, body, [])


def revoke_key(batch: Batch, asked: RevokeKey) -> Outcome:
    """End a key at once, in every process."""
    who, packed, replay = begin(batch, asked, {"key": asked.key})
    if replay is not None:
        return replay
    found = _key_by_id(batch, asked.key)
    key = batch.keys.get(found.digest) or copy_of(found)
    key.revoked_at = batch.now
    key.changed_index = batch.index
    batch.keys[key.digest] = key
    body = {"key": key.id, "role": key.role, "principal": key.principal}
    return finish(batch, asked, who, packed, "key_revocation", key.id, body, [])


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
