"""The decision on spend that is taken over from before the book.

Invariants: it is an expense against ``equity:opening``, because what is still owed is an opening balance of its own; it
counts in no limit, holds nothing, and changes no available balance: a budget that it names gets authority for it and
has spent it in one transfer.
"""

from typing import Any

from ledger.core.account import AUTHORITY_NAME, OPENING_NAME, expense_name, spent_name
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.budget_said import budget_after
from ledger.core.command_history import TakeOver
from ledger.core.effective import effective
from ledger.core.finding_budgets import existing_budget
from ledger.core.finishing import finish
from ledger.core.ids import is_id_of
from ledger.core.meeting import check_name, meet
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch, Posting, request_of


def take_over(batch: Batch, asked: TakeOver) -> Outcome:
    """Take over one piece of spend."""
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    said: dict[str, Any] = {
        "amount": str(atoms), "currency": asked.currency, "category": asked.category, "payee": asked.payee,
    }  # fmt: skip
    if asked.resource is not None:
        said["resource"] = asked.resource
    for field in ("labels", "metering"):
        if getattr(asked, field):
            said[field] = [list(pair) for pair in getattr(asked, field)]
    request: dict[str, Any] = {"operation": asked.operation, **said}
    for field in ("budget", "agent", "run"):
        if getattr(asked, field) is not None:
            request[field] = getattr(asked, field)
    request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    body: dict[str, Any] = {"history": asked.id, **said, **_named(batch, asked)}
    check_name(batch, CATEGORY, asked.category)
    check_name(batch, PAYEE, asked.payee)
    postings: list[Posting] = []
    if asked.budget is not None:
        budget = existing_budget(batch, asked.budget, asked.currency)
        postings.append((spent_name(budget.name), AUTHORITY_NAME, atoms, asked.currency))
        body["budget"] = budget_after(batch, budget.name, asked.currency, postings)
    if currency_digits(asked.currency) is not None:
        postings.append((expense_name(asked.category), OPENING_NAME, atoms, asked.currency))
    elif asked.budget is None:
        refuse(Status.NO_BUDGET, f"{asked.currency} is not money: name the budget that spent it")
    effective_at = effective(batch, asked.effective_at)
    batch.check_room(postings)
    meet(batch, CATEGORY, asked.category)
    meet(batch, PAYEE, asked.payee)
    return finish(batch, asked, who, packed, "history", asked.id, body, postings, effective_at)


def _named(batch: Batch, asked: TakeOver) -> dict[str, str]:
    """The agent and the run by their names; a run that was never opened is a label, as elsewhere."""
    named: dict[str, str] = {}
    if asked.agent is not None:
        agent = batch.name_of("agents", asked.agent)
        if agent is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
        named["agent"] = agent
    if asked.run is not None:
        run = batch.name_of("runs", asked.run) if is_id_of("runs", asked.run) else asked.run
        if run is None:
            refuse(Status.UNKNOWN_RUN, f"there is no run {asked.run}")
        named["run"] = run
    return named
