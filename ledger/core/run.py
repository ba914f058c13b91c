"""Runs: one task an agent works on, opened on record, with totals per currency, and what became of it.

Invariants: a total counts the authorizations that named the run after it was opened, and no others; a run's cap is
fixed for good when it is opened; every outcome that was reported of a run stays, and the last one counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCORE_SCALE: Final = 1_000_000
"""A score is from 0 to 1, in millionths, because the log has no fractions."""
SCORE_DIGITS: Final = 6


@dataclass(slots=True)
class Run:
    """One row of ``runs``. ``opened_at`` in microseconds; ``cap``, in atoms of ``cap_currency``, is what it may hold
    and have spent in all (None: as much as budgets and policies allow)."""

    book_id: int
    name: str
    id: str
    agent: str
    opened_at: int
    created_index: int
    cap: int | None = None
    cap_currency: str | None = None


@dataclass(slots=True)
class RunTotal:
    """One row of ``run_totals``: what a run holds and has spent in one currency, in atoms. ``spent`` is net of
    refunds; ``approved_count`` and ``denied_count`` count authorizations."""

    book_id: int
    run: str
    currency: str
    approved_count: int
    denied_count: int
    held: int
    spent: int
    changed_index: int


@dataclass(slots=True)
class RunOutcome:
    """One row of ``run_outcomes``: what somebody reported of a run. ``score`` is in millionths, None where none was
    given; ``reported_by`` is a principal; ``recorded_at`` in microseconds."""

    book_id: int
    run: str
    created_index: int
    agent: str
    success: bool
    score: int | None
    reported_by: str
    recorded_at: int


def score_text(score: int) -> str:
    """A score as decimal text: ``0.8`` for 800,000 millionths."""
    whole, rest = divmod(score, SCORE_SCALE)
    digits = f"{rest:0{SCORE_DIGITS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def cap_left(run: Run, totals: Iterable[RunTotal]) -> int | None:
    """What the cap of a run leaves for new requests, in atoms, never below zero; None where it has no cap."""
    if run.cap is None:
        return None
    used = sum(total.held + total.spent for total in totals if total.currency == run.cap_currency)
    return max(run.cap - used, 0)
