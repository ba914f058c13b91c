"""The tree of a log up to some size from what is stored of it, believed only where a root that is trusted follows.

Owns reading it. Invariant: nothing is handed out that does not lead to the root that whoever asks trusts, so a tile or
a leaf hash that was changed makes it fail and never lie.
"""

from collections.abc import Iterable
from typing import Final

from ledger.core.merkle import EMPTY_ROOT
from ledger.core.proofs import (
    ProofInvalid,
    check_consistency,
    consistency_spans,
    make_proof,
    span_root,
    wanted_nodes,
)
from ledger.core.tiles import LEVELS_MAX, TILE_BITS, TileFold
from ledger.services.tiling import LogDamaged, NodeReader, TilesMissing, children
from ledger.storage.proof_reader import ProofReader

PAGE_LEAVES: Final = 4_096
_UNREAD: Final = (TilesMissing, LogDamaged, ProofInvalid, IndexError, TypeError, ValueError)


def stored_tree(reader: ProofReader, size: int, root: bytes) -> TileFold | None:
    """The tree of the first ``size`` leaves, whose root is trusted to be ``root``: from tiles, or where these do not
    give it from the leaf hashes; None where these do not give it either. Raises StorageError."""
    for read in (_from_tiles, _from_leaves):
        try:
            tree = read(reader, size)
        except _UNREAD:
            continue
        if (tree.size, tree.frontier().root()) == (size, root):
            return tree
    return None


def _from_tiles(reader: ProofReader, size: int) -> TileFold:
    written: list[list[str]] = []
    with reader.reading() as (connection, book_id):
        for level in range(LEVELS_MAX):
            whole = size >> TILE_BITS * level
            if not whole:
                break
            found = children(connection, book_id, level, whole >> TILE_BITS << TILE_BITS, whole)
            written.append([node.hex() for node in found])
    return TileFold.from_lists(written)


def _from_leaves(reader: ProofReader, size: int, roots: dict[int, bytes] | None = None) -> TileFold:
    """From the leaf hashes alone; with the roots of the sizes that ``roots`` has."""
    tree = TileFold()
    ends = sorted({*(roots or ()), *range(PAGE_LEAVES, size, PAGE_LEAVES), size})
    for end in ends:
        with reader.reading() as (connection, book_id):
            tree.extend(children(connection, book_id, 0, tree.size, end))
        if roots is not None and end in roots:
            roots[end] = tree.frontier().root()
    return tree


def roots_before(reader: ProofReader, sizes: Iterable[int], size: int, root: bytes) -> dict[int, bytes]:
    """The roots of smaller sizes of the log of ``size`` records that has ``root``: by a proof from tiles, or where they
    do not give it from the leaf hashes; none of those that cannot be proved. Raises StorageError."""
    found: dict[int, bytes] = {}
    unproved: dict[int, bytes] = {}
    for smaller in sizes:
        if smaller in (0, size):
            found[smaller] = root if smaller else EMPTY_ROOT
            continue
        try:
            found[smaller] = _root_by_proof(reader, smaller, size, root)
        except _UNREAD:
            unproved[smaller] = b""
    if unproved:
        try:
            tree = _from_leaves(reader, size, unproved)
        except _UNREAD:
            return found
        if tree.frontier().root() == root:
            found |= unproved
    return found


def _root_by_proof(reader: ProofReader, smaller: int, size: int, root: bytes) -> bytes:
    spans = consistency_spans(smaller, size)
    with reader.reading() as (connection, book_id):
        nodes = NodeReader(connection, book_id, size, {}).read(wanted_nodes([*spans, (0, smaller)]))
    first_root = span_root((0, smaller), nodes.__getitem__)
    proof = make_proof(spans, nodes.__getitem__)
    check_consistency(first=smaller, second=size, first_root=first_root, second_root=root, proof=proof)
    return first_root
