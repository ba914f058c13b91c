"""Counters: what one meter (a limit, a cumulative threshold, a loop rule of a policy) has counted under one key.

Owns the row and its arithmetic. Invariants: a calendar counter counts one window, the one that the last change fell
into; a rolling counter keeps sub-buckets, so that it never under-counts and over-counts at most what is one sub-bucket
older than its window; nothing counted is ever below zero.
"""

from typing import Final, NamedTuple

from ledger.core.canonical import canonical_bytes, parse

NOTHING: Final = (0, 0, 0)
Sums = tuple[int, int, int]
"""(settled less refunded, held, count): atoms, atoms, authorizations."""


class Frame(NamedTuple):
    """How a meter divides time at one moment. ``width`` is 0 for a calendar window or none; ``first`` is the first
    bucket that counts; ``starts_at`` is where the calendar window begins (0: no window)."""

    starts_at: int
    width: int
    first: int

    def has(self, moment: int) -> bool:
        """Whether what happened at ``moment`` counts."""
        return moment // self.width >= self.first if self.width else moment >= self.starts_at


class Counter:
    """One row of ``counters``. ``settled``, ``held`` and ``count`` are those of the window at the last change;
    ``buckets`` is canonical JSON [[number, settled, held, count], ...] of a rolling meter, else None."""

    __slots__ = ("_live", "book_id", "changed_index", "count", "held", "key", "meter", "settled", "starts_at")

    def __init__(
        self,
        book_id: int,
        meter: int,
        key: str,
        starts_at: int,
        settled: int,
        held: int,
        count: int,
        buckets: str | None,
        changed_index: int,
    ) -> None:
        self.book_id = book_id
        self.meter = meter
        self.key = key
        self.starts_at = starts_at
        self.settled = settled
        self.held = held
        self.count = count
        self._live: dict[int, Sums] | None = None
        self.buckets = buckets
        self.changed_index = changed_index

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counter):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Counter.__slots__)

    def __repr__(self) -> str:
        said = (self.starts_at, self.settled, self.held, self.count, self.buckets, self.changed_index)
        return f"Counter(meter={self.meter}, key={self.key!r}, {said})"

    __hash__ = None  # type: ignore[assignment]

    @property
    def buckets(self) -> str | None:
        """The buckets as the row keeps them."""
        if self._live is None:
            return None
        return canonical_bytes([[number, *sums] for number, sums in self._live.items()]).decode()

    @buckets.setter
    def buckets(self, text: str | None) -> None:
        if text is None:
            self._live = None
        else:
            self._live = {number: (one, two, three) for number, one, two, three in parse(text.encode())}

    def copy(self) -> "Counter":
        """An independent copy."""
        made = Counter(
            self.book_id, self.meter, self.key, self.starts_at, self.settled, self.held, self.count, None,
            self.changed_index,
        )  # fmt: skip
        if self._live is not None:
            made._live = self._live.copy()
        return made

    def seen(self, frame: Frame) -> Sums:
        """What the window of ``frame`` has in it."""
        if frame.width:
            settled, held, count = self.settled, self.held, self.count
            for number, sums in (self._live or {}).items():
                if number >= frame.first:
                    break
                settled, held, count = settled - sums[0], held - sums[1], count - sums[2]
            return settled, held, count
        if self.starts_at != frame.starts_at:
            return NOTHING
        return self.settled, self.held, self.count

    def aged(self, frame: Frame) -> list[tuple[int, Sums]]:
        """The buckets that count in ``frame``, oldest first."""
        return [(number, sums) for number, sums in (self._live or {}).items() if number >= frame.first]

    def roll(self, frame: Frame) -> None:
        """Leave behind what the window of ``frame`` no longer has in it."""
        if frame.width:
            live = self._live
            if live is None:
                live = self._live = {}
            while live:
                number = next(iter(live))
                if number >= frame.first:
                    return
                sums = live.pop(number)
                self.settled -= sums[0]
                self.held -= sums[1]
                self.count -= sums[2]
        elif self.starts_at != frame.starts_at:
            self.starts_at = frame.starts_at
            self.settled = self.held = self.count = 0

    def add_now(self, frame: Frame, now: int, change: Sums) -> None:
        """Count ``change`` at the very moment that ``frame`` is of."""
        width = frame.width
        if width:
            live = self._live
            if live is None:
                live = self._live = {}
            number = now // width
            before = live.get(number)
            live[number] = (
                change if before is None else (before[0] + change[0], before[1] + change[1], before[2] + change[2])
            )
        self.settled += change[0]
        self.held += change[1]
        self.count += change[2]

    def add(self, frame: Frame, moment: int, change: Sums) -> bool:
        """Count ``change`` at ``moment`` in microseconds, once rolled to ``frame``; whether the window has it."""
        if frame.width:
            number = moment // frame.width
            if number < frame.first:
                return False
            live = self._live
            if live is None:
                live = self._live = {}
            before = live.get(number)
            if before is None:
                out_of_order = bool(live) and number < next(reversed(live))
                live[number] = change
                if out_of_order:
                    self._live = dict(sorted(live.items()))
            else:
                live[number] = (before[0] + change[0], before[1] + change[1], before[2] + change[2])
        elif moment < frame.starts_at:
            return False
        self.settled += change[0]
        self.held += change[1]
        self.count += change[2]
        return True
