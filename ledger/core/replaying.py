"""Deciding again: a recorded decision, made anew from the facts as the fold has them.

Owns the way from the fold's rows to the facts of a decision. Invariant: nothing is taken from the record but what was
asked, who asked and when; so the same rules and the recorded versions of policies give the same bytes, or the record
does not follow from those before it.
"""

from dataclasses import replace
from typing import Any, Final

from ledger.core.account import budget_accounts
from ledger.core.affording import cap_of, sought
from ledger.core.authorization import Authorization
from ledger.core.canonical import canonical_bytes
from ledger.core.deciding_authorizations import approval_verdict, decision_said
from ledger.core.exchange_verdicts import less_approved, no_rate_verdict
from ledger.core.judging import Asking, judge, judge_run, unjudged
from ledger.core.planning import run_meters, subject_of
from ledger.core.policy import Subject
from ledger.core.principal import lineage
from ledger.core.projecting_exchange import extended, found_exchange
from ledger.core.projecting_policies import fingerprints_said, plan_of
from ledger.core.projecting_record import Progress, Record, atoms_of, run_of_key
from ledger.core.rules import Evaluation, Facts, RunCap, barred_verdict, evaluate, first_denial

DECISIONS: Final = frozenset(("hold", "denial", "approval_requested", "extension", "run", "run_denial"))
"""Kinds of records that carry a decision."""


def decide_again(record: Record) -> dict[str, Any] | None:
    """The decision that the facts before the record give; None where none was due and none is recorded. To be called
    before the record changes any row."""
    body = record.body
    if body["kind"] in ("run", "run_denial"):
        found = _run(record)
        return None if not found and "decision" not in body else found
    if body["kind"] == "extension" or body.get("command") == "extend":
        return _extension(record)
    return _authorization(record)


def check_decision(record: Record) -> None:
    """Note a difference where the record's decision is not the one that the facts before it give, or let who watches
    the fold compare them. To be called before the record changes any row."""
    found = decide_again(record)
    if found is None:
        return
    watcher = record.fold.watcher
    if watcher is not None:
        watcher(record, found)
        return
    said = record.body.get("decision", {})
    if canonical_bytes(found) != canonical_bytes(said):
        record.differ("the decision is not what the rules give on the facts before it", found, said)


def _frozen_by(fold: Progress, agent: str) -> str | None:
    row = fold.store.agents.get(agent)
    if row is None:
        raise LookupError(f"there is no agent {agent}")
    for name in (agent, *reversed(lineage(row.path))):
        one = fold.store.agents.get(name)
        if one is not None and one.frozen:
            return name
    return None


def _budget_frozen_by(fold: Progress, budget: str) -> str | None:
    row = fold.store.budgets.get(budget)
    if row is None:
        raise LookupError(f"there is no budget {budget}")
    for name in (budget, *reversed(lineage(row.path))):
        one = fold.store.budgets.get(name)
        if one is not None and one.frozen:
            return name
    return None


def _balance(fold: Progress, name: str, currency: str) -> int:
    row = fold.store.accounts.get((name, currency))
    return 0 if row is None else row.balance


def _cap(record: Record, run: str | None, currency: str, since: int, *, own_hold: int = 0) -> RunCap | None:
    """The cap that an authorization of log index ``since`` counts towards, with the run's total as it stands."""
    opened = record.store.runs.get(run) if run is not None else None
    if opened is None or opened.cap is None:
        return None
    total = record.store.run_totals.get((opened.name, currency))
    return cap_of(opened, total, currency=currency, since=since, own_hold=own_hold)


def _authorization(record: Record) -> dict[str, Any]:
    body, fold = record.body, record.fold
    request, agent = body["request"], body["agent"]
    name, run = body["budget"]["name"], body.get("run")
    budget = fold.store.budgets.get(name)
    row = fold.store.agents.get(agent)
    if budget is None or row is None:
        raise LookupError(f"there is no agent {agent} or no budget {name}")
    atoms, least = atoms_of(request["amount"]), atoms_of(request.get("least", "0"))
    exchange, budget_currency = found_exchange(fold, name, request["currency"], atoms, record.time)
    convertible = exchange is not None or request["currency"] == budget_currency
    currency = budget_currency if convertible else request["currency"]
    if exchange is not None:
        atoms, least = exchange.up(atoms), exchange.up(least)
    above = (agent, *lineage(row.path))
    permitted = any(fold.store.budget_agents.get((holder, name)) is not None for holder in above)
    opened = fold.store.runs.get(run) if run is not None else None
    is_keys = opened is not None and run_of_key(record) == opened.name
    stranger = opened.agent if opened is not None and not is_keys and opened.agent not in above else None
    available_name, held_name, _ = budget_accounts(name)
    available, held = (_balance(fold, one, currency) if convertible else 0 for one in (available_name, held_name))
    afford = bool(request.get("afford", False)) and convertible
    partial = bool(request.get("partial_ok", False)) and not request.get("afford", False) and convertible
    cap = _cap(record, run, currency, record.index) if stranger is None and convertible else None
    wanted, in_all = sought(atoms, available=available, held=held, cap=cap, partial_ok=partial, afford=afford)
    plan = plan_of(fold, agent, name)
    if plan.policies or in_all is not None:
        labels = tuple((key, value) for key, value in request.get("labels", ()))
        subject = Subject(
            agent, name, run, request["category"], request["payee"], request.get("resource"), currency, labels
        )  # fmt: skip
        asking = Asking(
            subject, wanted, wanted, 1, record.time, opened is not None, partial, fingerprints_said(body), in_all,
            least,
        )  # fmt: skip
        judgement = judge(plan, asking, fold.store.counters.get)
    else:
        judgement = unjudged(wanted)
    if judgement.tiers and not request.get("accept_pending", False):
        judgement.denials.append(approval_verdict(judgement.tiers))
    if "barred" in request:
        judgement.denials.append(barred_verdict(request["barred"]))
    if not convertible:
        judgement.denials.append(no_rate_verdict(fold.book, currency, budget, record.time))
    facts = Facts(
        judgement.amount if afford else atoms, available, held, partial, name, permitted, _frozen_by(fold, agent),
        stranger, fold.frozen, _budget_frozen_by(fold, name), budget.closed_at is not None, cap, judgement.amount,
        convertible,
    )  # fmt: skip
    evaluation = evaluate(facts, judgement.denials)
    if exchange is not None:
        evaluation, _ = less_approved(exchange, evaluation, min(evaluation.approved, judgement.amount), atoms)
    return decision_said(evaluation, judgement, plan)


def _run(record: Record) -> dict[str, Any]:
    """The decision on opening a run; empty where no policy limits that."""
    plan = plan_of(record.fold, record.body["agent"], None)
    meters = run_meters(plan, record.body["agent"])
    if not meters and not plan.broken:
        return {}
    judgement = judge_run(plan, meters, record.time, record.store.counters.get)
    return decision_said(Evaluation((), 0, first_denial(judgement.denials)), judgement, plan)


def _extension(record: Record) -> dict[str, Any]:
    body, fold = record.body, record.fold
    row: Authorization | None = fold.store.authorizations.get(body["authorization"])
    if row is None or row.agent is None:
        raise LookupError(f"there is no authorization {body['authorization']}")
    budget = fold.store.budgets.get(row.budget)
    atoms = extended(replace(row), atoms_of(body["request"].get("amount", "0")))
    available_name, held_name, _ = budget_accounts(row.budget)
    available = _balance(fold, available_name, row.currency)
    held = _balance(fold, held_name, row.currency) - row.held
    plan = plan_of(fold, row.agent, row.budget)
    run_open = row.run is not None and fold.store.runs.get(row.run) is not None
    asking = Asking(subject_of(row), atoms, row.approved + atoms, 0, record.time, run_open)
    judgement = judge(plan, asking, fold.store.counters.get)
    if judgement.tiers and atoms:
        judgement.denials.append(approval_verdict(judgement.tiers))
    elif judgement.tiers:
        judgement = judgement._replace(tiers=())
    facts = Facts(
        atoms, available if atoms else max(available, 0), held, False, row.budget, True, _frozen_by(fold, row.agent),
        None, fold.frozen, _budget_frozen_by(fold, row.budget), budget is not None and budget.closed_at is not None,
        _cap(record, row.run, row.currency, row.created_index, own_hold=row.held), atoms,
    )  # fmt: skip
    return decision_said(evaluate(facts, judgement.denials), judgement, plan)
