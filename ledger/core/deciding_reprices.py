"""Repricing: what a settlement or a charge should have cost, where the price that was used is found to be wrong.

Invariants: history is not edited, because the difference is an adjustment of its own that names both prices; what was
settled, as repriced, is never less than what was refunded; a correction made from an old look at the ledger changes
nothing.
"""

from functools import partial
from typing import Any, Final

from ledger.core.account import available_name, expense_name, spent_name
from ledger.core.authorization import FLAG_LATE, FLAG_OVERRUN, FLAG_REPRICED, FLAG_UNAUTHORIZED, Authorization
from ledger.core.budget_said import budget_after
from ledger.core.command import Reprice
from ledger.core.deciding_exchange import Part, keep_exchange, repriced_part
from ledger.core.deciding_holds import check_currency, outcome_body
from ledger.core.effective import effective
from ledger.core.exchange import asked_side, exchanged
from ledger.core.finishing import finish, first_refusal
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.planning import subject_of
from ledger.core.refusal import refuse
from ledger.core.second_person import second_person
from ledger.core.splits import chosen_split, reprice_split
from ledger.core.uses import uses_of
from ledger.core.working import Batch, Posting, request_of

_EXPLAINED: Final = FLAG_LATE | FLAG_UNAUTHORIZED


def _request(batch: Batch, asked: Reprice, principal: str, settled: int, amount: int) -> dict[str, Any]:
    """The request, as its record has it."""
    request: dict[str, Any] = {
        "operation": "reprice",
        "authorization": asked.authorization,
        "settled": str(settled),
        "amount": str(amount),
        "currency": asked.currency,
        "old_price": [list(pair) for pair in asked.old_price],
        "new_price": [list(pair) for pair in asked.new_price],
        "reason": batch.salted(asked, principal, "reason", asked.reason),
    }
    for field in ("category", "payee"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    return request


def _repriceable(batch: Batch, asked: Reprice) -> Authorization:
    """The authorization or charge, of which something was settled, be it zero, in the currency that is named."""
    found = batch.authorization(asked.authorization)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no authorization or charge {asked.authorization}")
    check_currency(found, asked.currency)
    return found


def _differing(batch: Batch, found: Authorization, settled: int, amount: int) -> int:
    """What ``amount`` is above what is recorded; refuses a look that is old, and no difference."""
    if settled != found.cost:
        refuse(
            Status.REPRICE_STALE,
            f"{found.id} is recorded with {batch.amount_text(found.cost, found.currency)}, not with "
            f"{batch.amount_text(settled, found.currency)}; look at it again",
            settled=str(found.cost),
            currency=found.currency,
        )
    if amount == settled:
        refuse(
            Status.REPRICE_UNCHANGED,
            f"{found.id} is recorded with {batch.amount_text(amount, found.currency)} already",
        )
    return amount - settled


def repriced_postings(found: Authorization, part: Part, *, category: str, cost: str) -> list[Posting]:
    """The transfers of a correction by ``part``: those of spend without a hold, ``cost`` credited, or the opposite."""
    budget, currency, atoms = found.budget, found.currency, abs(part.atoms)
    postings: list[Posting] = []
    if atoms:
        postings.append((spent_name(budget), available_name(budget), atoms, currency))
    if part.exchange is not None:
        postings += exchanged(category, cost, atoms, currency, abs(part.asked), part.exchange.currency)
    elif currency_digits(currency) is not None:
        postings.append((expense_name(category), cost, atoms, currency))
    if part.asked < 0:
        postings = [(credit, debit, moved, unit) for debit, credit, moved, unit in postings]
    return postings


def is_overrun(row: Authorization, *, available: int) -> bool:
    """Whether a higher price makes an overrun of it: it cost more than was approved, or left less than nothing
    ``available``. What was settled late or charged has a flag that says so already."""
    side = row if row.exchange is None else asked_side(row)
    return not row.flags & _EXPLAINED and (side.cost > side.approved or available < 0)


def reprice(batch: Batch, asked: Reprice) -> Outcome:
    """Book the difference between what was settled and what should have been. A higher price is never refused for lack
    of money: it is spend that did happen."""
    who = batch.admit(asked)
    settled, amount = first_refusal(
        partial(batch.atoms, text, asked.currency, zero_ok=True) for text in (asked.settled, asked.amount)
    )
    packed = request_of(_request(batch, asked, who[0], settled, amount))
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    found = _repriceable(batch, asked)
    effective_at = effective(batch, asked.effective_at)
    if found.settled_category is None:
        refuse(
            Status.WRONG_STATE,
            f"nothing was settled on {found.id}, so there is no cost to correct",
            state=found.state,
            authorization=found.id,
        )
    side = asked_side(found)
    chosen = chosen_split(side, asked.category, asked.payee, Status.REPRICE_AMBIGUOUS)
    asked_more = _differing(batch, side, settled, amount)
    part = repriced_part(found, chosen, asked_more, reprice_split(batch, side, chosen, asked_more))
    difference = part.atoms
    cost = batch.cost_account(chosen.payee, found.created_index)
    postings = repriced_postings(found, part, category=chosen.category, cost=cost)
    batch.check_room(postings)
    batch.check_run_room(found.run, found.currency, found.created_index, spent=difference)
    plan = batch.plan(found.agent, found.budget)
    if plan.policies and difference > 0:
        batch.check_counter_room(plan.applied(subject_of(found)).counted, difference)
    amounts = {asked.currency: abs(part.asked), found.currency: abs(difference)}
    waiting = second_person(batch, asked, who, packed, amounts)
    if waiting is not None:
        return waiting
    row = batch.change_authorization(found.id)
    before = uses_of(row)
    row.repriced += difference
    row.splits = part.splits
    keep_exchange(row, part.exchange)
    row.flags |= FLAG_REPRICED
    available = batch.balance(available_name(row.budget), row.currency) - difference
    if part.asked > 0 and is_overrun(row, available=available):
        row.flags |= FLAG_OVERRUN
    batch.recount(row, before)
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.spent += difference
    body = outcome_body(row)
    body |= {
        "adjustment": asked.id,
        "category": chosen.category,
        "payee": chosen.payee,
        "reprice": {
            "settled": str(settled),
            "amount": str(amount),
            "difference": str(part.asked),
            "old_price": [list(pair) for pair in asked.old_price],
            "new_price": [list(pair) for pair in asked.new_price],
        },
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    row.changed_index = batch.index
    return finish(batch, asked, who, packed, "adjustment", asked.id, body, postings, effective_at)
