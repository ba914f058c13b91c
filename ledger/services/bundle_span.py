"""The pass over a span whose earlier records are not at hand: hashes and texts, and no rows.

Owns ``SpanPass``. Invariant: it says of no record that it follows, because what it follows from is not there.
"""

from ledger.core.merkle import Frontier
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass, LogSource, Progress, TreeCheck
from ledger.storage.scratch import Scratch


class SpanPass(LogPass):
    """A pass that begins behind records of which only the frontier is known. Nothing is ever ``followed``."""

    def __init__(
        self,
        source: LogSource,
        scratch: Scratch,
        book_id: int,
        findings: Findings,
        *,
        before: Frontier,
        progress: Progress,
        tree_checks: tuple[TreeCheck, ...] = (),
    ) -> None:
        super().__init__(
            source, scratch, book_id, findings, progress=progress, tree_checks=tree_checks, made=lambda rows: None
        )
        self._edge = before.copy()
        self.position = before.size
        self.followed = False

    @property
    def frontier(self) -> Frontier:
        """The right edge of the tree over the leaves so far, those before the span included."""
        self._grow()
        return self._edge.copy()

    def _grow(self) -> None:
        # Tiles are made of leaves from the first on, which are not here.
        for leaf in self._leaves:
            self._edge.append(leaf)
        self._leaves.clear()
