"""The comparison of tiles, checkpoints and cosignatures with the log, which they derive from.

Owns one more pass over the leaf hashes, which were recomputed from the bodies before. Invariants: a tile that lacks is
no difference, because it is made again, and one that is there is what the leaves give; a checkpoint is of the log at
its size, signed by the key that the log names for that size and by nobody else but a key before it; a cosignature is of
a checkpoint that is there; memory is bounded by a page. When a checkpoint or a cosignature was kept, nobody signs: it
is only seen to be possible.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger.core.invariants import Difference, shown
from ledger.core.merkle import Frontier
from ledger.core.moment import MOMENT_MAX
from ledger.core.notes import Note, NoteInvalid
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import LEVELS_MAX, Tile, TileFold, full_tiles
from ledger.services.cosigning import is_good
from ledger.services.ed25519 import is_signed_by, open_checkpoint
from ledger.services.verify_findings import Findings
from ledger.storage import checkpoint_rows, queries_log, tile_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint, StoredCosignature
from ledger.storage.proof_reader import ProofReader

PAGE_LEAVES: Final = 4_096
PAGE_CHECKPOINTS: Final = 200
PAGE_COSIGNATURES: Final = 2_000
TILES: Final = "merkle_tiles"
CHECKPOINTS: Final = "checkpoints"
COSIGNATURES: Final = "checkpoint_cosignatures"


def compare_proof_tables(reader: ProofReader, size: int, findings: Findings) -> None:
    """Compare what is beside the log of ``size`` records. Raises EnoughFound, StorageError."""
    try:
        _compare(reader, size, findings)
    except (TypeError, ValueError) as error:
        # SQLite keeps values of any type in any column.
        findings.add(Difference(CHECKPOINTS, f"or what belongs to them has a value of a wrong type: {error}"))


def _compare(reader: ProofReader, size: int, findings: Findings) -> None:
    with reader.reading() as (connection, book_id):
        head = queries_log.head(connection, book_id)
        whole = max(size, head.size if head is not None else 0)
        levels = tile_rows.levels(connection, book_id)
        beyond = {
            level: tile_rows.first_beyond(connection, book_id, level, full_tiles(level, whole)) for level in levels
        }
        latest = checkpoint_rows.latest(connection, book_id)
        keys = checkpoint_rows.keys(connection, book_id)
    for level, position in beyond.items():
        if position is not None or not 0 <= level < LEVELS_MAX:
            what = "stands where the log has completed no tile"
            findings.add(Difference(TILES, what, None, f"{level}, {position}"))
    if latest is not None and latest.size > whole:
        what = f"is of more records than the log has ({whole}): the log was set back after it was signed"
        findings.add(Difference(CHECKPOINTS, what, None, str(latest.size)))
    _compare_strays(reader, findings)
    if not levels and latest is None:
        return
    waiting = _checkpoints(reader)
    checkpoint = next(waiting, None)
    fold, frontier = TileFold(), Frontier()
    for start in range(0, size, PAGE_LEAVES):
        with reader.reading() as (connection, book_id):
            leaves = tile_rows.leaves(connection, book_id, start, min(start + PAGE_LEAVES, size))
        made: list[Tile] = []
        for _, leaf in leaves:
            frontier.append(leaf)
            made += fold.append(leaf)
            while checkpoint is not None and checkpoint.checkpoint.size <= frontier.size:
                _compare_checkpoint(checkpoint, frontier.root(), keys, findings)
                checkpoint = next(waiting, None)
        _compare_tiles(reader, made, findings)


class _Stored(NamedTuple):
    """A checkpoint, who cosigned it, and when the last record that it covers was recorded (None: that is not there)."""

    checkpoint: StoredCheckpoint
    cosigned: list[StoredCosignature]
    recorded_at: int | None


def _checkpoints(reader: ProofReader) -> Iterator[_Stored]:
    """Every checkpoint, the smallest first, read by pages."""
    size = 0
    while True:
        with reader.reading() as (connection, book_id):
            page = checkpoint_rows.from_size(connection, book_id, size, limit=PAGE_CHECKPOINTS)
            sizes = [stored.size for stored in page]
            cosigned = checkpoint_rows.cosignatures(connection, book_id, sizes)
            recorded = checkpoint_rows.recorded_at(connection, book_id, [size - 1 for size in sizes])
        for stored in page:
            yield _Stored(stored, cosigned.get(stored.size, []), recorded.get(stored.size - 1))
        if len(page) < PAGE_CHECKPOINTS:
            return
        size = page[-1].size + 1


def _compare_strays(reader: ProofReader, findings: Findings) -> None:
    """Cosignatures of no checkpoint."""
    after: tuple[int, str] | None = None
    while True:
        with reader.reading() as (connection, book_id):
            page = checkpoint_rows.cosigned_page(connection, book_id, after=after, limit=PAGE_COSIGNATURES)
        for size, key, is_there in page:
            if not is_there:
                findings.add(Difference(COSIGNATURES, "is of no checkpoint", None, f"{size}, {key}"))
        if len(page) < PAGE_COSIGNATURES:
            return
        after = page[-1][:2]


def _compare_tiles(reader: ProofReader, made: list[Tile], findings: Findings) -> None:
    """Compare the tiles that a page of leaves completed with those of them that are there."""
    for level in {tile.level for tile in made}:
        expected = [tile for tile in made if tile.level == level]
        with reader.reading() as (connection, book_id):
            found = tile_rows.tile_page(connection, book_id, level, expected[0].position, expected[-1].position + 1)
        stored = {tile.position: tile for tile in found}
        for tile in expected:
            there = stored.get(tile.position)
            if there is None:
                continue
            for column in ("hashes", "root"):
                if getattr(there, column) != getattr(tile, column):
                    what = "is not what the log's leaves give; delete the row, and it is made again"
                    findings.add(Difference(TILES, what, None, f"{level}, {tile.position}", column))


def _compare_checkpoint(waiting: _Stored, root: bytes, keys: list[SigningKey], findings: Findings) -> None:
    stored, size = waiting.checkpoint, str(waiting.checkpoint.size)
    if stored.root != root:
        what = "is not the root of the log at that size"
        findings.add(Difference(CHECKPOINTS, what, None, size, "root", shown(root), shown(stored.root)))
    earliest = waiting.recorded_at
    if earliest is not None and not earliest <= stored.created_at <= MOMENT_MAX:
        what = "is before the last record that the checkpoint covers, or no moment"
        findings.add(Difference(CHECKPOINTS, what, None, size, "created_at", found=str(stored.created_at)))
    try:
        note = _check_note(stored, root, keys)
    except NoteInvalid as error:
        findings.add(Difference(CHECKPOINTS, f"is not good: {error}", None, size, "note"))
        return
    for one in waiting.cosigned:
        if not is_good(one, note.text) or not stored.created_at <= one.created_at <= MOMENT_MAX:
            what = "is no signature of the witness that it names, or was not made when it says"
            findings.add(Difference(COSIGNATURES, what, None, f"{size}, {one.key}"))


def _check_note(stored: StoredCheckpoint, root: bytes, keys: list[SigningKey]) -> Note:
    """The note of a checkpoint: the key of its size has signed it, and nobody else has but a key before that. Raises
    NoteInvalid."""
    key = current_key(keys, stored.size)
    if key is None:
        raise NoteInvalid("the log names no key that signs at that size")
    earlier = [one.verifier() for one in keys if one.created_index < key.created_index]
    opened = open_checkpoint(stored.note, [key.verifier()])
    if (opened.checkpoint.size, opened.checkpoint.root) != (stored.size, root):
        raise NoteInvalid("it is of another log than this one at that size")
    if opened.checkpoint.text() != opened.note.text:
        raise NoteInvalid("it has lines that no checkpoint of this log has")
    others = [line for line in opened.note.signatures if line.id != key.verifier().id]
    if len(opened.note.signatures) - len(others) != 1 or len(others) > 1:
        raise NoteInvalid("it has more signatures than the log makes")
    for line in others:
        if not any(is_signed_by(one, opened.note.text, line) for one in earlier):
            raise NoteInvalid("it has a signature that is of none of the log's keys")
    return opened.note
