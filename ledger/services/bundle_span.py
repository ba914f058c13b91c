"""The pass over a span whose earlier records are not at hand: hashes, texts and redactions, and no other rows.

Owns ``SpanPass``. Invariants: it says of no record that it follows, because what it follows from is not there; what a
record says without any other, its book's name and which texts it redacts, is held against what the bundle has.
"""

from typing import Any

from ledger.core.book import Book
from ledger.core.deriving import TEXT_FIELDS, Columns
from ledger.core.invariants import Difference
from ledger.core.merkle import Frontier
from ledger.core.redaction import Redaction
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import UNFOLLOWED, LogPass, LogSource, Progress, TreeCheck
from ledger.storage.proof_reader import LogPage, Row
from ledger.storage.scratch import Scratch


class SpanPass(LogPass):
    """A pass that begins behind records of which only the frontier is known. Nothing is ever ``followed``."""

    def __init__(
        self,
        source: LogSource,
        scratch: Scratch,
        book: Book,
        findings: Findings,
        *,
        before: Frontier,
        progress: Progress,
        tree_checks: tuple[TreeCheck, ...] = (),
    ) -> None:
        super().__init__(
            source, scratch, book.book_id, findings, progress=progress, tree_checks=tree_checks, made=lambda rows: None
        )
        self._edge = before.copy()
        self.position = before.size
        self.followed = False
        self._name = book.name

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

    def _take(self, page: LogPage, stop: int) -> None:
        super()._take(page, stop)
        self._trim()

    def _leaf(self, row: Row) -> tuple[dict[str, Any], Columns] | None:
        leaf = super()._leaf(row)
        if leaf is not None and leaf[1].kind == "redaction":
            self._redact(row[0], leaf[0])
        return leaf

    def _redact(self, by: int, body: dict[str, Any]) -> None:
        """Keep which texts a record redacts, as the fold does where records are followed."""
        try:
            for index, field in body["texts"]:
                if type(index) is not int or field not in TEXT_FIELDS or not 0 <= index < by:
                    raise ValueError("a redaction names fields of records before it")
                self._scratch.redactions.add((index, field), Redaction(self.fold.book_id, index, field, by))
        except UNFOLLOWED as error:
            self._findings.add(Difference("log_records", f"the redaction cannot be read: {error}", by, "", "body"))
