"""The fold over approvals and delegations: what asking persons, their votes and their standing in for each other do.

Invariants: written from the rules and not from the code that decided; who voted was asked for, had no part in the
request, and voted once; a tier is granted by its quorum and the tiers one after the other.
"""

from hashlib import sha256
from typing import Any, Final

from ledger.core.account import available_name, held_name
from ledger.core.approval import (
    FORCED,
    GRANT,
    GRANTED,
    OPEN,
    REFUSE,
    WAITING,
    Approval,
    Delegation,
    Vote,
)
from ledger.core.approval import REFUSED as TIER_REFUSED
from ledger.core.authorization import FLAG_FORCED, HELD, PENDING, REFUSED, Authorization, flag_names
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.judging import Tier, tier_of
from ledger.core.moment import SECOND, moment_of, moment_text
from ledger.core.projecting_exchange import approve
from ledger.core.projecting_policies import count_attempt, count_use, plan_of
from ledger.core.projecting_record import Record
from ledger.core.projecting_spending import asked_row, changed_row, end_row, expect_row, total_of
from ledger.core.projecting_tiers import UNDECIDED, close_tiers, tiers_of, turn
from ledger.core.requesting_approval import approval_id
from ledger.core.uses import NO_USE


def _requested(record: Record) -> None:
    body = record.body
    row = asked_row(record)
    approve(record, row, PENDING)
    record.post([[held_name(row.budget), available_name(row.budget), body["approved"], row.currency]])
    total = total_of(record, row.run, row.currency, record.index)
    if total is not None:
        total.approved_count += 1
        total.held += row.approved
    record.meet_name(CATEGORY, row.category)
    record.meet_name(PAYEE, row.payee)
    rules = _rules(record, row)
    tiers = [_tier(record, row, position, said, rules) for position, said in enumerate(body["approvals"])]
    if not tiers:
        raise ValueError("persons are asked, and there is nothing to ask them")
    row.due_at = tiers[0].expires_at
    record.store.authorizations.add(row.id, row)
    count_attempt(record, body["agent"], row.budget)
    count_use(record, row, NO_USE, new=True)
    record.expect("state", PENDING)
    record.expect("flags", flag_names(row.flags) or None)
    record.expect("expires_at", None)
    record.expect_budget("budget", row.budget, row.currency)
    if body["decision"]["outcome"] != "pending_approval":
        record.differ("persons are asked who need not be", "pending_approval", body["decision"]["outcome"])


def _rules(record: Record, row: Authorization) -> dict[tuple[str, str], Tier]:
    """The rules that may ask persons about a request, by policy and id. Notes a difference where those that the
    decision says ask are not those whose approvals the body has; one in another currency asks without being said."""
    policies = plan_of(record.fold, row.agent, row.budget).policies
    rules = [(policy, rule) for policy in policies if not policy.shadow for rule in policy.approvals]
    foreign = {(policy.name, rule.id) for policy, rule in rules if rule.meter.currency != row.currency}
    asking = [
        [policies[place].name, rule]
        for place, rule, *_, verdict in record.body["decision"].get("approvals", ())
        if verdict == "ask" and not policies[place].shadow
    ]
    asked = [
        [said["policy"], said["rule"]]
        for said in record.body["approvals"]
        if (said["policy"], said["rule"]) not in foreign
    ]
    if asked != asking:
        record.differ("those who are asked are not those whom the decision asks", asking, asked)
    return {(policy.name, rule.id): tier_of(policy, rule) for policy, rule in rules}


def _tier(
    record: Record, row: Authorization, position: int, said: dict[str, Any], rules: dict[tuple[str, str], Tier]
) -> Approval:
    """One approval as it begins; the first is open."""
    by = record.body["by"]
    key = record.store.api_keys.get(by["key"])
    if key is None:
        raise LookupError(f"there is no key {by['key']}")
    tier = Approval(
        record.fold.book_id, said["id"], row.id, position, said["policy"], said["version"], said["rule"],
        OPEN if position == 0 else WAITING, said["approvers"], said["quorum"], said["expires_after"],
        sha256(canonical_bytes(record.body["request"])).digest(), by["principal"], key.backer,
        record.body["request"]["ttl_seconds"], None, None, None, record.index, record.index,
    )  # fmt: skip
    if position == 0:
        _begin(record, tier)
    expected: dict[str, Any] = {
        "state": tier.state,
        "request_digest": tier.request_digest.hex(),
        "requested_by": tier.requested_by,
        "key_made_by": tier.key_made_by,
        "expires_at": moment_text(tier.expires_at) if tier.expires_at is not None else None,
        "id": approval_id(row.id, position),
    }
    rule = rules.get((tier.policy, tier.rule))
    if rule is not None:
        approvers = canonical_bytes(list(rule.approvers)).decode()
        expected |= rule._asdict() | {"approvers": approvers}
    for field, value in expected.items():
        if said.get(field) != value:
            record.differ(f"approvals: {field} is not what the records before it give", value, said.get(field))
    record.store.approvals.add((row.id, position), tier)
    return tier


def _begin(record: Record, tier: Approval) -> None:
    """A tier's time runs from when it opens."""
    tier.opened_at = record.time
    tier.expires_at = record.time + tier.expires_after * SECOND


def _open_tier(record: Record, row: Authorization) -> Approval:
    """The tier that a record is about: the open one of a request that waits."""
    if row.state != PENDING:
        record.differ(f"{row.id} is {row.state} and waits for nobody", PENDING, row.state)
    tier = next((tier for tier in tiers_of(record, row.id) if tier.state == OPEN), None)
    if tier is None:
        raise LookupError(f"nobody is asked about {row.id}")
    record.expect("approval", tier.id)
    if tier.expires_at is not None and tier.expires_at <= record.time:
        record.differ(f"{tier.id} is decided after its time", tier.expires_at, record.time)
    digest = record.body["request"].get("request_digest")
    if digest not in (None, tier.request_digest.hex()):
        record.differ("the request is not the one that was asked for", tier.request_digest.hex(), digest)
    return tier


def _vote(record: Record, tier: Approval, verdict: str) -> list[Vote]:
    """Take a vote; the votes on the tier so far."""
    said = record.body["vote"]
    vote = Vote(record.fold.book_id, tier.id, said["seat"], said["person"], verdict, record.time, record.index)
    if said["verdict"] != verdict:
        record.differ("the vote is not what the record is", verdict, said["verdict"])
    before = record.fold.votes.setdefault(tier.id, [])
    if any(vote.person == other.person or vote.seat == other.seat for other in before):
        record.differ("a voice is counted twice", "once", vote.person)
    if not _may_vote(record, tier, said):
        record.differ(f"{vote.person} is not asked for this approval", tier.approvers, vote.person)
    before.append(vote)
    record.store.approval_votes.add((tier.id, vote.seat), vote)
    return before


def _may_vote(record: Record, tier: Approval, said: dict[str, Any]) -> bool:
    """Whether the policy asks for this voice: by role or by name, one's own or a delegated one, and never that of who
    made the key of the request."""
    person, seat = said["person"], said["seat"]
    key = record.store.api_keys.get(record.body["by"]["key"])
    if key is None or key.principal != f"person:{person}" or record.body["by"]["principal"] != key.principal:
        return False
    if tier.key_made_by in (f"person:{person}", f"person:{seat}"):
        return False
    role = key.role
    if said["role"] != role:
        return False
    if "delegation" in said:
        delegation = record.store.delegations.get(said["delegation"])
        if delegation is None or (delegation.giver, delegation.receiver) != (seat, person):
            return False
        if delegation.revoked_at is not None or not delegation.starts_at <= record.time < delegation.ends_at:
            return False
        role = delegation.role
    elif seat != person:
        return False
    asked = parse(tier.approvers.encode())
    return role in asked or f"person:{seat}" in asked


def _voted(record: Record) -> None:
    previous, row = changed_row(record)
    tier = _open_tier(record, row)
    votes = _vote(record, tier, GRANT)
    record.expect("quorum", tier.quorum)
    record.expect("granted", len(votes))
    if len(votes) >= tier.quorum:
        record.differ("a quorum is reached and the tier is not granted", tier.quorum, len(votes))
    record.post([])
    expect_row(record, row, previous)


def _granted(record: Record) -> None:
    body = record.body
    previous, row = changed_row(record)
    tier = _open_tier(record, row)
    changed: list[list[str]] = []
    if body.get("forced"):
        for other in list(tiers_of(record, row.id)):
            if other.state in UNDECIDED:
                changed.append([turn(record, other, FORCED).id, FORCED])
        row.flags |= FLAG_FORCED
        following = None
    else:
        votes = _vote(record, tier, GRANT)
        if len(votes) < tier.quorum:
            record.differ("a tier is granted without its quorum", tier.quorum, len(votes))
        record.expect("granted", len(votes))
        changed.append([turn(record, tier, GRANTED).id, GRANTED])
        following = record.store.approvals.get((row.id, tier.position + 1))
    if following is not None:
        opened = turn(record, following, OPEN)
        _begin(record, opened)
        changed.append([opened.id, OPEN])
        row.due_at = opened.expires_at
        record.expect("approval_expires_at", moment_text(opened.expires_at or 0))
    else:
        row.state = HELD
        row.expires_at = row.due_at = record.time + tier.ttl_seconds * SECOND
    record.expect("approvals", changed)
    record.post([])
    expect_row(record, row, previous)


def _refused(record: Record) -> None:
    previous, row = changed_row(record)
    tier = _open_tier(record, row)
    _vote(record, tier, REFUSE)
    record.expect("amount", str(row.held))
    close_tiers(record, row, TIER_REFUSED)
    record.post(end_row(record, row, REFUSED))
    expect_row(record, row, previous)


def _delegation(record: Record) -> None:
    body = record.body
    by = body["by"]
    row = Delegation(
        record.fold.book_id, body["delegation"], body["giver"], body["receiver"], body["role"], by["principal"],
        moment_of(body["starts_at"]), moment_of(body["ends_at"]), None, record.index, record.index,
    )  # fmt: skip
    for person in (row.giver, row.receiver):
        if record.store.persons.get(person) is None:
            record.differ("a delegation names somebody who is not there", "a person", person)
    key = record.store.api_keys.get(by["key"]) if "key" in by else None
    if key is not None and key.role != "admin" and (key.principal, key.role) != (f"person:{row.giver}", row.role):
        record.differ("somebody delegates what is another's", key.principal, row.giver)
    record.store.delegations.add(row.id, row)


def _revocation(record: Record) -> None:
    row = record.store.delegations.change(record.body["delegation"])
    record.expect("giver", row.giver)
    record.expect("receiver", row.receiver)
    record.expect("role", row.role)
    record.expect("starts_at", moment_text(row.starts_at))
    record.expect("ends_at", moment_text(row.ends_at))
    if row.revoked_at is not None:
        record.differ(f"{row.id} was revoked before", "none", record.columns.kind)
    row.revoked_at = record.time
    row.changed_index = record.index


HANDLERS: Final = {
    "approval_requested": _requested,
    "approval_vote": _voted,
    "approval_granted": _granted,
    "approval_refused": _refused,
    "delegation": _delegation,
    "delegation_revocation": _revocation,
}
"""What each kind of record about approvals does."""
