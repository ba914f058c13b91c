"""The Merkle tree over a book's log, as in RFC 6962 section 2.1: leaf hashes, the frontier, roots.

Owns the frontier: the roots of the complete subtrees that the log's size splits into, largest first (at most 64).
Invariant: ``Frontier.root()`` after any appends equals the Merkle Tree Hash of RFC 6962 over all leaves.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(body: bytes) -> bytes:
    """``SHA-256(0x00 || body)``, the leaf hash of RFC 6962 section 2.1."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 || left || right)``, the interior hash of RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of an append-only Merkle tree: enough to append leaves and to know the root, at no read.

    ``size`` is the number of leaves. Not shared between writers: copy it before a decision, keep it after a commit.
    """

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._nodes = list(nodes)
        if len(self._nodes) != size.bit_count():
            raise ValueError(f"a frontier of {size} leaves has {size.bit_count()} nodes, not {len(self._nodes)}")

    @classmethod
    def from_bytes(cls, size: int, packed: bytes) -> "Frontier":
        """Read a frontier from its packed form: 32 bytes a node, largest subtree first."""
        if len(packed) % HASH_SIZE:
            raise ValueError("a packed frontier is a multiple of 32 bytes long")
        return cls(size, [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)])

    def to_bytes(self) -> bytes:
        """The packed form: 32 bytes a node, largest subtree first."""
        return b"".join(self._nodes)

    def copy(self) -> "Frontier":
        """An independent copy."""
        return Frontier(self.size, self._nodes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash (32 bytes)."""
        nodes = self._nodes
        size = self.size
        while size & 1:
            leaf = sha256(b"\x01" + nodes.pop() + leaf).digest()
            size >>= 1
        nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle Tree Hash over all leaves so far; for none, SHA-256 of nothing."""
        if not self._nodes:
            return EMPTY_ROOT
        nodes = self._nodes
        root = nodes[-1]
        for node in reversed(nodes[:-1]):
            root = sha256(b"\x01" + node + root).digest()
        return root
