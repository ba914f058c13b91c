"""What records about approvals and delegations say, as answers write it.

Invariant: all of it comes from the record, so a replay repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ledger.core.approval import OPEN
from ledger.core.authorization import PENDING
from ledger.core.outcome import Outcome


def tiers_said(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The approvals that a request waits for, as they began."""
    shown = []
    for place, tier in enumerate(body["approvals"], start=1):
        one = {
            "id": tier["id"],
            "state": tier["state"],
            "tier": place,
            "policy": tier["policy"],
            "version": tier["version"],
            "rule": tier["rule"],
            "approvers": orjson.loads(tier["approvers"]),
            "quorum": tier["quorum"],
            "expires_after": tier["expires_after"],
            "request_digest": tier["request_digest"],
        }
        if "expires_at" in tier:
            one["expires_at"] = tier["expires_at"]
        shown.append(one)
    return shown


def is_still_pending(outcome: Outcome) -> bool:
    """Whether a request that persons were asked about waits for them yet; a replay knows how it stands now."""
    return outcome.facts.get("state", PENDING) == PENDING


def vote_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a vote did."""
    changed = body.get("approvals", [])
    states = dict(changed)
    shown: dict[str, Any] = {
        "id": body["approval"],
        "state": states.get(body["approval"], OPEN),
        "authorization": body["authorization"],
        "authorization_state": body["state"],
        "changed": [{"id": reference, "state": state} for reference, state in changed],
    }
    for name in ("agent", "vote", "granted", "quorum", "expires_at", "flags"):
        if name in body:
            shown[name] = body[name]
    return shown


def delegation_said(body: Mapping[str, Any]) -> dict[str, Any]:
    """A delegation as it was given or revoked."""
    shown = {
        "id": body["delegation"],
        "from": body["giver"],
        "to": body["receiver"],
        "role": body["role"],
        "starts_at": body["starts_at"],
        "ends_at": body["ends_at"],
    }
    if body["kind"] == "delegation_revocation":
        shown["revoked_at"] = body["time"]
    else:
        shown["made_by"] = body["by"]["principal"]
    return shown
