"""What applying a policy would change: the text, and which limits go on counting or are filled from history.

Owns the comparison of a document with the live version of its policy. Invariant: reads only; nothing here decides
whether a document can be applied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.canonical import digest_hex, parse
from ledger.core.compiling import bases_of, currencies_of
from ledger.core.money import currency_digits
from ledger.core.outcome import Status
from ledger.core.policy import LOOPS
from ledger.core.policy_row import SCOPE_BOOK, SCOPE_BUDGET
from ledger.core.principal import KIND_AGENT, KIND_TEAM
from ledger.services.policies.document_writing import difference_of
from ledger.storage.queries_budgets import budget as find_budget
from ledger.storage.queries_log import book_by_id, unit
from ledger.storage.queries_policies import LivePolicy
from ledger.storage.queries_policies import policy as live_policy
from ledger.storage.queries_principals import agent as find_agent

_KIND_OF = {"agent": KIND_AGENT, "team": KIND_TEAM}


class CountedRule(NamedTuple):
    """A rule that counts. ``kind`` is limit, runs (a limit on the opening of runs), approval or loops; ``kept`` says
    that it goes on with what it has counted, else it is filled from history (attempts of a loop start anew)."""

    kind: str
    id: str
    kept: bool


class Comparison(NamedTuple):
    """A document beside the live version of its policy. ``live_version`` is None where there is none; ``difference`` is
    a unified diff of the two as YAML, empty where they say the same; ``dropped`` are rules that stop counting."""

    name: str
    digest: str
    live_version: int | None
    next_version: int
    unchanged: bool
    difference: str
    limits: tuple[CountedRule, ...]
    dropped: tuple[CountedRule, ...]


def compare(engine: Engine, book_id: int, document: dict[str, Any], *, source: str = "new") -> Comparison:
    """Compare a canonical document with the live version of its policy. ``source`` names it in the diff. Raises
    LookupError where there is no such book, StorageError."""
    with engine.connect() as connection:
        book = book_by_id(connection, book_id)
        found = live_policy(connection, book_id, document["policy"])
    if book is None:
        raise LookupError("there is no such book")
    return comparison_of(found, document, timezone=book.timezone, source=source)


def comparison_of(
    found: LivePolicy | None, document: dict[str, Any], *, timezone: str, source: str = "new"
) -> Comparison:
    """As ``compare``, with what was read: the policy's row and the time zone of the book."""
    name, digest = document["policy"], digest_hex(document)
    live = found.policy if found is not None and not found.policy.retired else None
    packed = parse(live.packed.encode()) if live is not None else None
    old = packed["document"] if packed is not None else None
    known = {(item[0], item[1]): item[2] for item in packed["meters"]} if packed is not None else {}
    bases = bases_of(document, timezone=timezone)
    named = {(kind, rule) for kind, rule, _ in bases}
    return Comparison(
        name,
        digest,
        live.version if live is not None else None,
        found.policy.version + 1 if found is not None else 1,
        live is not None and live.digest == digest,
        difference_of(
            old, document, before=f"{name} version {live.version}" if live is not None else "nothing", after=source
        ),
        tuple(CountedRule(kind, rule, known.get((kind, rule)) == basis) for kind, rule, basis in bases),
        tuple(CountedRule(kind, rule, False) for kind, rule in known if (kind, rule) not in named),
    )


def unknown_reference(connection: Connection, book_id: int, document: dict[str, Any]) -> tuple[Status, str] | None:
    """What a document names and the book does not have (its scope, a currency), as applying it would refuse it: status
    and sentence; None where it has all."""
    ((kind, name),) = document["applies_to"].items()
    if kind == SCOPE_BUDGET:
        budget = find_budget(connection, book_id, name)
        if budget is None or budget.budget.name != name:
            return Status.UNKNOWN_BUDGET, f"there is no budget {name} that the policy could apply to"
    elif kind != SCOPE_BOOK:
        holder = find_agent(connection, book_id, name)
        if holder is None or holder.kind != _KIND_OF[kind] or holder.name != name:
            return Status.UNKNOWN_AGENT, f"there is no {kind} {name} that the policy could apply to"
    for currency in currencies_of(document):
        if currency_digits(currency) is None and unit(connection, book_id, currency) is None:
            return Status.UNKNOWN_CURRENCY, f"{currency} is no currency or unit of this book"
    return None


def filled_from_history(rule: CountedRule) -> bool:
    """Whether a rule begins with what history says; attempts of a loop leave no history to fill from."""
    return not rule.kept and rule.kind != LOOPS
