"""Rates of exchange: what finance says a currency is worth in another, from which day on, and by whose word.

Owns the row, the text of a rate, and which rate is used on a day. Invariants: pure; a rate is an exact decimal number
and never a float; the same rows give the same rate on the same day; what is too old is no rate.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from math import gcd
from typing import Final, NamedTuple

from ledger.core.money import currency_digits
from ledger.core.windows import date_at

CROSS: Final = "EUR"
"""What two currencies without a rate of their own are joined by: central banks and their files name rates to it."""
AGE_DAYS_DEFAULT: Final = 7
"""Longer than any run of bank holidays, and short enough that a file nobody imports any more is noticed."""
AGE_DAYS_MAX: Final = 92
"""A quarter. It bounds how far back a rate is looked for."""
AHEAD_DAYS_MAX: Final = 366
RATE_DIGITS_MAX: Final = 12
MANUAL: Final = "manual"
"""The source of a rate that nobody named one for."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
FIRST_DAY: Final = date(1990, 1, 1).toordinal() - _EPOCH
"""The earliest day that a rate may be entered for."""
_RATE: Final = re.compile(rf"[0-9]{{1,{RATE_DIGITS_MAX}}}(?:\.[0-9]{{1,{RATE_DIGITS_MAX}}})?")


@dataclass(slots=True)
class Rate:
    """One row of ``rates``: ``rate`` of the quote currency is what one unit of the base currency is worth, both named
    in ``pair`` (``EUR/USD``), from ``day`` (days since 1970 in the book's time zone) on, until another day's follows or
    it is ``max_age_days`` old. ``created_index`` is the record that first gave a rate for the day, ``changed_index``
    the one that gave this."""

    book_id: int
    pair: str
    day: int
    rate: str
    source: str
    max_age_days: int
    created_index: int
    changed_index: int


class Leg(NamedTuple):
    """One rate as it is used: by the log index of its record, for the pair as it was entered; ``is_inverse`` where it
    is used the other way round."""

    log_index: int
    base: str
    quote: str
    rate: str
    day: int
    source: str
    is_inverse: bool


RateOf = Callable[[str, int], Rate | None]
"""The rate that was given for a pair and a day, None where none was."""


class RateInvalid(ValueError):
    """What cannot be a rate. The message says what to change."""


def pair_of(base: str, quote: str) -> str:
    """The name of a pair of currencies."""
    return f"{base}/{quote}"


def rate_text(text: str) -> str:
    """A rate in its one form: plain decimal, above zero, without needless zeros. Raises RateInvalid."""
    if _RATE.fullmatch(text) is None:
        raise RateInvalid(
            f'"{text[:40]}" is no rate; write a decimal number such as "1.0842", with at most {RATE_DIGITS_MAX} digits '
            "before and after the point"
        )
    whole, _, fraction = text.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    if whole == "0" and not fraction:
        raise RateInvalid("a rate is above zero")
    return f"{whole}.{fraction}" if fraction else whole


def check_pair(base: str, quote: str) -> None:
    """Raises RateInvalid unless the two are different currencies of money."""
    for code in (base, quote):
        if currency_digits(code) is None:
            raise RateInvalid(f"{code} is no ISO 4217 currency; only money has rates")
    if base == quote:
        raise RateInvalid(f"a rate is between two currencies, not from {base} to itself")


def day_of(timezone: str, moment: int) -> int:
    """The day, since 1970 in the time zone, that a moment is in."""
    return date_at(timezone, moment).toordinal() - _EPOCH


def day_text(day: int) -> str:
    """A day since 1970 as text: ``2026-11-28``."""
    return date.fromordinal(day + _EPOCH).isoformat()


def day_number(text: str) -> int:
    """The day since 1970 that ``2026-11-28`` says. Raises ValueError for what is not written so."""
    found = date.fromisoformat(text)
    if found.isoformat() != text:
        raise ValueError(f'"{text[:40]}" is no day; write it as 2026-11-28')
    return found.toordinal() - _EPOCH


def days_back(day: int) -> Iterator[int]:
    """The days whose rates may still be used on ``day``, the latest first."""
    return iter(range(day, day - AGE_DAYS_MAX - 1, -1))


def ways(base: str, quote: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """The ways from one currency to another, in the order in which they are tried: by rates between the two, else by
    both one's rates to and from ``CROSS``."""
    direct = ((base, quote),)
    return (direct,) if CROSS in (base, quote) else (direct, ((base, CROSS), (CROSS, quote)))


def legs_on(day: int, base: str, quote: str, rate_of: RateOf) -> tuple[Leg, ...] | None:
    """The rates by which ``base`` is converted to ``quote`` on a day, None where there is no way.

    Of the rates for a pair, entered either way round, the latest day's counts; of one day's, the one recorded last. If
    that is older than it may get, there is none: what was before it is older still.
    """
    for way in ways(base, quote):
        legs = [leg for pair in way if (leg := leg_on(day, *pair, rate_of)) is not None]
        if len(legs) == len(way):
            return tuple(legs)
    return None


def leg_on(day: int, base: str, quote: str, rate_of: RateOf) -> Leg | None:
    """The rate between two currencies that is used on a day, without going through a third; None where there is none
    or it is too old."""
    for earlier in days_back(day):
        given = [
            (row, one)
            for one, other in ((base, quote), (quote, base))
            if (row := rate_of(pair_of(one, other), earlier)) is not None
        ]
        if given:
            row, one = max(given, key=lambda each: each[0].changed_index)
            if day - earlier > row.max_age_days:
                return None
            other = quote if one == base else base
            return Leg(row.changed_index, one, other, row.rate, row.day, row.source, one != base)
    return None


def factor_of(base: str, quote: str, legs: tuple[Leg, ...]) -> tuple[int, int]:
    """(numerator, denominator) of atoms of ``quote`` for one atom of ``base``, exactly and in lowest terms."""
    base_digits, quote_digits = currency_digits(base), currency_digits(quote)
    if base_digits is None or quote_digits is None:
        raise ValueError(f"{base} and {quote} are not both money")
    above, below = 10**quote_digits, 10**base_digits
    for leg in legs:
        whole, _, fraction = leg.rate.partition(".")
        number, scale = int(whole + fraction), 10 ** len(fraction)
        above, below = (above * scale, below * number) if leg.is_inverse else (above * number, below * scale)
    common = gcd(above, below)
    return above // common, below // common
