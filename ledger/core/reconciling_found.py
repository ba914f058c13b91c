"""What a comparison finds: differences, each about one place, and what they add up to.

Owns how a difference is named, so that people can choose it and a second run knows it again. Invariant: its
identity depends on what it is about alone, never on where a line stands in a file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from ledger.core.reconciliation import (
    AMOUNT,
    DIFFERENCE_KINDS,
    MISSING_HERE,
    MISSING_THERE,
    PRICE,
    QUANTITY,
    TOLERATED,
    Differing,
)
from ledger.core.reconciling_lines import OurLine, TheirLine, day_text

CODE_LENGTH: Final = 8
Inside = Callable[[int], bool]
"""Whether a day is one of the period."""


class Place(NamedTuple):
    """What is compared as one: a response by its ``id``, or the lines of a day, a model and a key."""

    id: str = ""
    day: int = 0
    model: str = ""
    key: str = ""


@dataclass(slots=True)
class Side:
    """The lines of both sides at one place that are compared; ``theirs`` and ``ours`` may stand on other days."""

    theirs: list[TheirLine] = field(default_factory=list)
    ours: list[OurLine] = field(default_factory=list)

    @property
    def their_amount(self) -> int:
        """What the provider billed."""
        return sum(line.amount or 0 for line in self.theirs)

    @property
    def our_amount(self) -> int:
        """What the ledger has."""
        return sum(line.amount for line in self.ours)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. ``amount`` is what the provider has more than the ledger (below zero: less), ``theirs`` and
    ``ours`` what each has (None: no line at all), ``quantities`` (name, theirs, ours) where they differ. ``found`` is
    its kind; ``tolerated`` says that it is small enough."""

    found: str
    place: Place
    amount: int
    theirs: int | None
    ours: int | None
    their_lines: tuple[TheirLine, ...] = ()
    our_lines: tuple[OurLine, ...] = ()
    quantities: tuple[tuple[str, int, int], ...] = ()
    tolerated: bool = False

    @property
    def kind(self) -> str:
        """The kind that it is counted as."""
        return TOLERATED if self.tolerated else self.found

    @property
    def identity(self) -> str:
        """What it is about, the same in every run."""
        place = self.place
        return place.id or "|".join((day_text(place.day), place.model, place.key))

    @property
    def code(self) -> str:
        """A short name for people to choose it by, the same in every run."""
        return sha256(f"{self.found}|{self.identity}".encode()).hexdigest()[:CODE_LENGTH]


@dataclass(slots=True)
class Comparison:
    """What a comparison found. ``lines`` counts the provider's lines that were compared, ``matched`` those of which
    nothing differs, ``outside`` those that are for other days. Without ``billed`` no line said an amount, and only
    quantities were compared."""

    differences: list[Difference] = field(default_factory=list)
    their_total: int = 0
    our_total: int = 0
    lines: int = 0
    matched: int = 0
    outside: int = 0
    billed: bool = True

    def by_kind(self) -> list[Differing]:
        """What each kind of difference adds up to, in the order of the kinds."""
        sums: dict[str, list[int]] = {}
        for one in self.differences:
            total = sums.setdefault(one.kind, [0, 0])
            total[0] += 1
            total[1] += one.amount
        return [Differing(kind, *sums[kind]) for kind in DIFFERENCE_KINDS if kind in sums]


def named(side: Side, counted: dict[str, int] | None) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    """(kind of a difference at a place, quantities that differ). ``counted`` is what another report counted there."""
    if not side.ours:
        return MISSING_HERE, ()
    if not side.theirs and counted is None:
        return MISSING_THERE, ()
    theirs, ours = counted if counted is not None else _their_quantities(side), our_quantities(side)
    if theirs is None or ours is None or not theirs.keys() & ours.keys():
        return AMOUNT, ()
    apart = quantities_apart(theirs, ours)
    return (QUANTITY, apart) if apart else (PRICE, ())


def quantities_apart(theirs: dict[str, int], ours: dict[str, int]) -> tuple[tuple[str, int, int], ...]:
    """(name, theirs, ours) of what both can say and say otherwise. A kind of token that one side does not name at all
    is not compared, unless the other has none of it."""
    return tuple(
        (name, theirs[name], ours.get(name, 0))
        for name in sorted(theirs)
        if theirs[name] != ours.get(name, 0) and (name in ours or (theirs[name] and name.endswith("_tokens")))
    )


def _their_quantities(side: Side) -> dict[str, int] | None:
    return (
        summed([dict(line.quantities) for line in side.theirs]) if any(one.quantities for one in side.theirs) else None
    )


def our_quantities(side: Side) -> dict[str, int] | None:
    """What the ledger counted; None where a call in it counted nothing. Corrections and charges are no calls."""
    calls = [line for line in side.ours if line.kind == "settlement"]
    counted = [line.quantities for line in calls if line.quantities is not None]
    if not calls or len(counted) < len(calls):
        return None
    return summed([dict(one) for one in counted]) | {"requests": len(calls)}


def summed(counts: list[dict[str, int]]) -> dict[str, int]:
    """Counts added up by name."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total
