"""What an authorization uses, and when: the one rule that every counter follows.

Its use is what it still holds plus what was settled, as repriced, less what was refunded. Its portions are (moment,
atoms): what was approved, at the time of the request, then each extension at its time. What was settled less refunded
fills the portions in order, what is held fills what comes next, and what goes beyond all of them (overrun, late cost,
a higher price) counts in the first. So a release or a smaller settlement gives back to the window that the money was
taken from, and a refund or a lower price to the one that the cost was counted in.
Invariant: a pure function of the row.
"""

from typing import Final

from ledger.core.authorization import FLAG_UNAUTHORIZED, Authorization
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.counter import Sums

Uses = tuple[tuple[int, int, int], ...]
"""(moment in microseconds, settled, held) of each portion, atoms."""
NO_USE: Final[Uses] = ()


def portions_of(row: Authorization) -> list[tuple[int, int]]:
    """(moment, atoms) of each part of what was approved, oldest first."""
    if row.portions is None:
        return [(row.created_at, row.approved)]
    return [(moment, int(atoms)) for moment, atoms in parse(row.portions.encode())]


def portions_text(portions: list[tuple[int, int]]) -> str:
    """Portions as the row keeps them."""
    return canonical_bytes([[moment, str(atoms)] for moment, atoms in portions]).decode()


def uses_of(row: Authorization) -> Uses:
    """What each portion of an authorization or charge counts, in the order of the portions."""
    spent, held = row.settled + row.repriced - row.refunded, row.held
    if row.portions is None:
        return ((row.created_at, spent, held),) if spent or held else NO_USE
    filled: list[list[int]] = []
    for moment, atoms in portions_of(row):
        settled_here = min(spent, atoms)
        held_here = min(held, atoms - settled_here)
        spent -= settled_here
        held -= held_here
        filled.append([moment, settled_here, held_here])
    filled[0][1] += spent
    filled[0][2] += held
    return tuple((moment, settled, kept) for moment, settled, kept in filled if settled or kept)


def change_of(before: Uses, after: Uses) -> list[tuple[int, Sums]]:
    """(moment, change) of each portion whose use is not what it was."""
    if before == after:
        return []
    if len(before) <= 1 and len(after) <= 1:
        moment = (before or after)[0][0]
        if not before or not after or before[0][0] == after[0][0]:
            one = after[0] if after else (0, 0, 0)
            two = before[0] if before else (0, 0, 0)
            return [(moment, (one[1] - two[1], one[2] - two[2], 0))]
    changes: dict[int, list[int]] = {}
    for sign, uses in ((-1, before), (1, after)):
        for moment, settled, held in uses:
            change = changes.setdefault(moment, [0, 0])
            change[0] += sign * settled
            change[1] += sign * held
    return [(moment, (one, two, 0)) for moment, (one, two) in sorted(changes.items()) if one or two]


def counts_as_one(row: Authorization) -> bool:
    """Whether the row counts as an authorization: approved or pending once, and no charge."""
    return row.approved > 0 and not row.flags & FLAG_UNAUTHORIZED
