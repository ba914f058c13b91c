"""Who may vote on an approval, and in whose place.

Owns the rule. A policy's ``approvers`` names roles and persons; a *seat* is the person whose right is used. Invariants:
nobody votes who made the key that the request came with, nor anybody in that person's place; a person votes once on an
approval and a seat is used once, so a quorum counts as many persons as seats.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.core.approval import Approval, Delegation, Vote
from ledger.core.canonical import parse

PERSON: Final = "person:"


class Seat(NamedTuple):
    """``person`` is whose right is used; ``delegation`` the id by which another uses it."""

    person: str
    delegation: str | None


def person_name(principal: str) -> str | None:
    """The person that a principal is, or None for an agent or the system."""
    return principal[len(PERSON) :] if principal.startswith(PERSON) else None


def is_live(delegation: Delegation, now: int) -> bool:
    """Whether a delegation has begun and neither ended nor been revoked."""
    return delegation.starts_at <= now < delegation.ends_at and delegation.revoked_at is None


def seats_for(approval: Approval, person: str, *, role: str, delegations: Iterable[Delegation], now: int) -> list[Seat]:
    """The seats that a person may vote in, the own one first; ``role`` is that of the key used, ``delegations`` are
    those to the person. A delegation carries the role that its giver had when it was given."""
    if approval.key_made_by == PERSON + person:
        return []
    approvers = parse(approval.approvers.encode())
    seats = [Seat(person, None)] if role in approvers or PERSON + person in approvers else []
    for delegation in delegations:
        giver = delegation.giver
        if not is_live(delegation, now) or approval.key_made_by == PERSON + giver:
            continue
        if delegation.role in approvers or PERSON + giver in approvers:
            seats.append(Seat(giver, delegation.id))
    return seats


def free_seat(seats: list[Seat], votes: Iterable[Vote], person: str) -> Seat | None:
    """The first seat that is not used yet; None where all are, or where the person has voted."""
    used = set()
    for vote in votes:
        if vote.person == person:
            return None
        used.add(vote.seat)
    return next((seat for seat in seats if seat.person not in used), None)
