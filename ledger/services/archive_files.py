"""Archives: a range of log indexes as two Parquet files and a manifest, written whole, read back by page.

Owns the format. Invariants: bodies are kept as the exact bytes and every column beside them, so that leaves, transfers
and proofs come out the same; the same rows give the same bytes with the same version of the writer; a directory of an
archive's name is whole, because it gets its name last; nothing that is read is believed before it was hashed.

    NAME/manifest.json         what is in the archive: format, range, files with their SHA-256, books with their roots
    NAME/log_records.parquet   book_id and the columns of log_records, by book and log index
    NAME/transfers.parquet     book_id and the columns of transfers, by book, log index and position
"""

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.core import changeset
from ledger.core.changeset import TableSpec
from ledger.core.merkle import Frontier, leaf_hash
from ledger.storage.proof_reader import LogPage, Row

FORMAT: Final = "bursar-archive-1"
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
PAGE_RECORDS: Final = 8_192
"""Records of a book in one group of rows: what reading a single record costs."""
_TABLES: Final = (changeset.LOG_RECORDS, changeset.TRANSFERS)
_BINARY: Final = ("body", "leaf_hash")
_TEXT: Final = ("kind", "subject", "currency")
_SMALL: Final = ("position",)
_INDEX: Final = 1
"""Where ``log_index`` stands among the columns."""
_RECORDED_AT: Final = changeset.LOG_RECORDS.columns.index("recorded_at") - 1


class ArchiveUnfit(ValueError):
    """An archive cannot be written or believed. The message says why, and what to do."""


class BookSpan(NamedTuple):
    """What of one book is in an archive: indexes ``start`` to before ``stop``, the Merkle root over these leaves alone
    (hex), and the time of the last record in microseconds."""

    book_id: int
    name: str
    start: int
    stop: int
    transfers: int
    root: str
    last_recorded_at: int


def archive_name(low: int, high: int) -> str:
    """The name of the archive of a range."""
    return f"log-{low:015d}-{high:015d}"


def parquet() -> Any:
    """``pyarrow.parquet``. Raises ArchiveUnfit where it is not installed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ArchiveUnfit("archives are Parquet files: pip install 'bursar-server[parquet]'") from error


def _schema(spec: TableSpec) -> Any:
    arrow = importlib.import_module("pyarrow")

    def type_of(column: str) -> Any:
        if column in _BINARY:
            return arrow.binary()
        if column in _TEXT:
            return arrow.string()
        return arrow.int32() if column in _SMALL else arrow.int64()

    return arrow.schema([arrow.field(column, type_of(column), nullable=False) for column in spec.columns])


# Writing.

PageOf = Callable[[int, int, int], LogPage]
"""The rows of a book (first argument) from one log index to before another."""


def write_archive(
    directory: Path, *, low: int, high: int, books: list[tuple[int, str]], page_of: PageOf
) -> tuple[Path, list[BookSpan]]:
    """Write the range of the books, which must have it whole; the archive's directory. Raises ArchiveUnfit where one of
    that name is there, or a record is missing or is not what its leaf says; OSError."""
    arrow, writer = importlib.import_module("pyarrow") if parquet() else None, parquet()
    final = directory / archive_name(low, high)
    if final.exists():
        raise ArchiveUnfit(f"{final} is there already and is not written over")
    partial = directory / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        files = {}
        open_files = {}
        for spec in _TABLES:
            files[spec.name] = partial / f"{spec.name}.parquet"
            open_files[spec.name] = writer.ParquetWriter(
                files[spec.name], _schema(spec), compression="zstd", use_dictionary=list(_TEXT), version="2.6"
            )
        try:
            spans = [
                _write_book(arrow, open_files, book_id, name, low, high, page_of) for book_id, name in sorted(books)
            ]
        finally:
            for opened in open_files.values():
                opened.close()
        manifest = {
            "format": FORMAT,
            "low": low,
            "high": high,
            "files": [
                {"name": path.name, "bytes": path.stat().st_size, "sha256": _file_hash(path)} for path in files.values()
            ],
            "books": [span._asdict() for span in spans],
        }
        packed = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        for path, content in ((partial / MANIFEST, packed), *((path, None) for path in files.values())):
            with path.open("ab" if content is None else "wb") as file:
                file.write(content or b"")
                file.flush()
                os.fsync(file.fileno())
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final, spans


def _write_book(
    arrow: Any, files: dict[str, Any], book_id: int, name: str, low: int, high: int, page_of: PageOf
) -> BookSpan:
    frontier, transfers, last_recorded_at = Frontier(), 0, 0
    for start in range(low, high, PAGE_RECORDS):
        stop = min(start + PAGE_RECORDS, high)
        page = page_of(book_id, start, stop)
        _check_records(page.records, start, stop, frontier, f"book {name}")
        last_recorded_at = page.records[-1][_RECORDED_AT]
        transfers += len(page.transfers)
        for spec, rows in ((changeset.LOG_RECORDS, page.records), (changeset.TRANSFERS, page.transfers)):
            if rows:
                columns = [[book_id] * len(rows), *zip(*rows, strict=True)]
                table = arrow.table([list(column) for column in columns], schema=_schema(spec))
                files[spec.name].write_table(table, row_group_size=len(rows))
    return BookSpan(book_id, name, low, high, transfers, frontier.root().hex(), last_recorded_at)


def _check_records(records: list[Row], start: int, stop: int, frontier: Frontier, where: str) -> None:
    """Append leaves that were recomputed. Raises ArchiveUnfit."""
    if [row[0] for row in records] != list(range(start, stop)):
        raise ArchiveUnfit(f"{where}: a record between {start} and {stop - 1} is missing; run 'bursar verify'")
    for row in records:
        made = leaf_hash(row[-2])
        if made != row[-1]:
            raise ArchiveUnfit(f"{where}: record {row[0]} does not hash to its leaf; run 'bursar verify'")
        frontier.append(made)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# Reading.


class Archive:
    """One archive on disk. ``digest`` is the SHA-256 of its manifest; ``books`` what it has of each, by id."""

    def __init__(self, directory: Path) -> None:
        """Read the manifest. Raises ArchiveUnfit."""
        self.directory = directory
        self.name = directory.name
        path = directory / MANIFEST
        try:
            if path.stat().st_size > MANIFEST_BYTES_MAX:
                raise ArchiveUnfit(f"{path} is too large to be a manifest")
            packed = path.read_bytes()
            manifest = json.loads(packed)
            if manifest["format"] != FORMAT:
                raise ArchiveUnfit(f"{path} has format {manifest['format']!r}; this version reads {FORMAT}")
            self.low, self.high = int(manifest["low"]), int(manifest["high"])
            spans = [BookSpan(**book) for book in manifest["books"]]
            self._files = {str(file["name"]): str(file["sha256"]) for file in manifest["files"]}
        except OSError as error:
            raise ArchiveUnfit(f"{path} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ArchiveUnfit):
                raise
            raise ArchiveUnfit(f"{path} is not the manifest of an archive: {error!r}") from error
        self.digest = sha256(packed).digest()
        self.books = {span.book_id: span for span in spans}
        self._tables: dict[str, _Table] = {}

    def page(self, book_id: int, start: int, stop: int) -> tuple[list[Row], list[Row]]:
        """(records, transfers) of a book without its id, as the database had them. Raises ArchiveUnfit."""
        return self._rows(changeset.LOG_RECORDS, book_id, start, stop), self._rows(
            changeset.TRANSFERS, book_id, start, stop
        )

    def verify(self) -> None:
        """Read everything: files as the manifest says, every leaf, the root of every book. Raises ArchiveUnfit."""
        for spec in _TABLES:
            path = self.directory / f"{spec.name}.parquet"
            try:
                found = _file_hash(path)
            except OSError as error:
                raise ArchiveUnfit(f"{path} cannot be read: {error.strerror}") from error
            if self._files.get(path.name) != found:
                raise ArchiveUnfit(f"{path} is not the file of which the manifest has the SHA-256")
        for span in self.books.values():
            frontier, transfers = Frontier(), 0
            for start in range(span.start, span.stop, PAGE_RECORDS):
                stop = min(start + PAGE_RECORDS, span.stop)
                records, moved = self.page(span.book_id, start, stop)
                _check_records(records, start, stop, frontier, f"{self.directory}, book {span.name}")
                transfers += len(moved)
            if (frontier.root().hex(), transfers) != (span.root, span.transfers):
                raise ArchiveUnfit(f"{self.directory}: book {span.name} is not what the manifest says")

    def _rows(self, spec: TableSpec, book_id: int, start: int, stop: int) -> list[Row]:
        try:
            if spec.name not in self._tables:
                self._tables[spec.name] = _Table(self.directory / f"{spec.name}.parquet", spec)
            return list(self._tables[spec.name].rows(book_id, start, stop))
        except ArchiveUnfit:
            raise
        except Exception as error:
            # Whatever a damaged file makes the reader of Parquet raise.
            raise ArchiveUnfit(f"{self.directory / spec.name}.parquet cannot be read: {error}") from error


class _Table:
    """One Parquet file whose groups of rows hold one book each, the last group that was read kept."""

    def __init__(self, path: Path, spec: TableSpec) -> None:
        self._file = parquet().ParquetFile(path)
        if self._file.schema_arrow != _schema(spec):
            raise ArchiveUnfit(f"{path} has not the columns of {spec.name}")
        metadata = self._file.metadata
        self._groups = []
        for at in range(metadata.num_row_groups):
            group = metadata.row_group(at)
            book, index = group.column(0).statistics, group.column(_INDEX).statistics
            self._groups.append((book.min, index.min, index.max))
        self._kept: tuple[int, list[Row]] = (-1, [])

    def rows(self, book_id: int, start: int, stop: int) -> Iterator[Row]:
        """Rows without the book."""
        for at, (book, first, last) in enumerate(self._groups):
            if book == book_id and first < stop and last >= start:
                if self._kept[0] != at:
                    columns = self._file.read_row_group(at).to_pydict()
                    self._kept = (at, list(zip(*list(columns.values())[1:], strict=True)))
                yield from (row for row in self._kept[1] if start <= row[0] < stop)


class Archives:
    """The archives in a directory, or the one that the directory is. Raises ArchiveUnfit from every method."""

    def __init__(self, directory: Path) -> None:
        """Read every manifest."""
        if (directory / MANIFEST).exists():
            places = [directory]
        elif directory.is_dir():
            places = sorted(place.parent for place in directory.glob(f"log-*/{MANIFEST}"))
        else:
            raise ArchiveUnfit(f"there is no directory {directory}")
        if not places:
            raise ArchiveUnfit(f"there is no archive in {directory}: give the directory that has log-…, or one of them")
        self.all = [Archive(place) for place in places]

    def of(self, book_id: int, start: int, stop: int, digest: bytes) -> Archive:
        """The archive that has a book's range and was detached with this manifest."""
        there = [archive for archive in self.all if archive.digest == digest and book_id in archive.books]
        for archive in there:
            span = archive.books[book_id]
            if span.start <= start and span.stop >= stop:
                return archive
        raise ArchiveUnfit(
            f"none of the archives given is the one into which records {start} to {stop - 1} were detached "
            f"(its manifest has SHA-256 {digest.hex()})"
        )
