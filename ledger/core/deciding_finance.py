"""Decisions of finance and of whoever sets budgets: allocate, deallocate, charge, refund.

Invariants: no available balance goes below zero but by spend that did happen; a refund never exceeds what was settled.
"""

from typing import Any

from ledger.core.account import (
    AUTHORITY_NAME,
    available_name,
    expense_name,
    spent_name,
)
from ledger.core.authorization import FLAG_UNAUTHORIZED, ON_EXPIRY_RELEASE, SETTLED, Authorization, flag_names
from ledger.core.budget_said import budget_after
from ledger.core.command import Allocate, Charge, Deallocate, Refund
from ledger.core.command_corrections import Reverse
from ledger.core.deciding_exchange import Part, charged_exchange, check_convertible, keep_exchange, refunded_part
from ledger.core.deciding_holds import check_currency
from ledger.core.effective import effective
from ledger.core.exchange import asked_side, exchanged
from ledger.core.finding_budgets import existing_budget, open_budget
from ledger.core.finishing import finish
from ledger.core.ids import is_id_of
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.planning import subject_of
from ledger.core.refusal import refuse
from ledger.core.second_person import second_person
from ledger.core.splits import Split, refund_split
from ledger.core.uses import NO_USE, uses_of
from ledger.core.working import Batch, Posting, request_of


def _moved(batch: Batch, asked: Allocate | Deallocate, kind: str) -> Outcome:
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request = {"operation": asked.operation, "budget": asked.budget, "amount": str(atoms), "currency": asked.currency}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    # What is left of a closed budget can be taken out of it, and nothing can be put in.
    found = open_budget if kind == "allocation" else existing_budget
    budget = found(batch, asked.budget, asked.currency)
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    own = available_name(budget.name)
    giver, taker = (above, own) if kind == "allocation" else (own, above)
    if giver != AUTHORITY_NAME and batch.balance(giver, budget.currency) < atoms:
        batch.await_expiries()
        refuse(
            Status.INSUFFICIENT_AVAILABLE,
            f"{giver} has {batch.amount_text(max(batch.balance(giver, budget.currency), 0), budget.currency)} "
            f"available, less than {batch.amount_text(atoms, budget.currency)}",
            available=str(batch.balance(giver, budget.currency)),
            currency=budget.currency,
        )
    postings: list[Posting] = [(taker, giver, atoms, budget.currency)]
    batch.check_room(postings)
    body: dict[str, Any] = {
        "allocation": asked.id,
        "amount": str(atoms),
        "currency": budget.currency,
        "budget": budget_after(batch, budget.name, budget.currency, postings),
    }
    if budget.parent is not None:
        body["parent"] = budget_after(batch, budget.parent, budget.currency, postings)
    return finish(batch, asked, who, packed, kind, asked.id, body, postings)


def allocate(batch: Batch, asked: Allocate) -> Outcome:
    """Move authority from the parent (or ``authority``) to a budget."""
    return _moved(batch, asked, "allocation")


def deallocate(batch: Batch, asked: Deallocate) -> Outcome:
    """Move available authority back to the parent (or ``authority``)."""
    return _moved(batch, asked, "deallocation")


def charge(batch: Batch, asked: Charge) -> Outcome:
    """Record spend that nobody authorized: never refused for lack of money, flagged ``unauthorized``."""
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request: dict[str, Any] = {"operation": "charge", "amount": str(atoms)}
    for field in ("budget", "currency", "category", "payee", "agent", "run", "resource"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    for field in ("reason", "evidence"):
        text = getattr(asked, field)
        if text is not None:
            request[field] = batch.salted(asked, who[0], field, text)
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    agent = None
    if asked.agent is not None:
        agent = batch.name_of("agents", asked.agent)
        if agent is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
    existing_budget(batch, asked.budget, None)
    batch.spending_names(asked.category, asked.payee)
    run = asked.run
    if run is not None and is_id_of("runs", run):
        run = batch.name_of("runs", run)
        if run is None:
            refuse(Status.UNKNOWN_RUN, f"there is no run {asked.run}")
    budget = existing_budget(batch, asked.budget, None)
    check_convertible(asked.currency, budget)
    effective_at = effective(batch, asked.effective_at)
    moment = batch.now if asked.effective_at is None else asked.effective_at
    exchange = charged_exchange(batch, asked, budget, atoms, moment)
    atoms = atoms if exchange is None else exchange.even(atoms)
    postings: list[Posting] = [(spent_name(budget.name), available_name(budget.name), atoms, budget.currency)]
    if exchange is not None:
        cost = batch.cost_account(asked.payee, batch.index)
        postings += exchanged(asked.category, cost, atoms, budget.currency, exchange.amount, exchange.currency)
    elif currency_digits(budget.currency) is not None:
        cost = batch.cost_account(asked.payee, batch.index)
        postings.append((expense_name(asked.category), cost, atoms, budget.currency))
    batch.check_room(postings)
    batch.check_run_room(run, budget.currency, batch.index, spent=atoms)
    index = batch.index
    row = Authorization(
        batch.book_id, asked.id, agent, budget.name, run, asked.category, asked.payee, asked.resource,
        budget.currency, atoms, 0, 0, atoms, 0, SETTLED, FLAG_UNAUTHORIZED, None, ON_EXPIRY_RELEASE, batch.now, None,
        None, asked.category, asked.payee, None, None, None, index, index,
    )  # fmt: skip
    keep_exchange(row, exchange)
    plan = batch.plan(agent, budget.name)
    if plan.policies:
        batch.check_counter_room(plan.applied(subject_of(row)).counted, atoms)
    amounts = {budget.currency: atoms} | ({} if exchange is None else {exchange.currency: exchange.amount})
    waiting = second_person(batch, asked, who, packed, amounts)
    if waiting is not None:
        return waiting
    batch.authorizations[asked.id] = row
    batch.recount(row, NO_USE)
    total = batch.run_total(run, budget.currency, index)
    if total is not None:
        total.spent += atoms
    batch.meet_names(asked.category, asked.payee)
    body: dict[str, Any] = {
        "authorization": asked.id,
        "amount": str(atoms),
        "currency": budget.currency,
        "category": asked.category,
        "payee": asked.payee,
        "state": SETTLED,
        "flags": flag_names(row.flags),
        "budget": budget_after(batch, budget.name, budget.currency, postings),
    }
    if exchange is not None:
        body["exchange"] = exchange.said()
    if agent is not None:
        body["agent"] = agent
    if run is not None:
        body["run"] = run
    return finish(batch, asked, who, packed, "charge", asked.id, body, postings, effective_at)


def _refund_postings(found: Authorization, part: Part, category: str, cost: str) -> list[Posting]:
    """The transfers of a refund: the opposite of those of what it takes back, for which ``cost`` was credited."""
    atoms = part.atoms
    postings: list[Posting] = []
    if atoms:
        postings.append((available_name(found.budget), spent_name(found.budget), atoms, found.currency))
    if part.exchange is not None:
        moved = exchanged(category, cost, atoms, found.currency, part.asked, part.exchange.currency)
        postings += [(credit, debit, moved_atoms, currency) for debit, credit, moved_atoms, currency in moved]
    elif currency_digits(found.currency) is not None:
        postings.append((cost, expense_name(category), atoms, found.currency))
    return postings


def refund(batch: Batch, asked: Refund) -> Outcome:
    """Undo part or all of what was settled: the opposite transfers, linked to what they undo."""
    who = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request: dict[str, Any] = {
        "operation": "refund",
        "authorization": asked.authorization,
        "amount": str(atoms),
        "currency": asked.currency,
    }
    for field in ("category", "payee"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    found = batch.authorization(asked.authorization)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no authorization or charge {asked.authorization}")
    check_currency(found, asked.currency)
    effective_at = effective(batch, asked.effective_at)
    side = asked_side(found)
    if not side.settled and not side.repriced:
        refuse(
            Status.WRONG_STATE,
            f"nothing was settled on {found.id}, so nothing can be refunded",
            state=found.state,
            authorization=found.id,
        )
    chosen, splits = refund_split(batch, side, asked.category, asked.payee, atoms)
    return take_back(batch, asked, who, packed, asked.id, found, chosen, splits, atoms, effective_at, {})


def take_back(
    batch: Batch,
    asked: Refund | Reverse,
    who: tuple[str, str | None],
    packed: tuple[Any, bytes],
    reference: str,
    found: Authorization,
    chosen: Split,
    splits: str | None,
    atoms: int,
    effective_at: int | None,
    extra: dict[str, Any],
) -> Outcome:
    """Take back ``atoms``, in the currency that was asked, of what an authorization or a charge settled for ``chosen``,
    as refund ``reference``; its record says ``extra`` too. ``splits`` are those of that currency after it."""
    part = refunded_part(found, chosen, atoms, splits)
    amounts = {asked_side(found).currency: atoms, found.currency: part.atoms}
    atoms = part.atoms
    postings = _refund_postings(found, part, chosen.category, batch.cost_account(chosen.payee, found.created_index))
    batch.check_room(postings)
    waiting = second_person(batch, asked, who, packed, amounts)
    if waiting is not None:
        return waiting
    row = batch.change_authorization(found.id)
    before = uses_of(row)
    row.refunded += atoms
    row.splits = part.splits
    keep_exchange(row, part.exchange)
    batch.recount(row, before)
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.spent -= atoms
    body: dict[str, Any] = {
        "refund": reference,
        "authorization": row.id,
        "amount": str(atoms),
        "currency": row.currency,
        "category": chosen.category,
        "payee": chosen.payee,
        "state": row.state,
        "held": str(row.held),
        "settled": str(row.settled),
        "refunded": str(row.refunded),
        "previous": row.changed_index,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    if row.repriced:
        body["repriced"] = str(row.repriced)
    if part.exchange is not None:
        body["exchange"] = part.exchange.said()
    if row.portions is not None:
        body["portions"] = row.portions
    if row.agent is not None:
        body["agent"] = row.agent
    if row.run is not None:
        body["run"] = row.run
    body |= extra
    row.changed_index = batch.index
    return finish(batch, asked, who, packed, "refund", reference, body, postings, effective_at)
