"""The lines of both sides of a reconciliation, and when a difference between them is small enough.

Owns the shapes that readers of a provider's reports and the ledger's own lines are brought into. Invariants: amounts
are atoms and counts are integers; days are those of UTC, in which providers bill; a model has one name on both sides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger.core.moment import SECOND, moment_text

DAY: Final = 86_400 * SECOND
"""A day of UTC, in microseconds."""
REQUESTS: Final = "requests"
"""The quantity that counts calls."""
_SNAPSHOT: Final = re.compile(r"-(?:20[0-9]{2}-[01][0-9]-[0-3][0-9]|20[0-9]{2}[01][0-9][0-3][0-9])\Z")
_QUANTITY: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*_(?:tokens|seconds|searches|executions|requests|pages)")
_COUNT: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class TheirLine:
    """One line of a provider's report. ``place`` says where it stands, for people; ``day`` counts from 1970 in UTC;
    ``amount`` is None in a report that counts and does not bill. Texts are empty where the report does not say."""

    place: str
    day: int
    amount: int | None
    id: str = ""
    model: str = ""
    key: str = ""
    quantities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OurLine:
    """One line of the ledger. ``day`` is that of what it counts for and ``started_day`` that on which its
    authorization was asked for, both in UTC since 1970; ``id`` is the provider's own of the response; ``quantities``
    is None where nothing was counted. ``authorization`` is empty for an adjustment, which corrects no one of them."""

    index: int
    position: int
    kind: str
    day: int
    started_day: int
    amount: int
    authorization: str = ""
    id: str = ""
    model: str = ""
    key: str = ""
    agent: str = ""
    budget: str = ""
    category: str = ""
    quantities: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two amounts may be apart: by ``atoms``, or by ``percent`` of the provider's amount, whichever is more;
    ``percent`` is (numerator, denominator). ``total_*`` bound likewise what all that is tolerated adds up to; None of
    both: it is not bounded."""

    atoms: int = 0
    percent: tuple[int, int] = (0, 1)
    total_atoms: int | None = None
    total_percent: tuple[int, int] | None = None

    def allows(self, difference: int, theirs: int) -> bool:
        """Whether a line may differ by so much."""
        return _within(difference, theirs, self.atoms, self.percent)

    def allows_total(self, difference: int, theirs: int) -> bool:
        """Whether all that is tolerated may add up to so much."""
        if self.total_atoms is None and self.total_percent is None:
            return True
        return _within(difference, theirs, self.total_atoms or 0, self.total_percent or (0, 1))


def _within(difference: int, theirs: int, atoms: int, percent: tuple[int, int]) -> bool:
    numerator, denominator = percent
    return abs(difference) <= atoms or abs(difference) * 100 * denominator <= abs(theirs) * numerator


def model_name(text: str, names: Mapping[str, str] | None = None) -> str:
    """The name that both sides know a model by: the one that ``names`` gives it, else without the date of its snapshot
    (``gpt-5-mini-2025-08-07``, ``claude-sonnet-4-20250514``), in lower case."""
    plain = text.strip().lower()
    if names:
        for known in (text, plain):
            if known in names:
                return names[known]
    return _SNAPSHOT.sub("", plain)


def quantities_of(metering: Mapping[str, str]) -> dict[str, int] | None:
    """What a settlement counted, out of what it was metered from; None where it counted nothing."""
    found = {
        name: int(value)
        for name, value in metering.items()
        if _QUANTITY.fullmatch(name) is not None and _COUNT.fullmatch(value) is not None
    }
    return found or None


def day_of(moment: int) -> int:
    """The day of UTC that a moment in microseconds is in, since 1970."""
    return moment // DAY


def day_text(day: int) -> str:
    """``2026-11-05`` for a day since 1970."""
    return moment_text(day * DAY)[:10]
