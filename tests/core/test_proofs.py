"""Merkle proofs: the published vectors, good and bad, and a naive tree written from the recursive definition."""

from __future__ import annotations

import base64
import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from ledger.core.proofs import (
    Node,
    ProofInvalid,
    check_consistency,
    check_inclusion,
    consistency_spans,
    inclusion_spans,
    make_proof,
    nodes_of,
    span_root,
    wanted_nodes,
)
from ledger.core.tiles import TILE_HASHES, TileFold, place_of, root_of
from tests.support.shared_data import needs, shared_data

VECTORS = shared_data("merkle_vectors")
SIZES = st.integers(1, 700)


def _vectors(kind: str) -> list[Any]:
    files = sorted((VECTORS / kind).rglob("*.json")) if VECTORS.is_dir() else []
    if not files:
        return [pytest.param(None, marks=needs(VECTORS / kind))]
    return [pytest.param(file, id=str(file.relative_to(VECTORS / kind))) for file in files]


def _hashes(texts: list[str] | None) -> list[bytes]:
    return [base64.b64decode(text) for text in texts or ()]


def _accepted(check: Any, **given: Any) -> bool:
    try:
        check(**given)
    except ProofInvalid:
        return False
    return True


@pytest.mark.parametrize("file", _vectors("inclusion"))
def test_inclusion_vectors(file: Path) -> None:
    """Each published proof of inclusion is accepted or refused as its file says."""
    vector = json.loads(file.read_text(encoding="utf-8"))
    leaf, root = _hashes([vector["leafHash"], vector["root"]])
    accepted = _accepted(
        check_inclusion,
        leaf=leaf,
        index=vector["leafIdx"],
        size=vector["treeSize"],
        proof=_hashes(vector["proof"]),
        root=root,
    )
    assert accepted is not vector["wantErr"], vector["desc"]


@pytest.mark.parametrize("file", _vectors("consistency"))
def test_consistency_vectors(file: Path) -> None:
    """Each published proof of consistency is accepted or refused as its file says."""
    vector = json.loads(file.read_text(encoding="utf-8"))
    first_root, second_root = _hashes([vector["root1"], vector["root2"]])
    accepted = _accepted(
        check_consistency,
        first=vector["size1"],
        second=vector["size2"],
        first_root=first_root,
        second_root=second_root,
        proof=_hashes(vector["proof"]),
    )
    assert accepted is not vector["wantErr"], vector["desc"]


# The naive tree: the definitions of RFC 6962, section 2.1, word for word, over leaves numbered from 0.


@cache
def _leaf(index: int) -> bytes:
    return leaf_hash(b"record %d" % index)


@cache
def _root(start: int, stop: int) -> bytes:
    """MTH(D[start:stop])."""
    count = stop - start
    if count == 0:
        return EMPTY_ROOT
    if count == 1:
        return _leaf(start)
    split = max(2**power for power in range(count.bit_length()) if 2**power < count)
    return sha256(b"\x01" + _root(start, start + split) + _root(start + split, stop)).digest()


def _path(index: int, start: int, stop: int) -> list[bytes]:
    """PATH(m, D[n])."""
    count = stop - start
    if count == 1:
        return []
    split = start + max(2**power for power in range(count.bit_length()) if 2**power < count)
    if index < split:
        return [*_path(index, start, split), _root(split, stop)]
    return [*_path(index, split, stop), _root(start, split)]


def _subproof(first: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b), with ``first`` counted from the first leaf of all."""
    if first == stop:
        return [] if whole else [_root(start, stop)]
    count = stop - start
    split = start + max(2**power for power in range(count.bit_length()) if 2**power < count)
    if first <= split:
        return [*_subproof(first, start, split, whole=whole), _root(split, stop)]
    return [*_subproof(first, split, stop, whole=False), _root(start, split)]


def _hash_of(node: Node) -> bytes:
    level, position = node
    return _root(position << level, (position + 1) << level)


@given(size=SIZES, at=st.integers(0, 2**32))
def test_inclusion_proofs_are_those_of_the_definition(size: int, at: int) -> None:
    """What is made is the naive tree's path, it is accepted, and no changed part of it is."""
    index = at % size
    proof = make_proof(inclusion_spans(index, size), _hash_of)
    assert proof == _path(index, 0, size)
    right = {"leaf": _leaf(index), "index": index, "size": size, "proof": proof, "root": _root(0, size)}
    check_inclusion(**right)
    assert not _accepted(check_inclusion, **{**right, "leaf": _leaf(size)})
    assert not _accepted(check_inclusion, **{**right, "proof": [*proof, _leaf(1)]})
    assert not _accepted(check_inclusion, **{**right, "root": _leaf(0) if size > 1 else _leaf(1)})
    for place in range(len(proof)):
        changed = [*proof[:place], _leaf(size + 1), *proof[place + 1 :]]
        assert not _accepted(check_inclusion, **{**right, "proof": changed})
        assert not _accepted(check_inclusion, **{**right, "proof": proof[:place]})


@given(second=SIZES, at=st.integers(0, 2**32))
def test_consistency_proofs_are_those_of_the_definition(second: int, at: int) -> None:
    """What is made is the naive tree's proof, it is accepted, and no changed part of it is."""
    first = at % second + 1
    proof = make_proof(consistency_spans(first, second), _hash_of)
    assert proof == _subproof(first, 0, second, whole=True)
    right = {
        "first": first,
        "second": second,
        "first_root": _root(0, first),
        "second_root": _root(0, second),
        "proof": proof,
    }
    check_consistency(**right)
    assert not _accepted(check_consistency, **{**right, "second_root": _leaf(second)})
    assert not _accepted(check_consistency, **{**right, "first_root": _leaf(second)})
    assert not _accepted(check_consistency, **{**right, "proof": [*proof, _leaf(1)]})
    for place in range(len(proof)):
        changed = [*proof[:place], _leaf(second + 1), *proof[place + 1 :]]
        assert not _accepted(check_consistency, **{**right, "proof": changed})
        assert not _accepted(check_consistency, **{**right, "proof": proof[:place]})


@given(size=st.integers(1, 2**62), at=st.integers(0, 2**62))
def test_proofs_of_any_size_need_few_nodes(size: int, at: int) -> None:
    """However long the log: at most 62 hashes, made of at most a few hundred nodes."""
    index = at % size
    for spans in (inclusion_spans(index, size), consistency_spans(index + 1, size)):
        assert len(spans) <= size.bit_length() + 1
        assert len(wanted_nodes(spans)) <= 2 * size.bit_length()


def test_the_empty_tree_begins_every_tree() -> None:
    """No proof is made for it; a check of it takes the root of nothing and no hash."""
    with pytest.raises(ValueError, match="no proof leads from 0"):
        consistency_spans(0, 3)
    right = {"first": 0, "second": 3, "first_root": EMPTY_ROOT, "second_root": _root(0, 3), "proof": []}
    check_consistency(**right)
    assert not _accepted(check_consistency, **{**right, "first_root": _leaf(0)})
    assert span_root((5, 5), _hash_of) == EMPTY_ROOT


def test_a_refusal_says_what_is_wrong() -> None:
    """One sentence for each way a proof can fail."""
    root, leaf = _root(0, 3), _leaf(2)
    right: dict[str, Any] = {"leaf": leaf, "index": 2, "size": 3, "proof": [_root(0, 2)], "root": root}
    for changed, words in (
        ({"index": 3}, "no record 3"),
        ({"proof": []}, "fewer hashes"),
        ({"proof": [leaf, leaf]}, "more hashes"),
        ({"proof": [b"short"]}, "32 bytes"),
        ({"root": leaf}, "another root"),
    ):
        with pytest.raises(ProofInvalid, match=words):
            check_inclusion(**{**right, **changed})
    with pytest.raises(ProofInvalid, match="not the same log"):
        check_consistency(first=3, second=3, first_root=leaf, second_root=root, proof=[])
    with pytest.raises(ProofInvalid, match="cannot begin"):
        check_consistency(first=4, second=3, first_root=leaf, second_root=root, proof=[])


@settings(max_examples=20)
@given(size=st.integers(0, 3 * TILE_HASHES))
def test_tiles_hold_the_nodes_of_the_tree(size: int) -> None:
    """Every node below a full tile is found in it, at the place that the geometry names."""
    fold, tiles = TileFold(), {}
    for index in range(size):
        for tile in fold.extend([_leaf(index)]):
            tiles[tile.level, tile.position] = tile
            assert tile.end_leaf == index + 1
    assert len(tiles) == size // TILE_HASHES
    for tile in tiles.values():
        assert tile.root == _root(tile.first_leaf, tile.end_leaf)
        for height in range(8):
            node = (height, (tile.position * TILE_HASHES + 200) >> height)
            place = place_of(node)
            assert (place.level, place.position) == (tile.level, tile.position)
            found = tile.hashes[32 * place.first : 32 * (place.first + place.width)]
            assert root_of(found) == _hash_of(node)


def test_tiles_of_the_second_level() -> None:
    """The tile above 256 tiles holds their roots; its root is that of 65,536 leaves."""
    fold, frontier = TileFold(), Frontier()
    roots, upper = [], None
    for index in range(TILE_HASHES**2):
        leaf = sha256(b"%d" % index).digest()
        frontier.append(leaf)
        for tile in fold.extend([leaf]):
            if tile.level:
                upper = tile
            else:
                roots.append(tile.root)
    assert upper is not None
    assert (upper.level, upper.position, upper.end_leaf) == (1, 0, 65_536)
    assert upper.hashes == b"".join(roots)
    assert upper.root == frontier.root()


@settings(max_examples=30)
@given(parts=st.lists(st.integers(0, 300), max_size=6))
def test_leaves_taken_together_give_the_same_tree(parts: list[int]) -> None:
    """Tiles, frontier and root are those of leaves taken one by one; so they are after the state was written down."""
    whole, frontier, single, many = TileFold(), Frontier(), [], []
    for part in parts:
        leaves = [sha256(b"%d" % index).digest() for index in range(whole.size, whole.size + part)]
        many += whole.extend(leaves)
        for leaf in leaves:
            frontier.append(leaf)
        assert (whole.size, whole.frontier().to_bytes()) == (frontier.size, frontier.to_bytes())
        assert whole.frontier().root() == frontier.root()
        whole = TileFold.from_lists(whole.to_lists())
    fold = TileFold()
    for index in range(whole.size):
        single += fold.extend([sha256(b"%d" % index).digest()])
    assert many == single


@pytest.mark.parametrize("written", [[["00"]], [["00" * 32] * 256], [["no hex"]]])
def test_an_incomplete_tile_that_is_none_is_refused(written: list[list[str]]) -> None:
    """Rather than counted on."""
    with pytest.raises(ValueError, match=r"incomplete tile|non-hexadecimal"):
        TileFold.from_lists(written)


def test_nodes_of_a_span_are_its_complete_subtrees() -> None:
    """As the tree of RFC 6962 splits: 7 leaves from 8 on are 4, 2 and 1."""
    assert nodes_of((8, 15)) == [(2, 2), (1, 6), (0, 14)]
    assert nodes_of((0, 8)) == [(3, 0)]
