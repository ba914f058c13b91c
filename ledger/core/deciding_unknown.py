"""Saying that nobody knows whether a hold was spent, before its time runs out.

Invariants: nothing moves, because what may have been spent stays held; only a hold that was made to be kept
(``on_expiry`` unknown) is, and any other gives its money back.
"""

from typing import Any

from ledger.core.authorization import FLAG_UNKNOWN, HELD, ON_EXPIRY_UNKNOWN
from ledger.core.budget_said import budget_after
from ledger.core.command import MarkUnknown
from ledger.core.deciding_holds import conclude_on, outcome_body, owned, wrong_state
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch, by_of, request_of


def mark_unknown(batch: Batch, asked: MarkUnknown) -> Outcome:
    """Do to an open hold what its time running out would do: flag it ``unknown``, keep it held, never look at it again
    by itself. Its record is an ``expiry`` that says who asked."""
    principal, key_id = batch.admit(asked)
    request: dict[str, Any] = {"operation": "mark_unknown", "authorization": asked.authorization}
    if asked.reason is not None:
        request["reason"] = batch.salted(asked, principal, "reason", asked.reason)
    fragment, digest = request_of(request)
    replay = batch.answered(asked, principal, digest)
    if replay is not None:
        return replay
    found = owned(batch, asked.authorization, principal, asked.caller)
    if found.state != HELD:
        wrong_state(found, "marked as not known")
    facts = {"state": found.state, "authorization": found.id}
    if found.on_expiry != ON_EXPIRY_UNKNOWN:
        refuse(
            Status.WRONG_STATE,
            f"{found.id} gives its money back when its time runs out (on_expiry release), so it is not kept; settle "
            "what it cost, or release it",
            **facts,
        )
    if found.flags & FLAG_UNKNOWN:
        refuse(
            Status.WRONG_STATE,
            f"{found.id} is flagged unknown already; settle what it cost, release it, or extend its time",
            **facts,
        )
    row = batch.change_authorization(found.id)
    row.flags |= FLAG_UNKNOWN
    row.due_at = None
    body = outcome_body(row)
    body |= {
        "by": by_of(principal, key_id),
        "request": fragment,
        "amount": "0",
        "on_expiry": row.on_expiry,
        "budget": budget_after(batch, row.budget, row.currency, []),
    }
    return conclude_on(batch, asked, principal, digest, "expiry", row, body, [])
