"""Comparing by the provider's id of a response, where both sides have one.

Invariants: a refund or a reprice belongs to the response of its authorization; what stands on the other side of the
period's boundary is timing, and only the period in which the provider bills tells what else differs; a response that
was booked as a charge is found again as that charge.
"""

from collections import defaultdict
from collections.abc import Iterable

from ledger.core.reconciliation import TIMING
from ledger.core.reconciling_found import Comparison, Difference, Inside, Place, Side, named
from ledger.core.reconciling_lines import OurLine, TheirLine, Tolerance


def judge(
    made: Comparison, place: Place, side: Side, tolerance: Tolerance, counted: dict[str, int] | None = None
) -> None:
    """Note what differs at a place, or count its lines as matched."""
    amount = side.their_amount - side.our_amount
    if not amount:
        made.matched += len(side.theirs)
        return
    kind, quantities = named(side, counted if side.theirs else None)
    made.differences.append(
        Difference(
            kind, place, amount, side.their_amount if side.theirs else None, side.our_amount if side.ours else None,
            tuple(side.theirs), tuple(side.ours), quantities, tolerance.allows(amount, side.their_amount),
        )
    )  # fmt: skip


def compare_responses(
    made: Comparison, theirs: list[TheirLine], ours: list[OurLine], inside: Inside, tolerance: Tolerance
) -> tuple[list[TheirLine], list[OurLine]]:
    """Compare what both name by the id of a response; returns the lines that are left, of this period only. What the
    other side has in another period is timing, and only the period in which the provider bills tells the rest."""
    wanted = {line.id for line in theirs if line.id}
    responses = {line.authorization: line.id for line in ours if line.id in wanted and line.authorization}
    sides: dict[str, Side] = defaultdict(Side)
    our_rest = []
    for line in ours:
        # A refund or a reprice belongs to the response of its authorization.
        response = responses.get(line.authorization) or (line.id if line.id in wanted else None)
        if response is not None:
            sides[response].ours.append(line)
        elif inside(line.day) or inside(line.started_day):
            our_rest.append(line)
    their_rest = []
    for theirs_one in theirs:
        if theirs_one.id in sides:
            sides[theirs_one.id].theirs.append(theirs_one)
        elif inside(theirs_one.day):
            their_rest.append(theirs_one)
    for response, side in sorted(sides.items()):
        there = [line for line in side.theirs if inside(line.day)]
        here = [line for line in side.ours if inside(line.day)]
        place = Place(response)
        apart = sum(line.amount or 0 for line in there) - sum(line.amount for line in here)
        if there:
            apart -= side.their_amount - side.our_amount
            judge(made, place, side, tolerance)
        if apart:
            billed, had = sum(line.amount or 0 for line in there), sum(line.amount for line in here)
            made.differences.append(
                Difference(
                    TIMING, place, apart, billed if there else None, had if here else None, tuple(side.theirs),
                    tuple(side.ours),
                )
            )  # fmt: skip
    return their_rest, our_rest


def compare_pairs(
    made: Comparison, theirs: list[TheirLine], ours: list[OurLine], inside: Inside, tolerance: Tolerance
) -> tuple[list[TheirLine], list[OurLine]]:
    """Compare each response that the ledger does not know with a charge that may be it: of its day and model, one of
    the same amount first. What is then left of a report of responses is missing, one by one; returns what is to be
    compared by days."""
    responses: dict[str, list[TheirLine]] = defaultdict(list)
    for line in theirs:
        if line.id:
            responses[line.id].append(line)
    if not responses:
        return theirs, ours
    pairs = _charges_of(responses, [line for line in ours if inside(line.day)])
    for response, lines in sorted(responses.items()):
        judge(made, Place(response), Side(lines, pairs.get(response, [])), tolerance)
    taken = {line.index for lines in pairs.values() for line in lines}
    left = [line for line in ours if line.index not in taken]
    others = [line for line in theirs if not line.id]
    if others:
        return others, left
    for name, lines_here in sorted(_by_authorization(line for line in left if inside(line.day)).items()):
        judge(made, Place(name), Side([], lines_here), tolerance)
    return [], []


def _charges_of(responses: dict[str, list[TheirLine]], ours: list[OurLine]) -> dict[str, list[OurLine]]:
    """Response to the lines of the charge that may be it."""
    of_authorization = _by_authorization(ours)
    free: dict[tuple[int, str], list[list[OurLine]]] = defaultdict(list)
    for line in ours:
        if line.kind == "charge":
            free[line.day, line.model].append(of_authorization[line.authorization])
    pairs: dict[str, list[OurLine]] = {}
    for exact in (True, False):
        for response, lines in sorted(responses.items()):
            amount = sum(line.amount or 0 for line in lines)
            charges = free[lines[0].day, lines[0].model]
            for place, charge in enumerate(charges if response not in pairs else ()):
                had = sum(line.amount for line in charge)
                if had == amount or (not exact and had):
                    pairs[response] = charges.pop(place)
                    break
    return pairs


def _by_authorization(lines: Iterable[OurLine]) -> dict[str, list[OurLine]]:
    """Lines by their authorization or charge; an adjustment stands alone."""
    found: dict[str, list[OurLine]] = defaultdict(list)
    for line in lines:
        found[line.authorization or f"record {line.index}"].append(line)
    return found
