"""Reversals: the exact opposite of an adjustment, and the refund of what is left of a charge.

Invariants: a record is reversed once, and each of the two names the other's place in the log; history is not edited,
because a reversal is an adjustment or a refund of its own; what holds for those holds for it.
"""

from typing import Any, Final

from ledger.core.authorization import Authorization
from ledger.core.changeset import row_of
from ledger.core.command_corrections import Reverse
from ledger.core.correction import Reversal
from ledger.core.deciding_adjustments import check_adjusted
from ledger.core.deciding_finance import take_back
from ledger.core.earlier import earlier_body
from ledger.core.effective import effective
from ledger.core.exchange import asked_side
from ledger.core.finishing import finish
from ledger.core.ids import ADJUSTMENT, REFUND
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import refuse
from ledger.core.second_person import moved, second_person
from ledger.core.splits import refund_split, splits_of
from ledger.core.working import Batch, Posting, request_of

_INSTEAD: Final = {
    "refund": "correct what it took back by a reprice",
    "settlement": "refund it",
    "allocation": "take it back by a deallocation",
    "deallocation": "give it back by an allocation",
    "invoice": "void it",
    "payment": "take it back with POST /v1/payments/{id}/reverse",
}
"""What undoes a record of another kind."""


def _check_reversible(batch: Batch, index: int, body: dict[str, Any]) -> None:
    """Refuse to reverse a record of another kind, and one that was reversed."""
    kind = body["kind"]
    if kind not in ("adjustment", "charge") or "reprice" in body:
        instead = "reprice it again" if "reprice" in body else _INSTEAD.get(kind)
        said = f"record {index} is a {'reprice' if 'reprice' in body else kind}, and only adjustments and charges are"
        refuse(
            Status.RECORD_NOT_CORRECTABLE, f"{said} reversed{f'; {instead}' if instead else ''}", record_kind=kind
        )  # fmt: skip
    known: Reversal | None = batch.fact("reversals", index)
    if known is not None:
        refuse(
            Status.WRONG_STATE,
            f"record {index} was reversed by record {known.created_index}",
            state="reversed",
            reversed_by=known.created_index,
        )


def reverse(batch: Batch, asked: Reverse) -> Outcome:
    """Undo an adjustment, or what is left of a charge, once."""
    who = batch.admit(asked)
    request: dict[str, Any] = {
        "operation": asked.operation,
        "record": asked.record,
        "reason": batch.salted(asked, who[0], "reason", asked.reason),
    }
    if asked.effective_at is not None:
        request["effective_at"] = moment_text(asked.effective_at)
    packed = request_of(request)
    replay = batch.answered(asked, who[0], packed[1])
    if replay is not None:
        return replay
    body = earlier_body(batch, asked.record)
    effective_at = effective(batch, asked.effective_at)
    _check_reversible(batch, asked.record, body)
    if body["kind"] == "charge":
        outcome = _reverse_charge(batch, asked, who, packed, body, effective_at)
    else:
        outcome = _reverse_adjustment(batch, asked, who, packed, body, effective_at)
    if outcome.status is Status.DONE:
        row = Reversal(batch.book_id, asked.record, outcome.log_index)
        batch.make("reversals", asked.record, row)
        batch.inserts["reversals"].append(row_of(row))
    return outcome


def _reverse_charge(
    batch: Batch, asked: Reverse, who: Any, packed: Any, body: dict[str, Any], effective_at: int | None
) -> Outcome:
    found: Authorization | None = batch.authorization(body["authorization"])
    if found is None:
        raise LookupError(f"charge {body['authorization']} vanished from the facts")
    side = asked_side(found)
    rest = side.cost - side.refunded
    if rest <= 0:
        refuse(
            Status.WRONG_STATE,
            f"nothing is left of {found.id}: it was refunded, or repriced to nothing",
            state="refunded",
            authorization=found.id,
        )
    only = splits_of(side)[0]
    chosen, splits = refund_split(batch, side, only.category, only.payee, rest)
    extra = {"reverses": asked.record}
    entry = f"{REFUND}_{asked.id.partition('_')[2]}"
    return take_back(batch, asked, who, packed, entry, found, chosen, splits, rest, effective_at, extra)


def _reverse_adjustment(
    batch: Batch, asked: Reverse, who: Any, packed: Any, body: dict[str, Any], effective_at: int | None
) -> Outcome:
    postings: list[Posting] = [
        (credit, debit, int(atoms), currency) for debit, credit, atoms, currency in body["transfers"]
    ]
    check_adjusted(batch, postings)
    batch.check_room(postings)
    waiting = second_person(batch, asked, who, packed, moved(postings))
    if waiting is not None:
        return waiting
    entry = f"{ADJUSTMENT}_{asked.id.partition('_')[2]}"
    said: dict[str, Any] = {"adjustment": entry, "reverses": asked.record}
    return finish(batch, asked, who, packed, "adjustment", entry, said, postings, effective_at)
