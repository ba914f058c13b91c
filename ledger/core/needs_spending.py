"""Which facts the commands on authorizations and on money lack.

Owns the rows of ``missing`` about spending, corrections and authority. Invariant: as in ``missing``.
"""

from typing import Any, Final

from ledger.core import account, command
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.budget import Budget
from ledger.core.needs_rates import seek_rate
from ledger.core.policy import Subject
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_authorize(seeker: Seeker, asked: command.Authorize, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    named = seeker.budget(asked.budget)
    run = seeker.run(asked.run if asked.run is not None else seeker.key_run(asked), asked.currency)
    budget = named if asked.budget is not None else seeker.only_budget(own_agent)
    converts = budget is not None and budget.currency != asked.currency
    found = converts and budget is not None and _seek_conversion(seeker, asked, budget, run)
    if own_agent is not None and budget is not None:
        plan = seeker.plan(own_agent, budget)
        if plan is not None:
            if not converts or not found or seeker.rates_given:
                seeker.spend(plan, asked, run, budget.name, asked.currency)
            if converts and (found or seeker.rates_given):
                seeker.spend(plan, asked, run, budget.name, budget.currency)
            # What is needed of rates hangs on the day.
            seeker.placed = None if converts else (plan, run, budget.name)
    for kind, name in ((CATEGORY, asked.category), (PAYEE, asked.payee)):
        if (kind, name) not in seeker.snapshot.names:
            seeker.needs.names.add((kind, name))


def _seek_conversion(
    seeker: Seeker,
    asked: command.Authorize | command.Charge,
    budget: Budget,
    run: str | None,
    moment: int | None = None,
) -> bool:
    """What converting to a budget's currency takes; whether there is a rate."""
    found = seek_rate(seeker, asked.currency, budget.currency, moment)
    if found or seeker.rates_given:
        seeker.run(run, budget.currency)
    return found


def _seek_settle(seeker: Seeker, asked: command.Settle, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    found = seeker.authorization(asked.authorization)
    if found is not None:
        category, payee = asked.category or found.category, asked.payee or found.payee
        seeker.spending_of(found, category, payee)
        plan = seeker.snapshot.plans.get((found.agent, found.budget))
        if plan is not None and not plan.policies:
            # What counters it changes hangs on the hold; where there are none, all that is alike needs the same.
            seeker.placed = (plan, found.run, found.budget)


def _seek_extend(seeker: Seeker, asked: command.Extend, own_agent: Agent | None) -> None:
    if asked.currency is not None:
        seeker.money(asked.currency)
    seeker.authorization(asked.authorization)


def _seek_release(seeker: Seeker, asked: command.Release | command.MarkUnknown, own_agent: Agent | None) -> None:
    seeker.authorization(asked.authorization)


def _seek_charge(seeker: Seeker, asked: command.Charge, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.alone(asked, asked.currency)
    budget = seeker.budget(asked.budget)
    agent = seeker.agent(asked.agent)
    run = seeker.run(asked.run, asked.currency)
    if budget is not None and budget.currency != asked.currency:
        _seek_conversion(seeker, asked, budget, run, asked.effective_at)
        seeker.alone(asked, budget.currency)
        seeker.spending(asked.category, None, budget.currency)
        seeker.exchange(budget.currency, asked.currency)
    if budget is not None and (agent is not None or asked.agent is None):
        plan = seeker.plan(agent, budget)
        if plan is not None and plan.policies:
            subject = Subject(
                agent.name if agent is not None else None, budget.name, run, asked.category, asked.payee,
                asked.resource, budget.currency,
            )  # fmt: skip
            seeker.counters(plan.applied(subject).counted)
    seeker.spending(asked.category, asked.payee, asked.currency)


def _seek_refund(seeker: Seeker, asked: command.Refund | command.Reprice, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.alone(asked, asked.currency)
    found = seeker.authorization(asked.authorization)
    if found is not None:
        seeker.alone(asked, found.currency)
        seeker.spending_of(found, asked.category, asked.payee)


def _seek_adjust(seeker: Seeker, asked: command.Adjust, own_agent: Agent | None) -> None:
    if asked.corrects is not None:
        seeker.body(asked.corrects)
    for transfer in asked.transfers:
        seeker.money(transfer.currency)
        seeker.alone(asked, transfer.currency)
        for name in (transfer.debit, transfer.credit):
            classified = account.classify(name)
            if classified is None:
                continue
            seeker.account(name, transfer.currency)
            if classified[1] in (account.ROLE_AVAILABLE, account.ROLE_HELD, account.ROLE_SPENT):
                seeker.budget(name.split(":")[1])
            for prefix, kind in (("expenses:", CATEGORY), ("payables:", PAYEE)):
                rest = name.removeprefix(prefix)
                if rest != name and (kind, rest) not in seeker.snapshot.names:
                    seeker.needs.names.add((kind, rest))


def _seek_allocate(seeker: Seeker, asked: command.Allocate | command.Deallocate, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.account(account.AUTHORITY_NAME, asked.currency)
    found = seeker.budget(asked.budget)
    if found is not None:
        seeker.budget(found.parent)


SEEK: Final[dict[type, Any]] = {
    command.Authorize: _seek_authorize,
    command.Settle: _seek_settle,
    command.Extend: _seek_extend,
    command.Release: _seek_release,
    command.MarkUnknown: _seek_release,
    command.Charge: _seek_charge,
    command.Refund: _seek_refund,
    command.Reprice: _seek_refund,
    command.Adjust: _seek_adjust,
    command.Allocate: _seek_allocate,
    command.Deallocate: _seek_allocate,
}
"""What each command refers to, beside its caller."""
