"""Reconciliations on record: what a payee says was spent in a period, what the ledger says, and what explains the rest.

Owns the row and the names of differences. Invariants: a row is never changed, because a later comparison of the same
period is a record of its own; provider less ledger is what its differences add up to, to the atom; whatever is left
open is accepted with a reason, or the row says that it is not accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MISSING_HERE: Final = "missing_here"
MISSING_THERE: Final = "missing_there"
PRICE: Final = "price"
QUANTITY: Final = "quantity"
AMOUNT: Final = "amount"
TIMING: Final = "timing"
TOLERATED: Final = "tolerated"
OPEN_KINDS: Final = (MISSING_HERE, MISSING_THERE, PRICE, QUANTITY, AMOUNT, TIMING)
"""Differences that somebody must look at: the provider has it and the ledger has not; the other way round; the same
quantity for another price; another quantity; another amount where no quantity tells why; the same cost on the other
side of a boundary between days."""
DIFFERENCE_KINDS: Final = (*OPEN_KINDS, TOLERATED)
"""In the order in which they are told. What is within the tolerance is counted, and nobody need look at it."""
FILES_MAX: Final = 100
BOOKED_MAX: Final = 1_000
COUNT_MAX: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Differing:
    """All differences of one kind: how many, and what the provider has more than the ledger by them, in atoms."""

    kind: str
    count: int
    amount: int


@dataclass(slots=True)
class Reconciliation:
    """One row of ``reconciliations``. Amounts in atoms, moments in microseconds; the period is from ``starts_at``
    (included) to ``ends_at`` (not included). ``ledger_total`` is what the first ``at_size`` records say was spent with
    the payee; ``open_differences`` counts what is not within the tolerance, and ``open_amount`` is what it adds up
    to. ``accepted``: nothing is open, or what is was accepted with a reason."""

    book_id: int
    id: str
    payee: str
    currency: str
    source: str
    starts_at: int
    ends_at: int
    at_size: int
    provider_total: int
    ledger_total: int
    open_differences: int
    open_amount: int
    accepted: bool
    made_by: str
    created_at: int
    created_index: int


def well_formed(differences: Sequence[Differing]) -> str | None:
    """What is wrong with the differences of one reconciliation, as a sentence; None for nothing."""
    kinds = [one.kind for one in differences]
    unknown = [kind for kind in kinds if kind not in DIFFERENCE_KINDS]
    if unknown:
        return f"{unknown[0]} is no kind of difference; those are {', '.join(DIFFERENCE_KINDS)}"
    if kinds != [kind for kind in DIFFERENCE_KINDS if kind in kinds]:
        return f"name each kind of difference once, in this order: {', '.join(DIFFERENCE_KINDS)}"
    if any(not 0 < one.count <= COUNT_MAX for one in differences):
        return "leave out a kind of which there is no difference"
    return None


def still_open(differences: Sequence[Differing]) -> tuple[int, int]:
    """(how many differences are open, what they add up to)."""
    found = [one for one in differences if one.kind != TOLERATED]
    return sum(one.count for one in found), sum(one.amount for one in found)


def makes_good(rows: Sequence[Reconciliation], starts_at: int, ends_at: int) -> bool:
    """Whether comparisons with one payee in one currency, newest first, leave no moment of a stretch of time out, and
    nothing open in it: of each moment the newest comparison counts that has it."""
    edges = {starts_at, ends_at}
    edges |= {edge for row in rows for edge in (row.starts_at, row.ends_at) if starts_at < edge < ends_at}
    for moment in sorted(edges)[:-1]:
        counts = next((row for row in rows if row.starts_at <= moment < row.ends_at), None)
        if counts is None or not counts.accepted:
            return False
    return True
