"""What an agent may still spend, as ``GET /v1/me`` shows it.

Owns the shapes of ``api.schemas.remaining``. Invariant: amounts and counts stand under the names that they have in a
decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from api.amounts import Scale, money
from api.rendering_policies import scope_shown
from ledger.core.moment import moment_text
from ledger.core.policy import RUNS, ApprovalRule, Meter
from ledger.core.windows import hours_open
from ledger.services.policies.remaining import Left, LimitLeft, PolicyLeft


def currencies_in(policies: Sequence[PolicyLeft]) -> Iterator[str]:
    """Every currency and unit that the limits and thresholds count in."""
    for found in policies:
        for limit in (*found.limits, *found.thresholds):
            if limit.meter.currency is not None:
                yield limit.meter.currency


def policy_left_view(found: PolicyLeft, scale: Scale, now: int) -> dict[str, Any]:
    """A policy that judges the agent, with what is left. ``now`` in microseconds."""
    policy = found.policy
    shown: dict[str, Any] = {
        "name": policy.name,
        "version": policy.version,
        "digest": policy.digest,
        "scope": scope_shown(found.document["applies_to"]),
        "shadow": policy.shadow,
        "limits": [_limit(limit, scale, now) for limit in found.limits],
        "approval": [_threshold(rule, left, scale) for rule, left in _paired(policy.approvals, found.thresholds)],
    }
    if found.budgets is not None:
        shown["budgets"] = list(found.budgets)
    if policy.error:
        shown["error"] = policy.error
    if policy.hours is not None:
        is_open, opens_at = hours_open(policy.hours, policy.timezone, now)
        shown["hours"] = {**found.document["hours"], "timezone": policy.timezone, "open": is_open}
        if opens_at is not None:
            shown["hours"]["opens_at"] = moment_text(opens_at)
    return shown


def _paired(rules: Sequence[ApprovalRule], thresholds: Sequence[LimitLeft]) -> Iterator[tuple[ApprovalRule, LimitLeft]]:
    by_id = {rule.id: rule for rule in rules}
    for left in thresholds:
        yield by_id[left.meter.id], left


def _limit(found: LimitLeft, scale: Scale, now: int) -> dict[str, Any]:
    meter = found.meter
    shown: dict[str, Any] = {"id": meter.id, "window": meter.window}
    if meter.kind == RUNS:
        shown["on"] = "runs"
    if meter.maximum is not None:
        shown["limit"] = _money(meter.maximum, meter, scale)
    if meter.max_count is not None:
        shown["limit_count"] = meter.max_count
    ends_at = meter.bounds(now)[1]
    if ends_at:
        shown["resets_at"] = moment_text(ends_at)
    return shown | _use(found, scale)


def _use(found: LimitLeft, scale: Scale) -> dict[str, Any]:
    """What is left, as a whole or under each key."""
    meter = found.meter
    shown: dict[str, Any] = {}
    if found.match is not None:
        shown["match"] = found.match
    if all(word == "agent" for word in meter.by):
        return shown | _left(found.keys[0], meter, scale)
    shown["by"] = list(meter.by)
    shown["keys"] = [{"key": list(left.key), **_left(left, meter, scale)} for left in found.keys]
    if found.more:
        shown["more_keys"] = True
    return shown


def _left(left: Left, meter: Meter, scale: Scale) -> dict[str, Any]:
    settled, held, count = left.sums
    used = settled + held
    shown: dict[str, Any] = {}
    if meter.currency is not None:
        shown["used"] = _money(used, meter, scale)
        if meter.maximum is not None:
            shown["remaining"] = _money(max(meter.maximum - used, 0), meter, scale)
    if meter.max_count is not None:
        shown["used_count"] = count
        shown["remaining_count"] = max(meter.max_count - count, 0)
    return shown


def _threshold(rule: ApprovalRule, left: LimitLeft, scale: Scale) -> dict[str, Any]:
    meter = rule.meter
    return {
        "id": rule.id,
        "window": meter.window,
        "above": _money(rule.above, meter, scale),
        "approvers": list(rule.approvers),
        "quorum": rule.quorum,
        "expires_after": rule.expires_after,
        **_use(left, scale),
    }


def _money(atoms: int, meter: Meter, scale: Scale) -> dict[str, str]:
    currency = meter.currency or ""
    return money(str(atoms), currency, scale[currency])
