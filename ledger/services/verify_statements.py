"""The statements of closed months made again for `verify`, and compared with the digests that their closings recorded.

Owns what `verify` itself leaves out, because it costs all lines of a month for each of its scopes. Invariants: every
closing on record is compared, also of a month that was opened again; what statements are read from was compared with
the log before, so that what differs here is what the closing says.
"""

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Engine

from ledger.core.invariants import ENTRIES_FOLLOW_RULES, Difference
from ledger.core.statement import StatementBroken
from ledger.services.closing import CLOSING_KIND, Closer
from ledger.services.sources import Sources
from ledger.services.statements.making import Statements
from ledger.services.verify_findings import BookReport
from ledger.storage import queries_log
from ledger.storage.engine import create_engine
from ledger.storage.paging import LIMIT_MAX
from ledger.storage.side_writer import SideWriter

Progress = Callable[[str, int, int], None]
"""Told the book's name, how many statements of a closing are made, and of how many."""


def with_statements(
    database_url: str, reports: list[BookReport], *, differences_max: int, progress: Progress | None = None
) -> list[BookReport]:
    """The reports of books of a database, with what is found of their statements; of a book that was not verified there
    is nothing to add. Lines of statements that are not written yet are.

    Raises RecordArchived for a closing whose records were detached, ServiceError, StorageError."""
    engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
    try:
        closer = Closer(engine, Statements(engine, side), Sources())
        return [
            _checked(engine, closer, report, differences_max, progress) if report.verified and report.name else report
            for report in reports
        ]
    finally:
        side.close()
        engine.dispose()


def _checked(
    engine: Engine, closer: Closer, report: BookReport, differences_max: int, progress: Progress | None
) -> BookReport:
    found: list[Difference] = []
    for index in _closings(engine, report):
        if len(found) == differences_max:
            return replace(report, differences=found, complete=False)
        difference = _difference(closer, report, index, progress)
        if difference is not None:
            found.append(difference)
    return replace(report, differences=found)


def _closings(engine: Engine, report: BookReport) -> list[int]:
    """The log indexes of the closings among the records that were verified, in order."""
    indexes: list[int] = []
    while True:
        with engine.connect() as connection:
            page = queries_log.list_records(
                connection, report.book_id, kinds=(CLOSING_KIND,), stop=report.records, newest_first=True,
                after=indexes[-1] if indexes else None, limit=LIMIT_MAX,
            )  # fmt: skip
        indexes += [record.log_index for record in page.items]
        if page.after is None:
            return sorted(indexes)


def _difference(closer: Closer, report: BookReport, index: int, progress: Progress | None) -> Difference | None:
    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(report.name, done, total)

    try:
        compared = closer.compare_record(report.book_id, index, progress=tell)
    except StatementBroken as error:
        what = f"a statement that it has the digest of cannot be made again: {error}"
        return Difference("log_records", what, index, check=ENTRIES_FOLLOW_RULES)
    if compared.same and not compared.different:
        return None
    what = f"the statements of {compared.period} are not those that it has the digests of"
    if compared.different:
        what += f": {', '.join(compared.different[:10])}"
    return Difference("log_records", what, index, "", "body", check=ENTRIES_FOLLOW_RULES)
