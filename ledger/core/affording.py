"""How much is sought: all that was asked, what is free now, or what there is in all.

Owns the reduction of an amount before it is judged. Invariants: pure; a request that takes less only where there is
less in all (``afford``) is never reduced because others hold for a moment, and is never reduced below what would fit
were nothing held; no reduction goes beyond what was asked.
"""

from collections.abc import Callable, Sequence

from ledger.core.asking import Asking
from ledger.core.counter import Counter
from ledger.core.planning import CounterKey
from ledger.core.policy import Meter
from ledger.core.rules import RunCap
from ledger.core.run import Run, RunTotal

CounterOf = Callable[[CounterKey], Counter | None]
Limits = Sequence[tuple[int, Meter, CounterKey | None]]


def cap_of(
    opened: Run | None, total: RunTotal | None, *, currency: str, since: int, own_hold: int = 0
) -> RunCap | None:
    """The cap that an authorization of log index ``since`` counts towards; None where its run has none, or was opened
    later. ``total`` is the run's in ``currency``, and ``own_hold`` what the hold that is extended holds, in atoms."""
    if opened is None or opened.cap is None or opened.cap_currency is None or opened.created_index >= since:
        return None
    if opened.cap_currency != currency:
        return RunCap(opened.name, opened.cap, opened.cap_currency, 0, 0, comparable=False)
    held, spent = (total.held, total.spent) if total is not None else (0, 0)
    return RunCap(opened.name, opened.cap, currency, spent + own_hold, held - own_hold, comparable=True)


def sought(
    atoms: int, *, available: int, held: int, cap: RunCap | None, partial_ok: bool, afford: bool
) -> tuple[int, int | None]:
    """(what is sought as far as budget and run go, what they have in all where that is to bound it), in atoms.
    ``available`` and ``held`` are the budget's."""
    capped = cap if cap is not None and cap.comparable else None
    if afford:
        in_all = available + held
        return atoms, in_all if capped is None else min(in_all, capped.maximum - capped.settled)
    if not partial_ok:
        return atoms, None
    rooms = [available] if capped is None else [available, capped.maximum - capped.settled - capped.held]
    return min([atoms, *(room for room in rooms if room > 0)]), None


def afforded(limits: Limits, asking: Asking, counter_of: CounterOf) -> int:
    """What there is in all for a request that takes less where there is less: by budget and run (``asking.in_all``) and
    by every limit on money, what is held not counted; where that is too little, the least that is of use. Where nothing
    says what that is, and there is nothing, the most that the limits could ever let
    through, so that what is told is when they have room again and not that the amount is too large."""
    if asking.in_all is None:
        return asking.amount
    in_all, ever = asking.in_all, asking.amount
    for _, meter, key in limits:
        if meter.maximum is None or meter.shadow or meter.currency != asking.subject.currency:
            continue
        counter = counter_of(key) if key is not None else None
        settled = counter.seen(meter.frame(asking.now))[0] if counter is not None else 0
        in_all = min(in_all, meter.maximum - settled)
        ever = min(ever, meter.maximum)
    if in_all >= max(asking.least, 1):
        return min(asking.amount, in_all)
    if asking.least:
        # Judged as if no more had been asked for, which says how much is missing and when there will be enough.
        return min(asking.least, asking.amount)
    return ever if ever > 0 else asking.amount
