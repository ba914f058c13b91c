"""Merkle proofs over a book's log: that a record is in a tree, and that one tree is the beginning of another.

Owns which nodes a proof is made of, making it from a function that gives node hashes, and checking it. Invariant: what
is made here is accepted here and by any other verifier of RFC 6962 (sections 2.1.1 and 2.1.2) or RFC 9162, and a proof
of anything else is refused with a sentence that says why.

A *node* is ``(level, position)``: the root of the complete subtree over the leaves from ``position * 2**level`` to
before ``(position + 1) * 2**level``. A *span* is ``(start, stop)``: the leaves below one node of the tree of a size,
where ``start`` is a multiple of a power of two that is at least ``stop - start``.
"""

from collections.abc import Callable, Iterable, Sequence

from ledger.core.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

Node = tuple[int, int]
Span = tuple[int, int]


class ProofInvalid(ValueError):
    """A proof that proves nothing. The message is a sentence that says what is wrong with it."""


def nodes_of(span: Span) -> list[Node]:
    """The complete subtrees that a span splits into, largest first: at most 63."""
    start, stop = span
    nodes = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def span_root(span: Span, hash_of: Callable[[Node], bytes]) -> bytes:
    """The Merkle Tree Hash over the leaves of a span; over none, SHA-256 of nothing."""
    nodes = nodes_of(span)
    if not nodes:
        return EMPTY_ROOT
    root = hash_of(nodes[-1])
    for node in reversed(nodes[:-1]):
        root = node_hash(hash_of(node), root)
    return root


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose roots prove that leaf ``index`` is in the tree of ``size`` leaves, lowest first (RFC 6962,
    2.1.1). Raises ValueError unless ``0 <= index < size``."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size} leaves")
    spans: list[Span] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            spans.append((middle, stop))
            stop = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """The spans whose roots prove that the tree of ``first`` leaves is the beginning of that of ``second`` leaves,
    lowest first (RFC 6962, 2.1.2); none where the sizes are equal. Raises ValueError unless ``1 <= first <= second``.
    """
    if not 1 <= first <= second:
        raise ValueError(f"no proof leads from {first} leaves to {second}: it takes 1 <= first <= second")
    spans: list[Span] = []
    start, stop, whole = 0, second, True
    while first < stop:
        middle = start + _split(stop - start)
        if first <= middle:
            spans.append((middle, stop))
            stop = middle
        else:
            spans.append((start, middle))
            start, whole = middle, False
    if not whole:
        spans.append((start, stop))
    return spans[::-1]


def wanted_nodes(spans: Iterable[Span]) -> list[Node]:
    """Every node that the roots of these spans are made of, each once, in order."""
    return sorted({node for span in spans for node in nodes_of(span)})


def make_proof(spans: Iterable[Span], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof: the root of each span."""
    return [span_root(span, hash_of) for span in spans]


def check_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf hash stands at ``index`` in the tree of ``size`` leaves with ``root`` (RFC 9162, 2.1.3.2).

    Hashes have 32 bytes. Raises ProofInvalid.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofInvalid(f"there is no record {index} in a log of {size} records")
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof has fewer hashes than the tree has levels")
    if found != root:
        raise ProofInvalid(f"the record and the proof give another root than that of the log's {size} records")


def check_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of ``first`` leaves is the beginning of that of ``second`` leaves (RFC 9162, 2.1.4.2).

    Hashes have 32 bytes. An empty tree is the beginning of any, but no proof shows it: with ``first`` 0, ``proof`` is
    empty and ``first_root`` is that of no leaves. Raises ProofInvalid.
    """
    _check_hashes(first_root, second_root, *proof)
    if first < 0 or second < first:
        raise ProofInvalid(f"a log of {second} records cannot begin with one of {first}")
    if first == second:
        if proof:
            raise ProofInvalid("logs of one size need no proof, and this one has hashes")
        if first_root != second_root:
            raise ProofInvalid(f"two logs of {first} records have different roots: they are not the same log")
        return
    if first == 0:
        if proof or first_root != EMPTY_ROOT:
            raise ProofInvalid("an empty log has the root of no records, and needs no proof")
        return
    _check_longer(first, second, first_root, second_root, proof)


def _check_longer(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        raise ProofInvalid("the proof is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof has fewer hashes than the tree has levels")
    if old != first_root:
        raise ProofInvalid(f"the proof does not begin with the log of {first} records that is known")
    if new != second_root:
        raise ProofInvalid(f"the proof does not lead to the root of the log of {second} records")


def _check_hashes(*hashes: bytes) -> None:
    for given in hashes:
        if len(given) != HASH_SIZE:
            raise ProofInvalid(f"a hash has {HASH_SIZE} bytes, and one here has {len(given)}")
