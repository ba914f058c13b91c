"""How a command that is not a request to spend ends: its record is written, or the first refusal is answered."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from ledger.core.command import Command
from ledger.core.outcome import Outcome, Status
from ledger.core.refusal import Refusal
from ledger.core.working import Batch, Posting, by_of

T = TypeVar("T")
_PRECEDENCE: Final = {status: place for place, status in enumerate(Status)}


def finish(
    batch: Batch,
    asked: Command,
    who: tuple[str, str | None],
    request: tuple[Any, bytes],
    kind: str,
    subject: str,
    body: dict[str, Any],
    postings: list[Posting],
    effective_at: int | None = None,
) -> Outcome:
    """Write the record of a command that is done, and keep its idempotency key: that of the second person, where one
    approved it."""
    principal, key_id = who
    fragment, digest = request
    body["by"] = by_of(principal, key_id)
    body["request"] = fragment
    carrying = batch.carrying
    if carrying is not None:
        body["request"], body["approved_by"] = carrying.request, carrying.said
        principal, digest = carrying.principal, carrying.digest
    if asked.idempotency_key:
        body["idempotency"] = [batch.key_digest(asked, principal).hex(), digest.hex()]
    index, leaf = batch.record(kind, subject, body, postings, effective_at)
    return batch.conclude(asked, principal, digest, Outcome(Status.DONE, body, index, leaf))


def first_refusal(checks: Iterable[Callable[[], T]]) -> list[T]:
    """What the checks return; of several that refuse, the one whose status stands first is answered."""
    done, refusals = [], []
    for check in checks:
        try:
            done.append(check())
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals:
        raise min(refusals, key=lambda refusal: _PRECEDENCE[refusal.status])
    return done
