"""Decisions of persons on requests that wait for them: granting, refusing, and forcing.

Invariants: a vote is bound to the request it was asked for, and decided by what was fixed with the request, so that a
later edit of a policy changes nothing; nobody votes who has a part in the request, and nobody twice; the tiers open one
after the other, and only the last makes the hold; a grant to whom is frozen changes nothing; who was forced past their
approvers stays flagged for ever.
"""

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
    Vote,
)
from ledger.core.approval import REFUSED as APPROVAL_REFUSED
from ledger.core.authorization import FLAG_FORCED, HELD, PENDING, REFUSED, Authorization
from ledger.core.budget_said import budget_after
from ledger.core.canonical import parse
from ledger.core.changeset import row_of
from ledger.core.closing_approvals import close_approvals
from ledger.core.command import Command
from ledger.core.command_approvals import ForceApproval, GrantApproval, RefuseApproval
from ledger.core.deciding_holds import end_hold, expire, outcome_body
from ledger.core.finishing import finish
from ledger.core.ids import AUTHORIZATION, is_id
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.seats import Seat, free_seat, person_name, seats_for
from ledger.core.working import Batch, Posting, request_of

Who = tuple[str, str | None]
KIND_VOTE: Final = "approval_vote"
KIND_GRANTED: Final = "approval_granted"
KIND_REFUSED: Final = "approval_refused"


def _packed(batch: Batch, asked: Command, principal: str, **request: Any) -> tuple[Any, bytes]:
    """The canonical request of a command on an approval, with its reason salted."""
    said: dict[str, Any] = {"operation": asked.operation, **request}
    digest = getattr(asked, "request_digest", None)
    if digest is not None:
        said["request_digest"] = digest
    reason = getattr(asked, "reason", None)
    if reason is not None:
        said["reason"] = batch.salted(asked, principal, "reason", reason)
    return request_of(said)


def _pending(batch: Batch, approval: Approval) -> Authorization:
    """The authorization of an approval, expired first if its time has come."""
    found = batch.authorization(approval.authorization_id)
    if found is None:
        raise LookupError(f"authorization {approval.authorization_id} vanished from the facts")
    if found.due_at is not None and found.due_at <= batch.now:
        expire(batch, found.id)
        found = batch.authorizations[found.id]
    return found


def _open_approval(batch: Batch, reference: str) -> Approval:
    """The approval that a vote names, if persons may vote on it now; refuses otherwise."""
    found: Approval | None = batch.fact("approvals", reference)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no approval {reference}")
    _pending(batch, found)
    approval: Approval = batch.fact("approvals", reference)
    if approval.state == OPEN:
        return approval
    if approval.state == WAITING:
        said = f"{reference} waits until the approvals before it are granted"
    else:
        said = f"{reference} is {approval.state} and no longer to be decided"
    refuse(Status.WRONG_STATE, said, state=approval.state, authorization=approval.authorization_id)


def _check_frozen(batch: Batch, row: Authorization) -> None:
    """Refuse to grant what could not be spent now: the agent, the budget or the book is frozen, or the budget closed.
    Limits are not looked at again, because the amount has counted since it was asked for."""
    budget = batch.fact("budgets", row.budget)
    agent = batch.frozen_by(row.agent) if row.agent is not None else None
    frozen_budget = batch.budget_frozen_by(row.budget)
    if batch.frozen:
        reason, said = Status.BOOK_FROZEN, "the book is frozen"
    elif agent is not None:
        reason, said = Status.AGENT_FROZEN, f"{agent} is frozen"
    elif frozen_budget is not None:
        reason, said = Status.BUDGET_FROZEN, f"budget {frozen_budget} is frozen"
    elif budget.closed_at is not None:
        reason, said = Status.BUDGET_CLOSED, f"budget {row.budget} is closed"
    else:
        return
    refuse(
        Status.WRONG_STATE,
        f"{said}; nothing is granted until that ends, and the request goes on waiting",
        state=row.state, reason=reason.value, authorization=row.id,
    )  # fmt: skip


def _seat(batch: Batch, asked: Command, principal: str, approval: Approval) -> tuple[str, str, Seat]:
    """(person, role of the key, seat) of whoever votes; refuses who may not, and who has."""
    person = person_name(principal)
    digest = asked.caller.key_digest
    key = batch.key_of(digest) if digest is not None else None
    if person is None or key is None:
        refuse(Status.NOT_AN_APPROVER, "only a person approves, with a key of their own")
    references = batch.fact("delegations_to", person) or ()
    delegations = [batch.fact("delegations", reference) for reference in references]
    seats = seats_for(approval, person, role=key.role, delegations=delegations, now=batch.now)
    if not seats:
        if approval.key_made_by == principal:
            said = f"{person} made the key that this request came with, and so has no voice in it"
        else:
            said = f"{approval.policy}/{approval.rule} asks others than {person} with role {key.role}"
        refuse(Status.NOT_AN_APPROVER, said, approvers=parse(approval.approvers.encode()))
    seat = free_seat(seats, batch.fact("votes", approval.id) or (), person)
    if seat is None:
        refuse(Status.ALREADY_VOTED, f"the voice of {person} was given on {approval.id}; another person must approve")
    return person, key.role, seat


def _check_digest(approval: Approval, said: str | None) -> None:
    if said is not None and said != approval.request_digest.hex():
        refuse(
            Status.APPROVAL_MISMATCH,
            f"{approval.id} was asked for the request with digest {approval.request_digest.hex()}",
            request_digest=approval.request_digest.hex(),
        )


def _vote(batch: Batch, approval: Approval, voter: tuple[str, str, Seat], verdict: str) -> dict[str, Any]:
    """Note a vote with the record that is written next; what its body says of it."""
    person, role, seat = voter
    vote = Vote(batch.book_id, approval.id, seat.person, person, verdict, batch.now, batch.index)
    batch.inserts["approval_votes"].append(row_of(vote))
    batch.make("votes", approval.id, (*(batch.fact("votes", approval.id) or ()), vote))
    said = {"person": person, "seat": seat.person, "role": role, "verdict": verdict}
    if seat.delegation is not None:
        said["delegation"] = seat.delegation
    return said


def _change(batch: Batch, reference: str, state: str) -> Approval:
    """The batch's own copy of an approval, taken to ``state`` with the record that is written next."""
    approval: Approval = batch.change("approvals", reference)
    approval.state = state
    approval.changed_index = batch.index
    if state == OPEN:
        approval.opened_at = batch.now
        approval.expires_at = batch.now + approval.expires_after * SECOND
    else:
        approval.decided_at = batch.now
    return approval


def _make_hold(batch: Batch, row: Authorization, approval: Approval) -> None:
    """Let a request that waited hold: its time to live starts now."""
    row.state = HELD
    row.expires_at, _ = batch.expiry(approval.ttl_seconds, batch.now)
    row.due_at = row.expires_at


def _finish(
    batch: Batch,
    asked: Command,
    who: Who,
    packed: tuple[Any, bytes],
    kind: str,
    row: Authorization,
    said: dict[str, Any],
    postings: list[Posting],
) -> Outcome:
    body = outcome_body(row) | said
    body["budget"] = budget_after(batch, row.budget, row.currency, postings)
    outcome = finish(batch, asked, who, packed, kind, row.id, body, postings)
    row.changed_index = outcome.log_index
    return outcome


def grant_approval(batch: Batch, asked: GrantApproval) -> Outcome:
    """Take a person's vote for a request. The last that a tier needs opens the next tier, and that of the last tier
    makes the hold."""
    who = batch.admit(asked)
    packed = _packed(batch, asked, who[0], approval=asked.approval)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    approval = _open_approval(batch, asked.approval)
    _check_frozen(batch, _pending(batch, approval))
    voter = _seat(batch, asked, who[0], approval)
    _check_digest(approval, asked.request_digest)
    row = batch.change_authorization(approval.authorization_id)
    said: dict[str, Any] = {"approval": approval.id, "vote": _vote(batch, approval, voter, GRANT)}
    granted = sum(vote.verdict == GRANT for vote in batch.fact("votes", approval.id))
    said["granted"] = granted
    said["quorum"] = approval.quorum
    if granted < approval.quorum:
        return _finish(batch, asked, who, packed, KIND_VOTE, row, said, [])
    approval = _change(batch, approval.id, GRANTED)
    changed = [[approval.id, GRANTED]]
    references = batch.fact("approvals_of", row.id) or ()
    following = next((one for one in references if batch.fact("approvals", one).state == WAITING), None)
    if following is None:
        _make_hold(batch, row, approval)
    else:
        opened = _change(batch, following, OPEN)
        row.due_at = opened.expires_at
        changed.append([opened.id, OPEN])
        said["approval_expires_at"] = moment_text(opened.expires_at or 0)
    said["approvals"] = changed
    return _finish(batch, asked, who, packed, KIND_GRANTED, row, said, [])


def refuse_approval(batch: Batch, asked: RefuseApproval) -> Outcome:
    """Take a person's vote against a request: it ends, and what it held is free again."""
    who = batch.admit(asked)
    packed = _packed(batch, asked, who[0], approval=asked.approval)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    approval = _open_approval(batch, asked.approval)
    voter = _seat(batch, asked, who[0], approval)
    _check_digest(approval, asked.request_digest)
    row = batch.change_authorization(approval.authorization_id)
    said: dict[str, Any] = {"approval": approval.id, "vote": _vote(batch, approval, voter, REFUSE)}
    postings: list[Posting] = []
    if row.held:
        postings.append((available_name(row.budget), held_name(row.budget), row.held, row.currency))
    said["amount"] = str(row.held)
    said |= close_approvals(batch, row, APPROVAL_REFUSED)
    end_hold(batch, row, REFUSED)
    return _finish(batch, asked, who, packed, KIND_REFUSED, row, said, postings)


def force_approval(batch: Batch, asked: ForceApproval) -> Outcome:
    """Grant every tier that is left, by one admin and with a reason. It is no way around a freeze."""
    who = batch.admit(asked)
    packed = _packed(batch, asked, who[0], approval=asked.approval)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    approval = _open_approval(batch, _open_of(batch, asked.approval))
    row = _pending(batch, approval)
    _check_frozen(batch, row)
    _check_digest(approval, asked.request_digest)
    row = batch.change_authorization(row.id)
    changed = []
    for reference in batch.fact("approvals_of", row.id) or ():
        if batch.fact("approvals", reference).state in (OPEN, WAITING):
            _change(batch, reference, FORCED)
            changed.append([reference, FORCED])
    row.flags |= FLAG_FORCED
    _make_hold(batch, row, approval)
    said: dict[str, Any] = {"approval": approval.id, "approvals": changed, "forced": True}
    return _finish(batch, asked, who, packed, KIND_GRANTED, row, said, [])


def _open_of(batch: Batch, reference: str) -> str:
    """The approval to force where an authorization is named: the one that is open, else its last."""
    if not is_id(reference, AUTHORIZATION):
        approval = batch.fact("approvals", reference)
        if approval is None:
            refuse(Status.NOT_FOUND, f"there is no approval {reference}")
        reference = approval.authorization_id
    row = batch.authorization(reference)
    if row is None:
        refuse(Status.NOT_FOUND, f"there is no authorization {reference}")
    if row.state != PENDING:
        refuse(
            Status.WRONG_STATE, f"{row.id} is {row.state} and waits for nobody", state=row.state, authorization=row.id
        )
    references: tuple[str, ...] = batch.fact("approvals_of", row.id) or ()
    return next(one for one in references if batch.fact("approvals", one).state == OPEN)
