"""Standing in line: which commands wait for what open holds reserve, and what they tell whoever keeps the line.

Owns the rule of who stands behind whom. Invariants: what waits leaves nothing in the book, and in the batch nothing but
its place; behind a command that waits for its budget's money stands every later one that may wait for the same; what is
refused for any other reason is refused at once.
"""

from ledger.core.command import Authorize, Command, Extend
from ledger.core.line import NOBODY
from ledger.core.outcome import WAITABLE, Status
from ledger.core.refusal import refuse
from ledger.core.rules import Verdict
from ledger.core.working import Batch


def check_repeat(batch: Batch, asked: Authorize | Extend, principal: str, digest: bytes) -> None:
    """Refuse a key that stands in line with another request. To be called where the key has no recorded answer."""
    waiting = _digest_in_line(batch, asked, principal)
    if waiting is not None and waiting != digest:
        refuse(
            Status.IDEMPOTENCY_MISMATCH,
            "this Idempotency-Key waits in line with another request; use a new key for a new request",
        )


def stand_in_line(
    batch: Batch, asked: Authorize | Extend, principal: str, digest: bytes, budget: str, denial: Verdict | None
) -> None:
    """End ``asked``, which may wait, with ``WAITING`` if it is to: because of its denial, because others wait for the
    money of ``budget`` before it, or because it repeats one that waits. To be called once it was judged.

    The facts say the budget's name, the status it waits for, the principal and the request's digest (hexadecimal).
    """
    status = denial.status if denial is not None else None
    is_extension = type(asked) is Extend
    if status is None:
        line = asked.line or NOBODY
        if not (
            line.is_before(budget, is_extension=is_extension)
            or batch.waits.is_before(budget, is_extension=is_extension)
            or _digest_in_line(batch, asked, principal) is not None
        ):
            return
        status = Status.BUDGET_HELD
    elif status not in WAITABLE:
        return
    else:
        batch.await_expiries()
    if status is Status.BUDGET_HELD:
        (batch.waits.extensions if is_extension else batch.waits.authorizations).add(budget)
    if can_repeat(asked):
        batch.waits.digests[principal, asked.idempotency_key] = digest
    refuse(
        Status.WAITING,
        f"this waits in line for what open holds of budget {budget} reserve",
        budget=budget,
        waits_for=status.value,
        principal=principal,
        request_digest=digest.hex(),
    )


def can_repeat(asked: Command) -> bool:
    """Whether a repeat of the command can be told from a new one."""
    return bool(asked.idempotency_key) and asked.caller.key_digest is not None


def _digest_in_line(batch: Batch, asked: Authorize | Extend, principal: str) -> bytes | None:
    """The digest of the request that waits under the command's key, in this batch or before it."""
    if not can_repeat(asked):
        return None
    pair = (principal, asked.idempotency_key)
    found = batch.waits.digests.get(pair)
    return found if found is not None or asked.line is None else asked.line.digests.get(pair)
