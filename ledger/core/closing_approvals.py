"""Ending the approvals of an authorization that is no longer pending.

Invariant: an approval that is decided stays as it was decided.
"""

from typing import Any

from ledger.core.approval import OPEN, WAITING
from ledger.core.authorization import PENDING, Authorization
from ledger.core.working import Batch


def close_approvals(batch: Batch, row: Authorization, state: str) -> dict[str, Any]:
    """Take every approval that still waits or is open to ``state``, with the record that is written next; what the
    record's body says of it. To be called while the authorization is still pending; does nothing otherwise."""
    if row.state != PENDING:
        return {}
    closed: list[list[str]] = []
    for reference in batch.fact("approvals_of", row.id) or ():
        if batch.fact("approvals", reference).state in (OPEN, WAITING):
            approval = batch.change("approvals", reference)
            approval.state = state
            approval.decided_at = batch.now
            approval.changed_index = batch.index
            closed.append([reference, state])
    return {"approvals": closed} if closed else {}
