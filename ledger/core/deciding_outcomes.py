"""The decision on what is reported of a run.

Invariants: an outcome is of a run that was opened, and is said by whoever is responsible for it: the run's agent, one
above it, the holder of a key that is for this run, finance or an admin; it moves no money and changes no earlier one.
"""

from typing import Any

from ledger.core.beginning import begin
from ledger.core.changeset import row_of
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.finishing import finish
from ledger.core.outcome import Outcome, Status
from ledger.core.principal import agent_name, lineage
from ledger.core.refusal import refuse
from ledger.core.run import SCORE_SCALE, Run, RunOutcome
from ledger.core.scoping import run_asked
from ledger.core.working import Batch


def report_outcome(batch: Batch, asked: ReportOutcome) -> Outcome:
    """Put an outcome of a run on record."""
    if asked.score is not None and not 0 <= asked.score <= SCORE_SCALE:
        raise ValueError(f"a score is from 0 to {SCORE_SCALE} millionths")
    request: dict[str, Any] = {"run": asked.run, "success": asked.success}
    if asked.score is not None:
        request["score_millionths"] = asked.score
    who, packed, replay = begin(batch, asked, request)
    if replay is not None:
        return replay
    run = _run(batch, asked, who[0])
    row = RunOutcome(
        batch.book_id, run.name, batch.index, run.agent, asked.success, asked.score, who[0], batch.now,
    )  # fmt: skip
    batch.inserts["run_outcomes"].append(row_of(row))
    body: dict[str, Any] = {"run": run.name, "agent": run.agent, "success": asked.success}
    if asked.score is not None:
        body["score_millionths"] = asked.score
    return finish(batch, asked, who, packed, "outcome", run.name, body, [])


def _run(batch: Batch, asked: ReportOutcome, principal: str) -> Run:
    run_asked(batch, batch.key_run, asked.run)
    name = batch.name_of("runs", asked.run)
    run: Run | None = batch.fact("runs", name) if name is not None else None
    if run is None:
        refuse(Status.NOT_FOUND, f"there is no run {asked.run}; open it with POST /v1/runs before its first call")
    own = agent_name(principal)
    # Who works in a run with a key for it alone may be an agent below the one that opened it.
    if own in (None, run.agent) or batch.key_run == run.name or own in lineage(batch.agent(run.agent).path):
        return run
    refuse(Status.NOT_YOURS, f"there is no run {asked.run}")
