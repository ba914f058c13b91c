"""Decisions on corrections that wait for a second person, and on the rules that make them wait.

Invariants: nobody approves what they asked for, nor what was asked with a key that they made, nor with a key that the
asker made; what is approved is decided anew, from the facts that hold then, and its record names both persons; a rule
that allows more than before waits for another admin.
"""

from collections.abc import Callable
from typing import Any, Final

from ledger.core import deciding_adjustments, deciding_finance, deciding_reprices, deciding_reversals
from ledger.core.canonical import parse
from ledger.core.command import Command
from ledger.core.command_corrections import (
    ApproveCorrection,
    RefuseCorrection,
    Reverse,
    SetCorrectionRule,
    WithdrawCorrection,
)
from ledger.core.correction import (
    APPROVED,
    EXPIRED,
    PENDING,
    REFUSED,
    SET_RULE,
    WITHDRAWN,
    Correction,
    CorrectionRule,
    is_looser,
)
from ledger.core.correction_request import command_of, without_texts
from ledger.core.finishing import finish
from ledger.core.gate import Carrying
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import Refusal, refuse
from ledger.core.roles import ADMIN
from ledger.core.seats import person_name
from ledger.core.second_person import ask_another
from ledger.core.working import Batch, by_of, request_of

Who = tuple[str, str | None]


def set_correction_rule(batch: Batch, asked: SetCorrectionRule) -> Outcome:
    """Set from what amount on a correction needs a second person. The first rule of a currency, and one that allows
    less, hold at once; one that allows more waits for another admin."""
    who = batch.admit(asked)
    above = None
    if asked.above is None:
        batch.digits(asked.currency)
    else:
        above = batch.atoms(asked.above, asked.currency, zero_ok=True)
    request: dict[str, Any] = {"operation": asked.operation, "currency": asked.currency}
    if above is not None:
        request["above"] = str(above)
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, who[0], "reason", asked.reason)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    known: CorrectionRule | None = batch.fact("correction_rules", asked.currency)
    before = known.above if known is not None else None
    if batch.carrying is None and is_looser(before, above):
        return ask_another(batch, asked, who, packed, {})
    if known is None:
        batch.add(
            "correction_rules",
            asked.currency,
            CorrectionRule(batch.book_id, asked.currency, above, batch.index, batch.index),
        )
    else:
        row = batch.change("correction_rules", asked.currency)
        row.above, row.changed_index = above, batch.index
    body: dict[str, Any] = {"currency": asked.currency}
    if above is not None:
        body["above"] = str(above)
    if before is not None:
        body["before"] = str(before)
    return finish(batch, asked, who, packed, "correction_rule", asked.currency, body, [])


DECIDERS: Final[dict[str, Callable[[Batch, Any], Outcome]]] = {
    "charge": deciding_finance.charge,
    "refund": deciding_finance.refund,
    "reprice": deciding_reprices.reprice,
    "adjust": deciding_adjustments.adjust,
    Reverse.operation: deciding_reversals.reverse,
    SET_RULE: set_correction_rule,
}
"""How each operation that may wait is decided."""


def _packed(batch: Batch, asked: Any, principal: str) -> tuple[Any, bytes]:
    request = {"operation": asked.operation, "correction": asked.correction}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, principal, "reason", asked.reason)
    return request_of(request)


def _pending(batch: Batch, reference: str) -> Correction:
    """The correction that is named, if somebody may decide on it now."""
    found: Correction | None = batch.fact("corrections", reference)
    if found is None:
        refuse(Status.NOT_FOUND, f"there is no correction {reference}")
    state = found.state
    if state == PENDING and found.expires_at <= batch.now:
        refuse(
            Status.WRONG_STATE,
            f"{reference} expired at {moment_text(found.expires_at)}; ask for it again",
            state=EXPIRED,
            correction=reference,
        )
    if state != PENDING:
        refuse(
            Status.WRONG_STATE, f"{reference} is {state} and no longer to be decided", state=state, correction=reference
        )
    return found


def _check_other(batch: Batch, asked: Command, principal: str, found: Correction) -> None:
    """Refuse whoever is no second person: who asked, who made the key that was asked with, whose key the asker made."""
    person, digest = person_name(principal), asked.caller.key_digest
    key = batch.key_of(digest) if digest is not None else None
    if person is None or key is None:
        refuse(Status.NOT_AN_APPROVER, "only a person decides on a correction, with a key of their own")
    if principal == found.requested_by:
        refuse(Status.NOT_AN_APPROVER, f"{person} asked for {found.id}; another person must decide on it")
    if principal == found.key_made_by:
        refuse(Status.NOT_AN_APPROVER, f"{person} made the key that {found.id} was asked with; another must decide")
    if key.backer == found.requested_by:
        refuse(
            Status.NOT_AN_APPROVER,
            f"the key of {person} was made by {found.requested_by}, who asked for {found.id}; another must decide",
        )
    if found.operation == SET_RULE and key.role != ADMIN:
        refuse(Status.NOT_AN_APPROVER, f"{found.id} would change a rule, which another admin decides")


def approve_correction(batch: Batch, asked: ApproveCorrection) -> Outcome:
    """Carry out what another person asked for, as the facts are now. Where they forbid it, nothing changes, and the
    request goes on waiting until it is refused or withdrawn or its time is over."""
    who = batch.admit(asked)
    packed = _packed(batch, asked, who[0])
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    found = _pending(batch, asked.correction)
    _check_other(batch, asked, who[0], found)
    request = parse(found.request.encode())
    said = {"correction": found.id, "request": packed[0], **by_of(*who)}
    batch.carrying = Carrying(
        (found.requested_by, found.requested_key), without_texts(request), said, who[0], packed[1]
    )
    try:
        outcome = DECIDERS[found.operation](batch, command_of(found, asked, batch.digits))
    except Refusal as refusal:
        if refusal.status is Status.EXPIRY_BACKLOG:
            raise
        refuse(
            Status.WRONG_STATE,
            f"{found.id} cannot be done any more as it was asked: {refusal.detail}",
            state=PENDING, reason=refusal.status.value, correction=found.id,
        )  # fmt: skip
    finally:
        batch.carrying = None
    _decide(batch, found.id, APPROVED, who[0], outcome.log_index)
    return outcome


def _decide(batch: Batch, reference: str, state: str, principal: str, index: int) -> Correction:
    row: Correction = batch.change("corrections", reference)
    row.state = state
    row.decided_at, row.decided_by = batch.now, principal
    row.changed_index = index
    return row


def _end(batch: Batch, asked: RefuseCorrection | WithdrawCorrection, kind: str, state: str) -> Outcome:
    who = batch.admit(asked)
    packed = _packed(batch, asked, who[0])
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    found = _pending(batch, asked.correction)
    if state == WITHDRAWN:
        if found.requested_by != who[0]:
            refuse(Status.NOT_AN_APPROVER, f"{found.id} is withdrawn by whoever asked for it; others refuse it")
    else:
        _check_other(batch, asked, who[0], found)
    row = _decide(batch, found.id, state, who[0], batch.index)
    body: dict[str, Any] = {
        "correction": row.id,
        "operation": row.operation,
        "state": row.state,
        "requested": row.created_index,
        "requested_by": row.requested_by,
    }
    return finish(batch, asked, who, packed, kind, row.id, body, [])


def refuse_correction(batch: Batch, asked: RefuseCorrection) -> Outcome:
    """End what another person asked for."""
    return _end(batch, asked, "correction_refused", REFUSED)


def withdraw_correction(batch: Batch, asked: WithdrawCorrection) -> Outcome:
    """End what one has asked for oneself."""
    return _end(batch, asked, "correction_withdrawn", WITHDRAWN)
