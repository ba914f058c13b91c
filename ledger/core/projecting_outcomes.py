"""The fold over what was reported of runs, written from the rules and not from the code that decided."""

from typing import Any, Final

from ledger.core.principal import agent_name, lineage
from ledger.core.projecting_record import Record, run_of_key
from ledger.core.run import SCORE_SCALE, RunOutcome


def _outcome(record: Record) -> None:
    body = record.body
    run = record.store.runs.get(body["run"])
    if run is None:
        raise LookupError(f"there is no run {body['run']}")
    record.expect("agent", run.agent)
    success, score = body["success"], body.get("score_millionths")
    if type(success) is not bool:
        raise TypeError("an outcome is a success or is none")
    if score is not None and not (type(score) is int and 0 <= score <= SCORE_SCALE):
        record.differ("a score is from 0 to 1", f"0 to {SCORE_SCALE} millionths", score)
    principal = body["by"]["principal"]
    _check_whose(record, principal, run.agent)
    row = RunOutcome(
        record.fold.book_id, run.name, record.index, run.agent, success, score, principal, record.time,
    )  # fmt: skip
    record.store.run_outcomes.add((run.name, record.index), row)


def _check_whose(record: Record, principal: str, agent: str) -> None:
    """An agent speaks of its own runs and of those below it, and with a key for one run of that."""
    own: Any = agent_name(principal)
    if own in (None, agent) or run_of_key(record) == record.body["run"]:
        return
    row = record.store.agents.get(agent)
    if row is None or own not in lineage(row.path):
        record.differ("an agent acts on what is another's", f"agent:{agent}", principal)


HANDLERS: Final = {"outcome": _outcome}
"""What the record of an outcome does."""
