"""The roots that closings name, compared with the log that they stand on.

The rest of what a closing says is the fold's to check; what its digests are digests of is ``Closer.compare``'s.
Invariant: a closing stands on a log before its own record, so its root is one that the log, hashed so far, proves.
"""

from typing import Any

from ledger.core.deriving import Columns
from ledger.core.invariants import ENTRIES_FOLLOW_RULES, Difference
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass
from ledger.services.verify_stored_tree import roots_before
from ledger.storage.proof_reader import ProofReader

CLOSING_KIND = "period_close"


class ClosingCheck:
    """Collects closings while the log is read (a ``RecordCheck``), and compares their roots at the end of a page."""

    def __init__(self, reader: ProofReader, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings
        self._seen: list[tuple[int, int, str]] = []

    def check(self, index: int, body: dict[str, Any], columns: Columns) -> list[Difference]:
        """Note a closing; nothing is found wrong yet."""
        if columns.kind == CLOSING_KIND and type(body["size"]) is int:
            self._seen.append((index, body["size"], body["root"]))
        return []

    def compare(self, log: LogPass) -> None:
        """Compare the roots of the closings that were noted since. Raises EnoughFound, StorageError."""
        seen, self._seen = self._seen, []
        if not seen or not log.whole:
            return
        sizes = {size for _, size, _ in seen if 0 < size <= log.position}
        roots = roots_before(self._reader, sizes, log.position, log.frontier.root())
        for index, size, root in seen:
            # A size that there is no root of is a difference of its own.
            expected = roots[size].hex() if size in roots else root
            if expected != root:
                what = f"the root is not that of the first {size} records"
                self._findings.add(
                    Difference("log_records", what, index, "", "body", expected, root, ENTRIES_FOLLOW_RULES)
                )
