"""What one batch was, for whoever counts: metrics, logs, the bench."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class BatchReport:
    """``outcomes`` counts (operation, status code, or the exception's name for a command that was not decided). Of a
    ``dry`` batch nothing was to be written."""

    commands: int
    records: int
    seconds: float
    commit_seconds: float
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    dry: bool = False

    @property
    def committed(self) -> bool:
        """Whether the batch wrote anything: one that refused everything, or repeated answers, did not."""
        return self.records > 0
