"""Costs on the other side of midnight: a provider counts a call for one day of UTC, and the ledger for the next.

Invariants: a line is moved only to the day on which its call began, and only where that brings both days nearer to
what the provider says; within the period, moving changes no total.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from ledger.core.reconciliation import TIMING
from ledger.core.reconciling_found import Difference, Inside, Place, Side
from ledger.core.reconciling_lines import OurLine, TheirLine, Tolerance


def move_across_midnight(
    sides: dict[Place, Side], place_of: Callable[[TheirLine | OurLine], Place], inside: Inside
) -> list[Difference]:
    """Move the ledger's lines to the day on which their call began, where that explains what differs; says what was
    moved. ``sides`` are changed."""
    moved: dict[tuple[Place, Place], list[OurLine]] = defaultdict(list)
    lines = [line for side in sides.values() for line in side.ours if line.started_day < line.day]
    for line in sorted(lines, key=lambda line: (line.index, line.position)):
        ended = place_of(line)
        began = ended._replace(day=line.started_day)
        if _worse(sides, began, ended, line.amount, inside):
            continue
        sides[ended].ours.remove(line)
        sides[began].ours.append(line)
        moved[began, ended].append(line)
    return [_timing(began, ended, lines, inside) for (began, ended), lines in sorted(moved.items())]


def _worse(sides: dict[Place, Side], began: Place, ended: Place, amount: int, inside: Inside) -> bool:
    """Whether moving leaves the days of the period no nearer to the provider's."""
    before = after = 0
    for place, change in ((began, -amount), (ended, amount)):
        if inside(place.day):
            side = sides.get(place, Side())
            apart = side.their_amount - side.our_amount
            before += abs(apart)
            after += abs(apart + change)
    return after >= before


def _timing(began: Place, ended: Place, lines: list[OurLine], inside: Inside) -> Difference:
    total = sum(line.amount for line in lines)
    amount = (total if inside(began.day) else 0) - (total if inside(ended.day) else 0)
    place = began if inside(began.day) else ended
    theirs, ours = total if inside(began.day) else None, total if inside(ended.day) else None
    return Difference(TIMING, place, amount, theirs, ours, (), tuple(lines))


def opposite_neighbours(differences: list[Difference], tolerance: Tolerance) -> list[Difference]:
    """The same differences, with each two of neighbouring days that cancel each other made one of timing."""
    waiting = {
        one.place: one
        for one in differences
        if not one.place.id and one.found != TIMING and not one.tolerated and one.amount
    }
    paired: set[Place] = set()
    made = []
    for place, one in sorted(waiting.items()):
        other = waiting.get(place._replace(day=place.day + 1))
        if other is None or place in paired or other.place in paired or (one.amount > 0) == (other.amount > 0):
            continue
        left = one.amount + other.amount
        if not tolerance.allows(left, max(abs(one.theirs or 0), abs(other.theirs or 0))):
            continue
        paired |= {place, other.place}
        made.append(
            replace(
                one, found=TIMING, amount=left, theirs=(one.theirs or 0) + (other.theirs or 0),
                ours=(one.ours or 0) + (other.ours or 0), their_lines=one.their_lines + other.their_lines,
                our_lines=one.our_lines + other.our_lines, quantities=(),
            )
        )  # fmt: skip
    return [one for one in differences if one.found == TIMING or one.place not in paired] + made
