"""Who asks, as the gateway must know it before it asks the ledger: the agent, its key, its budget, and what policies
say about inference calls.

Owns ``Asker`` and how it is read. Invariants: reads only, all on the caller's connection and so of one moment, in a
number of indexed look-ups that does not grow with the book; nothing here decides. Whether a key may spend is decided by
the core at the commit; what stands here only shapes the request (``asker_cache`` keeps it for a moment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ledger.core.budget import Budget
from ledger.core.inference import InferenceRules, rules_on_path
from ledger.core.outcome import Status
from ledger.core.planning import scopes_of
from ledger.core.principal import Agent, Key, agent_name, lineage
from ledger.storage.queries_asker import agents_named, budget_named, budgets_named, budgets_usable_by
from ledger.storage.queries_log import head
from ledger.storage.queries_policies import bound_to
from ledger.storage.queries_principals import key_by_digest


@dataclass(frozen=True, slots=True)
class Asker:
    """One key of one book, at one moment.

    ``agent`` is None for a key of a person, which cannot spend; ``run`` is the run that the key is bound to, None for a
    key that is bound to none. ``expires_at`` in microseconds (None: never). ``frozen`` is the denial of whatever
    freezes the agent (the book, the agent or one above it, the budget or one above it), None where nothing does.

    ``budget`` is the name of the one that would be spent from and ``currency`` its currency; where it is None,
    ``budget_problem`` says why (``unknown_budget``, ``no_budget``, ``budget_ambiguous``), and where it is not, the
    denial that it would meet (``budget_closed``, ``budget_not_permitted``) or None. ``budgets`` are the open ones that
    the agent may spend from, sorted. ``rules`` are for an agent's calls against ``budget``.
    """

    book_id: int
    key_id: str
    role: str
    principal: str
    expires_at: int | None
    revoked: bool
    agent: str | None
    run: str | None
    frozen: Status | None
    budget: str | None
    currency: str | None
    budget_problem: Status | None
    budgets: tuple[str, ...]
    rules: InferenceRules

    def key_problem(self, now: int) -> Status | None:
        """Why the key is not valid at ``now`` (microseconds), in the order in which the core would answer; None: it
        is."""
        if self.revoked:
            return Status.KEY_REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return Status.KEY_EXPIRED
        return None


def read_asker(connection: Connection, book_id: int, key_digest: bytes, *, budget: str | None) -> Asker | None:
    """Who asks with the key whose SHA-256 is ``key_digest``, to spend from ``budget`` (name or id; None: the only open
    one). None where the book has no such key. A key that has ended is answered too: ``key_problem``. At most 8
    look-ups, however large the book and deep its trees.
    """
    key = key_by_digest(connection, book_id, key_digest)
    if key is None:
        return None
    name = agent_name(key.principal)
    found = agents_named(connection, book_id, (name,)) if name is not None else {}
    agent = found.get(name) if name is not None else None
    if agent is None:
        return _of_a_person(book_id, key)
    above = lineage(agent.path)
    if above:
        found |= agents_named(connection, book_id, above)
    usable = budgets_usable_by(connection, book_id, [agent.name, *above])
    chosen, problem = _choose(connection, book_id, budget, usable)
    budgets_above = lineage(chosen.path) if chosen is not None else []
    budget_path = [*budgets_above, chosen.name] if chosen is not None else []
    stopped = budgets_named(connection, book_id, budgets_above) if budgets_above else {}
    scopes = scopes_of([*above, agent.name], budget_path)
    bound = bound_to(connection, book_id, scopes)
    currency = chosen.currency if chosen is not None else None
    return Asker(
        book_id=book_id,
        key_id=key.id,
        role=key.role,
        principal=key.principal,
        expires_at=key.expires_at,
        revoked=key.revoked_at is not None,
        agent=agent.name,
        run=key.run,
        frozen=_frozen(connection, book_id, found, [*stopped.values(), *((chosen,) if chosen is not None else ())]),
        budget=chosen.name if chosen is not None else None,
        currency=currency,
        budget_problem=problem,
        budgets=tuple(one.name for one in usable if one.closed_at is None),
        rules=rules_on_path((row for scope in scopes for row in bound.get(scope, ())), currency=currency),
    )


def rules_for(connection: Connection, book_id: int, *, agent: str, budget: str, currency: str) -> InferenceRules:
    """What policies say about inference on the path of an agent and a budget, as names. Amounts in ``currency``."""
    agents = agents_named(connection, book_id, (agent,))
    budgets = budgets_named(connection, book_id, (budget,))
    above = lineage(agents[agent].path) if agent in agents else []
    budgets_above = lineage(budgets[budget].path) if budget in budgets else []
    scopes = scopes_of([*above, agent], [*budgets_above, budget])
    bound = bound_to(connection, book_id, scopes)
    return rules_on_path((row for scope in scopes for row in bound.get(scope, ())), currency=currency)


def _of_a_person(book_id: int, key: Key) -> Asker:
    return Asker(
        book_id, key.id, key.role, key.principal, key.expires_at, key.revoked_at is not None, None, None, None, None,
        None, None, (), rules_on_path((), currency=None),
    )  # fmt: skip


def _choose(
    connection: Connection, book_id: int, reference: str | None, usable: Sequence[Budget]
) -> tuple[Budget | None, Status | None]:
    """The budget that the core would choose, and what it would say against it."""
    if reference is not None:
        chosen = budget_named(connection, book_id, reference)
        if chosen is None:
            return None, Status.UNKNOWN_BUDGET
    else:
        # Those that are closed are no choice, unless there is no other.
        choice = [one for one in usable if one.closed_at is None] or list(usable)
        if len(choice) != 1:
            return None, Status.BUDGET_AMBIGUOUS if choice else Status.NO_BUDGET
        chosen = choice[0]
    if chosen.closed_at is not None:
        return chosen, Status.BUDGET_CLOSED
    permitted = any(one.name == chosen.name for one in usable)
    return chosen, None if permitted else Status.BUDGET_NOT_PERMITTED


def _frozen(connection: Connection, book_id: int, agents: dict[str, Agent], budgets: Sequence[Budget]) -> Status | None:
    """The denial that stands first of those that a freeze makes."""
    found = head(connection, book_id)
    if found is not None and found.frozen:
        return Status.BOOK_FROZEN
    if any(one.frozen for one in agents.values()):
        return Status.AGENT_FROZEN
    return Status.BUDGET_FROZEN if any(one.frozen for one in budgets) else None
