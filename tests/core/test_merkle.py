"""The frontier against RFC 6962's own definition, and against vectors made by others."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest

from ledger.core.merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash
from tests.support.shared_data import needs, shared_data

VECTORS = shared_data("merkle_vectors")
# The eight leaves of the reference tree in Certificate Transparency's own tests, which the vectors are of.
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def frontier_of(leaves: list[bytes]) -> Frontier:
    """A frontier after these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


@pytest.mark.parametrize("size", [*range(0, 70), 127, 128, 129, 255, 256, 1000])
def test_the_root_is_that_of_the_definition(size: int) -> None:
    """At every size up to 70, and around powers of two."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    frontier = frontier_of(leaves)
    assert frontier.root() == naive_root(leaves)
    packed = frontier.to_bytes()
    assert len(packed) == 32 * size.bit_count()
    again = Frontier.from_bytes(size, packed)
    more = leaf_hash(b"more")
    again.append(more)
    assert again.root() == naive_root([*leaves, more])
    assert frontier.root() == naive_root(leaves), "what was read back is a copy"


def test_a_copy_is_independent() -> None:
    """A decision appends to a copy."""
    frontier = frontier_of([leaf_hash(b"a")])
    copy = frontier.copy()
    copy.append(leaf_hash(b"b"))
    assert (frontier.size, copy.size) == (1, 2)
    assert frontier.root() == leaf_hash(b"a")


@pytest.mark.parametrize(("size", "packed"), [(1, b""), (3, b"\x00" * 32), (0, b"\x00" * 32), (1, b"\x00" * 31)])
def test_a_frontier_that_does_not_fit_its_size(size: int, packed: bytes) -> None:
    """A damaged head is an error, not another root."""
    with pytest.raises(ValueError, match="frontier"):
        Frontier.from_bytes(size, packed)


def test_hashes() -> None:
    """The prefixes that keep leaves and nodes apart."""
    assert leaf_hash(b"x") == sha256(b"\x00x").digest()
    assert node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert Frontier().root() == EMPTY_ROOT


def vectors(kind: str) -> list[dict[str, object]]:
    """Every good vector of a kind."""
    found = [json.loads(path.read_text()) for path in sorted((VECTORS / kind).glob("*/happy-path.json"))]
    assert found
    return found


@needs(VECTORS)
def test_the_roots_of_the_inclusion_vectors() -> None:
    """Each names a tree size, its root, and one leaf with its place."""
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    checked = 0
    for vector in vectors("inclusion"):
        size, place = int(str(vector["treeSize"])), int(str(vector["leafIdx"]))
        if size <= len(LEAVES):
            assert base64.b64decode(str(vector["root"])) == frontier_of(hashes[:size]).root()
            assert base64.b64decode(str(vector["leafHash"])) == hashes[place]
            checked += 1
    assert checked


@needs(VECTORS)
def test_the_roots_of_the_consistency_vectors() -> None:
    """Each names two sizes of one tree, and the roots at both."""
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    for vector in vectors("consistency"):
        for size, root in (("size1", "root1"), ("size2", "root2")):
            count = int(str(vector[size]))
            if count:
                assert base64.b64decode(str(vector[root])) == frontier_of(hashes[:count]).root()
