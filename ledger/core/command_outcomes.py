"""The command that says what became of a run."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutcome(Command):
    """Say whether a run, named by its name or id, succeeded, and how well: ``score`` is in millionths, from none to all
    of them. A later report counts in place of an earlier one, and both stay on record."""

    operation: ClassVar[str] = "report_outcome"
    run: str
    success: bool
    score: int | None = None
