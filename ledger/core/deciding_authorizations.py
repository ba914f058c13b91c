"""The decision on a request to spend: a hold, or a denial on record.

Invariants: nothing is approved beyond what its budget has available; real spend is never refused for lack of money;
a final settlement, a release and an expiry leave nothing held.
"""

from typing import Any, Final

from ledger.core.account import budget_accounts
from ledger.core.affording import sought
from ledger.core.authorization import (
    DENIED,
    FLAG_GATEWAY,
    FLAG_PARTIAL,
    GATEWAY,
    HELD,
    Authorization,
    flag_names,
)
from ledger.core.budget import Budget
from ledger.core.budget_said import budget_after
from ledger.core.canonical import canonical_bytes
from ledger.core.command import Authorize
from ledger.core.deciding_consequences import freeze_by_policy
from ledger.core.deciding_exchange import check_fits, exchange_at
from ledger.core.exchange_verdicts import less_approved, no_rate_verdict
from ledger.core.fingerprint import fingerprints_of
from ledger.core.ids import is_id_of
from ledger.core.judging import Asking, Judgement, Tier, judge
from ledger.core.moment import moment_text
from ledger.core.outcome import AWAITING_EXPIRIES, PRECEDENCE, UNBOUND_DENIALS, Outcome, Status
from ledger.core.overlay import Standing
from ledger.core.planning import Plan
from ledger.core.policy import Subject
from ledger.core.principal import agent_name, lineage
from ledger.core.refusal import refuse
from ledger.core.requesting_approval import request_approval
from ledger.core.rules import DENY, RULE_APPROVAL, Evaluation, Facts, Verdict, barred_verdict, evaluate
from ledger.core.scoping import run_asked
from ledger.core.waiting import check_repeat, stand_in_line
from ledger.core.working import Batch, Posting, by_of, request_of

LARGE: Final = 2**60
"""Above this many atoms, 64 bits are watched where limits do not keep what is counted far below."""


def decision_said(evaluation: Evaluation, judgement: Judgement, plan: Plan) -> dict[str, Any]:
    """A decision as a body says it. A rule is [rule, verdict] and, where it observed a value, that value, its limit and
    what remains (atoms); a limit is [place of its policy, id, "money" or "count" or "attempts", window, limit, used
    before, window start, window end (microseconds, 0: none), key]; an approval is [place of its policy, id, window,
    above, used before, verdict]."""
    denial = evaluation.denial
    rules = [
        [verdict.rule, verdict.verdict]
        if verdict.observed is None
        else [verdict.rule, verdict.verdict, str(verdict.observed), str(verdict.limit), str(verdict.remaining)]
        for verdict in evaluation.verdicts
    ]
    if judgement.rules:
        rules += judgement.rules
    outcome = "denied" if denial is not None else "pending_approval" if judgement.tiers else "approved"
    said: dict[str, Any] = {
        "outcome": outcome,
        "reasons": [],
        "policies": plan.said,
        "limits": judgement.limits,
        "rules": rules,
    }
    if judgement.approvals:
        said["approvals"] = judgement.approvals
    if judgement.shadow:
        said["shadow"] = [_reason(verdict) for verdict in judgement.shadow]
    if denial is None:
        return said
    refusing = [verdict for verdict in (*evaluation.verdicts, *judgement.denials) if verdict.status is not None]
    refusing.sort(key=lambda verdict: PRECEDENCE[verdict.status])  # type: ignore[index]
    said["reasons"] = [_reason(verdict) for verdict in refusing]
    return said


def _reason(verdict: Verdict) -> dict[str, Any]:
    """A refusal as a body says it. Values are atoms, or authorizations where ``unit`` is count."""
    reason: dict[str, Any] = {
        "code": verdict.status.value if verdict.status is not None else "",
        "rule": verdict.rule,
        "detail": verdict.detail,
    }
    if verdict.observed is not None:
        reason["observed"] = str(verdict.observed)
        reason["limit"] = str(verdict.limit)
        reason["remaining"] = str(verdict.remaining)
    if verdict.counted:
        reason["unit"] = "count"
    if verdict.fits_at is not None:
        reason["fits_at"] = moment_text(verdict.fits_at)
    if verdict.never:
        reason["never_fits"] = True
    return reason


def _standing(batch: Batch, asked: Authorize, agent: str) -> Standing:
    """Where the asker stands: the budget it would spend from, whether it may, and what freezes it."""
    sort = (agent, asked.budget)
    standing = batch.standing(sort)
    if standing is None:
        budget, permitted = _choose_budget(batch, asked, agent)
        standing = Standing(
            budget, permitted, batch.frozen_by(agent), *budget_accounts(budget.name),
            batch.budget_frozen_by(budget.name), batch.plan(agent, budget.name),
        )  # fmt: skip
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
    else:
        # Those that are closed are no choice, unless there is no other.
        choice = [one for one in usable if batch.fact("budgets", one).closed_at is None] or usable
        if len(choice) > 1:
            refuse(
                Status.BUDGET_AMBIGUOUS,
                f"agent {agent} has {len(choice)} budgets; name one of them in budget: " + ", ".join(choice[:20]),
                budgets=choice[:20],
            )
        name = choice[0]
    return batch.fact("budgets", name), name in usable


def _run_owner(batch: Batch, run: str | None, agent: str) -> tuple[str | None, str | None]:
    """(the run's name, the agent it belongs to where that is not the asker or one above it). What the key is for may be
    spent in, whosever it is."""
    if run is None:
        return None, None
    name = batch.name_of("runs", run)
    if name is None:
        if is_id_of("runs", run):
            refuse(Status.UNKNOWN_RUN, f"there is no run {run}")
        return run, None
    owner = batch.fact("runs", name).agent
    if owner == agent or name == batch.key_run or owner in lineage(batch.agent(agent).path):
        return name, None
    return name, owner


def authorize(batch: Batch, asked: Authorize) -> Outcome:
    """Decide one request to spend: a hold, or a denial on record."""
    principal, key_id = batch.admit(asked)
    named = run_asked(batch, batch.key_run, asked.run)
    atoms = batch.atoms(asked.amount, asked.currency)
    least = batch.atoms(asked.least, asked.currency) if asked.least is not None else 0
    request = _authorize_request(batch, asked, principal, atoms, named, least=least)
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    if asked.line is not None:
        check_repeat(batch, asked, principal, digest)
    agent = agent_name(principal)
    if agent is None:
        refuse(Status.ROLE_NOT_ALLOWED, "only an agent authorizes its own spending")
    standing = _standing(batch, asked, agent)
    budget = standing.budget
    batch.spending_names(asked.category, asked.payee)
    run, run_owner = _run_owner(batch, named, agent)
    currency, exchange, convertible = asked.currency, None, True
    if budget.currency != currency:
        exchange = exchange_at(batch, currency, budget, atoms, batch.now)
        convertible = exchange is not None
        if exchange is not None:
            check_fits(batch, exchange, least, budget.currency)
            currency, atoms, least = budget.currency, exchange.up(atoms), exchange.up(least)
    # What cannot be converted is compared with nothing.
    available = batch.balance(standing.available, currency) if convertible else 0
    held = batch.balance(standing.held, currency) if convertible else 0
    plan = standing.plan
    fingerprints = fingerprints_of(batch.snapshot.text_secret, asked)
    subject = Subject(
        agent, budget.name, run, asked.category, asked.payee, asked.resource, currency, asked.labels
    )  # fmt: skip
    run_open = run is not None and batch.fact("runs", run) is not None
    cap = batch.run_cap(run, currency, batch.index) if run_open and run_owner is None and convertible else None
    afford = asked.afford and convertible
    partial_ok = asked.partial_ok and not asked.afford and convertible
    wanted, in_all = sought(
        atoms, available=available, held=held, cap=cap, partial_ok=partial_ok, afford=afford
    )  # fmt: skip
    asking = Asking(subject, wanted, wanted, 1, batch.now, run_open, partial_ok, fingerprints, in_all, least)
    judgement = judge(plan, asking, batch.counter)
    if judgement.tiers and not asked.accept_pending:
        judgement.denials.append(approval_verdict(judgement.tiers))
    if asked.barred is not None:
        judgement.denials.append(barred_verdict(asked.barred))
    if not convertible:
        judgement.denials.append(no_rate_verdict(batch.snapshot.book, currency, budget, batch.now))
    evaluation = evaluate(
        Facts(
            judgement.amount if afford else atoms, available, held, partial_ok, budget.name, standing.permitted,
            standing.frozen_by, run_owner, batch.frozen, standing.budget_frozen_by, budget.closed_at is not None, cap,
            judgement.amount, convertible,
        ),
        judgement.denials,
    )  # fmt: skip
    if asked.line is not None:
        stand_in_line(batch, asked, principal, digest, budget.name, evaluation.denial)
    approved = min(evaluation.approved, judgement.amount)
    if exchange is not None:
        evaluation, approved = less_approved(exchange, evaluation, approved, atoms)
    body: dict[str, Any] = {
        "by": by_of(principal, key_id),
        "request": fragment,
        "authorization": asked.id,
        "agent": agent,
        "currency": currency,
        "amount": str(atoms),
        "fingerprint": fingerprints[0][1],
        "decision": decision_said(evaluation, judgement, plan),
    }
    if asked.idempotency_key:
        body["idempotency"] = [batch.key_digest(asked, principal).hex(), digest.hex()]
    if run is not None:
        body["run"] = run
    row = Authorization(
        batch.book_id, asked.id, agent, budget.name, run, asked.category, asked.payee, asked.resource,
        currency, atoms, 0, 0, 0, 0, DENIED, 0, None, asked.on_expiry, batch.now, None, None,
        None, None, None, labels_text(asked.labels), None, batch.index, batch.index,
    )  # fmt: skip
    if exchange is not None:
        body["exchange"] = exchange.said()
        row.exchange = exchange.text()
    if evaluation.denial is not None:
        if evaluation.denial.status in AWAITING_EXPIRIES:
            batch.await_expiries()
        _count_attempt(batch, plan, fingerprints, evaluation.denial.status)
        return batch.conclude(asked, principal, digest, _deny(batch, row, body, evaluation, judgement.freezers))
    if approved < atoms or judgement.tiers:
        batch.await_expiries()
    if run is not None:
        batch.check_run_room(run, currency, batch.index, held=approved)
    if plan.policies:
        counted = plan.applied(subject).counted
        if plan.unbounded or approved > LARGE:
            batch.check_counter_room(counted, approved)
        _count_attempt(batch, plan, fingerprints, None)
        batch.count_hold(counted, approved)
    if judgement.tiers:
        hold = request_approval(batch, asked, row, body, approved, judgement.tiers, digest)
    else:
        hold = _hold(batch, asked, standing, row, body, approved)
    return batch.conclude(asked, principal, digest, hold)


def labels_text(labels: tuple[tuple[str, str], ...]) -> str | None:
    """Labels as a row keeps them."""
    return canonical_bytes([list(pair) for pair in labels]).decode() if labels else None


def approval_verdict(tiers: tuple[Tier, ...]) -> Verdict:
    """The denial of a request that persons would have to approve, and that does not accept to wait for them."""
    rules = ", ".join(f"{tier.policy}/{tier.rule}" for tier in tiers)
    return Verdict(
        RULE_APPROVAL, DENY, Status.APPROVAL_REQUIRED,
        detail=f"{rules} asks for the approval of persons; send accept_pending: true to wait for it",
    )  # fmt: skip


def _count_attempt(batch: Batch, plan: Plan, fingerprints: tuple[tuple[str, str], ...], status: Status | None) -> None:
    """Count an attempt towards loops, also one that is refused; not one that was told to come back in a moment."""
    if status in UNBOUND_DENIALS or not plan.has_loops():
        return
    counted = [(meter, key) for _, _, meter, key in plan.loop_keys(fingerprints)]
    batch.count(counted, ((batch.now, (0, 0, 1)),))


def _deny(
    batch: Batch, row: Authorization, body: dict[str, Any], evaluation: Evaluation, freezers: tuple[str, ...]
) -> Outcome:
    status = evaluation.denial.status if evaluation.denial is not None else None
    if status is None:
        raise ValueError("a denial without a status")
    row.reason = status.value
    body["state"] = DENIED
    body["command"] = "authorize"
    budget = batch.fact("budgets", row.budget)
    if budget.currency == row.currency:
        body["budget"] = budget_after(batch, row.budget, row.currency, [])
    else:
        # Its balances are in a currency that there is no rate to.
        body["budget"] = {"id": budget.id, "name": budget.name}
    # What a stranger to the run is denied says nothing about the run.
    stranger = any(verdict.status is Status.RUN_NOT_PERMITTED for verdict in evaluation.verdicts)
    total = batch.run_total(row.run, row.currency, batch.index) if not stranger else None
    if total is not None:
        total.denied_count += 1
    batch.authorizations[row.id] = row
    index, leaf = batch.record("denial", row.id, body, [])
    for policy in freezers:
        freeze_by_policy(batch, str(row.agent), policy, row.id, Status.LOOP_DETECTED.value)
    return Outcome(status, body, index, leaf)


def _hold(
    batch: Batch, asked: Authorize, standing: Standing, row: Authorization, body: dict[str, Any], approved: int
) -> Outcome:
    postings: list[Posting] = [(standing.held, standing.available, approved, row.currency)]
    row.approved = row.held = approved
    row.state = HELD
    row.flags = FLAG_PARTIAL if approved < row.amount else 0
    if asked.caller.as_gateway:
        row.flags |= FLAG_GATEWAY
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


def _authorize_request(
    batch: Batch, asked: Authorize, principal: str, atoms: int, run: str | None, *, least: int
) -> dict[str, Any]:
    """What is asked. The run that a key is for stands in it as if it had been named: the same request with the same
    idempotency key in another run is another request, and is never answered with the first one's hold."""
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
    if run is not None:
        request["run"] = run
    if asked.accept_pending:
        request["accept_pending"] = True
    if asked.partial_ok:
        request["partial_ok"] = True
    if asked.caller.as_gateway:
        request["operator"] = GATEWAY
    if asked.barred is not None:
        request["barred"] = asked.barred
    if asked.afford:
        request["afford"] = True
    if least:
        request["least"] = str(least)
    if asked.labels:
        request["labels"] = [list(pair) for pair in asked.labels]
    if asked.fingerprint is not None:
        request["fingerprint"] = asked.fingerprint
    if asked.intent is not None:
        request["intent"] = batch.salted(asked, principal, "intent", asked.intent)
    return request
