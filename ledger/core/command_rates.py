"""The command that gives rates of exchange."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command
from ledger.core.rate import AGE_DAYS_DEFAULT, MANUAL

GIVEN_MAX = 200
"""Rates that one record may give: more than any source names of one day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRate:
    """One unit of ``base`` is worth ``rate`` (decimal text) of ``quote`` from ``day`` on (days since 1970 in the book's
    time zone)."""

    base: str
    quote: str
    rate: str
    day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveRates(Command):
    """Give rates, all from one ``source`` and each for at most ``max_age_days`` after its day. For a pair and a day
    that has a rate, this one holds from now on; what was converted before stays as it is recorded."""

    operation: ClassVar[str] = "give_rates"
    id: str
    rates: tuple[GivenRate, ...]
    source: str = MANUAL
    max_age_days: int = AGE_DAYS_DEFAULT
    reason: str | None = None
