"""Outcomes of runs: who may report them, what is refused, and that the last one counts."""

from __future__ import annotations

import pytest

from ledger.core.command import Caller, CreateKey, OpenRun
from ledger.core.command_outcomes import ReportOutcome
from ledger.core.run import score_text
from tests.support.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    """A team with two agents, of which one works below the other; a run of each, and a stranger."""
    made = Ledger()
    made.agent("research", kind="team")
    return made


def told(ledger: Ledger, caller: Caller, run: str = "run-1", *, success: bool = True, score: int | None = None) -> str:
    """The status of a report."""
    return ledger.do(ReportOutcome, caller, run=run, success=success, score=score).status.value


def run_key(ledger: Ledger, maker: Caller, run: str, **fields: object) -> Caller:
    """A key that is for one run only."""
    digest = ledger._digest()
    made = ledger.do(CreateKey, maker, digest=digest, role="agent", run=run, ttl_seconds=60, **fields)
    assert made.status.value == "done", made
    return Caller(digest)


def test_who_may_say_what_became_of_a_run(ledger: Ledger) -> None:
    """The run's agent, one above it, a key for the run, finance and admins, and nobody else."""
    crawler = ledger.agent("crawler", "research")
    reader = ledger.agent("reader", "crawler")
    stranger = ledger.agent("stranger", "research")
    ledger.do(OpenRun, crawler, name="run-1")
    ledger.do(OpenRun, reader, name="run-2")
    assert told(ledger, crawler) == "done"
    assert told(ledger, crawler, "run-2") == "done"
    assert told(ledger, reader) == "not_yours"
    assert told(ledger, stranger) == "not_yours"
    assert told(ledger, run_key(ledger, crawler, "run-1")) == "done"
    assert told(ledger, run_key(ledger, crawler, "run-1"), "run-2") == "key_run_only"
    assert told(ledger, run_key(ledger, ledger.admin, "run-1", agent="reader")) == "done"
    assert told(ledger, ledger.key("finance", "fay")) == "done"
    assert told(ledger, ledger.admin) == "done"
    assert told(ledger, ledger.key("auditor", "olu")) == "role_not_allowed"
    assert told(ledger, ledger.key("approver", "abe")) == "role_not_allowed"
    assert told(ledger, Caller(None)) == "key_unknown"


def test_a_run_that_nobody_opened_has_no_outcome(ledger: Ledger) -> None:
    """A made-up name is a label of calls and no task that could end."""
    crawler = ledger.agent("crawler", "research")
    assert told(ledger, crawler, "made-up") == "not_found"
    assert told(ledger, ledger.admin, "run_00000000000000000000000000") == "not_found"


def test_every_report_stays_on_record(ledger: Ledger) -> None:
    """Two rows of one run; a repeat of the same request is the same report, and another request with its key none."""
    crawler = ledger.agent("crawler", "research")
    opened = ledger.do(OpenRun, crawler, name="run-1")
    size = len(ledger.bodies())
    first = ledger.do(ReportOutcome, crawler, run="run-1", success=True, score=800_000, idempotency_key="one")
    again = ledger.do(ReportOutcome, crawler, run="run-1", success=True, score=800_000, idempotency_key="one")
    other = ledger.do(ReportOutcome, crawler, run="run-1", success=True, score=800_001, idempotency_key="one")
    mended = ledger.do(ReportOutcome, crawler, run=str((opened.body or {})["id"]), success=False)
    assert (again.log_index, again.status.value, other.status.value) == (
        first.log_index, "replayed", "idempotency_mismatch",
    )  # fmt: skip
    said = [body for body in ledger.bodies()[size:] if body["kind"] == "outcome"]
    assert [(body["run"], body["agent"], body["success"], body.get("score_millionths")) for body in said] == [
        ("run-1", "crawler", True, 800_000), ("run-1", "crawler", False, None),
    ]  # fmt: skip
    assert mended.log_index == said[1]["index"]


@pytest.mark.parametrize("score", [-1, 1_000_001])
def test_a_score_is_from_none_to_all(ledger: Ledger, score: int) -> None:
    """What schemas let through no further reaches no record; a command that has it is a mistake of its maker."""
    crawler = ledger.agent("crawler", "research")
    ledger.do(OpenRun, crawler, name="run-1")
    with pytest.raises(ValueError, match="0 to 1000000 millionths"):
        told(ledger, crawler, score=score)


@pytest.mark.parametrize(
    ("score", "text"), [(0, "0"), (1, "0.000001"), (800_000, "0.8"), (999_999, "0.999999"), (1_000_000, "1")]
)
def test_scores_as_text(score: int, text: str) -> None:
    """Without zeros at the end."""
    assert score_text(score) == text
