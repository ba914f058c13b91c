"""`replay` without a database: the decisions of bundles are made again while the bundles are verified.

Owns what watches the way through bundles. Invariants: a bundle is read once and forward, so that one from a pipe
serves, and a moment is looked for in each page before its records are followed; decisions are made again for pages of
the range only, and nothing is said of them without what verification says of the bundles that they came from.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ledger.core.bundle import BundleInvalid
from ledger.core.changeset import LOG_RECORDS
from ledger.core.notes import VerifierKey
from ledger.core.projecting_record import Record
from ledger.services.bundle_verify import BundlePass, BundleReport, passing
from ledger.services.replay_watching import DecisionWatcher, ReplayReport
from ledger.services.replaying import DIFFERENCES_DEFAULT, INDEXES_SHOWN, LOG_DIFFERENCES_MAX, Bound
from ledger.services.verify import BookProgress
from ledger.storage.proof_reader import LogPage, Row

_RECORDED_AT = LOG_RECORDS.columns.index("recorded_at") - 1

Bounds = Callable[[str], tuple[Bound, Bound]]
"""The two ends of a range, given the time zone of the book in which days are meant."""


class BundleReplay(NamedTuple):
    """What replay says of the decisions, and verification of the bundles."""

    replay: ReplayReport
    bundles: BundleReport


class _Watch:
    """Turns deciding on where the range begins and off where it ends, and counts what is decided between."""

    def __init__(self, bounds: Bounds, limit: int) -> None:
        self._bounds = bounds
        self._limit = limit
        self._ends: list[int | None] = [None, None]
        self._moments: list[int | None] = [None, None]
        self.texts: dict[tuple[int, str], str] = {}

    def begin(self, made: BundlePass) -> None:
        """See ``BundleWatch``. Raises BundleInvalid, and what ``bounds`` raises."""
        if made.alone:
            raise BundleInvalid(
                f"it begins with record {made.first}, and decisions follow from the records before it: give the "
                "bundles of those first, in order"
            )
        book = made.manifest.book
        start, stop = self._bounds(book.timezone)
        self._ends = [start.index if start.moment is not None else start.index or 0, stop.index]
        self._moments = [start.moment, stop.moment]
        self.report = ReplayReport(book.name, 0, 0)
        # The secret of a book is in no bundle.
        self._count = DecisionWatcher(self.report, self, made.scratch, text_secret=None, limit=self._limit)
        self._fold = made.log.fold
        self._fold.watcher = self._decided

    def page(self, page: LogPage) -> None:
        """See ``BundleWatch``."""
        self.texts = {(index, name): content for index, name, _, content in page.texts}
        for place, moment in enumerate(self._moments):
            if self._ends[place] is None and moment is not None:
                self._ends[place] = next((row[0] for row in page.records if _at_or_after(row, moment)), None)
        self._fold.decides = any(self._inside(row[0]) for row in page.records)

    def _inside(self, index: int) -> bool:
        start, stop = self._ends
        return start is not None and index >= start and (stop is None or index < stop)

    def _decided(self, record: Record, found: dict[str, Any]) -> None:
        if self._inside(record.index):
            self._count(record, found)

    def finish(self, made: BundlePass, told: BundleReport) -> None:
        """Fill in what is known at the end."""
        size = made.log.position
        start, stop = (size if end is None else min(end, size) for end in self._ends)
        report = self.report
        report.start, report.stop = start, stop
        report.complete = told.report.complete
        report.log_differences = told.report.differences
        report.redacted, report.unmade = made.scratch.texts.count_unmade()
        report.redacted_indexes = made.scratch.texts.redacted_indexes(INDEXES_SHOWN)


def _at_or_after(row: Row, moment: int) -> bool:
    recorded_at = row[_RECORDED_AT]
    return isinstance(recorded_at, int) and recorded_at >= moment


def replay_bundles(
    paths: Sequence[Path],
    trusted: Sequence[VerifierKey] = (),
    *,
    bounds: Bounds = lambda timezone: (Bound(), Bound()),
    limit: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
) -> BundleReplay:
    """Verify bundles that follow one another from the first record on, and replay the decisions between ``bounds`` (the
    first included, the second not). ``trusted`` as for ``verify_bundles``. Raises BundleInvalid, also where the records
    before the first bundle lack."""
    began = time.monotonic()
    watch = _Watch(bounds, limit)
    with passing(paths, trusted, differences_max=LOG_DIFFERENCES_MAX, progress=progress, watch=watch) as (made, told):
        watch.finish(made, told)
    watch.report.seconds = time.monotonic() - began
    return BundleReplay(watch.report, told)
