"""Decisions on authorizations: authorize, settle, extend, release, and expiry.

Invariants: nothing is approved beyond what its budget has available; real spend is never refused for lack of money;
a final settlement, a release and an expiry leave nothing held.
"""

from typing import Any, Final

from ledger.core.account import available_name, budget_accounts, expense_name, held_name, payable_name, spent_name
from ledger.core.authorization import (
    DENIED,
    EXPIRED,
    FLAG_LATE,
    FLAG_MISMATCH,
    FLAG_OVERRUN,
    FLAG_PARTIAL,
    FLAG_UNKNOWN,
    HELD,
    ON_EXPIRY_UNKNOWN,
    RELEASED,
    SETTLED,
    TTL_SECONDS_MAX,
    Authorization,
    flag_names,
)
from ledger.core.budget import Budget
from ledger.core.command import Authorize, Extend, Release, Settle
from ledger.core.ids import is_id_of
from ledger.core.moment import moment_text
from ledger.core.money import ATOMS_MAX, currency_digits
from ledger.core.outcome import Outcome, Status
from ledger.core.principal import agent_name, lineage
from ledger.core.rules import Evaluation, Facts, evaluate
from ledger.core.splits import settle_split
from ledger.core.working import Batch, Posting, Standing, by_of, refuse, request_of

_LATE_STATES: Final = (RELEASED, EXPIRED)


def budget_after(batch: Batch, budget: str, currency: str, postings: list[Posting]) -> dict[str, str]:
    """A budget's three balances once ``postings`` are made, as a body and an answer say them (atoms)."""
    names = budget_accounts(budget)
    balances = {name: batch.balance(name, currency) for name in names}
    for debit, credit, atoms, _ in postings:
        if debit in balances:
            balances[debit] += atoms
        if credit in balances:
            balances[credit] -= atoms
    available, held, spent = balances.values()
    return {
        "id": batch.fact("budgets", budget).id,
        "name": budget,
        "available": str(available),
        "held": str(held),
        "spent": str(spent),
    }


def _decision(evaluation: Evaluation) -> dict[str, Any]:
    """A decision as a body says it. A rule is [name, verdict] and, where it observed a value, that value, its limit
    and what remains (atoms)."""
    denial = evaluation.denial
    rules = [
        [verdict.rule, verdict.verdict]
        if verdict.observed is None
        else [verdict.rule, verdict.verdict, str(verdict.observed), str(verdict.limit), str(verdict.remaining)]
        for verdict in evaluation.verdicts
    ]
    if denial is None:
        return {"outcome": "approved", "reasons": [], "policies": [], "limits": [], "rules": rules}
    reasons: list[dict[str, str]] = []
    for verdict in evaluation.verdicts:
        if verdict.status is not None:
            reason = {"code": verdict.status.value, "rule": verdict.rule, "detail": verdict.detail}
            if verdict.observed is not None:
                reason["observed"] = str(verdict.observed)
                reason["limit"] = str(verdict.limit)
                reason["remaining"] = str(verdict.remaining)
            reasons.append(reason)
    if denial.status is not None:
        first = denial.status.value
        reasons.sort(key=lambda reason: reason["code"] != first)
    return {"outcome": "denied", "reasons": reasons, "policies": [], "limits": [], "rules": rules}


def _standing(batch: Batch, asked: Authorize, agent: str) -> Standing:
    """Where the asker stands: the budget it would spend from, whether it may, and what freezes it."""
    sort = (agent, asked.budget)
    standing = batch.standing(sort)
    if standing is None:
        budget, permitted = _choose_budget(batch, asked, agent)
        standing = Standing(budget, permitted, batch.frozen_by(agent), *budget_accounts(budget.name))
        batch.keep_standing(sort, standing)
    return standing


def _choose_budget(batch: Batch, asked: Authorize, agent: str) -> tuple[Budget, bool]:
    """The budget to spend from, and whether it lists the agent or one above it."""
    usable: list[str] = []
    for holder in (agent, *reversed(lineage(batch.agent(agent).path))):
        usable.extend(batch.fact("agent_budgets", holder) or ())
    usable = sorted(set(usable))
    if asked.budget is not None:
        name = batch.name_of("budgets", asked.budget)
        if name is None:
            refuse(Status.UNKNOWN_BUDGET, f"there is no budget {asked.budget}", budgets=usable)
    elif not usable:
        refuse(Status.NO_BUDGET, f"agent {agent} has no budget; an admin can give it one")
    elif len(usable) > 1:
        refuse(
            Status.BUDGET_AMBIGUOUS,
            f"agent {agent} has {len(usable)} budgets; name one of them in budget: " + ", ".join(usable[:20]),
            budgets=usable[:20],
        )
    else:
        name = usable[0]
    return batch.fact("budgets", name), name in usable


def _run_owner(batch: Batch, run: str | None, agent: str) -> tuple[str | None, str | None]:
    """(the run's name, the agent it belongs to where that is not the asker or one above it)."""
    if run is None:
        return None, None
    name = batch.name_of("runs", run)
    if name is None:
        if is_id_of("runs", run):
            refuse(Status.UNKNOWN_RUN, f"there is no run {run}")
        return run, None
    owner = batch.fact("runs", name).agent
    if owner == agent or owner in lineage(batch.agent(agent).path):
        return name, None
    return name, owner


def authorize(batch: Batch, asked: Authorize) -> Outcome:
    """Decide one request to spend: a hold, or a denial on record."""
    principal, key_id = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency)
    request = _authorize_request(batch, asked, principal, atoms)
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    agent = agent_name(principal)
    if agent is None:
        refuse(Status.ROLE_NOT_ALLOWED, "only an agent authorizes its own spending")
    standing = _standing(batch, asked, agent)
    budget = standing.budget
    batch.spending_names(asked.category, asked.payee)
    run, run_owner = _run_owner(batch, asked.run, agent)
    if budget.currency != asked.currency:
        refuse(Status.CURRENCY_MISMATCH, f"budget {budget.name} is in {budget.currency}, not {asked.currency}")
    available = batch.balance(standing.available, budget.currency)
    held = batch.balance(standing.held, budget.currency)
    partial_ok, frozen_by = asked.partial_ok, standing.frozen_by
    evaluation = evaluate(
        Facts(atoms, available, held, partial_ok, budget.name, standing.permitted, frozen_by, run_owner)
    )
    body: dict[str, Any] = {
        "by": by_of(principal, key_id),
        "request": fragment,
        "authorization": asked.id,
        "agent": agent,
        "currency": asked.currency,
        "amount": str(atoms),
        "decision": _decision(evaluation),
    }
    if asked.idempotency_key:
        body["idempotency"] = [batch.key_digest(asked, principal).hex(), digest.hex()]
    if run is not None:
        body["run"] = run
    row = Authorization(
        batch.book_id, asked.id, agent, budget.name, run, asked.category, asked.payee, asked.resource,
        asked.currency, atoms, 0, 0, 0, 0, DENIED, 0, None, asked.on_expiry, batch.now, None, None,
        None, None, None, batch.index, batch.index,
    )  # fmt: skip
    if evaluation.denial is not None:
        return batch.conclude(asked, principal, digest, _deny(batch, row, body, evaluation))
    if evaluation.approved < atoms:
        batch.await_expiries()
    return batch.conclude(asked, principal, digest, _hold(batch, asked, standing, row, body, evaluation.approved))


def _deny(batch: Batch, row: Authorization, body: dict[str, Any], evaluation: Evaluation) -> Outcome:
    status = evaluation.denial.status if evaluation.denial is not None else None
    if status is None:
        raise ValueError("a denial without a status")
    if status in (Status.BUDGET_HELD, Status.INSUFFICIENT_BUDGET):
        batch.await_expiries()
    row.reason = status.value
    body["state"] = DENIED
    body["command"] = "authorize"
    body["budget"] = budget_after(batch, row.budget, row.currency, [])
    total = batch.run_total(row.run, row.currency, batch.index)
    if total is not None:
        total.denied_count += 1
    batch.authorizations[row.id] = row
    index, leaf = batch.record("denial", row.id, body, [])
    return Outcome(status, body, index, leaf)


def _hold(
    batch: Batch, asked: Authorize, standing: Standing, row: Authorization, body: dict[str, Any], approved: int
) -> Outcome:
    postings: list[Posting] = [(standing.held, standing.available, approved, row.currency)]
    row.approved = row.held = approved
    row.state = HELD
    row.flags = FLAG_PARTIAL if approved < row.amount else 0
    row.expires_at, body["expires_at"] = batch.expiry(asked.ttl_seconds, batch.now)
    row.due_at = row.expires_at
    body["approved"] = str(approved)
    body["state"] = HELD
    if row.flags:
        body["flags"] = flag_names(row.flags)
    body["budget"] = {
        "id": standing.budget.id,
        "name": row.budget,
        "available": str(batch.balance(standing.available, row.currency) - approved),
        "held": str(batch.balance(standing.held, row.currency) + approved),
        "spent": str(batch.balance(standing.spent, row.currency)),
    }
    total = batch.run_total(row.run, row.currency, batch.index)
    if total is not None:
        total.approved_count += 1
        total.held += approved
    batch.authorizations[row.id] = row
    batch.meet_names(asked.category, asked.payee)
    index, leaf = batch.record("hold", row.id, body, postings)
    return Outcome(Status.APPROVED, body, index, leaf)


def _authorize_request(batch: Batch, asked: Authorize, principal: str, atoms: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "operation": "authorize",
        "amount": str(atoms),
        "currency": asked.currency,
        "category": asked.category,
        "payee": asked.payee,
        "ttl_seconds": asked.ttl_seconds,
        "on_expiry": asked.on_expiry,
    }
    if asked.resource is not None:
        request["resource"] = asked.resource
    if asked.budget is not None:
        request["budget"] = asked.budget
    if asked.run is not None:
        request["run"] = asked.run
    if asked.accept_pending:
        request["accept_pending"] = True
    if asked.partial_ok:
        request["partial_ok"] = True
    if asked.labels:
        request["labels"] = [list(pair) for pair in asked.labels]
    if asked.intent is not None:
        request["intent"] = batch.salted(asked, principal, "intent", asked.intent)
    return request


def _owned(batch: Batch, reference: str, principal: str) -> Authorization:
    """The authorization a command names, expired first if its time has come; an agent finds only its own."""
    found = batch.authorization(reference)
    agent = agent_name(principal)
    if found is None or not reference.startswith("auth_"):
        refuse(Status.NOT_FOUND, f"there is no authorization {reference}")
    if agent is not None and found.agent != agent:
        refuse(Status.NOT_YOURS, f"there is no authorization {reference}")
    if found.due_at is not None and found.due_at <= batch.now:
        expire(batch, reference)
        found = batch.authorizations[reference]
    return found


def _wrong_state(found: Authorization, what: str) -> None:
    refuse(
        Status.WRONG_STATE,
        f"{found.id} is {found.state} and cannot be {what}",
        state=found.state,
        authorization=found.id,
    )


def _outcome_body(row: Authorization) -> dict[str, Any]:
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
    if row.expires_at is not None:
        body["expires_at"] = moment_text(row.expires_at)
    return body


def settlement_postings(
    budget: str, currency: str, atoms: int, held: int, *, final: bool, category: str, payee: str
) -> list[Posting]:
    """The transfers of a settlement of ``atoms`` against a hold that still holds ``held`` (accounting.md)."""
    available, holding, spent = available_name(budget), held_name(budget), spent_name(budget)
    within = min(atoms, held)
    postings: list[Posting] = []
    if within:
        postings.append((spent, holding, within, currency))
    if atoms > within:
        postings.append((spent, available, atoms - within, currency))
    if final and held > within:
        postings.append((available, holding, held - within, currency))
    if atoms and currency_digits(currency) is not None:
        postings.append((expense_name(category), payable_name(payee), atoms, currency))
    return postings


def settle(batch: Batch, asked: Settle) -> Outcome:
    """Record actual cost. Real spend is refused only where the hold is settled already or never was."""
    principal, key_id = batch.admit(asked)
    atoms = batch.atoms(asked.amount, asked.currency, zero_ok=asked.final)
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
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    found = _owned(batch, asked.authorization, principal)
    category, payee = asked.category or found.category, asked.payee or found.payee
    batch.spending_names(category, payee)
    if found.currency != asked.currency:
        refuse(Status.CURRENCY_MISMATCH, f"{found.id} is in {found.currency}, not {asked.currency}")
    if found.state != HELD and found.state not in _LATE_STATES:
        _wrong_state(found, "settled")
    splits = settle_split(found, category, payee, atoms)
    held = found.held
    postings = settlement_postings(
        found.budget, found.currency, atoms, held, final=asked.final, category=category, payee=payee
    )
    batch.check_room(postings)
    batch.check_run_room(found.run, found.currency, found.created_index, atoms)
    if found.settled + atoms > ATOMS_MAX:
        refuse(Status.BALANCE_OVERFLOW, "the total settled would not fit 64 bits")
    row = batch.change_authorization(found.id)
    _apply_settlement(batch, row, asked, atoms, category, payee, splits)
    body = _outcome_body(row)
    body |= {
        "by": by_of(principal, key_id),
        "request": fragment,
        "amount": str(atoms),
        "category": category,
        "payee": payee,
        "final": asked.final,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    return _finish(batch, asked, principal, digest, "settlement", row, body, postings)


def _apply_settlement(
    batch: Batch, row: Authorization, asked: Settle, atoms: int, category: str, payee: str, splits: str | None
) -> None:
    held = row.held
    within = min(atoms, held)
    if row.state in _LATE_STATES:
        row.flags |= FLAG_LATE
    elif atoms > held:
        row.flags |= FLAG_OVERRUN
    if (
        category != row.category
        or payee != row.payee
        or (asked.resource is not None and row.resource is not None and asked.resource != row.resource)
    ):
        row.flags |= FLAG_MISMATCH
    row.held = 0 if asked.final else held - within
    row.settled += atoms
    row.splits = splits
    if atoms or row.settled_category is None:
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


def _finish(
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
    found = _owned(batch, asked.authorization, principal)
    if found.state != HELD:
        _wrong_state(found, "released")
    held = found.held
    postings: list[Posting] = []
    if held:
        postings.append((available_name(found.budget), held_name(found.budget), held, found.currency))
    row = batch.change_authorization(found.id)
    _end(batch, row, RELEASED)
    body = _outcome_body(row)
    body |= {
        "by": by_of(principal, key_id),
        "request": fragment,
        "amount": str(held),
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    return _finish(batch, asked, principal, digest, "release", row, body, postings)


def _end(batch: Batch, row: Authorization, state: str) -> None:
    total = batch.run_total(row.run, row.currency, row.created_index)
    if total is not None:
        total.held -= row.held
    row.held = 0
    row.state = state
    row.flags &= ~FLAG_UNKNOWN
    row.due_at = None


def expire(batch: Batch, reference: str) -> None:
    """End a hold whose time has come; or, where its outcome is not known, keep it held, flagged and listed."""
    row = batch.change_authorization(reference)
    postings: list[Posting] = []
    held = row.held
    if row.on_expiry == ON_EXPIRY_UNKNOWN:
        row.flags |= FLAG_UNKNOWN
        row.due_at = None
        held = 0
    else:
        if held:
            postings.append((available_name(row.budget), held_name(row.budget), held, row.currency))
        _end(batch, row, EXPIRED)
    body = _outcome_body(row)
    body |= {
        "amount": str(held),
        "on_expiry": row.on_expiry,
        "budget": budget_after(batch, row.budget, row.currency, postings),
    }
    row.changed_index, _ = batch.record("expiry", row.id, body, postings)


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
    found = _owned(batch, asked.authorization, principal)
    if asked.currency is not None and found.currency != asked.currency:
        refuse(Status.CURRENCY_MISMATCH, f"{found.id} is in {found.currency}, not {asked.currency}")
    if found.state != HELD or found.expires_at is None or found.agent is None:
        _wrong_state(found, "extended")
        raise ValueError("a wrong state is refused")
    expires_at = max(found.expires_at, batch.now) if asked.ttl_seconds else found.expires_at
    expires_at += (asked.ttl_seconds or 0) * 1_000_000
    if expires_at - batch.now > TTL_SECONDS_MAX * 1_000_000:
        refuse(Status.TTL_TOO_LONG, f"a hold may last at most {TTL_SECONDS_MAX} seconds from now")
    if found.approved + atoms > ATOMS_MAX:
        refuse(Status.BALANCE_OVERFLOW, "the total approved would not fit 64 bits")
    available = batch.balance(available_name(found.budget), found.currency)
    held = batch.balance(held_name(found.budget), found.currency) - found.held
    available = max(available, 0) if not atoms else available
    frozen_by = batch.frozen_by(found.agent)
    evaluation = evaluate(Facts(atoms, available, held, False, found.budget, True, frozen_by, None))
    head = {"by": by_of(principal, key_id), "request": fragment, "decision": _decision(evaluation)}
    if evaluation.denial is not None and evaluation.denial.status is not None:
        status = evaluation.denial.status
        if status in (Status.BUDGET_HELD, Status.INSUFFICIENT_BUDGET):
            batch.await_expiries()
        row = batch.change_authorization(found.id)
        body = _outcome_body(row) | head | {"command": "extend", "amount": str(atoms)}
        body["budget"] = budget_after(batch, row.budget, row.currency, [])
        return _finish(batch, asked, principal, digest, "denial", row, body, [], status)
    row = batch.change_authorization(found.id)
    row.approved += atoms
    row.held += atoms
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
    body = _outcome_body(row) | head
    body |= {"amount": str(atoms), "budget": budget_after(batch, row.budget, row.currency, postings)}
    return _finish(batch, asked, principal, digest, "extension", row, body, postings)
