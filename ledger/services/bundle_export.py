"""Writing a bundle: the log of a book up to a size, or a span of it, with what shows that it is whole.

Owns ``plan_export`` and ``write_bundle``. Invariants: the records written lead to the root that the book's head leads
to, or nothing is handed out; the bytes are a function of the log, the size, the span, and whether texts go along, with
the checkpoint of that size; a page is read at a time, in a short transaction, while the book may go on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.core.bundle import (
    CHECKPOINT,
    CHUNK_BYTES_MAX,
    LINE_BYTES_MAX,
    MANIFEST,
    POLICIES,
    Manifest,
    chunks,
    gone_line,
    policy_line,
    records_name,
    text_line,
    texts_name,
)
from ledger.core.canonical import parse
from ledger.core.changeset import POLICY_VERSIONS
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.signing_key import current_key
from ledger.services.archived_reader import with_archives
from ledger.services.bundle_archive import ArchiveWriter, Writable
from ledger.services.checkpoints import SigningRefused
from ledger.services.errors import UnknownBook
from ledger.services.owner_checkpoints import Desk
from ledger.services.tiling import LogDamaged
from ledger.storage import checkpoint_rows, queries_bundle, queries_log
from ledger.storage.archive_rows import ranges
from ledger.storage.checkpoint_rows import StoredCheckpoint
from ledger.storage.proof_reader import ProofReader, Row

NO_PROGRESS: Final = lambda done, total: None  # noqa: E731


class OutsideBook(LookupError):
    """A span that the log has not. The message says what it has."""


class NothingNew(OutsideBook):
    """A span up to now that begins where the log ends. The message says so."""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What will be written, decided before the first byte: the manifest, the checkpoint's note, what it covers
    (``signed_size``, 0: nothing), and why it is not signed, where it is not (a sentence, else empty)."""

    manifest: Manifest
    note: str | None
    signed_size: int
    unsigned: str


def plan_export(desk: Desk, book_id: int, *, first: int = 0, size: int | None = None, texts: bool = True) -> ExportPlan:
    """Fix the size of the log that is exported: ``size``, or what it has now, signed if its key is at hand.

    Raises OutsideBook, NothingNew among them, ServiceError (LogDamaged among them), StorageError.
    """
    refused, now = "", size is None
    if size is None:
        size, refused = _signed_now(desk, book_id)
    with desk.engine.connect() as connection:
        book, head = queries_log.book_by_id(connection, book_id), queries_log.head(connection, book_id)
        keys = checkpoint_rows.keys(connection, book_id)
    if book is None or head is None:
        raise UnknownBook
    if now and first == size:
        raise NothingNew(f"the log has no record from {first} on: nothing is new since, and nothing was written")
    if not 0 <= first < size <= head.size:
        raise OutsideBook(f"the log has records 0 to {head.size - 1}; there is none from {first} to before {size}")
    book.strict_names = bool(book.strict_names)
    prover = desk.checkpointer.prover
    signed = _checkpoint(desk, book_id, first, size)
    later = signed is not None and signed.size > size
    shown = prover.consistency(book_id, size, signed.size if later and signed is not None else size)
    key = current_key(keys, size)
    manifest = Manifest(
        book, first, size, prover.frontier(book_id, first).to_bytes() if first else b"", shown.first_root, texts,
        None if key is None else key.verifier().text(), shown.proof,
    )  # fmt: skip
    if signed is None:
        refused = refused or "no checkpoint was made of a log that long"
        return ExportPlan(manifest, None, 0, refused)
    return ExportPlan(manifest, signed.note, signed.size, "" if signed.size >= size else refused)


def _signed_now(desk: Desk, book_id: int) -> tuple[int, str]:
    """The size of the log as it is now, and why it is not signed."""
    try:
        return desk.checkpointer.make(book_id).size, ""
    except SigningRefused as error:
        with desk.engine.connect() as connection:
            head = queries_log.head(connection, book_id)
        if head is None:
            raise UnknownBook from error
        return head.size, str(error)


def _checkpoint(desk: Desk, book_id: int, first: int, size: int) -> StoredCheckpoint | None:
    """Of this size, or else the next one that covers all records, or else the last that covers some of them."""
    with desk.engine.connect() as connection:
        covering = checkpoint_rows.first_covering(connection, book_id, size)
        if covering is not None:
            return covering
        before = checkpoint_rows.last_below(connection, book_id, size)
    return before if before is not None and before.size > first else None


def write_bundle(
    desk: Desk,
    plan: ExportPlan,
    target: Writable,
    *,
    archives: Path | None = None,
    progress: Callable[[int, int], None] = NO_PROGRESS,
) -> str:
    """Write the archive, not compressed; its SHA-256 in hex. ``archives`` is the directory with records that were
    detached from the database. Raises LogDamaged, ArchiveNeeded, ArchiveUnfit, StorageError; what was written by then
    is no bundle."""
    manifest = plan.manifest
    book_id = manifest.book.book_id
    reader = ProofReader(desk.engine.connect, book_id)
    log = _with_archives(reader, manifest.first, archives)
    archive = ArchiveWriter(target)
    archive.add(MANIFEST, manifest.packed())
    if plan.note is not None:
        archive.add(CHECKPOINT, plan.note.encode())
    frontier = Frontier.from_bytes(manifest.first, manifest.frontier)
    for start, stop in chunks(manifest.first, manifest.size):
        page = log.log_page(start, stop)
        lines = _record_lines(page.records, start, stop, frontier)
        texts = _text_lines(desk, manifest, start, stop, page.texts) if manifest.texts else []
        _check_readable(lines, start)
        _check_readable(texts, start)
        if texts:
            archive.add(texts_name(start), b"".join(texts))
        archive.add(records_name(start), b"".join(lines))
        progress(stop - manifest.first, manifest.size - manifest.first)
    if frontier.root() != manifest.root:
        raise LogDamaged("the records do not lead to the root in the book's head; run 'bursar verify' to see which")
    archive.add_lines(POLICIES, _policy_lines(desk, reader, book_id, manifest.size))
    return archive.finish()


def _with_archives(reader: ProofReader, first: int, archives: Path | None) -> ProofReader:
    """The reader, with archives only where the records from ``first`` on need them."""
    with reader.reading() as (connection, book_id):
        needed = any(part.stop > first for part in ranges(connection, book_id))
    return with_archives(reader, archives) if needed else reader


def _record_lines(rows: list[Row], start: int, stop: int, frontier: Frontier) -> list[bytes]:
    if [row[0] for row in rows] != list(range(start, stop)):
        raise LogDamaged(f"a record between {start} and {stop - 1} is missing; run 'bursar verify' to see which")
    lines = []
    for row in rows:
        body = row[5]
        if type(body) is not bytes or b"\n" in body:
            raise LogDamaged(f"record {row[0]} is no line of canonical JSON; run 'bursar verify'")
        frontier.append(leaf_hash(body))
        lines.append(body + b"\n")
    return lines


def _check_readable(lines: list[bytes], start: int) -> None:
    """A bundle that no reader would take is no backup, and is not written."""
    longest, length = max(map(len, lines), default=0), sum(map(len, lines))
    if longest > LINE_BYTES_MAX or length > CHUNK_BYTES_MAX:
        raise LogDamaged(
            f"the records from {start} on, or their texts, have {length} bytes, {longest} of them in one: a bundle has "
            f"at most {CHUNK_BYTES_MAX} for a thousand, and {LINE_BYTES_MAX} for one; run 'bursar verify'"
        )


def _text_lines(desk: Desk, manifest: Manifest, start: int, stop: int, rows: list[Row]) -> list[bytes]:
    """The texts that are there, and what stands in place of those that went with records behind the bundle's end."""
    with desk.engine.connect() as connection:
        # Read behind the texts: one that was there and went since is there.
        since = queries_bundle.redacted_since(connection, manifest.book.book_id, start, stop, manifest.size)
    try:
        lines = {(index, field): gone_line(index, field, by) for index, field, by in since}
        lines |= {(index, field): text_line(index, field, salt, content) for index, field, salt, content in rows}
        return [lines[place] for place in sorted(lines)]
    except (TypeError, ValueError, AttributeError) as error:
        raise LogDamaged(f"a text beside record {rows[0][0]} or later is no text; run 'bursar verify'") from error


def _policy_lines(desk: Desk, reader: ProofReader, book_id: int, size: int) -> Iterator[bytes]:
    with desk.engine.connect() as connection:
        live = queries_bundle.policies_in_force(connection, book_id, size)
    for page in reader.pages(POLICY_VERSIONS):
        for policy, version, digest, packed, _, recorded_at, index in page:
            if index < size:
                yield policy_line(
                    policy=policy,
                    version=version,
                    digest=digest,
                    document=parse(packed.encode())["document"],
                    recorded_at=recorded_at,
                    index=index,
                    in_force=live.get(policy) == version,
                )
