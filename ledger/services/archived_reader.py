"""A stored book whose first records stand in archives, read as one log.

Owns ``ArchivedReader``. Invariants: what the database says is archived comes from the archive that it was detached into
and from nowhere else; a record that stands in both is an error, because nobody put it back.
"""

from bisect import bisect_left
from pathlib import Path
from typing import Final

from ledger.core.changeset import LOG_RECORDS
from ledger.services.archive_files import Archive, Archives, ArchiveUnfit
from ledger.storage.archive_rows import ArchivedRange, ranges
from ledger.storage.proof_reader import Connect, LogPage, ProofReader, Row

_RECORDED_AT: Final = LOG_RECORDS.columns.index("recorded_at") - 1


class ArchiveNeeded(Exception):
    """Records of a book are archived, and the archive was not given. The message says which."""


class ArchivedReader(ProofReader):
    """As ``ProofReader``, with the ranges that are archived read from their archives. Raises ArchiveUnfit too."""

    def __init__(self, connect: Connect, book_id: int, archived: list[ArchivedRange], archives: Archives) -> None:
        super().__init__(connect, book_id)
        self._archived_book = book_id
        self._parts: list[tuple[ArchivedRange, Archive]] = [
            (part, archives.of(book_id, part.start, part.stop, part.digest)) for part in archived
        ]

    def log_page(self, start: int, stop: int) -> LogPage:
        """See ``ProofReader``."""
        stored = super().log_page(start, stop)
        records: list[Row] = []
        transfers: list[Row] = []
        for part, archive in self._parts:
            low, high = max(start, part.start), min(stop, part.stop)
            if low < high:
                for rows in (stored.records, stored.transfers):
                    twice = next((row[0] for row in rows if low <= row[0] < high), None)
                    if twice is not None:
                        raise ArchiveUnfit(f"record {twice} stands in the database and in the archive {archive.name}")
                more = archive.page(self._archived_book, low, high)
                records += more[0]
                transfers += more[1]
        return LogPage(records + stored.records, transfers + stored.transfers, stored.texts)

    def leaf_page(self, start: int, stop: int) -> list[Row]:
        """See ``ProofReader``."""
        return [(row[0], row[-2], row[-1]) for row in self.log_page(start, stop).records]

    def next_index(self, start: int) -> int | None:
        """See ``ProofReader``."""
        for part, archive in self._parts:
            if start < part.stop:
                records, _ = archive.page(self._archived_book, max(start, part.start), part.stop)
                if records:
                    return int(records[0][0])
        return super().next_index(start)

    def archived_at(self, moment: int) -> int | None:
        """The first record at or behind ``moment`` (microseconds) that is archived, or None where none is."""
        for part, archive in self._parts:
            if part.last_recorded_at >= moment:
                return bisect_left(
                    range(part.stop),
                    moment,
                    lo=part.start,
                    key=lambda index: self._recorded_at(archive, index),
                )
        return None

    def _recorded_at(self, archive: Archive, index: int) -> int:
        records, _ = archive.page(self._archived_book, index, index + 1)
        if not records:
            raise ArchiveUnfit(f"record {index} is not in the archive {archive.name}; run 'bursar partitions check'")
        return int(records[0][_RECORDED_AT])

    def body(self, index: int) -> bytes:
        """See ``ProofReader``."""
        rows = self.leaf_page(index, index + 1)
        return bytes(rows[0][1]) if rows else b""


def with_archives(reader: ProofReader, directory: Path | None) -> ProofReader:
    """The reader, or where ranges of its book are archived one that reads them from the archives in ``directory``.
    Raises ArchiveNeeded, ArchiveUnfit, StorageError."""
    with reader.reading() as (connection, book_id):
        archived = ranges(connection, book_id)
    if not archived:
        return reader
    if directory is None:
        names = ", ".join(part.name for part in archived)
        raise ArchiveNeeded(
            f"records {archived[0].start} to {archived[-1].stop - 1} are archived in {names}: give --archive DIRECTORY"
        )
    return ArchivedReader(reader.connect, book_id, archived, Archives(directory))
