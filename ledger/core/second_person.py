"""Whether a person may correct so much alone; if not, what was asked for is put on record and waits for another.

Invariants: what waits has moved nothing; what one person corrects alone on one day, in one currency, is added up, so
that many small corrections are as good as one large one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ledger.core.account import BUDGETARY, classify
from ledger.core.canonical import canonical_bytes
from ledger.core.command import Command
from ledger.core.correction import (
    EXPIRES_AFTER_DAYS,
    PENDING,
    Correction,
    CorrectionRule,
    CorrectionSum,
    exceeds,
)
from ledger.core.finishing import finish
from ledger.core.ids import CORRECTION
from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.seats import person_name
from ledger.core.windows import date_at
from ledger.core.working import Batch, Posting

Who = tuple[str, str | None]
Amounts = Mapping[str, int]
"""How much a correction moves, in atoms by currency; what is converted counts in both currencies, so that neither a
currency without a rule nor a rate that was made for it is a way around the rule of the other."""
_DAY: int = 24 * 3600 * SECOND


def moved(transfers: Iterable[Posting]) -> dict[str, int]:
    """How much transfers move, by currency: of authority and of money the larger, because both tell of the same."""
    sums: dict[str, list[int]] = {}
    for debit, _, atoms, currency in transfers:
        sorts = sums.setdefault(currency, [0, 0])
        classified = classify(debit)
        sorts[classified is not None and classified[0] == BUDGETARY] += atoms
    return {currency: max(sorts) for currency, sorts in sums.items()}


def day_of(timezone: str, moment: int) -> int:
    """The day of the book that a moment is in, as a number."""
    return date_at(timezone, moment).toordinal()


def second_person(
    batch: Batch, asked: Command, who: Who, request: tuple[Any, bytes], amounts: Amounts
) -> Outcome | None:
    """Where ``who`` may not correct so much alone, what was answered once the request is on record; else None, with
    what is corrected counted. To be called when nothing else speaks against it, and before anything is changed."""
    person = person_name(who[0])
    if batch.carrying is not None or person is None:
        return None
    today = day_of(batch.snapshot.book.timezone, batch.now)
    alone: dict[str, int] = {}
    for currency, atoms in sorted(amounts.items()):
        rule: CorrectionRule | None = batch.fact("correction_rules", currency)
        if rule is None or rule.above is None:
            continue
        known: CorrectionSum | None = batch.fact("correction_sums", (person, currency))
        before = known.amount if known is not None and known.day == today else 0
        if exceeds(rule.above, alone=before, atoms=atoms):
            return ask_another(batch, asked, who, request, amounts)
        alone[currency] = before + atoms
    for currency, amount in alone.items():
        row = CorrectionSum(batch.book_id, person, currency, today, amount, batch.index)
        batch.add("correction_sums", (person, currency), row)
    return None


def ask_another(batch: Batch, asked: Any, who: Who, request: tuple[Any, bytes], amounts: Amounts) -> Outcome:
    """Put on record what a person asks another to approve."""
    digest = asked.caller.key_digest
    key = batch.key_of(digest) if digest is not None else None
    if key is None:
        raise LookupError("the key of the request vanished from the facts")
    pairs = [[currency, str(atoms)] for currency, atoms in sorted(amounts.items())]
    row = Correction(
        batch.book_id, correction_id(asked.id), asked.operation, PENDING, canonical_bytes(request[0]).decode(),
        canonical_bytes(pairs).decode(), who[0], key.id, key.backer, batch.now,
        batch.now + EXPIRES_AFTER_DAYS * _DAY, None, None, batch.index, batch.index,
    )  # fmt: skip
    batch.add("corrections", row.id, row)
    body: dict[str, Any] = {
        "correction": row.id,
        "operation": row.operation,
        "state": row.state,
        "amounts": pairs,
        "key_made_by": row.key_made_by,
        "expires_at": moment_text(row.expires_at),
    }
    outcome = finish(batch, asked, who, request, "correction_requested", row.id, body, [])
    outcome.status = Status.PENDING_APPROVAL
    return outcome


def correction_id(entry: str) -> str:
    """The id of the request for an entry of this id: the same but for what it begins with."""
    return f"{CORRECTION}_{entry.partition('_')[2]}"
