"""From approvals, votes and delegations to what reads answer.

Invariant: the shapes are those of ``api.schemas.approvals``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from api.rendering import Scale
from api.routes.views import amount, moment_or_none, redacted_view
from ledger.core.approval import FORCED, GRANT, Approval, Delegation, Vote
from ledger.core.authorization import Authorization
from ledger.core.canonical import parse
from ledger.core.moment import moment_text
from ledger.core.seats import is_live
from ledger.storage import queries_approvals, queries_log, queries_texts


class Seen(NamedTuple):
    """What stands beside approvals: votes by approval, reasons by log index, who forced by log index, and what was
    redacted by log index and field."""

    votes: dict[str, list[Vote]]
    reasons: dict[int, str]
    forced_by: dict[int, str]
    redacted: dict[int, dict[str, int]]


def seen_of(connection: Connection, book_id: int, approvals: Sequence[Approval]) -> Seen:
    """The votes on approvals, and who forced them, with their reasons."""
    votes = queries_approvals.votes_on(connection, book_id, [approval.id for approval in approvals])
    forced = {approval.changed_index for approval in approvals if approval.state == FORCED}
    by = {
        index: str(parse(record.body)["by"]["principal"])
        for index, record in (queries_log.records_at(connection, book_id, forced) if forced else {}).items()
    }
    indexes = forced | {vote.created_index for given in votes.values() for vote in given}
    reasons = queries_log.texts_at(connection, book_id, indexes, "reason") if indexes else {}
    gone = indexes - reasons.keys()
    redacted = queries_texts.redacted_at(connection, book_id, gone) if gone else {}
    return Seen(votes, reasons, by, redacted)


def tier_view(approval: Approval, seen: Seen) -> dict[str, Any]:
    """An approval without the request that it is about."""
    votes = seen.votes.get(approval.id, [])
    shown: dict[str, Any] = {
        "id": approval.id,
        "state": approval.state,
        "tier": approval.position + 1,
        "policy": approval.policy,
        "version": approval.version,
        "rule": approval.rule,
        "approvers": parse(approval.approvers.encode()),
        "quorum": approval.quorum,
        "granted": sum(vote.verdict == GRANT for vote in votes),
        "expires_after": approval.expires_after,
        "opened_at": moment_or_none(approval.opened_at),
        "expires_at": moment_or_none(approval.expires_at),
        "decided_at": moment_or_none(approval.decided_at),
        "request_digest": approval.request_digest.hex(),
        "votes": [
            {
                "person": vote.person,
                "seat": vote.seat,
                "verdict": vote.verdict,
                "at": moment_text(vote.recorded_at),
                "reason": seen.reasons.get(vote.created_index),
                **redacted_view(seen.redacted.get(vote.created_index)),
            }
            for vote in votes
        ],
    }
    if approval.state == FORCED:
        shown["forced"] = {
            "by": seen.forced_by.get(approval.changed_index, ""),
            "at": moment_or_none(approval.decided_at),
            "reason": seen.reasons.get(approval.changed_index),
            **redacted_view(seen.redacted.get(approval.changed_index)),
        }
    return shown


def approval_view(
    approval: Approval,
    row: Authorization,
    seen: Seen,
    scale: Scale,
    labels: dict[str, str],
    intent: str | None,
    *,
    tiers: int,
) -> dict[str, Any]:
    """An approval with the request that it is about."""
    return {
        **tier_view(approval, seen),
        "tiers": tiers,
        "requested_by": approval.requested_by,
        "key_made_by": approval.key_made_by,
        "request": {
            "authorization": row.id,
            "state": row.state,
            "agent": row.agent,
            "budget": row.budget,
            "run": row.run,
            "amount": amount(row.amount, row.currency, scale),
            "approved": amount(row.approved, row.currency, scale),
            "category": row.category,
            "payee": row.payee,
            "resource": row.resource,
            "labels": labels,
            "intent": intent,
            "ttl_seconds": approval.ttl_seconds,
            "created_at": moment_text(row.created_at),
        },
        "log": {"index": approval.created_index},
    }


def delegation_view(row: Delegation, now: int) -> dict[str, Any]:
    """A delegation, and whether it stands at ``now`` (microseconds)."""
    return {
        "id": row.id,
        "from": row.giver,
        "to": row.receiver,
        "role": row.role,
        "starts_at": moment_text(row.starts_at),
        "ends_at": moment_text(row.ends_at),
        "revoked_at": moment_or_none(row.revoked_at),
        "live": is_live(row, now),
        "made_by": row.made_by,
        "log": {"index": row.created_index},
    }
