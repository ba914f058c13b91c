"""Comparing a provider's lines with the ledger's: what is equal, and what kind of difference the rest is.

Lines that carry the provider's id of a response are compared by it, all others by day, model and key. Owns the order of
the steps. Invariants: pure and deterministic, whatever the order of the lines; what is told as different adds up to the
provider's total less the ledger's, to the atom; no line is in two differences but for timing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from ledger.core.reconciliation import DIFFERENCE_KINDS, MISSING_HERE, MISSING_THERE, QUANTITY
from ledger.core.reconciling_found import (
    Comparison,
    Difference,
    Inside,
    Place,
    Side,
    our_quantities,
    quantities_apart,
    summed,
)
from ledger.core.reconciling_lines import OurLine, TheirLine, Tolerance
from ledger.core.reconciling_responses import compare_pairs, compare_responses, judge
from ledger.core.reconciling_timing import move_across_midnight, opposite_neighbours

_EXACT: Final = Tolerance()


def compare(
    theirs: Iterable[TheirLine],
    ours: Iterable[OurLine],
    *,
    first_day: int,
    last_day: int,
    tolerance: Tolerance = _EXACT,
    counted: Sequence[TheirLine] = (),
) -> Comparison:
    """Compare billed lines with the ledger's, of the days from ``first_day`` to ``last_day``, both included.

    Lines of the days right before and after may be among both: they tell what stands on the other side of midnight.
    ``counted`` are lines of a report that counts and does not bill; they say quantities only.
    """
    their_lines = sorted(theirs, key=_their_order)
    our_lines = sorted(ours, key=lambda line: (line.index, line.position))

    def inside(day: int) -> bool:
        return first_day <= day <= last_day

    made = Comparison(billed=bool(their_lines) or not counted)
    within = [line for line in their_lines if inside(line.day)]
    made.their_total = sum(line.amount or 0 for line in within)
    made.our_total = sum(line.amount for line in our_lines if inside(line.day))
    made.lines, made.outside = len(within), len(their_lines) - len(within)
    if not made.billed:
        return _compare_counts(made, our_lines, counted, inside)
    their_rest, our_rest = compare_responses(made, their_lines, our_lines, inside, tolerance)
    their_rest, our_rest = compare_pairs(made, their_rest, our_rest, inside, tolerance)
    _compare_days(made, their_rest, our_rest, inside, tolerance, counted)
    made.differences = opposite_neighbours(made.differences, tolerance)
    _bound_tolerated(made, tolerance)
    made.differences.sort(key=lambda one: (DIFFERENCE_KINDS.index(one.found), one.place, one.amount))
    return made


def _their_order(line: TheirLine) -> tuple[int, str, str, str, int, str]:
    return line.day, line.id, line.model, line.key, line.amount or 0, line.place


def _compare_days(
    made: Comparison,
    theirs: list[TheirLine],
    ours: list[OurLine],
    inside: Inside,
    tolerance: Tolerance,
    counted: Sequence[TheirLine],
) -> None:
    """Compare what is left by day, and by model and key as far as the provider tells them apart."""
    place_of = _places(theirs)
    sides: dict[Place, Side] = defaultdict(Side)
    for line in theirs:
        sides[place_of(line)].theirs.append(line)
    for mine in ours:
        sides[place_of(mine)].ours.append(mine)
    said: dict[Place, list[dict[str, int]]] = defaultdict(list)
    for line in counted:
        said[place_of(line)].append(dict(line.quantities))
    made.differences += move_across_midnight(sides, place_of, inside)
    for place, side in sorted(sides.items()):
        if inside(place.day):
            judge(made, place, side, tolerance, summed(said[place]) if place in said else None)


def _places(theirs: Sequence[TheirLine]) -> Callable[[TheirLine | OurLine], Place]:
    """Where a line belongs: models and keys that the provider does not tell apart are one."""
    by_model, by_key = any(line.model for line in theirs), any(line.key for line in theirs)

    def place_of(line: TheirLine | OurLine) -> Place:
        return Place("", line.day, line.model if by_model else "", line.key if by_key else "")

    return place_of


def _compare_counts(made: Comparison, ours: list[OurLine], counted: Sequence[TheirLine], inside: Inside) -> Comparison:
    """Compare quantities where nothing says an amount."""
    place_of = _places(counted)
    sides: dict[Place, Side] = defaultdict(Side)
    for line in counted:
        if inside(line.day):
            sides[place_of(line)].theirs.append(line)
    made.lines = sum(len(side.theirs) for side in sides.values())
    made.outside = len(counted) - made.lines
    for mine in ours:
        if inside(mine.day):
            sides[place_of(mine)].ours.append(mine)
    for place, side in sorted(sides.items()):
        said, had = summed([dict(line.quantities) for line in side.theirs]), our_quantities(side)
        apart = quantities_apart(said, had or {})
        kind = QUANTITY if side.theirs and side.ours else MISSING_HERE if side.theirs else MISSING_THERE
        if kind == QUANTITY and (not apart or had is None):
            made.matched += len(side.theirs)
        elif kind != MISSING_HERE or any(said.values()):
            made.differences.append(
                Difference(
                    kind, place, 0, None, side.our_amount if side.ours else None, tuple(side.theirs), tuple(side.ours),
                    apart,
                )
            )  # fmt: skip
    made.differences.sort(key=lambda one: (DIFFERENCE_KINDS.index(one.found), one.place))
    return made


def _bound_tolerated(made: Comparison, tolerance: Tolerance) -> None:
    """Let nothing be tolerated where all of it together is too much."""
    total = sum(one.amount for one in made.differences if one.tolerated)
    if not tolerance.allows_total(total, made.their_total):
        made.differences = [replace(one, tolerated=False) for one in made.differences]
