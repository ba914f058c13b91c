"""The gate that every command of a batch passes: a key that is valid, a role that may, an answer that was given before.

Owns who may ask (checked here, at the commit), amounts as they come in, and what a repeated idempotency key is answered
with. Invariant: a command is refused here before it has changed anything.
"""

from typing import Any, Final, NamedTuple

from ledger.core import roles
from ledger.core.authorization import EXPIRED, HELD, ON_EXPIRY_UNKNOWN, OPEN_STATES
from ledger.core.canonical import parse
from ledger.core.command import Authorize, Command, Extend
from ledger.core.correction import EXPIRED as CORRECTION_EXPIRED
from ledger.core.correction import PENDING, Correction
from ledger.core.moment import moment_text
from ledger.core.money import MoneyError, parse_atoms
from ledger.core.outcome import Outcome, Status
from ledger.core.overlay import Overlay
from ledger.core.principal import OWNER_PRINCIPAL, Key
from ledger.core.refusal import refuse
from ledger.core.scoping import check_operation
from ledger.core.snapshot import PriorAnswer, Snapshot

_MONEY_STATUS: Final = {
    "format": Status.AMOUNT_MALFORMED,
    "digits": Status.AMOUNT_TOO_PRECISE,
    "range": Status.AMOUNT_TOO_LARGE,
}
ANSWERING_KINDS: Final = ("hold", "extension", "approval_requested")
"""Records that answer with a hold, which a repeat must not revive."""


class Carrying(NamedTuple):
    """What is carried out for somebody because a second person approved it: ``asker`` is (principal, key id) of the
    first, ``request`` what they asked for without its texts, ``said`` what the record says of the second, whose
    ``principal`` it is and whose request has ``digest``."""

    asker: tuple[str, str | None]
    request: dict[str, Any]
    said: dict[str, Any]
    principal: str
    digest: bytes


class Gate(Overlay):
    """Admits commands to a batch; ``key_run`` is the only run that the key of the command at hand is for, ``texts`` are
    the free texts it brought, ``answers`` what the batch has answered so far. While ``carrying`` is set, the command at
    hand is what a second person approved: it was admitted when it was asked for."""

    __slots__ = ("answers", "carrying", "key_run", "texts")

    def __init__(self, snapshot: Snapshot, now: int) -> None:
        super().__init__(snapshot, now)
        self.answers: dict[tuple[str, str], PriorAnswer] = {}
        self.texts: list[tuple[str, bytes, str]] = []
        self.key_run: str | None = None
        self.carrying: Carrying | None = None

    def admit(self, asked: Command) -> tuple[str, str | None]:
        """(principal, key id) of whoever may do this; refuses otherwise. Checked here, at the commit. Every command
        passes here first, so this is also where the texts of the one before are forgotten, and where ``key_run``
        becomes the only run that the key is for."""
        if self.carrying is not None:
            return self.carrying.asker
        self.texts.clear()
        self.key_run = None
        digest = asked.caller.key_digest
        if digest is None:
            if not asked.caller.as_owner:
                refuse(Status.KEY_UNKNOWN, "no key came with this request")
            return OWNER_PRINCIPAL, None
        key = self.key_of(digest)
        if key is None:
            refuse(Status.KEY_UNKNOWN, "this key is not known; check for a typing error or ask for a new key")
        if asked.caller.as_gateway and asked.operation in roles.GATEWAY_REPORTS:
            # Real spend is recorded whatever became of the key.
            self.key_run = key.run
            return key.principal, key.id
        if key.revoked_at is not None:
            refuse(Status.KEY_REVOKED, f"{key.id} was revoked at {moment_text(key.revoked_at)}")
        if key.expires_at is not None and key.expires_at <= self.now:
            refuse(Status.KEY_EXPIRED, f"{key.id} expired at {moment_text(key.expires_at)}")
        if not roles.allowed(asked.operation, key.role):
            refuse(
                Status.ROLE_NOT_ALLOWED,
                f"a key with role {key.role} may not {asked.operation}; roles that may: "
                + ", ".join(sorted(roles.PERMISSIONS[asked.operation])),
            )
        if key.run is not None:
            self.key_run = key.run
            check_operation(asked.operation, key)
        return key.principal, key.id

    def key_of(self, digest: bytes) -> Key | None:
        """A key as it stands in this batch."""
        return self.keys.get(digest) or self.snapshot.keys[digest]

    def atoms(self, text: str, currency: str, *, zero_ok: bool = False) -> int:
        """Decimal text as positive atoms; refuses what is malformed, too precise, not positive or too large."""
        try:
            atoms = parse_atoms(text, self.digits(currency))
        except MoneyError as error:
            refuse(_MONEY_STATUS[error.code], f"{error}; amounts of {currency} have {self.digits(currency)} digits")
        if atoms < 0 or (atoms == 0 and not zero_ok):
            refuse(Status.AMOUNT_NOT_POSITIVE, f"{text} {currency} is not more than zero")
        return atoms

    def answered(self, asked: Command, principal: str, request_digest: bytes) -> Outcome | None:
        """The recorded answer when this principal has used this key before (in this batch too), else None."""
        if not asked.idempotency_key or asked.caller.key_digest is None or self.carrying is not None:
            return None
        pair = (principal, asked.idempotency_key)
        prior = self.answers.get(pair)
        if prior is None:
            prior = self.snapshot.idempotency[pair]
            if prior is None:
                return None
        if prior.request_digest != request_digest:
            refuse(
                Status.IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key was used for another request; use a new key for a new request",
            )
        if not prior.body:
            refuse(Status.RECORD_ARCHIVED, f"record {prior.log_index}, which answered this, has been archived")
        body = parse(prior.body)
        outcome = Outcome(Status.REPLAYED, body, prior.log_index, prior.leaf_hash, replayed=True)
        if body["kind"] == "correction_requested":
            outcome.facts |= self._decided(body["correction"])
        if isinstance(asked, (Authorize, Extend)) and body["kind"] in ANSWERING_KINDS:
            hold = self.authorization(body["authorization"])
            state = hold.state if hold is not None else "unknown"
            if hold is not None and hold.due_at is not None and hold.due_at <= self.now:
                # Its time has come, and many that are due stand before it: it ends in one of the next batches.
                unknown = hold.on_expiry == ON_EXPIRY_UNKNOWN and state == HELD
                state = HELD if unknown else EXPIRED
            if state == HELD and body["kind"] == "approval_requested":
                # It was granted meanwhile: what is answered is still the request, with the state beside it.
                outcome.facts["state"] = state
            if state not in OPEN_STATES:
                outcome.status = Status.REPLAY_CLOSED
                outcome.facts["state"] = state
                outcome.facts["authorization"] = body["authorization"]
                outcome.detail = "this request was approved before and its hold is no longer open"
        return outcome

    def _decided(self, reference: str) -> dict[str, Any]:
        """What has become of a correction that was asked for: its state, and the record that it became."""
        row: Correction = self.fact("corrections", reference)
        if row.state == PENDING:
            return {"state": CORRECTION_EXPIRED if row.expires_at <= self.now else PENDING}
        return {"state": row.state, "decided_index": row.changed_index}
