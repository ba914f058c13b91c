"""A bundle as a log to be read: a page after another, in order, from a file or a pipe.

Owns ``Bundle``, which is a ``LogSource``. Invariants: what is read once is never read again, so any length is read in
the memory of a page; every member that the manifest promises is there, as long as it must be, or it is said what lacks.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from ledger.core.bundle import (
    CHECKPOINT,
    CHUNK_BYTES_MAX,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    POLICIES,
    BundleInvalid,
    chunks,
    read_manifest,
    read_text_line,
    records_name,
    texts_name,
)
from ledger.core.canonical import parse
from ledger.core.deriving import TEXT_FIELDS, Clock, columns_of
from ledger.core.merkle import leaf_hash
from ledger.core.notes import NOTE_BYTES_MAX
from ledger.services.bundle_archive import ArchiveReader
from ledger.storage.proof_reader import LogPage, Row

_UNREADABLE: Final = (KeyError, TypeError, ValueError, LookupError, AttributeError, OverflowError)


class Bundle:
    """One bundle, read forward: its manifest and checkpoint at once, then its records, then policies and the end.

    Every method raises BundleInvalid.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = ArchiveReader(file)
        self.manifest = read_manifest(self._archive.whole(MANIFEST, bytes_max=MANIFEST_BYTES_MAX))
        self.note: str | None = None
        if self._archive.upcoming == CHECKPOINT:
            self.note = _text(self._archive.whole(CHECKPOINT, bytes_max=4 * NOTE_BYTES_MAX))
        self.position = self.manifest.first
        self.digest = ""
        self._clock = Clock()
        self._pages = self._read_pages()
        self._waiting: list[Row] = []
        self._texts: list[Row] = []
        self.gone: list[tuple[int, str, int]] = []
        """(Index, field, record) of texts read so far that were gone when the bundle was written: the record, behind
        its end, redacted them, as whoever wrote it says. To be taken away by whoever reads."""

    def log_page(self, start: int, stop: int) -> LogPage:
        """See ``LogSource``. ``start`` is where the last page ended; there are no transfers, which derive."""
        if start != self.position:
            raise BundleInvalid(f"it is read in order, and record {start} is not the next")
        while not self._waiting or self._waiting[-1][0] + 1 < stop:
            records, texts = next(self._pages)
            self._waiting += records
            self._texts += texts
        records = [row for row in self._waiting if row[0] < stop]
        self._waiting = self._waiting[len(records) :]
        texts = [row for row in self._texts if row[0] < stop]
        self._texts = self._texts[len(texts) :]
        self.position = stop
        return LogPage(records, [], texts)

    def next_index(self, start: int) -> int | None:
        """See ``LogSource``."""
        return start if start < self.manifest.size else None

    def _read_pages(self) -> Iterator[tuple[list[Row], list[Row]]]:
        for start, stop in chunks(self.manifest.first, self.manifest.size):
            texts = self._read_texts(start, stop)
            name = records_name(start)
            rows: list[Row] = []
            for line in self._archive.lines(name, bytes_max=CHUNK_BYTES_MAX):
                if len(rows) == stop - start:
                    raise BundleInvalid(f"{name} has more records than those from {start} to {stop - 1}")
                rows.append(self._row(start + len(rows), line))
            if len(rows) != stop - start:
                raise BundleInvalid(f"{name} has {len(rows)} records, and should have those from {start} to {stop - 1}")
            yield rows, texts

    def _row(self, index: int, line: bytes) -> Row:
        """A record as ``log_records`` stores it; where the body cannot be read, the pass will say so."""
        body = line[:-1]
        columns: tuple[Any, ...] = ("", "", None, None)
        with contextlib.suppress(*_UNREADABLE):
            columns = columns_of(parse(body), self._clock)
        return index, *columns, body, leaf_hash(body)

    def _read_texts(self, start: int, stop: int) -> list[Row]:
        name = texts_name(start)
        if self._archive.upcoming != name:
            return []
        if not self.manifest.texts:
            raise BundleInvalid(f"{name} has free texts, and the manifest says that there are none")
        texts: list[Row] = []
        last = (-1, "")
        for number, line in enumerate(self._archive.lines(name, bytes_max=CHUNK_BYTES_MAX), 1):
            try:
                text = read_text_line(line)
            except _UNREADABLE as error:
                raise BundleInvalid(f"line {number} of {name} is no text: {error}") from error
            place = (text.index, text.field)
            if not start <= text.index < stop or text.field not in TEXT_FIELDS or last >= place:
                raise BundleInvalid(f"line {number} of {name} is out of its place")
            last = place
            if text.redacted is None:
                texts.append((*place, text.salt, text.content))
            elif text.redacted < self.manifest.size:
                raise BundleInvalid(f"line {number} of {name} names record {text.redacted}, which is in the bundle")
            else:
                self.gone.append((*place, text.redacted))
        return texts

    def policies(self) -> Iterator[bytes]:
        """The line of every version of a policy; to be read to the end, behind the records."""
        for number, line in enumerate(self._archive.lines(POLICIES), 1):
            try:
                said = parse(line)
                said["policy"], said["version"]
            except _UNREADABLE as error:
                raise BundleInvalid(f"line {number} of {POLICIES} is no policy") from error
            yield line

    def finish(self) -> bool:
        """Read the end; whether every member is the one that was written. ``digest`` is then the archive's."""
        good = self._archive.finish()
        self.digest = self._archive.digest.hexdigest()
        return good


def _text(packed: bytes) -> str:
    try:
        return packed.decode()
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{CHECKPOINT} is no text") from error


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open the bundle in a file, or on standard input where it is called ``-``; errors name the file.

    Raises BundleInvalid, also for a file that cannot be read.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
            yield Bundle(file)
    except BundleInvalid as error:
        raise BundleInvalid(f"{path} is not a whole bundle: {error}") from error
    except OSError as error:
        raise BundleInvalid(f"{path} cannot be read: {error.strerror or error}") from error
