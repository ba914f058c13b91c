"""The commands of persons who approve: granting, refusing, forcing, and letting somebody else approve for a time."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantApproval(Command):
    """Agree to one tier of a request. ``request_digest`` (hex) is that of the request as it was shown, where the caller
    wants to be sure of it."""

    operation: ClassVar[str] = "grant_approval"
    approval: str
    request_digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseApproval(Command):
    """Refuse a request: one refusal ends it. ``request_digest`` as for a grant."""

    operation: ClassVar[str] = "refuse_approval"
    approval: str
    request_digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceApproval(Command):
    """Grant every tier at once against what the policies ask for. ``approval`` is an id of an approval or of the
    authorization."""

    operation: ClassVar[str] = "force_approval"
    approval: str
    reason: str
    request_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate(Command):
    """Let ``receiver`` approve in place of ``giver`` (None: whoever asks), from ``starts_at`` (None: now) until
    ``ends_at`` or for ``ttl_seconds``. ``role`` is the giver's, which only an admin who delegates for another names.
    Persons' names; times in microseconds."""

    operation: ClassVar[str] = "delegate"
    id: str
    receiver: str
    giver: str | None = None
    role: str | None = None
    starts_at: int | None = None
    ends_at: int | None = None
    ttl_seconds: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeDelegation(Command):
    """End a delegation before its time: by its giver, its receiver or an admin."""

    operation: ClassVar[str] = "revoke_delegation"
    delegation: str
    reason: str | None = None
