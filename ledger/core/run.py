"""Runs: one task an agent works on, opened on record, with totals per currency.

Invariant: a total counts the authorizations that named the run after it was opened, and no others.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Run:
    """One row of ``runs``. ``opened_at`` in microseconds."""

    book_id: int
    name: str
    id: str
    agent: str
    opened_at: int
    created_index: int


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
