"""The decision to extend a hold: judged like a new request for the increase.

Invariants: an extension counts nothing; what would need approval is denied and the hold stays as it was; it is
converted by the rate that the authorization was, so that the parts of a hold add up.
"""

from typing import Any

from ledger.core.account import available_name, held_name
from ledger.core.authorization import FLAG_UNKNOWN, HELD, TTL_SECONDS_MAX
from ledger.core.budget_said import budget_after
from ledger.core.command import Extend
from ledger.core.deciding_authorizations import approval_verdict, decision_said
from ledger.core.deciding_exchange import check_fits, keep_exchange
from ledger.core.deciding_holds import check_currency, conclude_on, outcome_body, owned, wrong_state
from ledger.core.exchange import exchange_of
from ledger.core.judging import Asking, judge
from ledger.core.money import ATOMS_MAX
from ledger.core.outcome import AWAITING_EXPIRIES, Outcome, Status
from ledger.core.planning import subject_of
from ledger.core.refusal import refuse
from ledger.core.rules import Facts, evaluate
from ledger.core.uses import portions_of, portions_text, uses_of
from ledger.core.waiting import check_repeat, stand_in_line
from ledger.core.working import Batch, Posting, by_of, request_of


def extend(batch: Batch, asked: Extend) -> Outcome:
    """Add amount or time to an open hold; judged like a new request for the increase, and counts nothing."""
    principal, key_id = batch.admit(asked)
    request: dict[str, Any] = {"operation": "extend", "authorization": asked.authorization}
    atoms = 0
    if asked.amount is not None and asked.currency is not None:
        atoms = batch.atoms(asked.amount, asked.currency)
        request |= {"amount": str(atoms), "currency": asked.currency}
    if asked.ttl_seconds is not None:
        request["ttl_seconds"] = asked.ttl_seconds
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    if asked.line is not None:
        check_repeat(batch, asked, principal, digest)
    found = owned(batch, asked.authorization, principal, asked.caller)
    if asked.currency is not None:
        check_currency(found, asked.currency)
    if found.state != HELD or found.expires_at is None or found.agent is None:
        wrong_state(found, "extended")
        raise ValueError("a wrong state is refused")
    expires_at = max(found.expires_at, batch.now) if asked.ttl_seconds else found.expires_at
    expires_at += (asked.ttl_seconds or 0) * 1_000_000
    if expires_at - batch.now > TTL_SECONDS_MAX * 1_000_000:
        refuse(Status.TTL_TOO_LONG, f"a hold may last at most {TTL_SECONDS_MAX} seconds from now")
    exchange = exchange_of(found)
    if exchange is not None:
        exchange.approved += atoms
        check_fits(batch, exchange, exchange.approved, found.currency)
        atoms = exchange.up(exchange.approved) - found.approved
    if found.approved + atoms > ATOMS_MAX:
        refuse(Status.BALANCE_OVERFLOW, "the total approved would not fit 64 bits")
    available = batch.balance(available_name(found.budget), found.currency)
    held = batch.balance(held_name(found.budget), found.currency) - found.held
    available = max(available, 0) if not atoms else available
    frozen_by = batch.frozen_by(found.agent)
    plan = batch.plan(found.agent, found.budget)
    subject = subject_of(found)
    run_open = found.run is not None and batch.fact("runs", found.run) is not None
    judgement = judge(plan, Asking(subject, atoms, found.approved + atoms, 0, batch.now, run_open), batch.counter)
    if judgement.tiers and atoms:
        judgement.denials.append(approval_verdict(judgement.tiers))
    elif judgement.tiers:
        # More time alone is no more money: whoever had to approve the amount has.
        judgement = judgement._replace(tiers=())
    budget = batch.fact("budgets", found.budget)
    cap = batch.run_cap(found.run, found.currency, found.created_index, own_hold=found.held)
    evaluation = evaluate(
        Facts(
            atoms, available, held, False, found.budget, True, frozen_by, None, batch.frozen,
            batch.budget_frozen_by(found.budget), budget.closed_at is not None, cap, atoms,
        ),
        judgement.denials,
    )  # fmt: skip
    if asked.line is not None and atoms:
        stand_in_line(batch, asked, principal, digest, found.budget, evaluation.denial)
    decision = decision_said(evaluation, judgement, plan)
    head = {"by": by_of(principal, key_id), "request": fragment, "decision": decision}
    if evaluation.denial is not None and evaluation.denial.status is not None:
        status = evaluation.denial.status
        if status in AWAITING_EXPIRIES:
            batch.await_expiries()
        row = batch.change_authorization(found.id)
        body = outcome_body(row) | head | {"command": "extend", "amount": str(atoms)}
        body["budget"] = budget_after(batch, row.budget, row.currency, [])
        return conclude_on(batch, asked, principal, digest, "denial", row, body, [], status)
    batch.check_run_room(found.run, found.currency, found.created_index, held=atoms)
    if plan.policies:
        batch.check_counter_room(plan.applied(subject).counted, atoms)
    row = batch.change_authorization(found.id)
    before = uses_of(row)
    if atoms:
        row.portions = portions_text([*portions_of(row), (batch.now, atoms)])
    row.approved += atoms
    row.held += atoms
    keep_exchange(row, exchange)
    batch.recount(row, before)
    row.expires_at = expires_at
    if asked.ttl_seconds:
        row.due_at = expires_at
        row.flags &= ~FLAG_UNKNOWN
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.held += atoms
    postings: list[Posting] = []
    if atoms:
        postings.append((held_name(row.budget), available_name(row.budget), atoms, row.currency))
    body = outcome_body(row) | head
    body |= {"amount": str(atoms), "budget": budget_after(batch, row.budget, row.currency, postings)}
    return conclude_on(batch, asked, principal, digest, "extension", row, body, postings)
