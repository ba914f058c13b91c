"""Tiles: the Merkle tree of a book in pieces of 256 hashes, each made once, when it is complete.

Owns the geometry, which is that of C2SP tlog-tiles with full tiles only. Tile ``(level, position)`` holds the 256 nodes
of tree level ``8 * level`` from ``256 * position`` on; its root is the node of tree level ``8 * level + 8`` at
``position``. Invariant: a tile is a function of the leaves below it, so it can always be made again.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger.core.merkle import HASH_SIZE, node_hash
from ledger.core.proofs import Node

TILE_BITS: Final = 8
TILE_HASHES: Final = 1 << TILE_BITS
TILE_BYTES: Final = TILE_HASHES * HASH_SIZE
LEVELS_MAX: Final = 8
"""Levels of tiles of a log of 2^63 records."""


class Tile(NamedTuple):
    """A full tile: its place, its 256 hashes in one piece, and the root over them."""

    level: int
    position: int
    hashes: bytes
    root: bytes

    @property
    def first_leaf(self) -> int:
        """The index of the first leaf below."""
        return self.position << TILE_BITS * (self.level + 1)

    @property
    def end_leaf(self) -> int:
        """The index behind the last leaf below: the size of log with which the tile is complete."""
        return (self.position + 1) << TILE_BITS * (self.level + 1)


class Place(NamedTuple):
    """Where a node stands: in tile ``(level, position)``, made of ``width`` hashes from ``first`` on."""

    level: int
    position: int
    first: int
    width: int


def place_of(node: Node) -> Place:
    """Where the hashes stand that a node of the tree is made of."""
    height, at = node
    level, above = divmod(height, TILE_BITS)
    position, first = divmod(at << above, TILE_HASHES)
    return Place(level, position, first, 1 << above)


def is_full(level: int, position: int, size: int) -> bool:
    """Whether a tile is complete in a log of ``size`` records."""
    return (position + 1) << TILE_BITS * (level + 1) <= size


def full_tiles(level: int, size: int) -> int:
    """How many tiles of a level are complete in a log of ``size`` records."""
    return size >> TILE_BITS * (level + 1)


def root_of(hashes: bytes) -> bytes:
    """The root over a power of two of hashes in one piece."""
    nodes = split_hashes(hashes)
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def split_hashes(packed: bytes) -> list[bytes]:
    """Hashes one by one."""
    return [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)]


def make_tile(level: int, position: int, hashes: bytes) -> Tile:
    """A tile over 256 hashes. Raises ValueError for another number."""
    if len(hashes) != TILE_BYTES:
        raise ValueError(f"a tile has {TILE_HASHES} hashes of {HASH_SIZE} bytes, not {len(hashes)} bytes")
    return Tile(level, position, hashes, root_of(hashes))


class TileFold:
    """Every tile of a log, as its leaves come in from the first on; holds at most 256 hashes a level."""

    __slots__ = ("_open", "size")

    def __init__(self) -> None:
        self.size = 0
        self._open: list[list[bytes]] = [[]]

    def append(self, leaf: bytes) -> Iterator[Tile]:
        """Take in one leaf hash; the tiles that it completes, lowest first."""
        self.size += 1
        level, node = 0, leaf
        while True:
            if level == len(self._open):
                self._open.append([])
            hashes = self._open[level]
            hashes.append(node)
            if len(hashes) < TILE_HASHES:
                return
            tile = make_tile(level, (self.size >> TILE_BITS * (level + 1)) - 1, b"".join(hashes))
            hashes.clear()
            yield tile
            level, node = level + 1, tile.root
