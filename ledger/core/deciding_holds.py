"""Decisions on holds: settle, release, and expiry; ``deciding_extensions`` extends them.

Invariants: real spend is never refused for lack of money; a final settlement, a release and an expiry leave nothing
held.
"""

from typing import Any, Final

from ledger.core.account import available_name, expense_name, held_name, spent_name
from ledger.core.approval import EXPIRED as APPROVAL_EXPIRED
from ledger.core.approval import WITHDRAWN
from ledger.core.authorization import (
    EXPIRED,
    FLAG_GATEWAY,
    FLAG_LATE,
    FLAG_MISMATCH,
    FLAG_OVERRUN,
    FLAG_UNKNOWN,
    HELD,
    ON_EXPIRY_UNKNOWN,
    OPEN_STATES,
    RELEASED,
    SETTLED,
    Authorization,
    flag_bits,
    flag_names,
)
from ledger.core.budget_said import budget_after
from ledger.core.canonical import parse
from ledger.core.closing_approvals import close_approvals
from ledger.core.command import Caller, Release, Settle
from ledger.core.deciding_consequences import count_mismatch, follow_settlement, is_mismatch
from ledger.core.deciding_exchange import Part, keep_exchange, settled_part
from ledger.core.exchange import asked_side, exchanged
from ledger.core.metering import pairs_text
from ledger.core.moment import moment_text
from ledger.core.money import ATOMS_MAX, currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.planning import subject_of
from ledger.core.principal import agent_name
from ledger.core.refusal import refuse
from ledger.core.uses import uses_of
from ledger.core.working import Batch, Posting, by_of, request_of

_LATE_STATES: Final = (RELEASED, EXPIRED)


def owned(batch: Batch, reference: str, principal: str, caller: Caller) -> Authorization:
    """The authorization a command names, expired first if its time has come; an agent finds only its own, and with a
    key for one run only those of that run. What the gateway carries out is not for the agent to end."""
    found = batch.authorization(reference)
    agent = agent_name(principal)
    if found is None or not reference.startswith("auth_"):
        refuse(Status.NOT_FOUND, f"there is no authorization {reference}")
    if agent is not None and (found.agent != agent or batch.key_run not in (None, found.run)):
        refuse(Status.NOT_YOURS, f"there is no authorization {reference}")
    if agent is not None and found.flags & FLAG_GATEWAY and not caller.as_gateway:
        refuse(Status.GATEWAY_ONLY, f"{reference} is a call that the gateway makes, and the gateway says how it ended")
    if found.due_at is not None and found.due_at <= batch.now:
        expire(batch, reference)
        found = batch.authorizations[reference]
    return found


def wrong_state(found: Authorization, what: str) -> None:
    """Refuse what the state of an authorization does not allow, with that state."""
    refuse(
        Status.WRONG_STATE,
        f"{found.id} is {found.state} and cannot be {what}",
        state=found.state,
        authorization=found.id,
    )


def outcome_body(row: Authorization) -> dict[str, Any]:
    """The state of an authorization after a command, as its record says it."""
    body: dict[str, Any] = {
        "authorization": row.id,
        "currency": row.currency,
        "state": row.state,
        "approved": str(row.approved),
        "held": str(row.held),
        "settled": str(row.settled),
        "previous": row.changed_index,
    }
    if row.agent is not None:
        body["agent"] = row.agent
    if row.run is not None:
        body["run"] = row.run
    if row.flags:
        body["flags"] = flag_names(row.flags)
    if row.refunded:
        body["refunded"] = str(row.refunded)
    if row.repriced:
        body["repriced"] = str(row.repriced)
    if row.portions is not None:
        body["portions"] = row.portions
    if row.expires_at is not None:
        body["expires_at"] = moment_text(row.expires_at)
    if row.exchange is not None:
        body["exchange"] = parse(row.exchange.encode())
    return body


def settlement_postings(found: Authorization, part: Part, *, final: bool, category: str, cost: str) -> list[Posting]:
    """The transfers of a settlement of ``part``, ``cost`` credited, against what a hold still holds (accounting.md)."""
    budget, currency, atoms, held = found.budget, found.currency, part.atoms, found.held
    available, holding, spent = available_name(budget), held_name(budget), spent_name(budget)
    within = min(atoms, held)
    postings: list[Posting] = []
    if within:
        postings.append((spent, holding, within, currency))
    if atoms > within:
        postings.append((spent, available, atoms - within, currency))
    if final and held > within:
        postings.append((available, holding, held - within, currency))
    if part.exchange is not None:
        postings += exchanged(category, cost, atoms, currency, part.asked, part.exchange.currency)
    elif atoms and currency_digits(currency) is not None:
        postings.append((expense_name(category), cost, atoms, currency))
    return postings


def check_currency(found: Authorization, currency: str) -> None:
    """Refuse another currency than the one that the authorization was asked in, by whose rate it is converted."""
    asked_in = found.currency if found.exchange is None else asked_side(found).currency
    if asked_in != currency:
        refuse(Status.CURRENCY_MISMATCH, f"{found.id} is in {asked_in}, not {currency}")


def _settle_request(batch: Batch, asked: Settle, principal: str, atoms: int) -> dict[str, Any]:
    """The request of a settlement, as its record has it."""
    request: dict[str, Any] = {
        "operation": "settle",
        "authorization": asked.authorization,
        "amount": str(atoms),
        "currency": asked.currency,
        "final": asked.final,
    }
    for field in ("category", "payee", "resource"):
        value = getattr(asked, field)
        if value is not None:
            request[field] = value
    if asked.evidence is not None:
        request["evidence"] = batch.salted(asked, principal, "evidence", asked.evidence)
    if asked.metering:
        request["metering"] = [list(pair) for pair in asked.metering]
    if asked.flags:
        request["flags"] = sorted(asked.flags)
    return request


def settle(batch: Batch, asked: Settle) -> Outcome:
    """Record actual cost. Real spend is refused only where the hold is settled already or never was."""
    principal, key_id = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency, zero_ok=asked.final)
    fragment, digest = request_of(_settle_request(batch, asked, principal, atoms))
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    found = owned(batch, asked.authorization, principal, asked.caller)
    category, payee = asked.category or found.category, asked.payee or found.payee
    check_currency(found, asked.currency)
    if found.state != HELD and found.state not in _LATE_STATES:
        wrong_state(found, "settled")
    part = settled_part(found, category, payee, atoms)
    atoms, held = part.atoms, found.held
    cost = batch.cost_account(payee, found.created_index)
    postings = settlement_postings(found, part, final=asked.final, category=category, cost=cost)
    batch.check_room(postings)
    batch.check_run_room(found.run, found.currency, found.created_index, spent=atoms)
    if found.settled + max(found.repriced, 0) + atoms > ATOMS_MAX or (
        part.exchange is not None and part.exchange.settled + max(part.exchange.repriced, 0) > ATOMS_MAX
    ):
        refuse(Status.BALANCE_OVERFLOW, "the total settled would not fit 64 bits")
    plan = batch.plan(found.agent, found.budget)
    if plan.policies and atoms > held:
        batch.check_counter_room(plan.applied(subject_of(found)).counted, atoms - held)
    row = batch.change_authorization(found.id)
    before = uses_of(row)
    mismatched = _apply_settlement(batch, row, asked, part, category, payee)
    batch.recount(row, before)
    body = outcome_body(row)
    body |= {
        "by": by_of(principal, key_id),
        "request": fragment,
        "amount": str(atoms),
        "category": category,
        "payee": payee,
        "final": asked.final,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    outcome = conclude_on(batch, asked, principal, digest, "settlement", row, body, postings)
    follow_settlement(batch, row, overrun=atoms > held, mismatched=mismatched)
    return outcome


def _apply_settlement(batch: Batch, row: Authorization, asked: Settle, part: Part, category: str, payee: str) -> bool:
    """Change the row; returns whether this settlement is not what was asked for."""
    atoms, held = part.atoms, row.held
    within = min(atoms, held)
    if row.state in _LATE_STATES:
        row.flags |= FLAG_LATE
    elif atoms > held:
        row.flags |= FLAG_OVERRUN
    # What waited for persons and was never granted has no time at which it expires: nothing of it was approved.
    side = row if part.exchange is None else asked_side(row)
    granted = side.approved if row.expires_at is not None else 0
    mismatched = is_mismatch(
        batch, row, category=category, payee=payee, resource=asked.resource, beyond=side.cost + part.asked > granted
    )
    if mismatched:
        row.flags |= FLAG_MISMATCH
        count_mismatch(batch, row)
    row.held = 0 if asked.final else held - within
    row.settled += atoms
    row.splits = part.splits
    keep_exchange(row, part.exchange)
    row.flags |= flag_bits(asked.flags)
    if asked.metering:
        row.metering = pairs_text(asked.metering)
    if part.asked or row.settled_category is None:
        row.settled_category, row.settled_payee = category, payee
    if asked.final:
        row.state = SETTLED
        row.flags &= ~FLAG_UNKNOWN
        row.due_at = None
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.held += row.held - held
        total.spent += atoms
    batch.meet_names(category, payee)
    return mismatched


def conclude_on(
    batch: Batch,
    asked: Any,
    principal: str,
    digest: bytes,
    kind: str,
    row: Authorization,
    body: dict[str, Any],
    postings: list[Posting],
    status: Status = Status.DONE,
) -> Outcome:
    """Write the record of a command on an authorization, and keep its idempotency key."""
    if asked.idempotency_key:
        body["idempotency"] = [batch.key_digest(asked, principal).hex(), digest.hex()]
    index, leaf = batch.record(kind, row.id, body, postings)
    row.changed_index = index
    return batch.conclude(asked, principal, digest, Outcome(status, body, index, leaf))


def release(batch: Batch, asked: Release) -> Outcome:
    """End a hold without further cost; what earlier partial settlements took stays spent."""
    principal, key_id = batch.admit(asked)
    request: dict[str, Any] = {"operation": "release", "authorization": asked.authorization}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, principal, "reason", asked.reason)
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    found = owned(batch, asked.authorization, principal, asked.caller)
    if found.state not in OPEN_STATES:
        wrong_state(found, "released")
    held = found.held
    postings: list[Posting] = []
    if held:
        postings.append((available_name(found.budget), held_name(found.budget), held, found.currency))
    row = batch.change_authorization(found.id)
    approvals = close_approvals(batch, row, WITHDRAWN)
    end_hold(batch, row, RELEASED)
    body = outcome_body(row) | approvals
    body |= {
        "by": by_of(principal, key_id),
        "request": fragment,
        "amount": str(held),
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    return conclude_on(batch, asked, principal, digest, "release", row, body, postings)


def end_hold(batch: Batch, row: Authorization, state: str) -> None:
    """Let nothing of a hold be held any more; what was settled stays spent."""
    before = uses_of(row)
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.held -= row.held
    row.held = 0
    row.state = state
    row.flags &= ~FLAG_UNKNOWN
    row.due_at = None
    batch.recount(row, before)


def expire(batch: Batch, reference: str) -> None:
    """End a hold whose time has come; or, where its outcome is not known, keep it held, flagged and listed."""
    row = batch.change_authorization(reference)
    postings: list[Posting] = []
    held = row.held
    approvals: dict[str, Any] = {}
    if row.on_expiry == ON_EXPIRY_UNKNOWN and row.state == HELD:
        row.flags |= FLAG_UNKNOWN
        row.due_at = None
        held = 0
    else:
        if held:
            postings.append((available_name(row.budget), held_name(row.budget), held, row.currency))
        approvals = close_approvals(batch, row, APPROVAL_EXPIRED)
        end_hold(batch, row, EXPIRED)
    body = outcome_body(row) | approvals
    body |= {
        "amount": str(held),
        "on_expiry": row.on_expiry,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    row.changed_index, _ = batch.record("expiry", row.id, body, postings)
