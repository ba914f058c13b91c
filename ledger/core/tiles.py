"""Tiles: the Merkle tree of a book in pieces of 256 hashes, each made once, when it is complete.

Owns the geometry, which is that of C2SP tlog-tiles with full tiles only. Tile ``(level, position)`` holds the 256 nodes
of tree level ``8 * level`` from ``256 * position`` on; its root is the node of tree level ``8 * level + 8`` at
``position``. Invariant: a tile is a function of the leaves below it, so it can always be made again.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from ledger.core.merkle import HASH_SIZE, Frontier
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
    return _root_over(split_hashes(hashes))


def _root_over(nodes: list[bytes]) -> bytes:
    while len(nodes) > 1:
        nodes = [sha256(b"\x01" + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes), 2)]
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
    """Every tile of a log, as its leaves come in from the first on, and its frontier at any moment; holds at most 256
    hashes a level. Many leaves at once cost less than a ``Frontier`` that each is appended to."""

    __slots__ = ("_open", "size")

    def __init__(self) -> None:
        self.size = 0
        self._open: list[list[bytes]] = [[]]

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Take in leaf hashes, in order; the tiles that they complete, each after those below it."""
        made: list[Tile] = []
        at, whole = 0, len(leaves)
        while at < whole:
            hashes = self._open[0]
            some = min(TILE_HASHES - len(hashes), whole - at)
            hashes += leaves[at : at + some]
            at += some
            self.size += some
            if len(hashes) == TILE_HASHES:
                self._complete(made)
        return made

    def _complete(self, made: list[Tile]) -> None:
        level = 0
        while len(hashes := self._open[level]) == TILE_HASHES:
            tile = make_tile(level, (self.size >> TILE_BITS * (level + 1)) - 1, b"".join(hashes))
            made.append(tile)
            hashes.clear()
            level += 1
            if level == len(self._open):
                self._open.append([])
            self._open[level].append(tile.root)

    def frontier(self) -> Frontier:
        """The right edge of the tree: what root, size and further leaves follow from."""
        nodes: list[bytes] = []
        for hashes in reversed(self._open):
            start, left = 0, len(hashes)
            while left:
                width = 1 << left.bit_length() - 1
                nodes.append(_root_over(hashes[start : start + width]))
                start, left = start + width, left - width
        return Frontier(self.size, nodes)

    def to_lists(self) -> list[list[str]]:
        """The hashes of the tiles that are not complete, in hex, by level: all there is to go on from."""
        return [[node.hex() for node in hashes] for hashes in self._open]

    @classmethod
    def from_lists(cls, written: list[list[str]]) -> "TileFold":
        """Read what ``to_lists`` gave. Raises ValueError."""
        made = cls()
        made._open = [[bytes.fromhex(node) for node in hashes] for hashes in written] or [[]]
        for level, hashes in enumerate(made._open):
            if len(hashes) >= TILE_HASHES or any(len(node) != HASH_SIZE for node in hashes):
                raise ValueError("an incomplete tile has fewer than 256 hashes of 32 bytes")
            made.size += len(hashes) << TILE_BITS * level
        return made
