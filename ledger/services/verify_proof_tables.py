"""The comparison of tiles, checkpoints and cosignatures with the log, which they derive from.

Owns what is read of them while the pass over the log goes by. Invariants: a tile that lacks is no difference, because
it is made again, and one that is there is what the leaves give; a checkpoint is of the log at its size and signed by
the key that the log names for that size; memory is bounded by a page.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ledger.core.invariants import Difference, shown
from ledger.core.moment import MOMENT_MAX
from ledger.core.notes import Note, NoteInvalid
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import LEVELS_MAX, Tile, full_tiles, split_hashes
from ledger.services.cosigning import is_good
from ledger.services.ed25519 import is_signed_by, open_checkpoint
from ledger.services.verify_findings import Findings
from ledger.storage import checkpoint_rows, tile_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature
from ledger.storage.proof_reader import ProofReader

TILES: Final = "merkle_tiles"
CHECKPOINTS: Final = "checkpoints"
COSIGNATURES: Final = "checkpoint_cosignatures"


class ProofTables:
    """Compares what is beside the log of one book: a ``TreeCheck`` of the pass over it. ``keys`` gives the keys that
    the fold has met, or None where it had to stop: nobody then knows whose key signs, and what the table of keys says
    is not trusted, so that checkpoints are compared by their roots alone."""

    def __init__(self, reader: ProofReader, findings: Findings, keys: Callable[[], list[SigningKey] | None]) -> None:
        self._keys_met = keys
        self._reader = reader
        self._findings = findings
        self._tiles: dict[tuple[int, int], Tile] = {}
        self._checkpoints: list[StoredCheckpoint] = []
        self._cosignatures: dict[int, list[StoredCosignature]] = {}
        self._keys: list[SigningKey] | None = []
        self._recorded_at: dict[int, int] = {}

    def before(self, start: int, stop: int) -> Collection[int]:
        """Read what belongs to a page of leaves, in one short transaction; the sizes of checkpoints in it."""
        self._tiles, self._checkpoints, self._cosignatures = {}, [], {}
        with self._reader.reading() as (connection, book_id):
            for level in range(LEVELS_MAX):
                first, end = full_tiles(level, start), full_tiles(level, stop)
                if first == end:
                    break
                with self._typed(TILES):
                    self._keep(tile_rows.tile_page(connection, book_id, level, first, end), range(first, end))
            after = start if start else None
            with self._typed(CHECKPOINTS):
                self._checkpoints = checkpoint_rows.between(connection, book_id, after, stop)
                last = [stored.size - 1 for stored in self._checkpoints]
                self._recorded_at = checkpoint_rows.recorded_at(connection, book_id, last) if last else {}
            with self._typed(COSIGNATURES):
                sizes = [stored.size for stored in self._checkpoints]
                self._cosignatures = checkpoint_rows.cosignatures(connection, book_id, sizes) if sizes else {}
        return [stored.size for stored in self._checkpoints if stored.size >= 0]

    def _keep(self, tiles: list[Tile], places: range) -> None:
        for tile in tiles:
            place = (tile.level, tile.position)
            if place in self._tiles or tile.position not in places:
                what = "stands twice, or where the log has no tile"
                self._findings.add(Difference(TILES, what, None, f"{tile.level}, {tile.position}"))
            self._tiles[place] = tile

    def after(self, tiles: list[Tile], roots: Mapping[int, bytes]) -> None:
        """Compare the tiles that the page completed and the checkpoints of sizes in it. Raises EnoughFound."""
        for tile in tiles:
            there = self._tiles.get((tile.level, tile.position))
            for column in ("hashes", "root"):
                if there is not None and getattr(there, column) != getattr(tile, column):
                    what = "is not what the log's leaves give; delete the row, and it is made again"
                    index = _first_leaf(tile, there) if column == "hashes" else None
                    self._findings.add(Difference(TILES, what, index, f"{tile.level}, {tile.position}", column))
        if self._checkpoints:
            self._keys = self._keys_met()
        with self._typed(CHECKPOINTS):
            size = None
            for stored in self._checkpoints:
                if stored.size == size:
                    self._findings.add(Difference(CHECKPOINTS, "there is another of this size", None, str(size)))
                size = stored.size
                self._compare(stored, roots.get(size, b""))

    def finish(self, size: int) -> None:
        """Find what stands beyond the log of ``size`` records. Raises EnoughFound, StorageError."""
        whole = max(size, self._reader.size())
        with self._reader.reading() as (connection, book_id):
            with self._typed(TILES):
                for level in tile_rows.levels(connection, book_id):
                    known = type(level) is int and 0 <= level < LEVELS_MAX
                    count = full_tiles(level, whole) if known else 0
                    position = tile_rows.first_beyond(connection, book_id, level, count)
                    if position is not None:
                        what = "stands where the log has completed no tile"
                        self._findings.add(Difference(TILES, what, None, f"{level}, {position}"))
            with self._typed(CHECKPOINTS):
                latest = checkpoint_rows.latest(connection, book_id)
                if latest is not None and latest.size > whole:
                    what = f"is of more records than the log has ({whole}): the log was set back after it was signed"
                    self._findings.add(Difference(CHECKPOINTS, what, None, str(latest.size)))
            with self._typed(COSIGNATURES):
                orphan = checkpoint_rows.orphan(connection, book_id)
                if orphan is not None:
                    # A checkpoint is never removed, so this tells that one was.
                    what = "is of a checkpoint that is not there"
                    self._findings.add(Difference(COSIGNATURES, what, None, f"{orphan.size}, {orphan.key}"))

    @contextmanager
    def _typed(self, table: str) -> Iterator[None]:
        """SQLite keeps values of any type in any column; one that is of a wrong type is a difference of its table."""
        try:
            yield
        except (TypeError, ValueError, AttributeError) as error:
            self._findings.add(Difference(table, f"a value has a wrong type: {error}"))

    def _compare(self, stored: StoredCheckpoint, root: bytes) -> None:
        size = str(stored.size)
        if stored.root != root:
            what = "is not the root of the log at that size"
            self._findings.add(Difference(CHECKPOINTS, what, None, size, "root", shown(root), shown(stored.root)))
        earliest = self._recorded_at.get(stored.size - 1)
        if earliest is not None and not earliest <= stored.created_at <= MOMENT_MAX:
            what = "is before the last record that the checkpoint covers, or no moment"
            found = str(stored.created_at)
            self._findings.add(Difference(CHECKPOINTS, what, None, size, "created_at", found=found))
        if self._keys is None:
            return
        key = current_key(self._keys, stored.size)
        try:
            note = check_note(stored.note, stored.size, root, key, self._keys)
        except NoteInvalid as error:
            self._findings.add(Difference(CHECKPOINTS, f"is not good: {error}", None, size, "note"))
            return
        with self._typed(COSIGNATURES):
            known = None
            for one in self._cosignatures.get(stored.size, []):
                place = f"{size}, {one.key}"
                if one.key == known:
                    self._findings.add(Difference(COSIGNATURES, "there is another of this witness", None, place))
                known = one.key
                if not is_good(one, note.text) or not stored.created_at <= one.created_at <= MOMENT_MAX:
                    what = "is no signature of the witness that it names, or was not made when it says"
                    self._findings.add(Difference(COSIGNATURES, what, None, place))


def _first_leaf(expected: Tile, found: Tile) -> int | None:
    """The record whose leaf is the first that two tiles differ in; None above the leaves."""
    if expected.level or len(found.hashes) != len(expected.hashes):
        return None
    pairs = zip(split_hashes(expected.hashes), split_hashes(found.hashes), strict=True)
    return expected.first_leaf + next(at for at, (one, other) in enumerate(pairs) if one != other)


def check_note(written: str, size: int, root: bytes, key: SigningKey | None, keys: list[SigningKey]) -> Note:
    """The note of a checkpoint as the log makes it: ``key``, which is that of its size, has signed it, and nobody else
    has but one of ``keys`` from before. Raises NoteInvalid."""
    if key is None:
        raise NoteInvalid("the log names no key that signs at that size")
    opened = open_checkpoint(written, [key.verifier()])
    if (opened.checkpoint.size, opened.checkpoint.root) != (size, root):
        raise NoteInvalid("it is of another log than this one at that size")
    if opened.checkpoint.text() != opened.note.text:
        raise NoteInvalid("it has lines that no checkpoint of this log has")
    others = [line for line in opened.note.signatures if line.id != key.verifier().id]
    if len(opened.note.signatures) - len(others) != 1 or len(others) > 1:
        raise NoteInvalid("it has more signatures than the log makes")
    earlier = [one.verifier() for one in keys if one.created_index < key.created_index]
    for line in others:
        if not any(is_signed_by(one, opened.note.text, line) for one in earlier):
            raise NoteInvalid("it has a signature that is of none of the log's keys")
    return opened.note
