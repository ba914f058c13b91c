"""The comparison of tiles, checkpoints and cosignatures with the log, which they derive from.

Owns one more pass over the leaf hashes, which were recomputed from the bodies before. Invariants: a tile that lacks is
no difference, because it is made again, and one that is there is what the leaves give; a checkpoint is of the log at
its size and signed by the key that the log names for that size; memory is bounded by a page.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ledger.core import changeset
from ledger.core.invariants import Difference, shown
from ledger.core.merkle import Frontier
from ledger.core.notes import NoteInvalid, Signature, parse_verifier_key
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import LEVELS_MAX, Tile, TileFold, full_tiles, split_hashes
from ledger.services.ed25519 import is_signed_by, open_checkpoint
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass
from ledger.storage import checkpoint_rows, tile_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature
from ledger.storage.proof_reader import ProofReader
from ledger.storage.scratch import Scratch

PAGE_LEAVES: Final = 4_096
PAGE_CHECKPOINTS: Final = 200
TILES: Final = "merkle_tiles"
CHECKPOINTS: Final = "checkpoints"
COSIGNATURES: Final = "checkpoint_cosignatures"
_SIZE_LEAST: Final = -(2**63)
"""No checkpoint has a size below 1; one that says so is compared, and not passed over."""


def compare_proof_tables(reader: ProofReader, scratch: Scratch, log: LogPass, findings: Findings) -> None:
    """Compare what is beside the log up to where it was read. Raises EnoughFound, StorageError."""
    size, head = log.position, reader.standing().head
    whole = max(size, head[0]) if head is not None and type(head[0]) is int else size
    levels: list[int] = []
    with _of_right_types(TILES, findings):
        levels = _compare_levels(reader, whole, findings)
    with _of_right_types(CHECKPOINTS, findings):
        _compare_latest(reader, whole, findings)
    with _of_right_types(COSIGNATURES, findings):
        _compare_orphans(reader, findings)
    pending = _Pending(reader, keys_of(scratch), log.fold.size, findings)
    if not levels and pending.checkpoint is None:
        return
    fold, frontier = TileFold(), Frontier()
    for start in range(0, size, PAGE_LEAVES):
        leaves = [row[2] for row in reader.leaf_page(start, min(start + PAGE_LEAVES, size))]
        if any(type(leaf) is not bytes for leaf in leaves):
            # Named by the pass over the log; no tree is made of it.
            return
        made: list[Tile] = []
        for leaf in leaves:
            frontier.append(leaf)
            made += fold.append(leaf)
            pending.compare_up_to(frontier)
        with _of_right_types(TILES, findings):
            _compare_tiles(reader, made, findings)


def keys_of(scratch: Scratch) -> list[SigningKey]:
    """The keys that the log names, as far as it could be followed; what the stored table says is not trusted here."""
    scratch.write()
    return [SigningKey(0, *row) for page in scratch.pages(changeset.SIGNING_KEYS) for row in page]


@contextmanager
def _of_right_types(table: str, findings: Findings) -> Iterator[None]:
    """What the block reads of a table; a value of a type that no honest writer stores is a difference of that table."""
    try:
        yield
    except (TypeError, ValueError, AttributeError) as error:
        findings.add(Difference(table, f"a value has a wrong type: {error}"))


def _compare_levels(reader: ProofReader, whole: int, findings: Findings) -> list[int]:
    """The levels of which there are tiles; a tile stands only where a log of ``whole`` records has completed one."""
    with reader.reading() as (connection, book_id):
        levels = tile_rows.levels(connection, book_id)
    for level in levels:
        known = type(level) is int and 0 <= level < LEVELS_MAX
        count = full_tiles(level, whole) if known else 0
        with reader.reading() as (connection, book_id):
            position = tile_rows.first_beyond(connection, book_id, level, count)
        if position is not None:
            what = "stands where the log has completed no tile"
            findings.add(Difference(TILES, what, None, f"{level}, {position}"))
    return levels


def _compare_latest(reader: ProofReader, whole: int, findings: Findings) -> None:
    with reader.reading() as (connection, book_id):
        latest = checkpoint_rows.latest(connection, book_id)
    if latest is not None and latest.size > whole:
        what = f"is of more records than the log has ({whole}): the log was set back after it was signed"
        findings.add(Difference(CHECKPOINTS, what, None, str(latest.size)))


def _compare_orphans(reader: ProofReader, findings: Findings) -> None:
    """A checkpoint is never removed, so a cosignature without one tells that one was."""
    with reader.reading() as (connection, book_id):
        orphan = checkpoint_rows.orphan(connection, book_id)
    if orphan is not None:
        what = "is of a checkpoint that is not there"
        findings.add(Difference(COSIGNATURES, what, None, f"{orphan.size}, {orphan.key}"))


class _Pending:
    """The checkpoints that are still to be compared, smallest first; ``checkpoint`` is the next. Of records that the
    fold did not follow nobody knows whose key signs, so checkpoints behind ``followed`` are compared by root alone."""

    def __init__(self, reader: ProofReader, keys: list[SigningKey], followed: int, findings: Findings) -> None:
        self._reader = reader
        self._keys = keys
        self._followed = followed
        self._findings = findings
        self._pages = self._read()
        self.checkpoint: StoredCheckpoint | None = None
        self._next(None)

    def compare_up_to(self, frontier: Frontier) -> None:
        """Compare those of at most as many records as the frontier has."""
        if self.checkpoint is None:
            return
        with _of_right_types(CHECKPOINTS, self._findings):
            while self.checkpoint is not None and self.checkpoint.size <= frontier.size:
                self._compare(self.checkpoint, frontier.root())
                self._next(self.checkpoint.size)
            return
        # A value of a wrong type: what follows it cannot be put in order.
        self.checkpoint = None

    def _next(self, size: int | None) -> None:
        self.checkpoint = None
        with _of_right_types(CHECKPOINTS, self._findings):
            self.checkpoint = next(self._pages, None)
        if self.checkpoint is not None and self.checkpoint.size == size:
            self._findings.add(Difference(CHECKPOINTS, "there is another of this size", None, str(size)))

    def _read(self) -> Iterator[StoredCheckpoint]:
        size = _SIZE_LEAST
        while True:
            with self._reader.reading() as (connection, book_id):
                page = checkpoint_rows.from_size(connection, book_id, size, limit=PAGE_CHECKPOINTS)
            yield from page
            if len(page) < PAGE_CHECKPOINTS:
                return
            size = page[-1].size + 1

    def _compare(self, stored: StoredCheckpoint, root: bytes) -> None:
        size, key = str(stored.size), current_key(self._keys, stored.size)
        if stored.root != root:
            what = "is not the root of the log at that size"
            self._differ(what, size, "root", shown(root), shown(stored.root))
        if stored.size > self._followed:
            return
        try:
            if key is None:
                raise NoteInvalid("the log names no key that signs at that size")
            opened = open_checkpoint(stored.note, [key.verifier()])
            if (opened.checkpoint.size, opened.checkpoint.root) != (stored.size, root):
                raise NoteInvalid("it is of another log than this one at that size")
        except NoteInvalid as error:
            self._differ(f"is not good: {error}", size, "note")
            return
        _compare_cosignatures(self._reader, stored, opened.note.text, self._findings)

    def _differ(self, what: str, size: str, column: str, expected: str = "", found: str = "") -> None:
        self._findings.add(Difference(CHECKPOINTS, what, None, size, column, expected, found))


def _compare_tiles(reader: ProofReader, made: list[Tile], findings: Findings) -> None:
    """Compare the tiles that a page of leaves completed with those of them that are there."""
    for level in {tile.level for tile in made}:
        expected = [tile for tile in made if tile.level == level]
        with reader.reading() as (connection, book_id):
            found = tile_rows.tile_page(connection, book_id, level, expected[0].position, expected[-1].position + 1)
        stored: dict[int, Tile] = {}
        places = {tile.position for tile in expected}
        for tile in found:
            if tile.position in stored or tile.position not in places:
                what = "stands twice, or where the log has no tile"
                findings.add(Difference(TILES, what, None, f"{level}, {tile.position}"))
            stored[tile.position] = tile
        for tile in expected:
            there = stored.get(tile.position)
            if there is None:
                continue
            for column in ("hashes", "root"):
                if getattr(there, column) != getattr(tile, column):
                    what = "is not what the log's leaves give; delete the row, and it is made again"
                    index = _first_leaf(tile, there) if column == "hashes" else None
                    findings.add(Difference(TILES, what, index, f"{level}, {tile.position}", column))


def _first_leaf(expected: Tile, found: Tile) -> int | None:
    """The record whose leaf is the first that two tiles differ in; None above the leaves."""
    if expected.level or len(found.hashes) != len(expected.hashes):
        return None
    pairs = zip(split_hashes(expected.hashes), split_hashes(found.hashes), strict=True)
    return expected.first_leaf + next(at for at, (one, other) in enumerate(pairs) if one != other)


def _compare_cosignatures(reader: ProofReader, stored: StoredCheckpoint, text: str, findings: Findings) -> None:
    with _of_right_types(COSIGNATURES, findings):
        with reader.reading() as (connection, book_id):
            cosigned = checkpoint_rows.cosignatures(connection, book_id, [stored.size]).get(stored.size, [])
        for at, one in enumerate(cosigned):
            place = f"{stored.size}, {one.key}"
            if at and cosigned[at - 1].key == one.key:
                findings.add(Difference(COSIGNATURES, "there is another of this witness", None, place))
            if not _is_good(one, text):
                findings.add(Difference(COSIGNATURES, "is no signature of the witness that it names", None, place))


def _is_good(one: StoredCosignature, text: str) -> bool:
    try:
        key = parse_verifier_key(one.key)
    except NoteInvalid:
        return False
    if (key.text(), key.name) != (one.key, one.name):
        return False
    return is_signed_by(key, text, Signature(key.name, key.id, one.signature))
