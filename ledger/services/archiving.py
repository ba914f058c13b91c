"""Archiving on PostgreSQL: writing a full partition to Parquet, and detaching it once nothing here needs it any more.

Owns the conditions. Invariants: nothing is detached unless an archive that has it was read back and compared with the
partition row by row in the same run; of each book a beginning of its log goes, and only where every proof, balance and
decision can do without; rows of a book that needs them stay.
"""

from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.moment import SECOND
from ledger.core.tiles import LEVELS_MAX, full_tiles
from ledger.services.archive_files import Archive, ArchiveUnfit, BookSpan, archive_name, write_archive
from ledger.services.lining import Liner
from ledger.services.tiling import Tiler
from ledger.storage import archive_rows, partitioning, spend_rows
from ledger.storage.archive_rows import ArchivedRange
from ledger.storage.partitioning import Partition
from ledger.storage.proof_reader import LogPage, ProofReader
from ledger.storage.side_writer import SideWriter

DAY: Final = 86_400 * SECOND
KEPT_DAYS: Final = 90
"""How long an idempotency key is answered from its record, at least."""
KEPT_RECORDS_MAX: Final = 50_000
"""Records of books that stay, which are copied while the tables are locked: a second's work."""
COMPARE_RECORDS: Final = 1_000


class DetachRefused(ValueError):
    """A partition is not detached. The message says what stands in the way of which book."""


class Detached(NamedTuple):
    """What was detached: the archive, the tables' names from now on, the books that went, and why others stayed."""

    archive: str
    tables: tuple[str, str]
    dropped: bool
    books: list[str]
    kept: dict[str, str]


class Archiver:
    """Archives the partitions of one database, as the owner of its tables. Raises StorageError from every method."""

    def __init__(
        self, engine: Engine, owner: Engine, side: SideWriter, *, now: int, kept_days: int = KEPT_DAYS
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._tiler = Tiler(engine, side)
        self._liner = Liner(engine, side)
        self._now = now
        self._kept_days = kept_days

    def full(self) -> list[Partition]:
        """Partitions that some book has filled and that have records, lowest first."""
        with self._engine.connect() as connection:
            largest = max(archive_rows.heads(connection).values(), default=0)
            return [
                part
                for part in partitioning.partitions(connection)
                if part.high <= largest and archive_rows.books_in(connection, part)
            ]

    def next_range(self) -> Partition:
        """The lowest partition that is to be archived next. Raises DetachRefused where none is full."""
        with self._engine.connect() as connection:
            sizes = archive_rows.heads(connection)
        for part in self.full():
            with self._engine.connect() as connection:
                if any(sizes.get(book, 0) >= part.high for book in archive_rows.books_in(connection, part)):
                    return part
        raise DetachRefused("no partition is full: there is nothing to archive yet")

    def export(self, part: Partition, directory: Path) -> tuple[Path, list[BookSpan]]:
        """Write every book that has filled the partition, and read the archive back. Raises ArchiveUnfit, OSError."""
        with self._engine.connect() as connection:
            sizes, names = archive_rows.heads(connection), archive_rows.book_names(connection)
            full = [book for book in archive_rows.books_in(connection, part) if sizes.get(book, 0) >= part.high]
        if not full:
            raise ArchiveUnfit("no book has filled this partition: there is nothing to archive yet")

        def page_of(book_id: int, start: int, stop: int) -> LogPage:
            return ProofReader(self._engine.connect, book_id).log_page(start, stop)

        books = [(book, names.get(book, "")) for book in full]
        written, spans = write_archive(directory, low=part.low, high=part.high, books=books, page_of=page_of)
        Archive(written).verify()
        return written, spans

    def detach(self, part: Partition, directory: Path, *, drop: bool) -> Detached:
        """Detach a partition whose archive stands in ``directory``. Raises DetachRefused, ArchiveUnfit."""
        place = directory / archive_name(part.low, part.high)
        archive = Archive(place if place.exists() else directory)
        if (archive.low, archive.high) != (part.low, part.high):
            raise DetachRefused(f"{archive.directory} is not the archive of records {part.low} to {part.high - 1}")
        archive.verify()
        self._compare(archive)
        with self._engine.connect() as connection:
            there, names = archive_rows.books_in(connection, part), archive_rows.book_names(connection)
        for book in archive.books:
            self._tiler.extend(book)
            self._liner.catch_up(book, part.high)
        reasons: dict[int, str] = {}
        tables = ("", "")

        def work(connection: Connection) -> None:
            nonlocal tables
            # From here on nobody writes: what is found now is so when the tables are detached.
            connection.exec_driver_sql("LOCK TABLE log_records, transfers IN ACCESS EXCLUSIVE MODE")
            reasons.clear()
            sizes = archive_rows.heads(connection)
            for book in archive_rows.books_in(connection, part):
                why = self._in_the_way(connection, book, sizes.get(book, 0), part, archive)
                if why is not None:
                    reasons[book] = why
            gone = [book for book in archive.books if book in there and book not in reasons]
            if not gone:
                said = "; ".join(f"{names.get(book, book)}: {why}" for book, why in sorted(reasons.items())[:10])
                raise DetachRefused(f"nothing can be detached: {said}")
            count = archive_rows.records_kept(connection, part, list(reasons), KEPT_RECORDS_MAX + 1)
            if count > KEPT_RECORDS_MAX:
                said = "; ".join(f"{names.get(book, book)}: {why}" for book, why in sorted(reasons.items())[:10])
                raise DetachRefused(f"more than {KEPT_RECORDS_MAX} records would have to stay: {said}")
            archived = [
                (book, ArchivedRange(part.low, part.high, archive.name, archive.digest, span.last_recorded_at))
                for book, span in archive.books.items()
                if book in gone
            ]
            tables = archive_rows.detach(connection, part, archived, sorted(reasons), now=self._now, drop=drop)

        partitioning.with_brief_lock(self._owner, work)
        return Detached(
            archive.name,
            tables,
            drop,
            sorted(names.get(book, str(book)) for book in there if book not in reasons),
            {names.get(book, str(book)): why for book, why in reasons.items()},
        )

    def _compare(self, archive: Archive) -> None:
        """Every row of the archive with the partition's. Raises DetachRefused."""
        for span in archive.books.values():
            reader = ProofReader(self._engine.connect, span.book_id)
            for start in range(span.start, span.stop, COMPARE_RECORDS):
                stop = min(start + COMPARE_RECORDS, span.stop)
                page = reader.log_page(start, stop)
                if (page.records, page.transfers) != archive.page(span.book_id, start, stop):
                    raise DetachRefused(
                        f"book {span.name}: records {start} to {stop - 1} of the archive are not those of the database"
                    )

    def _in_the_way(
        self, connection: Connection, book: int, size: int, part: Partition, archive: Archive
    ) -> str | None:
        """Why the records of a book with a log of ``size`` cannot go, None where they can."""
        if size < part.high:
            return "its log has not filled this partition"
        if book not in archive.books:
            return "it is not in this archive, which was written before it had filled the partition: export again"
        before = archive_rows.last_range(connection, book)
        if (before.stop if before is not None else 0) != part.low:
            return "what lies before it is still here: detach that first"
        oldest = self._now - self._kept_days * DAY
        if archive.books[book].last_recorded_at > oldest:
            return f"it has records of the last {self._kept_days} days, which repeated requests are answered from"
        waiting = archive_rows.first_open(connection, book, part.high)
        if waiting is not None:
            return f"{waiting} is still open: settle or release it"
        if archive_rows.signed_size(connection, book) < part.high:
            return "no checkpoint covers it: run 'bursar checkpoint'"
        for level in range(LEVELS_MAX):
            count = full_tiles(level, part.high)
            if count and archive_rows.tiles_below(connection, book, level, count) != count:
                return "tiles of its tree are still being written, which proofs are then made from: run this again"
        watched = archive_rows.watched_to(connection, book)
        if watched is not None and watched < part.high:
            return "alerts have not been looked for in all of it: let a server run"
        if (spend_rows.cursor(connection, book) or 0) < part.high:
            return "the lines of statements are still being written, which cannot be made without it: run this again"
        return None
