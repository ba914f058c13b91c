"""Asking persons: a request that policies let through but for their approval holds its amount while they decide.

Invariants: the amount is held from the moment it is asked for, so that a grant can be funded; every tier is fixed with
the request, with the digest of what was asked, so that a later edit of a policy changes nothing that is in flight.
"""

from hashlib import blake2b
from typing import Any

from ledger.core.account import available_name, held_name
from ledger.core.approval import OPEN, WAITING, Approval
from ledger.core.authorization import FLAG_PARTIAL, PENDING, Authorization, flag_names
from ledger.core.budget_said import budget_after
from ledger.core.canonical import canonical_bytes
from ledger.core.command import Authorize
from ledger.core.ids import ALPHABET, APPROVAL, BODY_LENGTH, TIME_LENGTH
from ledger.core.judging import Tier
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.working import Batch, Posting


def request_approval(
    batch: Batch,
    asked: Authorize,
    row: Authorization,
    body: dict[str, Any],
    approved: int,
    tiers: tuple[Tier, ...],
    digest: bytes,
) -> Outcome:
    """Hold the amount and open the first tier. ``body`` is complete but for what stands after the record."""
    postings: list[Posting] = [(held_name(row.budget), available_name(row.budget), approved, row.currency)]
    row.approved = row.held = approved
    row.state = PENDING
    row.flags = FLAG_PARTIAL if approved < row.amount else 0
    approvals = approvals_of(batch, asked, row, tiers, digest)
    row.due_at = approvals[0].expires_at
    body["approved"] = str(approved)
    body["state"] = PENDING
    if row.flags:
        body["flags"] = flag_names(row.flags)
    body["approvals"] = [approval_said(approval) for approval in approvals]
    body["budget"] = budget_after(batch, row.budget, row.currency, postings)
    total = batch.run_total(row.run, row.currency, batch.index)
    if total is not None:
        total.approved_count += 1
        total.held += approved
    batch.authorizations[row.id] = row
    batch.meet_names(asked.category, asked.payee)
    for approval in approvals:
        batch.add("approvals", approval.id, approval)
    batch.make("approvals_of", row.id, tuple(approval.id for approval in approvals))
    for approval in approvals:
        batch.make("votes", approval.id, ())
    index, leaf = batch.record("approval_requested", row.id, body, postings)
    return Outcome(Status.PENDING_APPROVAL, body, index, leaf)


def approvals_of(
    batch: Batch, asked: Authorize, row: Authorization, tiers: tuple[Tier, ...], digest: bytes
) -> list[Approval]:
    """One approval for each tier, the first of them open. Its id is the authorization's with the place behind it."""
    key_digest = asked.caller.key_digest
    key = batch.key_of(key_digest) if key_digest is not None else None
    if key is None:
        raise LookupError("the key of the request vanished from the facts")
    made: list[Approval] = []
    for position, tier in enumerate(tiers):
        is_first = position == 0
        made.append(
            Approval(
                batch.book_id, approval_id(row.id, position), row.id, position, tier.policy, tier.version, tier.rule,
                OPEN if is_first else WAITING, canonical_bytes(list(tier.approvers)).decode(), tier.quorum,
                tier.expires_after, digest, key.principal, key.backer, asked.ttl_seconds,
                batch.now if is_first else None, batch.now + tier.expires_after * SECOND if is_first else None, None,
                batch.index, batch.index,
            )
        )  # fmt: skip
    return made


def approval_id(authorization: str, position: int) -> str:
    """The id of an authorization's approval: the time of the authorization's id, and 80 bits of BLAKE2b over id and
    place, so that the same request gives the same ids."""
    time = authorization.partition("_")[2][:TIME_LENGTH]
    digest = blake2b(f"{authorization}/{position}".encode(), digest_size=BODY_LENGTH - TIME_LENGTH).digest()
    return f"{APPROVAL}_{time}{''.join(ALPHABET[byte & 31] for byte in digest)}"


def approval_said(approval: Approval) -> dict[str, Any]:
    """An approval as a body says it."""
    said: dict[str, Any] = {
        "id": approval.id,
        "policy": approval.policy,
        "version": approval.version,
        "rule": approval.rule,
        "approvers": approval.approvers,
        "quorum": approval.quorum,
        "expires_after": approval.expires_after,
        "state": approval.state,
        "request_digest": approval.request_digest.hex(),
        "requested_by": approval.requested_by,
        "key_made_by": approval.key_made_by,
    }
    if approval.expires_at is not None:
        said["expires_at"] = moment_text(approval.expires_at)
    return said
