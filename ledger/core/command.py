"""One frozen dataclass per intent: what somebody asks the ledger to do, checked for form and nothing else.

Amounts are decimal text with their currency code beside them, because only the book knows the scale of a unit it
defined; times are microseconds since 1970 UTC. Ids and key digests are made by ``services.sources`` and arrive here
ready. ``operation`` names the row of the role table (``core.roles``).
"""

from dataclasses import dataclass, field
from typing import ClassVar

from ledger.core.authorization import ON_EXPIRY_RELEASE, TTL_SECONDS_DEFAULT
from ledger.core.line import Line
from ledger.core.metering import Pairs


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the digest of the key that came with the request. ``None`` is the system's own sweeper, or with
    ``as_owner`` whoever owns the database, who may do anything and is named so on record. ``as_gateway`` is the
    server's own gateway, which carries out a call for whoever holds the key: it is on record, and what ends such a call
    is the gateway's to say, whatever became of the key meanwhile. Nothing that comes over HTTP has it."""

    key_digest: bytes | None
    as_owner: bool = False
    as_gateway: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command has. ``idempotency_key`` is empty for the system's own commands."""

    operation: ClassVar[str] = ""
    caller: Caller
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize(Command):
    """Ask to spend at most ``amount``. ``labels`` are sorted pairs; ``fingerprint`` is what the client says makes two
    requests the same. ``partial_ok`` takes what is free now; ``afford`` takes less only where there is less in all,
    open holds not counted, and goes before ``partial_ok``; it then takes no less than ``least``. With a ``line`` it may
    wait in line, behind who stands there; that is no part of the request. ``barred`` is the status (of
    ``outcome.BARS``) for which whoever would carry the request out cannot: it is denied, and so on record."""

    operation: ClassVar[str] = "authorize"
    id: str
    amount: str
    currency: str
    category: str
    payee: str
    resource: str | None = None
    budget: str | None = None
    run: str | None = None
    intent: str | None = None
    ttl_seconds: int = TTL_SECONDS_DEFAULT
    accept_pending: bool = False
    partial_ok: bool = False
    on_expiry: str = ON_EXPIRY_RELEASE
    labels: tuple[tuple[str, str], ...] = ()
    fingerprint: str | None = None
    barred: str | None = None
    afford: bool = False
    least: str | None = None
    line: Line | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle(Command):
    """Record actual cost against a hold; ``final`` releases the rest. ``evidence`` is JSON text; ``metering`` is what
    the cost was made from (``core.metering.pairs_of``); ``flags`` are of ``SETTLE_FLAGS``, each once."""

    operation: ClassVar[str] = "settle"
    authorization: str
    amount: str
    currency: str
    final: bool = True
    category: str | None = None
    payee: str | None = None
    resource: str | None = None
    evidence: str | None = None
    metering: Pairs = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend(Command):
    """Add amount, or time, or both, to an open hold. ``line`` as of ``Authorize``."""

    operation: ClassVar[str] = "extend"
    authorization: str
    amount: str | None = None
    currency: str | None = None
    ttl_seconds: int | None = None
    line: Line | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Command):
    """End a hold without further cost."""

    operation: ClassVar[str] = "release"
    authorization: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUnknown(Command):
    """Say that nobody knows whether a hold was spent: it stays held and is listed, as if its time had run out now."""

    operation: ClassVar[str] = "mark_unknown"
    authorization: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDue(Command):
    """The sweeper's command: expire what is due, recording nothing else. Needs no key."""

    operation: ClassVar[str] = "expire_due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge(Command):
    """Record spend that nobody authorized."""

    operation: ClassVar[str] = "charge"
    id: str
    budget: str
    amount: str
    currency: str
    category: str
    payee: str
    agent: str | None = None
    run: str | None = None
    resource: str | None = None
    reason: str | None = None
    evidence: str | None = None
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Command):
    """Take back part or all of what an authorization or a charge settled. ``category`` and ``payee`` choose among
    several settled pairs."""

    operation: ClassVar[str] = "refund"
    id: str
    authorization: str
    amount: str
    currency: str
    category: str | None = None
    payee: str | None = None
    reason: str | None = None
    effective_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprice(Command):
    """Correct what an authorization or a charge was settled for, because the price was wrong. ``settled`` is what is
    recorded now, earlier repricing included and refunds not taken off; ``amount`` what it should be. The prices are
    named as ``core.metering.pairs_of`` has them. ``category`` and ``payee`` choose among several settled pairs."""

    operation: ClassVar[str] = "reprice"
    id: str
    authorization: str
    settled: str
    amount: str
    currency: str
    old_price: Pairs
    new_price: Pairs
    reason: str
    category: str | None = None
    payee: str | None = None
    effective_at: int | None = None


@dataclass(frozen=True, slots=True)
class AdjustmentTransfer:
    """One transfer of an adjustment: account names, decimal amount text, currency code."""

    debit: str
    credit: str
    amount: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust(Command):
    """Balanced transfers by finance, with a reason; ``corrects`` is the log index of the record that they put right."""

    operation: ClassVar[str] = "adjust"
    id: str
    transfers: tuple[AdjustmentTransfer, ...]
    reason: str
    effective_at: int | None = None
    corrects: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocate(Command):
    """Give a budget authority from its parent, or from ``authority`` when it has none."""

    operation: ClassVar[str] = "allocate"
    id: str
    budget: str
    amount: str
    currency: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deallocate(Command):
    """Give available authority back to the parent (or to ``authority``)."""

    operation: ClassVar[str] = "deallocate"
    id: str
    budget: str
    amount: str
    currency: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAgent(Command):
    """Make a team (``kind`` team) or an agent under a team or another agent."""

    operation: ClassVar[str] = "create_agent"
    id: str
    name: str
    kind: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeAgent(Command):
    """Freeze (or, with ``frozen`` False, unfreeze) an agent or a team with all below it."""

    operation: ClassVar[str] = "freeze_agent"
    agent: str
    frozen: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKey(Command):
    """Make a key for an agent, or for a person with a role. ``digest`` is the SHA-256 of the whole key. With ``run``
    the key is for that run only; its agent, if none is named, is the asker, or the run's where an admin asks."""

    operation: ClassVar[str] = "create_key"
    id: str
    digest: bytes
    role: str
    agent: str | None = None
    person: str | None = None
    ttl_seconds: int | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey(Command):
    """Make a successor with the same principal and role, that lasts ``ttl_seconds`` (None: until it is revoked); the
    old key ends after ``overlap_seconds``."""

    operation: ClassVar[str] = "rotate_key"
    key: str
    id: str
    digest: bytes
    overlap_seconds: int = 0
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey(Command):
    """End a key at once."""

    operation: ClassVar[str] = "revoke_key"
    key: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBudget(Command):
    """Make a budget; ``agents`` names the agents and teams that may spend from it."""

    operation: ClassVar[str] = "create_budget"
    id: str
    name: str
    currency: str
    parent: str | None = None
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignBudget(Command):
    """Let further agents or teams spend from a budget."""

    operation: ClassVar[str] = "assign_budget"
    budget: str
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun(Command):
    """Open a run on record, for the asking agent, or for ``agent`` when an admin asks; with a cap, which is decimal
    text in ``cap_currency``, it may hold and have spent at most that much."""

    operation: ClassVar[str] = "open_run"
    id: str
    name: str
    agent: str | None = None
    cap_amount: str | None = None
    cap_currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineUnit(Command):
    """Define something countable that is not money, with 0 to 9 digits after the point."""

    operation: ClassVar[str] = "define_unit"
    name: str
    digits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddName(Command):
    """Make a category or a payee known to the book (``kind`` is ``category`` or ``payee``)."""

    operation: ClassVar[str] = "add_name"
    kind: str
    name: str
