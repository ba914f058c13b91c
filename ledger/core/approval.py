"""Approvals: the persons who must agree before a request holds for good, in tiers, and who may stand in for them.

Invariants: an approval is bound to the digest of the request it was asked for; of an authorization's approvals, one
after the other is open; a person's vote counts once, also where another cast it.
"""

from dataclasses import dataclass
from typing import Final

WAITING: Final = "waiting"
OPEN: Final = "open"
GRANTED: Final = "granted"
REFUSED: Final = "refused"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
FORCED: Final = "forced"
STATES: Final = (WAITING, OPEN, GRANTED, REFUSED, EXPIRED, WITHDRAWN, FORCED)

GRANT: Final = "grant"
REFUSE: Final = "refuse"


@dataclass(slots=True)
class Approval:
    """One row of ``approvals``: one tier that one authorization needs. Times in microseconds.

    ``position`` is its place in the sequence; ``approvers`` is canonical JSON of roles and ``person:NAME``;
    ``expires_after`` (seconds) runs from ``opened_at``; ``requested_by`` is the asking principal, ``key_made_by`` who
    made the key it asked with; ``ttl_seconds`` is how long the hold lives once granted.
    """

    book_id: int
    id: str
    authorization_id: str
    position: int
    policy: str
    version: int
    rule: str
    state: str
    approvers: str
    quorum: int
    expires_after: int
    request_digest: bytes
    requested_by: str
    key_made_by: str
    ttl_seconds: int
    opened_at: int | None
    expires_at: int | None
    decided_at: int | None
    created_index: int
    changed_index: int


@dataclass(slots=True)
class Vote:
    """One row of ``approval_votes``. ``seat`` is the person whose right was used: the voter, or who delegated."""

    book_id: int
    approval: str
    seat: str
    person: str
    verdict: str
    recorded_at: int
    created_index: int


@dataclass(slots=True)
class Delegation:
    """One row of ``delegations``: ``receiver`` may approve in place of ``giver`` for a time (microseconds). ``role`` is
    that of the giver when it was given; giver and receiver are names of persons, ``made_by`` is a principal."""

    book_id: int
    id: str
    giver: str
    receiver: str
    role: str
    made_by: str
    starts_at: int
    ends_at: int
    revoked_at: int | None
    created_index: int
    changed_index: int
