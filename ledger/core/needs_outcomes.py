"""Which facts the command lacks that says what became of a run. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core.command_outcomes import ReportOutcome
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_report_outcome(seeker: Seeker, asked: ReportOutcome, own_agent: Agent | None) -> None:
    seeker.run(asked.run, None)


SEEK: Final[dict[type, Any]] = {ReportOutcome: _seek_report_outcome}
"""What the command refers to, beside its caller."""
