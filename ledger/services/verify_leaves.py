"""The shortest proof: every leaf and the root, and nothing that bodies say.

Owns the pass over hashes alone. Invariant: it is right only if every record up to the head is there, hashes to its
leaf, and all leaves together to the head's root and frontier.
"""

from collections.abc import Callable
from hashlib import sha256

from ledger.core.invariants import INDEXES_WITHOUT_GAP, Difference, shown
from ledger.core.merkle import Frontier
from ledger.services.verify_findings import Findings
from ledger.storage.proof_reader import PAGE_RECORDS, ProofReader


def recompute_leaves(reader: ProofReader, findings: Findings, progress: Callable[[int, int], None]) -> Frontier:
    """Recompute the leaves up to the head of the moment and compare; the frontier over them.

    Raises EnoughFound, StorageError.
    """
    standing = reader.standing()
    frontier = Frontier()
    if standing.head is None or type(standing.head[0]) is not int:
        findings.add(Difference("book_heads", "the book's head is missing or has no size"))
        return frontier
    size, root, packed = standing.head[:3]
    append = frontier.append
    for start in range(0, size, PAGE_RECORDS):
        stop = min(start + PAGE_RECORDS, size)
        rows = reader.leaf_page(start, stop)
        if [row[0] for row in rows] != list(range(start, stop)):
            there = {row[0] for row in rows}
            missing = next(index for index in range(start, stop) if index not in there)
            findings.add(Difference("log_records", f"missing: {missing}", missing, check=INDEXES_WITHOUT_GAP))
            return frontier
        for index, body, leaf in rows:
            recomputed = sha256(b"\x00" + body).digest() if type(body) is bytes else b""
            append(recomputed)
            if recomputed != leaf:
                what = "is not the hash of the record's body"
                findings.add(Difference("log_records", what, index, "", "leaf_hash", shown(recomputed), shown(leaf)))
        progress(stop, size)
    for column, expected, found in (("root", frontier.root(), root), ("frontier", frontier.to_bytes(), packed)):
        if expected != found:
            what = "is not what the log gives"
            findings.add(Difference("book_heads", what, None, "", column, shown(expected), shown(found)))
    return frontier
