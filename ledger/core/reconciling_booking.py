"""What would make the ledger say what the provider says: charges for what is missing, reprices for what cost otherwise.

Owns how a difference is booked. Invariants: what is booked for a difference adds up to it, to the atom; the name of a
booking follows from the payee, the period, what it is about and what both sides say of it, so that a second run of the
same comparison repeats it, and a report that has grown meanwhile leads to the increase alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ledger.core.reconciliation import MISSING_HERE, TIMING
from ledger.core.reconciling_found import Difference, Place
from ledger.core.reconciling_lines import OurLine, day_text

SPREAD_MAX: Final = 100
"""Authorizations among which one difference is spread, the largest ones, unless it takes more to take it off."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a charge goes: a budget, and the agent and category it is said to be of."""

    budget: str
    agent: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Booking:
    """One request to the ledger: a charge to a ``target``, or where ``authorization`` is named a reprice of it by
    ``amount`` atoms, which may be below zero. ``day`` is the day it counts for."""

    difference: Difference
    amount: int
    day: int
    model: str = ""
    target: Target | None = None
    authorization: str = ""
    category: str = ""

    def key(self, payee: str, currency: str, period: str) -> str:
        """The idempotency key."""
        one = self.difference
        said = (
            payee, currency, period, one.found, one.identity, str(one.theirs), str(one.ours), self.authorization,
            str(self.amount),
        )  # fmt: skip
        return "reconcile-" + sha256("\x00".join(said).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Unbooked:
    """A difference that cannot be booked, and why."""

    difference: Difference
    why: str


def bookings_of(
    chosen: Iterable[Difference], target_of: Callable[[Place], Target | None]
) -> tuple[list[Booking], list[Unbooked]]:
    """What to book for differences, in their order; ``target_of`` says where a charge at a place goes."""
    bookings: list[Booking] = []
    unbooked: list[Unbooked] = []
    for one in chosen:
        made = _booked(one, target_of)
        if isinstance(made, str):
            unbooked.append(Unbooked(one, made))
        else:
            bookings += made
    return bookings, unbooked


def _booked(one: Difference, target_of: Callable[[Place], Target | None]) -> list[Booking] | str:
    if one.found == TIMING or not one.amount:
        return "it is a matter of days and not of money; accept it as it is"
    if one.found == MISSING_HERE:
        line = one.their_lines[0]
        place = Place(one.place.id, line.day, line.model, line.key)
        if one.amount < 0:
            return "the provider gives money back; refund the calls it is for"
        target = target_of(place)
        if target is None:
            return f"say which budget it goes to: --budget, or key {line.key!r} in the names"
        return [Booking(one, one.amount, line.day, line.model, target)]
    return _spread(one)


def _spread(one: Difference) -> list[Booking] | str:
    """A difference in what calls cost, over those calls by what each of them cost."""
    of: dict[str, list[OurLine]] = {}
    for line in one.our_lines:
        if line.authorization:
            of.setdefault(line.authorization, []).append(line)
    weights = sorted(
        ((max(sum(line.amount for line in lines), 0), name) for name, lines in of.items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if not weights:
        return "it is of adjustments, or of spend from before the book, which name no call; correct them by hand"
    kept = SPREAD_MAX
    while one.amount < 0 and sum(weight for weight, _ in weights[:kept]) < -one.amount:
        if kept >= len(weights):
            return "it is more than these calls cost"
        kept += SPREAD_MAX
    weights = weights[:kept]
    shares = shares_of(one.amount, [weight for weight, _ in weights])
    return [
        Booking(one, share, of[name][0].day, of[name][0].model, None, name, of[name][0].category)
        for share, (_, name) in zip(shares, weights, strict=True)
        if share
    ]


def shares_of(amount: int, weights: list[int]) -> list[int]:
    """An amount divided by weights, to the atom; what does not divide goes to the largest remainders, the first of them
    before others. Weights of nothing count alike."""
    if not any(weights):
        weights = [1] * len(weights)
    whole, sign = abs(amount), -1 if amount < 0 else 1
    total = sum(weights)
    shares = [whole * weight // total for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda place: (-(whole * weights[place] % total), place))
    for place in remainders[: whole - sum(shares)]:
        shares[place] += 1
    return [sign * share for share in shares]


def about(one: Difference) -> str:
    """What a difference is about, for people."""
    place = one.place
    if place.id:
        return place.id
    return " ".join(part for part in (day_text(place.day), place.model, place.key) if part)
