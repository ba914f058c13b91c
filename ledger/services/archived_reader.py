"""A stored book whose first records stand in archives, read as one log.

Owns ``ArchivedReader``. Invariants: what the database says is archived comes from the archive that it was detached into
and from nowhere else; a record that stands in both is an error, because nobody put it back.
"""

from sqlalchemy import Engine

from ledger.services.archive_files import Archive, Archives, ArchiveUnfit
from ledger.storage.archive_rows import ArchivedRange, ranges
from ledger.storage.proof_reader import LogPage, ProofReader, Row


class ArchiveNeeded(Exception):
    """Records of a book are archived, and the archive was not given. The message says which."""


class ArchivedReader(ProofReader):
    """As ``ProofReader``, with the ranges that are archived read from their archives. Raises ArchiveUnfit too."""

    def __init__(self, engine: Engine, book_id: int, archived: list[ArchivedRange], archives: Archives) -> None:
        super().__init__(engine, book_id)
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

    def leaves(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """See ``ProofReader``."""
        return [(row[0], row[-1]) for row in self.log_page(start, stop).records]

    def next_index(self, start: int) -> int | None:
        """See ``ProofReader``."""
        for part, archive in self._parts:
            if start < part.stop:
                records, _ = archive.page(self._archived_book, max(start, part.start), part.stop)
                if records:
                    return int(records[0][0])
        return super().next_index(start)

    def body(self, index: int) -> bytes:
        """See ``ProofReader``."""
        rows = self.leaf_page(index, index + 1)
        return bytes(rows[0][1]) if rows else b""


def reader_of(engine: Engine, book_id: int, archives: Archives | None) -> ProofReader:
    """What reads a book, with its archives where it has any. Raises ArchiveNeeded, ArchiveUnfit, StorageError."""
    with engine.connect() as connection:
        archived = ranges(connection, book_id)
    if not archived:
        return ProofReader(engine, book_id)
    if archives is None:
        names = ", ".join(part.name for part in archived)
        raise ArchiveNeeded(
            f"records {archived[0].start} to {archived[-1].stop - 1} are archived in {names}: give --archive DIRECTORY"
        )
    return ArchivedReader(engine, book_id, archived, archives)
