"""The comparison of tiles, checkpoints and cosignatures with the log, which they derive from.

Owns one more pass over the leaf hashes, which were recomputed from the bodies before. Invariants: a tile that lacks is
no difference, because it is made again, and one that is there is what the leaves give; a checkpoint is of the log at
its size and signed by the key that the log names for that size; memory is bounded by a page.
"""

from collections.abc import Iterator
from typing import Final

from ledger.core.invariants import Difference, shown
from ledger.core.merkle import Frontier
from ledger.core.notes import NoteInvalid, parse_note
from ledger.core.signing_key import SigningKey, current_key
from ledger.core.tiles import LEVELS_MAX, Tile, TileFold, full_tiles
from ledger.services.cosigning import is_good
from ledger.services.ed25519 import open_checkpoint
from ledger.services.verify_findings import Findings
from ledger.storage import checkpoint_rows, queries_log, tile_rows
from ledger.storage.checkpoint_rows import StoredCheckpoint
from ledger.storage.proof_reader import ProofReader

PAGE_LEAVES: Final = 4_096
PAGE_CHECKPOINTS: Final = 200
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
            while checkpoint is not None and checkpoint.size <= frontier.size:
                _compare_checkpoint(reader, checkpoint, frontier.root(), keys, findings)
                checkpoint = next(waiting, None)
        _compare_tiles(reader, made, findings)


def _checkpoints(reader: ProofReader) -> Iterator[StoredCheckpoint]:
    size = 0
    while True:
        with reader.reading() as (connection, book_id):
            page = checkpoint_rows.from_size(connection, book_id, size, limit=PAGE_CHECKPOINTS)
        yield from page
        if len(page) < PAGE_CHECKPOINTS:
            return
        size = page[-1].size + 1


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


def _compare_checkpoint(
    reader: ProofReader, stored: StoredCheckpoint, root: bytes, keys: list[SigningKey], findings: Findings
) -> None:
    size, key = str(stored.size), current_key(keys, stored.size)
    if stored.root != root:
        what = "is not the root of the log at that size"
        findings.add(Difference(CHECKPOINTS, what, None, size, "root", shown(root), shown(stored.root)))
    try:
        if key is None:
            raise NoteInvalid("the log names no key that signs at that size")
        opened = open_checkpoint(stored.note, [key.verifier()])
        if (opened.checkpoint.size, opened.checkpoint.root) != (stored.size, root):
            raise NoteInvalid("it is of another log than this one at that size")
    except NoteInvalid as error:
        findings.add(Difference(CHECKPOINTS, f"is not good: {error}", None, size, "note"))
        return
    with reader.reading() as (connection, book_id):
        cosigned = checkpoint_rows.cosignatures(connection, book_id, [stored.size]).get(stored.size, [])
    for one in cosigned:
        if not is_good(one, parse_note(stored.note).text):
            what = "is no signature of the witness that it names, or of a time after it was kept"
            findings.add(Difference(COSIGNATURES, what, None, f"{size}, {one.key}"))
