"""Decisions on delegations: letting somebody approve in one's place for a time, and ending that.

Invariants: each is one log record; a delegation carries the role that its giver had then, and passes on nothing that
was delegated to the giver; what has ended or was revoked stays so.
"""

from typing import Any, Final

from ledger.core.approval import Delegation
from ledger.core.command_approvals import Delegate, RevokeDelegation
from ledger.core.finishing import finish
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.roles import ADMIN, APPROVING_ROLES
from ledger.core.seats import person_name
from ledger.core.working import Batch, request_of

DELEGATION_DAYS_MAX: Final = 90
DELEGATION_START_DAYS_MAX: Final = 366
_DAY: Final = 24 * 3600 * SECOND
_FIELDS: Final = ("receiver", "giver", "role", "ttl_seconds")


def _role_of(batch: Batch, digest: bytes | None) -> str:
    """The role of the key that a command came with; the owner of the database counts as an admin."""
    key = batch.key_of(digest) if digest is not None else None
    return key.role if key is not None else ADMIN


def delegate(batch: Batch, asked: Delegate) -> Outcome:
    """Let a person approve in the place of another for a time."""
    who = batch.admit(asked)
    own = person_name(who[0])
    own_role = _role_of(batch, asked.caller.key_digest)
    giver = asked.giver if asked.giver is not None else own
    if giver != own and own_role != ADMIN:
        refuse(Status.ROLE_NOT_ALLOWED, f"only an admin delegates for another; {own} may do so for themselves")
    request: dict[str, Any] = {"operation": asked.operation}
    for field in _FIELDS:
        if getattr(asked, field) is not None:
            request[field] = getattr(asked, field)
    for field in ("starts_at", "ends_at"):
        if getattr(asked, field) is not None:
            request[field] = moment_text(getattr(asked, field))
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    if giver is None:
        refuse(Status.DELEGATION_INVALID, "say in whose place: from names a person")
    for person in (giver, asked.receiver):
        if batch.fact("persons", person) is None:
            refuse(Status.UNKNOWN_PERSON, f"there is no person {person}; a person is made with their first key")
    starts_at, ends_at = _times(batch, asked)
    role = _role_given(asked, own_role=own_role, is_own=giver == own)
    if giver == asked.receiver:
        refuse(Status.DELEGATION_INVALID, f"{giver} cannot delegate to themselves")
    row = Delegation(
        batch.book_id, asked.id, giver, asked.receiver, role, who[0], starts_at, ends_at, None, batch.index, batch.index
    )
    batch.add("delegations", asked.id, row)
    batch.make("delegations_to", asked.receiver, (*(batch.fact("delegations_to", asked.receiver) or ()), asked.id))
    return finish(batch, asked, who, packed, "delegation", asked.id, delegation_said(row), [])


def delegation_said(row: Delegation) -> dict[str, Any]:
    """A delegation as a body says it."""
    return {
        "delegation": row.id,
        "giver": row.giver,
        "receiver": row.receiver,
        "role": row.role,
        "starts_at": moment_text(row.starts_at),
        "ends_at": moment_text(row.ends_at),
    }


def _times(batch: Batch, asked: Delegate) -> tuple[int, int]:
    """(start, end) in microseconds; refuses what is over, backwards, too long or too far ahead."""
    starts_at = batch.now if asked.starts_at is None else asked.starts_at
    if (asked.ends_at is None) == (asked.ttl_seconds is None):
        refuse(Status.DELEGATION_INVALID, "say when it ends: either ends_at or ttl_seconds")
    ends_at = asked.ends_at if asked.ends_at is not None else starts_at + (asked.ttl_seconds or 0) * SECOND
    if ends_at <= max(starts_at, batch.now):
        refuse(Status.DELEGATION_INVALID, "a delegation ends after it starts, and in the future")
    if ends_at - starts_at > DELEGATION_DAYS_MAX * _DAY:
        refuse(
            Status.DELEGATION_INVALID, f"a delegation lasts at most {DELEGATION_DAYS_MAX} days; give another after it"
        )
    if starts_at - batch.now > DELEGATION_START_DAYS_MAX * _DAY:
        refuse(Status.DELEGATION_INVALID, f"a delegation starts within {DELEGATION_START_DAYS_MAX} days from now")
    return starts_at, ends_at


def _role_given(asked: Delegate, *, own_role: str, is_own: bool) -> str:
    """The role that is delegated: of the key used, or, where an admin delegates for another, the one that is named."""
    if is_own:
        if asked.role is not None and asked.role != own_role:
            refuse(Status.DELEGATION_INVALID, f"this key's role is {own_role}; use a key of role {asked.role}")
        return own_role
    if asked.role not in APPROVING_ROLES:
        refuse(
            Status.DELEGATION_INVALID,
            "an admin who delegates for another says the role: " + ", ".join(sorted(APPROVING_ROLES)),
        )
    return asked.role


def revoke_delegation(batch: Batch, asked: RevokeDelegation) -> Outcome:
    """End a delegation before its time."""
    who = batch.admit(asked)
    own = person_name(who[0])
    found: Delegation | None = batch.fact("delegations", asked.delegation)
    is_party = found is not None and own in (found.giver, found.receiver)
    if found is not None and not is_party and _role_of(batch, asked.caller.key_digest) != ADMIN:
        refuse(Status.ROLE_NOT_ALLOWED, f"{found.id} is ended by its giver, its receiver or an admin")
    request: dict[str, Any] = {"operation": asked.operation, "delegation": asked.delegation}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no delegation {asked.delegation}")
    if found.revoked_at is not None:
        refuse(Status.WRONG_STATE, f"{found.id} was revoked at {moment_text(found.revoked_at)}", state="revoked")
    if found.ends_at <= batch.now:
        refuse(Status.WRONG_STATE, f"{found.id} ended at {moment_text(found.ends_at)}", state="ended")
    row = batch.change("delegations", found.id)
    row.revoked_at = batch.now
    row.changed_index = batch.index
    return finish(batch, asked, who, packed, "delegation_revocation", row.id, delegation_said(row), [])
