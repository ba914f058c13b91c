"""`replay`: decides again from recorded facts and policy versions, and shows what comes out otherwise.

Owns the pass over a log that watches its decisions. Invariants: nothing is taken from a record but what was asked, who
asked and when; a difference names the record, the rule and both values; a decision in which a rule counted by a
fingerprint whose words are gone is reported as redacted, and decided again all the same; memory is bounded as that of
``verify`` is, and so many differences are kept as were asked for, while all are counted.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.core.invariants import Difference
from ledger.services.archived_reader import ArchivedReader, with_archives
from ledger.services.replay_watching import DecisionWatcher, ReplayReport
from ledger.services.verify import BookProgress, NoSuchBook
from ledger.services.verify_findings import EnoughFound, Findings
from ledger.services.verify_log import LogPass, LogSource
from ledger.storage import queries_log
from ledger.storage.proof_reader import LogPage, ProofReader, names_of_books, open_database
from ledger.storage.scratch import Scratch

DIFFERENCES_DEFAULT: Final = 20
LOG_DIFFERENCES_MAX: Final = 10
INDEXES_SHOWN: Final = 20
LOOKS_AHEAD: Final = 3
"""How often a book in use is followed further, for redactions that came while it was read."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range: a record's index, or a moment in microseconds; neither: as far as there is anything."""

    index: int | None = None
    moment: int | None = None


UNBOUND: Final = Bound()


class Tap:
    """A source that remembers the free texts of the page at hand."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self.texts: dict[tuple[int, str], str] = {}

    def log_page(self, start: int, stop: int) -> LogPage:
        """See ``LogSource``."""
        page = self._source.log_page(start, stop)
        self.texts = {(index, name): content for index, name, _, content in page.texts}
        return page

    def next_index(self, start: int) -> int | None:
        """See ``LogSource``."""
        return self._source.next_index(start)


def replay_source(
    source: LogSource,
    *,
    book_id: int,
    name: str,
    size: int,
    start: int,
    stop: int,
    text_secret: bytes | None,
    limit: int = DIFFERENCES_DEFAULT,
    progress: BookProgress | None = None,
    head: Callable[[], int] | None = None,
) -> ReplayReport:
    """Replay the decisions of records ``start`` to before ``stop`` of a log of ``size`` records; all before are only
    followed, and those behind only for redactions. ``head`` tells the size of a log that grows, as it is by then.

    Raises StorageError, or what the source raises."""
    began = time.monotonic()
    report = ReplayReport(name, start, min(stop, size))
    scratch, tap = Scratch(), Tap(source)
    findings = Findings(LOG_DIFFERENCES_MAX)

    def tell(done: int, _total: int) -> None:
        if progress is not None:
            progress(name, done, report.stop)

    log = LogPass(tap, scratch, book_id, findings, progress=tell)
    try:
        log.fold.decides = False
        log.advance(report.start)
        log.fold.decides = True
        log.fold.watcher = DecisionWatcher(report, tap, scratch, text_secret=text_secret, limit=limit)
        log.advance(report.stop)
        log.fold.decides = False
        scratch.write()
        if scratch.texts.any_unexplained():
            log.advance(size)
            scratch.write()
        for _ in range(LOOKS_AHEAD if head is not None else 0):
            if head is None or not scratch.texts.any_unexplained():
                break
            log.advance(head())
            scratch.write()
        report.complete = log.followed
        report.redacted, report.unmade = scratch.texts.count_unmade()
        report.redacted_indexes = scratch.texts.redacted_indexes(INDEXES_SHOWN)
    except EnoughFound:
        pass
    except ValueError as error:
        findings.differences.append(Difference("log_records", str(error)))
    finally:
        scratch.close()
    report.log_differences = findings.differences
    report.seconds = time.monotonic() - began
    return report


def replay_books(
    database_url: str,
    *,
    book: str | None = None,
    start: Bound = UNBOUND,
    stop: Bound = UNBOUND,
    limit: int = DIFFERENCES_DEFAULT,
    archives: Path | None = None,
    progress: BookProgress | None = None,
) -> Iterator[ReplayReport]:
    """Replay every book of a migrated database, or the one named ``book``, from ``start`` (included) to ``stop`` (not
    included; neither index nor moment: all there is), with records that were detached from the ``archives`` in this
    directory. Raises NoSuchBook, ArchiveNeeded, ArchiveUnfit, StorageError."""
    engine = open_database(database_url)
    try:
        names = names_of_books(engine.connect)
        chosen = {book_id: name for book_id, name in names.items() if book is None or name == book}
        if book is not None and not chosen:
            raise NoSuchBook(f'there is no book "{book}" in this database')
        for book_id, name in sorted(chosen.items(), key=lambda item: (item[1], item[0])):
            reader = with_archives(ProofReader(engine.connect, book_id), archives)
            size = reader.size()
            with engine.connect() as connection:
                secret = queries_log.text_secret(connection, book_id)
            yield replay_source(
                reader,
                book_id=book_id,
                name=name,
                size=size,
                start=min(_index(reader, start, 0), size),
                stop=_index(reader, stop, size),
                text_secret=bytes(secret) if secret is not None else None,
                limit=limit,
                progress=progress,
                head=reader.size,
            )
    finally:
        engine.dispose()


def _index(reader: ProofReader, bound: Bound, otherwise: int) -> int:
    """The index of the first record at or behind a bound."""
    if bound.index is not None:
        return bound.index
    if bound.moment is None:
        return otherwise
    archived = reader.archived_at(bound.moment) if isinstance(reader, ArchivedReader) else None
    if archived is not None:
        return archived
    with reader.reading() as (connection, book_id):
        return queries_log.size_at(connection, book_id, bound.moment - 1)


def timezone_of(database_url: str, book: str | None) -> str:
    """The time zone in which a range of the chosen book is meant: the book's, where there is one book or one is named;
    UTC for several. Raises StorageError."""
    engine = open_database(database_url)
    try:
        with engine.connect() as connection:
            zones = {
                found.timezone for found in queries_log.list_books(connection) if book is None or found.name == book
            }
    finally:
        engine.dispose()
    return zones.pop() if len(zones) == 1 else "UTC"
