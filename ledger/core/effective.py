"""The day that an entry counts for, where finance says another than the one on which it is recorded.

Invariant: nothing counts for the future, nor for a time long before the book was opened.
"""

from typing import Final

from ledger.core.moment import SECOND, moment_text
from ledger.core.outcome import Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch

BACKDATED_SECONDS_MAX: Final = 366 * 24 * 3600
"""How long before its opening a book takes entries: a new book may begin with last year's invoices, and a mistyped
century is refused."""


def effective(batch: Batch, effective_at: int | None) -> int | None:
    """The backdated day of an entry, or None for now; refuses the future and what lies long before the book."""
    if effective_at is None:
        return None
    earliest = batch.snapshot.book.opened_at - BACKDATED_SECONDS_MAX * SECOND
    if not earliest <= effective_at <= batch.now:
        refuse(
            Status.EFFECTIVE_AT_INVALID,
            f"effective_at must lie between {moment_text(earliest)}, a year before the book was opened, and now "
            f"({batch.now_text})",
        )
    return effective_at
