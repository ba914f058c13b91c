"""The shortest proof: every leaf and the root, and nothing that bodies say.

Owns the pass over hashes alone. Invariant: it is right only if every record up to the head is there, hashes to its
leaf, and all leaves together to the head's root and frontier; or every record from a tree on that is trusted.
"""

from collections.abc import Callable
from hashlib import sha256

from ledger.core.invariants import INDEXES_WITHOUT_GAP, Difference, shown
from ledger.core.tiles import TileFold
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import TreeCheck
from ledger.storage.proof_reader import PAGE_RECORDS, ProofReader


def recompute_leaves(
    reader: ProofReader,
    tree: TileFold,
    findings: Findings,
    progress: Callable[[int, int], None],
    *,
    checks: tuple[TreeCheck, ...] = (),
) -> None:
    """Recompute the leaves behind those in ``tree`` up to the head of the moment, take them in, and compare.

    Raises EnoughFound, StorageError.
    """
    standing = reader.standing()
    if standing.head is None or type(standing.head[0]) is not int:
        findings.add(Difference("book_heads", "the book's head is missing or has no size"))
        return
    size, root, packed = standing.head[:3]
    for start in range(tree.size, size, PAGE_RECORDS):
        stop = min(start + PAGE_RECORDS, size)
        wanted = {at for check in checks for at in check.before(start, stop)}
        rows = reader.leaf_page(start, stop)
        if [row[0] for row in rows] != list(range(start, stop)):
            there = {row[0] for row in rows}
            missing = next(index for index in range(start, stop) if index not in there)
            findings.add(Difference("log_records", f"missing: {missing}", missing, check=INDEXES_WITHOUT_GAP))
            return
        leaves: list[bytes] = []
        roots: dict[int, bytes] = {}
        tiles = []
        for index, body, leaf in rows:
            recomputed = sha256(b"\x00" + body).digest() if type(body) is bytes else bytes(32)
            leaves.append(recomputed)
            if recomputed != leaf:
                what = "is not the hash of the record's body"
                findings.add(Difference("log_records", what, index, "", "leaf_hash", shown(recomputed), shown(leaf)))
            if index + 1 in wanted:
                tiles += tree.extend(leaves)
                leaves.clear()
                roots[index + 1] = tree.frontier().root()
        tiles += tree.extend(leaves)
        for check in checks:
            check.after(tiles, roots)
        progress(stop, size)
    edge = tree.frontier()
    for column, expected, found in (("root", edge.root(), root), ("frontier", edge.to_bytes(), packed)):
        if expected != found or edge.size != size:
            what = "is not what the log gives"
            findings.add(Difference("book_heads", what, None, "", column, shown(expected), shown(found)))
