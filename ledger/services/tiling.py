"""Tiles of the Merkle tree: written beside the log once complete, made again where they lack, read for proofs.

Owns ``Tiler`` and ``NodeReader``. Invariants: a tile is made of the leaf hashes of the log or of the hashes of the
tiles below it, never of the roots that stand in their rows; no transaction is open longer than a page takes; nobody who
asks for a proof has more than ``MADE_MAX`` tiles made, and what was made up to there is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
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


class TilesDamaged(ProofUnavailable):
    """Tiles are wrong at several levels of a long log. `bursar verify` names them, and whoever deletes them has them
    made again."""


class TilesMissing(LookupError):
    """Tiles that should be there and are not."""

    def __init__(self, places: Sequence[TilePlace]) -> None:
        super().__init__(f"{len(places)} tiles are missing")
        self.places = places


class NodeReader:
    """Reads nodes of a book's tree of ``size`` leaves over one connection: one statement for all full tiles, and one
    for each level whose last tile is not full. ``made`` are tiles that are used before what is stored."""

    def __init__(self, connection: Connection, book_id: int, size: int, made: Mapping[TilePlace, Tile]) -> None:
        self._connection = connection
        self._book_id = book_id
        self._size = size
        self._made = made

    def read(self, nodes: Iterable[Node]) -> dict[Node, bytes]:
        """Hash of every node. Raises TilesMissing, LogDamaged."""
        places = {node: place_of(node) for node in nodes}
        wanted = sorted({(place.level, place.position) for place in places.values()})
        full = [at for at in wanted if is_full(*at, self._size)]
        stored = {at: self._made[at].hashes for at in full if at in self._made}
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
        return first, b"".join(children(self._connection, self._book_id, level, start, stop, self._made))


def children(
    connection: Connection,
    book_id: int,
    level: int,
    start: int,
    stop: int,
    made: Mapping[TilePlace, Tile] = MappingProxyType({}),
) -> list[bytes]:
    """The hashes that stand in the tiles of a level from number ``start`` to before ``stop``: leaves, or the roots in
    the rows of the tiles below, but for those in ``made``. What is made of them must be checked, because a row can be
    wrong. Raises TilesMissing, LogDamaged."""
    if level == 0:
        return _leaves(connection, book_id, start, stop)
    roots = dict(tile_rows.roots(connection, book_id, level - 1, start, stop))
    roots |= {at: made[level - 1, at].root for at in range(start, stop) if (level - 1, at) in made}
    missing = [(level - 1, at) for at in range(start, stop) if at not in roots]
    if missing:
        raise TilesMissing(missing)
    return [roots[at] for at in range(start, stop)]


def _leaves(connection: Connection, book_id: int, start: int, stop: int) -> list[bytes]:
    """The leaf hashes from ``start`` to before ``stop``. Raises LogDamaged."""
    rows = tile_rows.leaves(connection, book_id, start, stop)
    if [row[0] for row in rows] != list(range(start, stop)):
        raise LogDamaged(f"a record between {start} and {stop - 1} is missing; run 'bursar verify'")
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
                stop = position + 1 if level else min(position + BATCH_TILES, count)
                made = self._upper(book_id, level, position) if level else self._lowest(book_id, position, stop)
                with self._side.transaction() as connection:
                    tile_rows.add(connection, book_id, made)
                written += len(made)
                position = stop
        return written

    def extend_to_end(self, book_id: int) -> None:
        """Write every tile that the log has completed, however many: for whoever asks as the owner of the database, and
        has the time. Raises StorageError, LogDamaged."""
        try:
            while self.extend(book_id):
                pass
        except Busy:
            # Somebody decides. What lacks is made by whoever needs it.
            pass

    def make(
        self, book_id: int, places: Iterable[TilePlace], *, again: bool = False, from_leaves: bool = False
    ) -> dict[TilePlace, Tile]:
        """Make tiles that lack, with those below that lack too, and keep them; with ``again``, in place of those that
        are kept, and with ``from_leaves`` all that is below them too. Raises ProofUnavailable when that is more than
        ``MADE_MAX``: what was made up to there is kept, so that whoever asks again gets further."""
        wanted = sorted(set(places), reverse=True)
        if from_leaves and sum(_tiles_below(level) for level, _ in wanted) > MADE_MAX:
            raise TilesDamaged(
                "tiles of the tree are wrong at several levels; run 'bursar verify', delete the rows of merkle_tiles "
                "that it names, and they are made again"
            )
        done: dict[TilePlace, Tile] = {}
        while wanted and len(done) < MADE_MAX:
            level, position = wanted[-1]
            try:
                done[level, position] = self._tile(book_id, level, position, done, again=again, from_leaves=from_leaves)
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
        if wanted:
            raise ProofUnavailable("the tree of this book is still being written beside its log; ask again")
        return done

    def _tile(
        self,
        book_id: int,
        level: int,
        position: int,
        done: Mapping[TilePlace, Tile],
        *,
        again: bool = False,
        from_leaves: bool = False,
    ) -> Tile:
        """One tile, of the leaves or of the tiles below. Raises TilesMissing, LogDamaged, StorageError."""
        start, stop = position * TILE_HASHES, (position + 1) * TILE_HASHES
        with self._engine.connect() as connection:
            if level == 0:
                try:
                    return make_tile(level, position, b"".join(_leaves(connection, book_id, start, stop)))
                except LogDamaged:
                    # Records that were taken out of the database are vouched for by the tile that is left of them.
                    kept = tile_rows.tiles(connection, book_id, [(level, position)]) if again else {}
                    if not kept:
                        raise
                    return make_tile(level, position, kept[level, position])
            below = {at: done[level - 1, at].root for at in range(start, stop) if (level - 1, at) in done}
            for at in range(start, stop, tile_rows.PAGE_TILES) if not from_leaves else ():
                if not all(each in below for each in range(at, at + tile_rows.PAGE_TILES)):
                    page = tile_rows.tile_page(connection, book_id, level - 1, at, at + tile_rows.PAGE_TILES)
                    below = {tile.position: root_of(tile.hashes) for tile in page} | below
        missing = [(level - 1, at) for at in range(start, stop) if at not in below]
        if missing:
            raise TilesMissing(missing)
        return make_tile(level, position, b"".join(below[at] for at in range(start, stop)))

    def _lowest(self, book_id: int, start: int, stop: int) -> list[Tile]:
        """Tiles over leaves, side by side."""
        with self._engine.connect() as connection:
            leaves = _leaves(connection, book_id, start * TILE_HASHES, stop * TILE_HASHES)
        return [
            make_tile(0, at, b"".join(leaves[(at - start) * TILE_HASHES : (at - start + 1) * TILE_HASHES]))
            for at in range(start, stop)
        ]

    def _upper(self, book_id: int, level: int, position: int) -> list[Tile]:
        for _ in range(LEVELS_MAX):
            try:
                return [self._tile(book_id, level, position, {})]
            except TilesMissing as missing:
                self.make(book_id, missing.places)
        raise ProofUnavailable("tiles go away as they are written")


def _tiles_below(level: int) -> int:
    """How many tiles a tile of a level stands on, itself included."""
    return int((TILE_HASHES ** (level + 1) - 1) // (TILE_HASHES - 1))
