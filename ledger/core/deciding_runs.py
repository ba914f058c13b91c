"""Decisions on runs: opening one, as far as policies let an agent open more.

Invariant: a run that policies refuse is refused on record and takes no name; one that is opened counts in every limit
on the opening of runs.
"""

from typing import Any

from ledger.core.beginning import begin
from ledger.core.changeset import row_of
from ledger.core.command import OpenRun
from ledger.core.deciding_authorizations import decision_said
from ledger.core.finishing import finish
from ledger.core.judging import judge_run
from ledger.core.outcome import Outcome, Status
from ledger.core.planning import run_meters
from ledger.core.principal import agent_name, lineage
from ledger.core.refusal import refuse
from ledger.core.rules import Evaluation, first_denial
from ledger.core.run import Run
from ledger.core.working import Batch, by_of


def open_run(batch: Batch, asked: OpenRun) -> Outcome:
    """Open a run on record, with a cap if one is asked for; what names it from here on is totalled."""
    request: dict[str, Any] = {"name": asked.name}
    if asked.agent is not None:
        request["agent"] = asked.agent
    cap = None
    if asked.cap_amount is not None and asked.cap_currency is not None:
        batch.admit(asked)
        cap = batch.atoms(asked.cap_amount, asked.cap_currency)
        request |= {"cap": str(cap), "cap_currency": asked.cap_currency}
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    own = agent_name(who[0])
    agent = own
    if asked.agent is not None:
        agent = batch.name_of("agents", asked.agent)
        if agent is None:
            refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
        if own is not None and own != agent and own not in lineage(batch.agent(agent).path):
            refuse(Status.NOT_YOURS, f"agent {own} may open runs for itself and for agents below it only")
    if agent is None:
        refuse(Status.UNKNOWN_AGENT, "name the agent that the run is for")
    if batch.fact("runs", asked.name) is not None:
        refuse(Status.NAME_TAKEN, f"the run {asked.name} was opened before; names are never reused")
    body: dict[str, Any] = {"run": asked.name, "agent": agent}
    if cap is not None:
        body |= {"cap": str(cap), "cap_currency": asked.cap_currency}
    plan = batch.plan(agent, None)
    meters = run_meters(plan, agent)
    if meters or plan.broken:
        judgement = judge_run(plan, meters, batch.now, batch.counter)
        evaluation = Evaluation((), 0, first_denial(judgement.denials))
        body["decision"] = decision_said(evaluation, judgement, plan)
        if evaluation.denial is not None and evaluation.denial.status is not None:
            body["by"] = by_of(*who)
            body["request"] = packed[0]
            if asked.idempotency_key:
                body["idempotency"] = [batch.key_digest(asked, who[0]).hex(), packed[1].hex()]
            index, leaf = batch.record("run_denial", asked.name, body, [])
            return batch.conclude(asked, who[0], packed[1], Outcome(evaluation.denial.status, body, index, leaf))
        batch.count(meters, ((batch.now, (0, 0, 1)),))
    currency = asked.cap_currency if cap is not None else None
    run = Run(batch.book_id, asked.name, asked.id, agent, batch.now, batch.index, cap, currency)
    batch.make("runs", asked.name, run)
    batch.make("aliases", asked.id, asked.name)
    batch.inserts["runs"].append(row_of(run))
    body["id"] = asked.id
    return finish(batch, asked, who, packed, "run", asked.name, body, [])
