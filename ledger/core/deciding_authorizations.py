"""The decision on a request to spend: a hold, or a denial on record.

Invariants: nothing is approved beyond what its budget has available; real spend is never refused for lack of money;
a final settlement, a release and an expiry leave nothing held.
"""

from typing import Any

from ledger.core.account import budget_accounts
from ledger.core.authorization import (
    DENIED,
    FLAG_PARTIAL,
    HELD,
    Authorization,
    flag_names,
)
from ledger.core.budget import Budget
from ledger.core.command import Authorize
from ledger.core.ids import is_id_of
from ledger.core.outcome import Outcome, Status
from ledger.core.overlay import Standing
from ledger.core.principal import agent_name, lineage
from ledger.core.refusal import refuse
from ledger.core.rules import Evaluation, Facts, evaluate
from ledger.core.working import Batch, Posting, by_of, request_of


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


def decision_said(evaluation: Evaluation) -> dict[str, Any]:
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
        refuse(Status.CURRENCY_MISMATCH, f"budget {budget.name} is not in {asked.currency}")
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
        "decision": decision_said(evaluation),
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
    if run is not None:
        batch.check_run_room(run, asked.currency, batch.index, held=evaluation.approved)
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
    # What a stranger to the run is denied says nothing about the run.
    stranger = any(verdict.status is Status.RUN_NOT_PERMITTED for verdict in evaluation.verdicts)
    total = batch.run_total(row.run, row.currency, batch.index) if not stranger else None
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
