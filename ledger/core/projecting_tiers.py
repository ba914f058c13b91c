"""The fold over approvals that end with their authorization, and the look-up of an authorization's tiers.

Invariant: written from the rules and not from the code that decided.
"""

from collections.abc import Iterator
from typing import Final

from ledger.core.approval import OPEN, WAITING, Approval
from ledger.core.authorization import Authorization
from ledger.core.projecting_record import Record

UNDECIDED: Final = (OPEN, WAITING)


def tiers_of(record: Record, authorization: str) -> Iterator[Approval]:
    """The approvals of an authorization in their sequence, not to be changed."""
    position = 0
    while (found := record.store.approvals.get((authorization, position))) is not None:
        yield found
        position += 1


def turn(record: Record, tier: Approval, state: str) -> Approval:
    """Take an approval to a state; one that is decided or closed has no votes to come."""
    row = record.store.approvals.change((tier.authorization_id, tier.position))
    row.state = state
    row.changed_index = record.index
    if state != OPEN:
        row.decided_at = record.time
        record.fold.votes.pop(row.id, None)
    return row


def close_tiers(record: Record, row: Authorization, state: str) -> None:
    """End every approval of an authorization that nobody decided, and expect that the body says so."""
    closed = []
    for tier in list(tiers_of(record, row.id)):
        if tier.state in UNDECIDED:
            turn(record, tier, state)
            closed.append([tier.id, state])
    record.expect("approvals", closed)
