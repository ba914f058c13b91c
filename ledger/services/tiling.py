"""Tiles of the Merkle tree: written beside the log once complete, made again where they lack, read for proofs.

Owns ``Tiler`` and ``NodeReader``. Invariants: a tile is made of the leaf hashes of the log or of tiles that were; no
transaction is open longer than a page takes; nobody who asks for a proof has more than ``MADE_MAX`` tiles made.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, Engine

from ledger.core.proofs import Node
from ledger.core.tiles import (
    LEVELS_MAX,
    TILE_HASHES,
    Place,
    Tile,
    full_tiles,
    is_full,
    make_tile,
    place_of,
    root_of,
)
from ledger.services.errors import ServiceError
from ledger.storage import queries_log, tile_rows
from ledger.storage.errors import Busy
from ledger.storage.side_writer import SideWriter

MADE_MAX: Final = 2_000
"""Half a million records: a second or two of work."""
BATCH_TILES: Final = 16
TilePlace = tuple[int, int]


class ProofUnavailable(ServiceError):
    """A proof cannot be made now. Nothing was changed, and the message says why."""

    retry_after_seconds = 5


class LogDamaged(ProofUnavailable):
    """The log has not the hashes that its head says. `bursar verify` names where."""


class TilesMissing(LookupError):
    """Tiles that should be there and are not."""

    def __init__(self, places: Sequence[TilePlace]) -> None:
        super().__init__(f"{len(places)} tiles are missing")
        self.places = places


class NodeReader:
    """Reads nodes of a book's tree of ``size`` leaves over one connection: one statement for all full tiles, and one
    for each level whose last tile is not full. ``made`` are tiles that are used before what is stored."""

    def __init__(self, connection: Connection, book_id: int, size: int, made: dict[TilePlace, bytes]) -> None:
        self._connection = connection
        self._book_id = book_id
        self._size = size
        self._made = made

    def read(self, nodes: Iterable[Node]) -> dict[Node, bytes]:
        """Hash of every node. Raises TilesMissing, LogDamaged."""
        places = {node: place_of(node) for node in nodes}
        wanted = sorted({(place.level, place.position) for place in places.values()})
        full = [at for at in wanted if is_full(*at, self._size)]
        stored = {at: self._made[at] for at in full if at in self._made}
        stored |= tile_rows.tiles(self._connection, self._book_id, [at for at in full if at not in stored])
        missing = [at for at in full if at not in stored]
        if missing:
            raise TilesMissing(missing)
        # What is read of a tile that is not full begins at an offset.
        offsets = dict.fromkeys(full, 0)
        for at in wanted:
            if at not in stored:
                offsets[at], stored[at] = self._part([place for place in places.values() if place[:2] == at])
        found = {}
        for node, place in places.items():
            first = 32 * (place.first - offsets[place.level, place.position])
            found[node] = root_of(stored[place.level, place.position][first : first + 32 * place.width])
        return found

    def _part(self, places: list[Place]) -> tuple[int, bytes]:
        """Those hashes of a tile that is not full which ``places``, all in it, need: (the first's number, hashes)."""
        level, position = places[0].level, places[0].position
        first = min(place.first for place in places)
        last = max(place.first + place.width for place in places)
        start, stop = position * TILE_HASHES + first, position * TILE_HASHES + last
        return first, b"".join(children(self._connection, self._book_id, level, start, stop))


def children(connection: Connection, book_id: int, level: int, start: int, stop: int) -> list[bytes]:
    """The hashes that stand in the tiles of a level from number ``start`` to before ``stop``: leaves, or roots of the
    tiles below. Raises TilesMissing, LogDamaged."""
    if level == 0:
        rows = tile_rows.leaves(connection, book_id, start, stop)
        if [row[0] for row in rows] != list(range(start, stop)):
            raise LogDamaged(f"a record between {start} and {stop - 1} is missing; run 'bursar verify'")
    else:
        rows = tile_rows.roots(connection, book_id, level - 1, start, stop)
        there = {row[0] for row in rows}
        missing = [(level - 1, at) for at in range(start, stop) if at not in there]
        if missing:
            raise TilesMissing(missing)
    return [row[1] for row in rows]


class Tiler:
    """Makes tiles. Safe to be used by several threads and processes: whoever comes second writes nothing."""

    def __init__(self, engine: Engine, side: SideWriter) -> None:
        self._engine = engine
        self._side = side

    def extend(self, book_id: int, *, tiles_max: int = MADE_MAX) -> int:
        """Write the tiles that the log has completed since, at most about ``tiles_max``; how many. Raises StorageError,
        LogDamaged."""
        with self._engine.connect() as connection:
            head = queries_log.head(connection, book_id)
        written = 0
        for level in range(LEVELS_MAX if head is not None else 0):
            count = full_tiles(level, head.size) if head is not None else 0
            if not count:
                break
            with self._engine.connect() as connection:
                position = tile_rows.next_position(connection, book_id, level)
            while position < count and written < tiles_max:
                stop = min(position + BATCH_TILES, count)
                made = self._make(book_id, level, position, stop)
                with self._side.transaction() as connection:
                    tile_rows.add(connection, book_id, made)
                written += len(made)
                position = stop
        return written

    def make(self, book_id: int, places: Iterable[TilePlace], *, again: bool = False) -> dict[TilePlace, bytes]:
        """Make tiles that lack, with those below that lack too, and keep them; with ``again``, in place of those that
        are kept. Returns the hashes of each. Raises ProofUnavailable when that is more than ``MADE_MAX``."""
        done: dict[TilePlace, Tile] = {}
        wanted = sorted(set(places), reverse=True)
        while wanted:
            if len(done) + len(wanted) > MADE_MAX:
                raise ProofUnavailable("the tree of this book is still being written beside its log; ask again")
            level, position = wanted[-1]
            try:
                done[level, position] = self._tile(book_id, level, position, done)
                wanted.pop()
            except TilesMissing as missing:
                wanted += sorted(set(missing.places), reverse=True)
        try:
            with self._side.transaction() as connection:
                if again:
                    tile_rows.drop(connection, book_id, done)
                tile_rows.add(connection, book_id, done.values())
        except Busy:
            # Somebody decides. What was made is used all the same, and kept by whoever needs it next.
            pass
        return {at: tile.hashes for at, tile in done.items()}

    def _tile(self, book_id: int, level: int, position: int, done: dict[TilePlace, Tile]) -> Tile:
        start = position * TILE_HASHES
        if level:
            below = [done.get((level - 1, at)) for at in range(start, start + TILE_HASHES)]
            if all(below):
                return make_tile(level, position, b"".join(tile.root for tile in below if tile is not None))
        with self._engine.connect() as connection:
            try:
                hashes = children(connection, book_id, level, start, start + TILE_HASHES)
            except TilesMissing as missing:
                lacking = [at for at in missing.places if at not in done]
                if lacking:
                    raise TilesMissing(lacking) from missing
                stored = dict(tile_rows.roots(connection, book_id, level - 1, start, start + TILE_HASHES))
                hashes = [
                    done[level - 1, at].root if (level - 1, at) in done else stored[at]
                    for at in range(start, start + TILE_HASHES)
                ]
        return make_tile(level, position, b"".join(hashes))

    def _make(self, book_id: int, level: int, start: int, stop: int) -> list[Tile]:
        for _ in range(LEVELS_MAX):
            try:
                with self._engine.connect() as connection:
                    hashes = children(connection, book_id, level, start * TILE_HASHES, stop * TILE_HASHES)
                break
            except TilesMissing as missing:
                self.make(book_id, missing.places)
        else:
            raise ProofUnavailable("tiles go away as they are written")
        return [
            make_tile(level, at, b"".join(hashes[(at - start) * TILE_HASHES : (at - start + 1) * TILE_HASHES]))
            for at in range(start, stop)
        ]
