"""The fold over what sets a book up: the book, teams and agents, persons, keys, budgets, runs, units and names.

Invariants: written from the rules, without the code that decided; a name or id is made once; a path is that of the
parent with the parent's name behind it.
"""

from typing import Any, Final

from ledger.core.account import budget_accounts
from ledger.core.book import Book, Unit
from ledger.core.budget import Budget, BudgetAgent
from ledger.core.moment import SECOND, moment_of
from ledger.core.principal import Agent, Key, Person
from ledger.core.projecting_policies import count_run
from ledger.core.projecting_record import Record
from ledger.core.roles import AGENT as ROLE_AGENT
from ledger.core.run import Run

_PERSON: Final = "person:"
_AGENT: Final = "agent:"
AGENT_KEY_SECONDS_MAX: Final = 7 * 24 * 3600
"""How long a key may last that an agent makes."""


def _book(record: Record) -> None:
    body = record.body
    record.expect("book_id", record.fold.book_id)
    if record.index:
        raise ValueError("a book is opened by its first record only")
    record.fold.book = Book(
        record.fold.book_id, body["book"], body["currency"], body["timezone"], body["strict_names"], record.time
    )


def _path(parent: Any) -> str:
    """The path of what hangs below ``parent`` (an agent, a budget, or None)."""
    if parent is None:
        return ""
    return f"{parent.path}/{parent.name}" if parent.path else str(parent.name)


def _agent(record: Record) -> None:
    body = record.body
    name, parent = body["agent"], body.get("parent")
    above = None
    if parent is not None:
        above = record.store.agents.get(parent)
        if above is None:
            raise LookupError(f"there is no agent or team {parent}")
    record.store.agents.add(
        name,
        Agent(
            record.fold.book_id, name, body["id"], body["agent_kind"], parent, _path(above), False, record.index,
            record.index,
        ),
    )  # fmt: skip


def _freeze(record: Record) -> None:
    row = record.store.agents.change(record.body["agent"])
    record.expect("id", row.id)
    record.expect("frozen", record.columns.kind == "freeze")
    row.frozen = record.columns.kind == "freeze"
    row.changed_index = record.index


def _add_key(record: Record) -> Key:
    body = record.body
    expires, run = body.get("expires_at"), body.get("run")
    record.expect("made_by", body["by"]["principal"])
    row = Key(
        record.fold.book_id, bytes.fromhex(body["digest"]), body["key"], body["role"], body["principal"],
        body["made_by"], record.time, None if expires is None else moment_of(expires), None, record.index, record.index,
        run, body.get("vouched_by"),
    )  # fmt: skip
    if run is not None and record.store.runs.get(run) is None:
        raise LookupError(f"there is no run {run}")
    record.store.api_keys.add(row.id, row)
    return row


def _check_agents_key(record: Record, row: Key) -> None:
    """What an agent makes is for itself and one run, lasts seven days at most and no longer than what it was made with,
    and leads back to who made that."""
    if not row.made_by.startswith(_AGENT):
        record.expect("vouched_by", None)
        return
    used = record.store.api_keys.get(record.body["by"]["key"])
    if used is None:
        raise LookupError(f"there is no key {record.body['by']['key']}")
    record.expect("vouched_by", used.made_by)
    record.expect("principal", row.made_by)
    record.expect("role", ROLE_AGENT)
    latest = record.time + AGENT_KEY_SECONDS_MAX * SECOND
    latest = latest if used.expires_at is None else min(latest, used.expires_at)
    if row.run is None or row.expires_at is None or row.expires_at > latest:
        record.differ("a key that an agent made can do more than it may", "", row.id)


def _key(record: Record) -> None:
    row = _add_key(record)
    _check_agents_key(record, row)
    name = row.principal.removeprefix(_PERSON)
    if name != row.principal and record.store.persons.get(name) is None:
        record.store.persons.add(name, Person(record.fold.book_id, name, record.index))


def _key_rotation(record: Record) -> None:
    old = record.store.api_keys.change(record.body["replaces"])
    old.expires_at = moment_of(record.body["replaced_expires_at"])
    old.changed_index = record.index
    successor = _add_key(record)
    record.expect("role", old.role)
    record.expect("principal", old.principal)
    record.expect("run", old.run)
    record.expect("vouched_by", None)
    successor.changed_index = record.index


def _key_revocation(record: Record) -> None:
    row = record.store.api_keys.change(record.body["key"])
    record.expect("role", row.role)
    record.expect("principal", row.principal)
    row.revoked_at = record.time
    row.changed_index = record.index


def _budget(record: Record) -> None:
    body = record.body
    name, parent, currency = body["budget"], body.get("parent"), body["currency"]
    above = None
    if parent is not None:
        above = record.store.budgets.get(parent)
        if above is None or above.currency != currency:
            raise LookupError(f"there is no budget {parent} in {currency}")
        if above.closed_at is not None:
            record.differ(f"a budget is made below {parent}, which is closed", "", name)
        record.fold.open_children[parent] = record.fold.open_children.get(parent, 0) + 1
    record.store.budgets.add(
        name,
        Budget(
            record.fold.book_id, name, body["id"], parent, _path(above), currency, False, None, record.index,
            record.index,
        ),
    )  # fmt: skip
    for account in budget_accounts(name):
        record.account(account, currency)
    _let_spend(record)


def _budget_agents(record: Record) -> None:
    budget = record.store.budgets.get(record.body["budget"])
    if budget is None:
        raise LookupError(f"there is no budget {record.body['budget']}")
    if budget.closed_at is not None:
        record.differ(f"agents are added to {budget.name}, which is closed", "", record.body["agents"])
    record.expect("id", budget.id)
    record.expect("currency", budget.currency)
    _let_spend(record)


def _let_spend(record: Record) -> None:
    budget = record.body["budget"]
    for agent in record.body["agents"]:
        if record.store.agents.get(agent) is None:
            raise LookupError(f"there is no agent or team {agent}")
        row = BudgetAgent(record.fold.book_id, agent, budget, record.index)
        record.store.budget_agents.add((agent, budget), row)


def _run(record: Record) -> None:
    body = record.body
    cap = record.atoms("cap") if "cap" in body else None
    record.expect("cap", body["request"].get("cap"))
    record.expect("cap_currency", body["request"].get("cap_currency"))
    row = Run(
        record.fold.book_id, body["run"], body["id"], body["agent"], record.time, record.index, cap,
        body.get("cap_currency"),
    )  # fmt: skip
    record.store.runs.add(row.name, row)
    count_run(record, row.agent)


def _run_denial(record: Record) -> None:
    """A run that policies refused leaves nothing but its record."""
    if record.store.runs.get(record.body["run"]) is not None:
        record.differ("a run that was opened is refused")
    if record.body["decision"]["outcome"] != "denied":
        record.differ("a denial that was not denied", "denied", record.body["decision"]["outcome"])


def _unit(record: Record) -> None:
    request = record.body["request"]
    record.expect("unit", request["name"])
    record.expect("digits", request["digits"])
    row = Unit(record.fold.book_id, record.body["unit"], record.body["digits"], record.index)
    record.store.units.add(row.name, row)


def _name(record: Record) -> None:
    record.meet_name(record.body["name_kind"], record.body["name"])


HANDLERS: Final = {
    "book": _book,
    "agent": _agent,
    "freeze": _freeze,
    "unfreeze": _freeze,
    "key": _key,
    "key_rotation": _key_rotation,
    "key_revocation": _key_revocation,
    "budget": _budget,
    "budget_agents": _budget_agents,
    "run": _run,
    "run_denial": _run_denial,
    "unit": _unit,
    "name": _name,
}
"""What each kind of record that sets the book up does."""
