"""Stopping and letting go on as the owner of the database: an agent, a team, a budget or a whole book.

Invariant: it is a decision like any other, made under the head's lock and written to the log as made by the database's
owner; so it is effective for the next decision of every server, and needs none to be running.
"""

from ledger.core.command import Caller, Command, FreezeAgent
from ledger.core.command_budgets import FreezeBook, FreezeBudget
from ledger.core.outcome import Outcome
from ledger.services.authorizer import Authorizer
from ledger.services.sources import Sources


def freeze_as_owner(
    database_url: str,
    book_id: int,
    *,
    frozen: bool,
    reason: str,
    agent: str | None = None,
    budget: str | None = None,
    sources: Sources | None = None,
) -> Outcome:
    """Freeze or unfreeze an agent or team, a budget, or (neither named) the book. The outcome is DONE or a refusal.

    Raises ServiceError when the database or the book cannot be had.
    """
    owner = Caller(None, as_owner=True)
    asked: Command
    if agent is not None:
        asked = FreezeAgent(caller=owner, agent=agent, frozen=frozen, reason=reason)
    elif budget is not None:
        asked = FreezeBudget(caller=owner, budget=budget, frozen=frozen, reason=reason)
    else:
        asked = FreezeBook(caller=owner, frozen=frozen, reason=reason)
    authorizer = Authorizer(database_url, sources=sources)
    authorizer.start()
    try:
        return authorizer.decide_now(book_id, asked)
    finally:
        authorizer.stop(deadline_seconds=10.0)
