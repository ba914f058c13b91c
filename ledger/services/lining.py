"""Spend lines in the background: what statements and reports read is written behind the log, from a cursor.

Owns ``Liner``, which writes them, and ``Lining``, the thread that has them written. Invariants: nothing is added to a
decision; what a stretch of the log gives and the cursor change in one transaction or not at all, so a crash between any
two steps loses nothing and doubles nothing, with any number of processes; no transaction is longer than a stretch; on
SQLite, whose one lock decisions need too, whoever decides comes first.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine

from ledger.core.canonical import parse
from ledger.core.deriving import Clock, columns_of
from ledger.core.spend_line import (
    Origin,
    SpendHold,
    SpendLine,
    corrected_index,
    days_of,
    ended_hold,
    hold_span,
    lines_of,
    needs_origin,
)
from ledger.services.archive_files import Archive, Archives
from ledger.services.errors import ServiceError, UnknownBook
from ledger.storage import archive_rows, queries_log, spend_rows
from ledger.storage.archive_rows import ArchivedRange
from ledger.storage.errors import Busy, Conflict, RecordArchived, StorageError
from ledger.storage.side_writer import SideWriter
from ledger.storage.spend_rows import ReadRecord

RECORDS_AT_ONCE: Final = 400
ROWS_CLEARED_AT_ONCE: Final = 2_000
BUSY_SECONDS_MAX: Final = 10.0
"""How long whoever needs the lines waits for others who write, before they are asked to come again."""
BUSY_PAUSE_SECONDS: Final = 0.02
RESTS: Final = 3
"""How many times as long as it works the background rests, so that decisions have most of the process."""
REST_SECONDS_MAX: Final = 0.25
FAILED_SECONDS_MAX: Final = 60.0
LOGGER: Final = logging.getLogger("bursar.lines")
_UNREADABLE: Final = (KeyError, TypeError, ValueError, LookupError, AttributeError)


class LinesUnavailable(ServiceError):
    """Statements cannot be made now; nothing was changed. The message says why, and what to do."""

    retry_after_seconds = 5


class Liner:
    """Writes the lines of the books of a database. Safe to be used by several threads and processes.

    Lines of records that were detached were written before those went. Only with their ``archives`` can they be written
    again.
    """

    def __init__(self, engine: Engine, side: SideWriter, archives: Archives | None = None) -> None:
        self._engine = engine
        self._side = side
        self._archives = archives

    def catch_up(
        self,
        book_id: int,
        size: int,
        *,
        records_max: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Have the lines of the first ``size`` records written, whoever writes them. Raises LinesUnavailable when that
        is more than ``records_max`` records, or others write for too long; StorageError."""
        deadline = time.monotonic() + BUSY_SECONDS_MAX
        first: int | None = None
        while True:
            with self._engine.connect() as connection:
                reached = spend_rows.cursor(connection, book_id)
            if reached is not None and reached >= size:
                return
            done = max(reached or 0, 0)
            first = done if first is None else first
            if records_max is not None and size - done > records_max:
                raise LinesUnavailable(
                    f"the lines of this book are still being written: {done} of {size} records; ask again"
                )
            progress(done, size)
            try:
                if self.advance(book_id):
                    deadline = time.monotonic() + BUSY_SECONDS_MAX
                    continue
            except (Busy, Conflict):
                pass
            if time.monotonic() > deadline:
                raise LinesUnavailable("the lines of this book could not be written for others who write; ask again")
            time.sleep(BUSY_PAUSE_SECONDS)

    def rebuild(self, book_id: int) -> None:
        """Take away all lines of a book, daily totals included; who looks next writes them again. Raises UnknownBook,
        LinesUnavailable where they could not be written again, ArchiveUnfit, StorageError; then nothing was changed."""
        with self._engine.connect() as connection:
            if queries_log.head(connection, book_id) is None:
                raise UnknownBook
            archived = archive_rows.ranges(connection, book_id)
        if archived and self._archives is None:
            raise _archived(archived[-1].stop)
        for part in archived:
            self._archive(book_id, part).verify()
        with self._side.transaction() as connection:
            spend_rows.begin_clearing(connection, book_id, again=True)

    def advance(self, book_id: int, *, limit: int = RECORDS_AT_ONCE) -> int:
        """Take in one stretch of a book's log, or clear some of what stood there before; how many records or rows.
        Raises Conflict when another process was first, Busy, LinesUnavailable, StorageError."""
        with self._engine.connect() as connection:
            start = spend_rows.cursor(connection, book_id)
            archived = archive_rows.last_range(connection, book_id) if start is None else None
        if archived is not None and self._archives is None:
            # The rows that stand there without a cursor could not be made again.
            raise _archived(archived.stop)
        if start is None or start == spend_rows.CLEARING:
            return self._clear(book_id, begun=start is not None)
        with self._engine.connect() as connection:
            made = self._read(connection, book_id, start, limit)
        if made is None:
            return 0
        stop, lines, holds, timezone = made
        days = days_of(lines, timezone)
        with self._side.transaction() as connection:
            spend_rows.keep(
                connection, book_id, read_from=start, read_to=stop, lines=lines, days=days, holds=holds
            )  # fmt: skip
        return stop - start

    def _clear(self, book_id: int, *, begun: bool) -> int:
        with self._side.transaction() as connection:
            if not begun:
                spend_rows.begin_clearing(connection, book_id)
            return spend_rows.clear_some(connection, book_id, limit=ROWS_CLEARED_AT_ONCE) or 1

    def _read(
        self, connection: Any, book_id: int, start: int, limit: int
    ) -> tuple[int, list[SpendLine], list[SpendHold], str] | None:
        """(end of the stretch, its lines, the holds that ended in it, the book's time zone); None where it is empty."""
        records = self._stretch(connection, book_id, start, limit)
        book = queries_log.book_by_id(connection, book_id)
        if not records or book is None:
            return None
        lines: list[SpendLine] = []
        holds: list[SpendHold] = []
        index = start
        try:
            bodies: dict[int, dict[str, Any]] = {}
            wanted: set[str] = set()
            for index, packed in records:
                if packed is not None:
                    bodies[index] = parse(packed)
                    wanted |= {name for name in (needs_origin(bodies[index]), ended_hold(bodies[index])) if name}
            origins = spend_rows.origins(connection, book_id, wanted)
            clock = Clock()
            for index, body in bodies.items():
                lines += self._lines(connection, book_id, index, body, origins, bodies, clock)
                ended = origins.get(ended_hold(body) or "")
                if ended is not None:
                    span = hold_span(ended.created_index, index)
                    holds.append(SpendHold(book_id, index, ended.created_index, span))
        except _UNREADABLE as error:
            raise LinesUnavailable(
                f"record {index} cannot be read, so no statement can be made; run 'bursar verify'"
            ) from error
        return records[-1].log_index + 1, lines, holds, book.timezone

    def _stretch(self, connection: Any, book_id: int, start: int, limit: int) -> list[ReadRecord]:
        """At most ``limit`` records from ``start`` on, without a gap, from wherever they stand."""
        records = spend_rows.stretch(connection, book_id, start, limit)
        if records and records[0].log_index == start:
            return records
        head = queries_log.head(connection, book_id)
        if head is None or head.size <= start:
            return []
        part = archive_rows.range_of(connection, book_id, start)
        if part is None:
            raise LinesUnavailable(f"record {start} is missing, so no statement can be made; run 'bursar verify'")
        rows, _ = self._archive(book_id, part).page(book_id, start, min(start + limit, part.stop))
        return [ReadRecord(row[0], row[-2] if row[1] in spend_rows.READ_KINDS else None) for row in rows]

    def _archive(self, book_id: int, part: ArchivedRange) -> Archive:
        if self._archives is None:
            raise _archived(part.stop)
        return self._archives.of(book_id, part.start, part.stop, part.digest)

    def _body(self, connection: Any, book_id: int, index: int) -> dict[str, Any] | None:
        """The body of one record, or None. Raises RecordArchived where it is in an archive that is not at hand."""
        part = archive_rows.range_of(connection, book_id, index) if self._archives is not None else None
        if part is not None:
            rows, _ = self._archive(book_id, part).page(book_id, index, index + 1)
            return parse(rows[0][-2]) if rows else None
        record = queries_log.record(connection, book_id, index)
        return parse(record.body) if record is not None else None

    def _lines(
        self,
        connection: Any,
        book_id: int,
        index: int,
        body: dict[str, Any],
        origins: dict[str, Origin],
        bodies: dict[int, dict[str, Any]],
        clock: Clock,
    ) -> list[SpendLine]:
        origin = origins.get(needs_origin(body) or "")
        asked = index

        def body_at(at: int) -> dict[str, Any] | None:
            nonlocal asked
            asked = at
            return bodies[at] if at in bodies else self._body(connection, book_id, at)

        def corrects_of(at: int) -> int | None:
            return spend_rows.corrected_by_line(connection, book_id, at)

        try:
            corrects = corrected_index(body, body_at, corrects_of)
        except RecordArchived:
            # What was archived has all its lines, and they tell it too.
            corrects = spend_rows.corrected_before(
                connection,
                book_id,
                body["authorization"],
                pair=(body["category"], body["payee"]),
                since=origin.created_index if origin is not None else 0,
                until=asked,
            )
        return lines_of(book_id, index, body, columns_of(body, clock), origin=origin, corrects=corrects)


def _archived(stop: int) -> LinesUnavailable:
    return LinesUnavailable(
        f"the first {stop} records are in archives, without which their lines cannot be made again: run 'bursar rebuild"
        " --archive DIRECTORY'"
    )


class Lining:
    """Has lines written in the background, from ``start`` to ``stop``; looks every ``poll_seconds`` (0: never)."""

    def __init__(
        self,
        engine: Engine,
        liner: Liner,
        *,
        poll_seconds: int,
        on_behind: Callable[[int], None] = lambda records: None,
    ) -> None:
        self._engine = engine
        self._liner = liner
        self._poll_seconds = poll_seconds
        self._on_behind = on_behind
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the settings say never."""
        if self._poll_seconds and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
            self._thread.start()

    def stop(self, *, deadline_seconds: float) -> None:
        """End. What is not written by then is written by whoever runs next."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def look(self) -> int:
        """Take in what every book has written since; how many records. Raises StorageError, LinesUnavailable."""
        with self._engine.connect() as connection:
            books = spend_rows.books_behind(connection)
        self._on_behind(sum(book.size - book.next_index for book in books))
        taken = 0
        for book in books:
            taken += self._take(book)
        return taken

    def _take(self, book: spend_rows.Behind) -> int:
        taken, reached = 0, book.next_index
        while reached < book.size and not self._stopping.is_set():
            started = time.thread_time()
            try:
                advanced = self._liner.advance(book.book_id)
            except Conflict:
                # Another process is at it.
                return taken
            taken += advanced
            reached += advanced
            if not advanced:
                return taken
            # In a process that also decides, this takes the time that is left over.
            self._stopping.wait(min((time.thread_time() - started) * RESTS, REST_SECONDS_MAX))
        return taken

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            pause = float(self._poll_seconds)
            try:
                self.look()
                failures = 0
            except Busy:
                # Somebody decides. There is no hurry here.
                LOGGER.debug("the database was busy; lines will be written later")
            except Exception as error:
                failures += 1
                pause = min(pause * 2**failures, FAILED_SECONDS_MAX)
                known = isinstance(error, (StorageError, ServiceError))
                LOGGER.warning("lines will be written later: %s", error, exc_info=None if known else error)
            self._stopping.wait(pause)
