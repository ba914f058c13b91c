"""Examples of what a candidate would have answered otherwise, made of records and verdicts.

Invariant: an example says what the rule saw, whether the candidate refuses or the live version of its name did.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ledger.core.judging import Judgement
from ledger.core.outcome import Status
from ledger.core.rules import Verdict
from ledger.core.simulated import AUTHORIZATION, Example
from ledger.core.simulating_reality import PLACES, Reality


class Past(NamedTuple):
    """One record: its place in the log, its kind, when it was written (microseconds), and its body."""

    log_index: int
    kind: str
    moment: int
    body: dict[str, Any]


def fingerprints_said(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    derived = ("derived", body["fingerprint"])
    sent = body["request"].get("fingerprint")
    return (derived,) if sent is None else (derived, ("client", sent))


def denied_example(record: Past, sort: str, amount: int, verdict: Verdict) -> Example:
    body = record.body
    return Example(
        record.moment, record.log_index, sort, body["authorization"], body["agent"], amount, body["currency"],
        verdict.status.value if verdict.status is not None else "", verdict.rule, verdict.detail, verdict.observed,
        verdict.limit, verdict.remaining, verdict.counted,
    )  # fmt: skip


def plain_example(record: Past, sort: str, amount: int, rule: str, detail: str) -> Example:
    body = record.body
    return Example(
        record.moment,
        record.log_index,
        sort,
        body["authorization"],
        body["agent"],
        amount,
        body["currency"],
        "",
        rule,
        detail,
    )


def refused_example(record: Past, sort: str, amount: int, reality: Reality) -> Example:
    """An example of what was really refused, with the reason that was given."""
    reason = min(reality.own, key=lambda one: PLACES.get(one["code"], 0))
    values = [int(reason[name]) if name in reason else None for name in ("observed", "limit", "remaining")]
    return plain_example(record, sort, amount, reason["rule"], reason["detail"])._replace(
        code=reason["code"], observed=values[0], limit=values[1], remaining=values[2], counted="unit" in reason
    )


def no_longer_asked_example(record: Past, amount: int, policy: str) -> Example:
    """An example of what persons were really asked about."""
    decision = record.body["decision"]
    found = next(
        item for item in decision["approvals"] if item[5] == "ask" and decision["policies"][item[0]][0] == policy
    )
    used, above = int(found[4]), int(found[3])
    example = plain_example(
        record, AUTHORIZATION, amount, f"{policy}/{found[1]}", f"persons were asked, per {found[2]}"
    )
    return example._replace(observed=used + amount, limit=above, remaining=max(above - used, 0))


def asked_example(record: Past, sort: str, judgement: Judgement, amount: int) -> Example:
    """An example of what the candidate would ask persons about."""
    body, tier = record.body, judgement.tiers[0]
    found = next(item for item in judgement.approvals if item[5] == "ask" and item[1] == tier.rule)
    used, above = int(found[4]), int(found[3])
    return Example(
        record.moment, record.log_index, sort, body["authorization"], body["agent"], amount, body["currency"],
        Status.APPROVAL_REQUIRED.value, f"{tier.policy}/{tier.rule}", f"more than the threshold, per {found[2]}",
        used + amount, above, max(above - used, 0),
    )  # fmt: skip
