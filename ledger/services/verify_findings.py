"""What a verification found: differences, the first ones only, and the end of the work when there are enough.

Invariant: nothing that was found is dropped in silence; beyond the limit the work stops, and says that it did.
"""

from dataclasses import dataclass, field

from ledger.core.invariants import Difference
from ledger.services.verify_against import Verdict


class EnoughFound(Exception):
    """As many differences as were asked for have been found. Raised and caught inside verify only."""


class Findings:
    """The first ``limit`` differences of one book, in the order in which they were found."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.differences: list[Difference] = []

    def add(self, difference: Difference) -> None:
        """Keep one more. Raises EnoughFound when that makes the limit."""
        self.differences.append(difference)
        if len(self.differences) >= self.limit:
            raise EnoughFound


@dataclass(frozen=True, slots=True)
class BookReport:
    """What verify says about one book. ``records`` and ``root`` (hex) are those that were recomputed; ``complete`` is
    False when the work stopped early because of what was found; ``texts`` and ``texts_missing`` count free texts that
    stand beside the log and match it, and those that are gone without a redaction on record; ``texts_redacted`` those
    that are gone with one; ``texts_unproved`` those of the missing that a bundle says were redacted by a record that is
    not here; ``trusted`` is how many records an earlier state or checkpoint stands for, which were not read again, and
    ``resumed`` how many an interrupted run had read; ``verdicts`` say what signed checkpoints make of the log."""

    book_id: int
    name: str
    records: int
    root: str
    complete: bool
    texts: int
    texts_missing: int
    seconds: float
    differences: list[Difference] = field(default_factory=list)
    trusted: int = 0
    resumed: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    texts_redacted: int = 0
    texts_unproved: int = 0

    @property
    def agrees(self) -> bool:
        """Whether every checkpoint that was given is of this log, as far as it goes."""
        return all(verdict.good for verdict in self.verdicts)

    @property
    def verified(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.complete and not self.differences
