"""Where a backdated entry lands: in the month it is meant for while that is open, else where the open months begin.

Owns the rule, and the note of which months were backdated into. Invariants: no record counts for a month that is
closed, because ``Batch.record`` asks here whoever backdates and whatever for; a record that lands elsewhere says what
day it was meant for and which closing was in its way; what is not backdated is never asked about, so that nothing which
time brings by itself is ever in a closed month.
"""

from typing import Any

from ledger.core.closing import MONTH, Month, closing_of, last_closed, month_at, new_month
from ledger.core.moment import moment_text
from ledger.core.overlay import Overlay


def months_of(batch: Overlay) -> list[Month]:
    """The months on record, as they stand in this batch, in order."""
    return [batch.fact("periods", name) for name in batch.fact("periods_of", MONTH) or ()]


def land(batch: Overlay, body: dict[str, Any], meant_for: int) -> int:
    """The moment that an entry counts for which is meant for ``meant_for``; says so in ``body`` where the two differ.
    Notes the month, where that is over."""
    months = months_of(batch)
    closing, effective_at = closing_of(months, meant_for), meant_for
    if closing is not None:
        last = last_closed(months)
        effective_at = last.ends_at if last is not None else meant_for
        body["meant_for"] = moment_text(meant_for)
        body["closed_by"] = closing.closed_index
    _note(batch, effective_at)
    return effective_at


def change_month(batch: Overlay, name: str) -> Month:
    """The batch's own copy of a month on record, to be changed by the record that is written next."""
    month: Month = batch.change("periods", name)
    month.changed_index = batch.index
    return month


def add_month(batch: Overlay, month: Month) -> Month:
    """Know a month that was not on record."""
    names = batch.fact("periods_of", MONTH) or ()
    batch.add("periods", month.period, month)
    batch.make("periods_of", MONTH, tuple(sorted((*names, month.period))))
    return month


def _note(batch: Overlay, effective_at: int) -> None:
    period = month_at(batch.snapshot.book.timezone, effective_at)
    if period.ends_at > batch.now:
        return
    if period.text in (batch.fact("periods_of", MONTH) or ()):
        month = change_month(batch, period.text)
    else:
        month = add_month(batch, new_month(batch.book_id, period, batch.index))
    month.backdated_index = batch.index
