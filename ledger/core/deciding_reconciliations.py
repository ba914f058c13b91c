"""The decision to put a comparison with a provider's figures on record.

Invariants: no money moves; the differences add up to what the provider's total is above the ledger's; the period is
over; what is open is accepted only with a reason.
"""

from typing import Any, Final

from ledger.core.beginning import begin
from ledger.core.book import PAYEE
from ledger.core.changeset import row_of
from ledger.core.command_reconciliations import Reconcile
from ledger.core.finishing import finish
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.reconciliation import Differing, Reconciliation, still_open, well_formed
from ledger.core.refusal import refuse
from ledger.core.working import Batch

_COUNTED: Final = ("lines", "matched")


def _signed(batch: Batch, text: str, currency: str) -> int:
    """Decimal text, which may be below zero, as atoms."""
    atoms = batch.atoms(text.removeprefix("-"), currency, zero_ok=True)
    return -atoms if text.startswith("-") else atoms


def _request(asked: Reconcile, provider_total: int, differences: list[Differing]) -> dict[str, Any]:
    """What is asked, as its record has it."""
    request: dict[str, Any] = {
        "payee": asked.payee,
        "currency": asked.currency,
        "source": asked.source,
        "starts_at": moment_text(asked.starts_at),
        "ends_at": moment_text(asked.ends_at),
        "provider_total": str(provider_total),
        "differences": [[one.kind, one.count, str(one.amount)] for one in differences],
        "files": list(asked.files),
    }
    for name in _COUNTED:
        request[name] = getattr(asked, name)
    if asked.booked:
        request["booked"] = list(asked.booked)
    if asked.pinned:
        request["at_size"] = asked.at_size
    if asked.accept:
        request["accept"] = True
    return request


def _check(batch: Batch, asked: Reconcile, provider_total: int, differences: list[Differing]) -> None:
    """Refuse what does not hold together."""
    if batch.fact("names", (PAYEE, asked.payee)) is None:
        refuse(Status.UNKNOWN_PAYEE, f"nothing in this book is about a payee {asked.payee}")
    wrong = well_formed(differences)
    if not asked.starts_at < asked.ends_at <= batch.now:
        wrong = f"the period must end after it starts, and be over by now ({batch.now_text})"
    elif asked.at_size > batch.index:
        wrong = f"at_size is {asked.at_size}, and the log has {batch.index} records"
    elif any(index >= batch.index for index in asked.booked) or list(asked.booked) != sorted(set(asked.booked)):
        wrong = "booked names records of this log, each once, in order"
    elif still_open(differences)[0] and asked.accept and asked.reason is None:
        wrong = "what is left open is accepted only for a reason; give one"
    if wrong is not None:
        refuse(Status.RECONCILIATION_INVALID, wrong)
    explained = sum(one.amount for one in differences)
    if explained != provider_total - asked.ledger_total:
        refuse(
            Status.RECONCILIATION_INVALID,
            f"the differences add up to {batch.amount_text(explained, asked.currency)}, and the provider's total is "
            f"{batch.amount_text(provider_total - asked.ledger_total, asked.currency)} above what the first "
            f"{asked.at_size} records say was spent; compare again",
            ledger_total=str(asked.ledger_total),
            currency=asked.currency,
            at_size=asked.at_size,
        )


def reconcile(batch: Batch, asked: Reconcile) -> Outcome:
    """Record a comparison, with what it leaves open."""
    batch.admit(asked)
    batch.digits(asked.currency)
    provider_total = _signed(batch, asked.provider_total, asked.currency)
    differences = [
        Differing(kind, count, _signed(batch, amount, asked.currency)) for kind, count, amount in asked.differences
    ]
    who, packed, replay = begin(batch, asked, _request(asked, provider_total, differences))
    if replay is not None:
        return replay
    _check(batch, asked, provider_total, differences)
    count, amount = still_open(differences)
    row = Reconciliation(
        batch.book_id, asked.id, asked.payee, asked.currency, asked.source, asked.starts_at, asked.ends_at,
        asked.at_size, provider_total, asked.ledger_total, count, amount, not count or asked.accept, who[0], batch.now,
        batch.index,
    )  # fmt: skip
    batch.inserts["reconciliations"].append(row_of(row))
    body = _request(asked, provider_total, differences) | {
        "reconciliation": asked.id,
        "at_size": asked.at_size,
        "ledger_total": str(asked.ledger_total),
        "open_differences": count,
        "open_amount": str(amount),
        "accepted": row.accepted,
    }
    body.pop("accept", None)
    return finish(batch, asked, who, packed, "reconciliation", asked.id, body, [])
