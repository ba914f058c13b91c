"""What a simulation counts: the uses of past authorizations as a candidate policy would have let them be.

Owns ``Use`` (one authorization that is still open), ``Counting`` (the candidate's own counters) and ``Marks`` (which
authorizations it would have denied, a bit each). Invariants: a use that is not denied counts what really happened, at
most what the candidate would have approved; what no window looks at any more is left behind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ledger.core.authorization import HELD, ON_EXPIRY_RELEASE, Authorization
from ledger.core.canonical import parse
from ledger.core.counter import Counter, Sums
from ledger.core.filling import COUNTERS_MAX
from ledger.core.planning import CounterKey
from ledger.core.policy import Meter, Subject
from ledger.core.uses import NO_USE, Uses, portions_text, uses_of

PRUNE_FROM: Final = 4_096
Counted = tuple[tuple[Meter, CounterKey], ...]
_BLANK: Final = Authorization(
    0, "", None, "", None, "", "", None, "", 0, 0, 0, 0, 0, HELD, 0, None, ON_EXPIRY_RELEASE, 0, None, None, None,
    None, None, None, None, 0, 0,
)  # fmt: skip


class TooManyCounters(Exception):
    """The candidate counts under more keys at once than a policy may when it is applied."""


class Use:
    """One authorization while something of it may change.

    ``approved``, ``held``, ``spent`` (settled less refunded) and ``portions`` are what really happened; ``trims`` is
    what the candidate took off each portion; ``extra`` are extensions that only the candidate approves; ``denied`` is
    the category under which it counts nothing, or None; ``counts`` is what the counters have of it now. ``due`` is when
    a hold ends if nothing else happens (None: never, or not known); ``unasked`` says that only really persons were
    asked, and ``ends_at`` when it would have ended without them.
    """

    __slots__ = (
        "approved", "at", "closed", "counted", "counts", "denied", "due", "ends_at", "extra", "held", "index",
        "portions", "reference", "release", "spent", "subject", "trims", "unasked",
    )  # fmt: skip

    def __init__(self, reference: str, index: int, at: int, subject: Subject, counted: Counted) -> None:
        self.reference = reference
        self.index = index
        self.at = at
        self.subject = subject
        self.counted = counted
        self.approved = self.held = self.spent = 0
        self.portions: str | None = None
        self.trims: dict[int, int] | None = None
        self.extra: tuple[tuple[int, int], ...] = ()
        self.denied: str | None = None
        self.due: int | None = None
        self.release = True
        self.unasked = False
        self.ends_at = 0
        self.closed = False
        self.counts: Uses = NO_USE

    @property
    def allowed(self) -> int:
        """What the candidate would have approved in all, without what only it approves."""
        return self.approved - sum(self.trims.values()) if self.trims else self.approved

    def uses(self) -> Uses:
        """What each portion counts under the candidate."""
        if self.denied is not None:
            return NO_USE
        if self.portions is None and not self.trims and not self.extra:
            spent, held = self.spent, self.held
            return ((self.at, spent, held),) if spent or held else NO_USE
        parts = [(self.at, self.approved)]
        if self.portions is not None:
            parts = [(moment, int(atoms)) for moment, atoms in parse(self.portions.encode())]
        spent, held = self.spent, self.held
        if self.trims:
            # Who may spend less spends at most that; nobody knows better.
            parts = [(moment, atoms - self.trims.get(place, 0)) for place, (moment, atoms) in enumerate(parts)]
            allowed = sum(atoms for _, atoms in parts)
            spent = min(spent, allowed)
            held = min(held, allowed - spent)
        row = replace(_BLANK, created_at=self.at, held=held, settled=spent, portions=portions_text(parts))
        return (*uses_of(row), *((moment, 0, atoms) for moment, atoms in self.extra))


class Marks:
    """One bit for each record of a log."""

    __slots__ = ("_bits",)

    def __init__(self, size: int) -> None:
        self._bits = bytearray(size // 8 + 1)

    def set(self, index: int) -> None:
        """Mark the record at ``index``."""
        self._bits[index >> 3] |= 1 << (index & 7)

    def __contains__(self, index: int) -> bool:
        return bool(self._bits[index >> 3] >> (index & 7) & 1)


class Counting:
    """The candidate's counters. Raises TooManyCounters where there are more than a policy may begin with."""

    def __init__(self, meters: Iterable[Meter], *, counters_max: int = COUNTERS_MAX) -> None:
        self.counters: dict[CounterKey, Counter] = {}
        self._meters = {meter.number: meter for meter in meters}
        self._counters_max = counters_max
        self._prune_at = min(PRUNE_FROM, counters_max)

    def count_now(self, counted: Counted, change: Sums, now: int) -> None:
        """Count a change at the very moment at which it happens."""
        counters, one = self.counters, (0, 0, change[2])
        for meter, key in counted:
            if meter.currency is None:
                if not one[2]:
                    continue
                said = one
            else:
                said = change
            frame = meter.frame(now)
            counter = counters.get(key)
            if counter is None:
                counter = self._made(key, frame.starts_at, now)
            else:
                counter.roll(frame)
            counter.add_now(frame, now, said)

    def count(self, counted: Counted, changes: Sequence[tuple[int, Sums]], now: int) -> None:
        """Count changes at their moments in every meter whose window at ``now`` has them."""
        counters = self.counters
        for meter, key in counted:
            if meter.currency is None and not any(change[2] for _, change in changes):
                continue
            frame = meter.frame(now)
            inside = [(at, change) for at, change in changes if frame.has(at)]
            if not inside:
                continue
            counter = counters.get(key)
            if counter is None:
                counter = self._made(key, frame.starts_at, now)
            else:
                counter.roll(frame)
            for at, change in inside:
                counter.add(frame, at, change if meter.currency is not None else (0, 0, change[2]))

    def _made(self, key: CounterKey, starts_at: int, now: int) -> Counter:
        if len(self.counters) >= self._prune_at:
            self._prune(now)
        counter = self.counters[key] = Counter(0, *key, starts_at, 0, 0, 0, None, 0)
        return counter

    def _prune(self, now: int) -> None:
        """Leave behind what counts nothing any more."""
        kept: dict[CounterKey, Counter] = {}
        for key, counter in self.counters.items():
            frame = self._meters[key[0]].frame(now)
            if counter.starts_at == frame.starts_at and (not frame.width or counter.aged(frame)):
                kept[key] = counter
        # The dictionary stays the same one: others hold on to its ``get``.
        self.counters.clear()
        self.counters.update(kept)
        if len(kept) >= self._counters_max:
            raise TooManyCounters(
                f"the policy would count under more than {self._counters_max} keys at once, more than can be applied; "
                "give its limits fewer words in by, or shorter windows"
            )
        self._prune_at = min(max(PRUNE_FROM, 2 * len(kept)), self._counters_max)


def changes_between(before: Uses, after: Uses) -> list[tuple[int, Sums]]:
    """As ``uses.change_of``, for uses of which several may share a moment."""
    if len(before) == 1 and len(after) == 1 and before[0][0] == after[0][0]:
        one, two = after[0], before[0]
        return [(one[0], (one[1] - two[1], one[2] - two[2], 0))]
    changes: dict[int, list[int]] = {}
    for sign, uses in ((-1, before), (1, after)):
        for moment, settled, held in uses:
            change = changes.setdefault(moment, [0, 0])
            change[0] += sign * settled
            change[1] += sign * held
    return [(moment, (one, two, 0)) for moment, (one, two) in sorted(changes.items()) if one or two]
