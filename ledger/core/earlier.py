"""Looking at an earlier record while a command is decided that refers to it by its place in the log.

Invariant: only what was committed before the batch is there to be referred to, because nobody was told of anything
later.
"""

from typing import Any

from ledger.core.canonical import parse
from ledger.core.outcome import Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch


def earlier_body(batch: Batch, index: int) -> dict[str, Any]:
    """The body of an earlier record; refuses where there is none, or not here any more."""
    if not 0 <= index < batch.snapshot.head.size:
        refuse(Status.NOT_FOUND, f"there is no record {index} in the log of this book")
    packed = batch.snapshot.bodies[index]
    if packed is None:
        refuse(Status.RECORD_ARCHIVED, f"record {index} has been archived, so it cannot be looked at")
    found: dict[str, Any] = parse(packed)
    return found
