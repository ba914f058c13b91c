"""A set of prices made ready for integers: costs of usage, and the dearest that a token can be.

Owns ``Plan``. Invariants: a count is priced once, at the most particular unit that has a price (a cached token at the
cache's price and not at the input's as well); sums are exact; nothing is rounded before the last step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final

from gateway.pricing.rates import Rates, shown
from gateway.pricing.units import (
    BY_PRICE_KEY,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    REGISTRY,
    REQUESTS,
    is_token_of,
    parts_first,
    totals_of,
)
from ledger.core.money import ATOMS_MAX

ATOMS_PER_USD: Final = 10**9
INCONSISTENT: Final = "inconsistent:"
OUT_OF_RANGE: Final = "amount_out_of_range"
_AUDIO: Final = "audio"
# What every provider that tells the two lifetimes apart documents: an hour's write costs twice the input price.
_HOUR_OVER_INPUT: Final = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call cost in atoms of USD, and what of its usage nobody could price.

    ``unpriced`` names usage keys, fields and tiers; where it is not empty, ``atoms`` may be too low and is flagged.
    """

    atoms: int
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """The dearest of one plan up to some input size, as numerators over ``denominator`` atoms."""

    read: int
    written: int
    fixed: int
    denominator: int

    def atoms(self, *, input_tokens: int, output_tokens: int) -> int:
        """The bound, rounded up."""
        return -(-(self.fixed + self.read * input_tokens + self.written * output_tokens) // self.denominator)


class Plan:
    """Prices of one model, tier and moment. Immutable once made."""

    __slots__ = ("_bands", "_denominator", "_fees", "_guessed", "_rates", "_starts", "covered")

    def __init__(self, rates: Rates) -> None:
        priced = {BY_PRICE_KEY[key].usage_key: rate for key, rate in rates.items()}
        self._rates = rates
        self._guessed = CACHE_WRITE_1H not in priced and CACHE_WRITE in priced and "input_tokens" in priced
        starts = sorted({above for rate in priced.values() for above, _ in rate.steps})
        per_band = [
            {
                key: Fraction(rate.at(start + 1)) / REGISTRY.units[key].per * ATOMS_PER_USD
                for key, rate in priced.items()
            }
            for start in [-1, *starts]
        ]
        if self._guessed:
            for prices in per_band:
                hour = _HOUR_OVER_INPUT * prices["input_tokens"]
                prices[CACHE_WRITE_1H] = max(hour, prices[CACHE_WRITE])
        self._denominator = lcm(*(price.denominator for prices in per_band for price in prices.values()), 1)
        whole = [{key: int(price * self._denominator) for key, price in prices.items()} for prices in per_band]
        self._starts = starts
        order = parts_first(frozenset(whole[0]) - {REQUESTS})
        inside = {key: tuple(part for part in order if part != key and key in totals_of(part)) for key in order}
        self._bands = [tuple((key, prices[key], inside[key]) for key in order) for prices in whole]
        self._fees = [prices.get(REQUESTS, 0) for prices in whole]
        self.covered = frozenset(key for key in REGISTRY.units if totals_of(key) & priced.keys())
        """The usage keys that have a price, of their own or of a total they are inside of."""

    def prices(self) -> dict[str, Decimal]:
        """The prices as they are shown and recorded."""
        return shown(self._rates)

    def price(self, counts: Mapping[str, int]) -> tuple[int, int, tuple[str, ...]]:
        """The exact cost as numerator and denominator in atoms, and the keys without a price or at odds with others.

        A part larger than its total is priced as it is reported, and the total named ``inconsistent:…``.
        """
        band = bisect_left(self._starts, counts.get("input_tokens", 0)) if self._starts else 0
        total = self._fees[band]
        found: dict[str, int] = {}
        unpriced: tuple[str, ...] = ()
        for key, price, parts in self._bands[band]:
            count = counts.get(key, 0)
            if parts:
                for part in parts:
                    count -= found[part]
                if count < 0:
                    count = 0
                    unpriced += (INCONSISTENT + key,)
            found[key] = count
            if count:
                total += price * count
        covered = self.covered
        for key, count in counts.items():
            if count and key not in covered:
                unpriced += (key,)
        if self._guessed and counts.get(CACHE_WRITE_1H):
            unpriced += (CACHE_WRITE_1H,)
        return total, self._denominator, unpriced

    def has_fee(self, usage_key: str) -> bool:
        """Whether calls of this tool, or other units that are no tokens, have a price."""
        return usage_key in self.covered

    def bounds(self, *, cache_writes: frozenset[str], audio: bool) -> tuple[list[int], list[Bound]]:
        """For each band the dearest price of a token in it or in a band below it.

        ``cache_writes`` are the sorts of cache writes that can be billed; audio prices count where ``audio`` can occur.
        Returns the band's starts (a call belongs to the first whose start is not below its input), and their bounds.
        """
        found: list[Bound] = []
        for rows, fee in zip(self._bands, self._fees, strict=True):
            read = [price for key, price, _ in rows if self._may_occur(key, "input", cache_writes, audio)]
            written = [price for key, price, _ in rows if self._may_occur(key, "output", cache_writes, audio)]
            before = found[-1] if found else Bound(0, 0, 0, self._denominator)
            found.append(
                Bound(
                    max([*read, before.read]),
                    max([*written, before.written]),
                    max(fee, before.fixed),
                    self._denominator,
                )
            )
        return self._starts, found

    def fee_atoms(self, counts: Mapping[str, int]) -> int:
        """What calls of tools cost, in atoms rounded up. Raises LookupError for a tool without a price."""
        for key, count in counts.items():
            if count and not self.has_fee(key):
                raise LookupError(f"{key} has no price")
        numerator, denominator, _ = self.price(counts)
        return -(-(numerator - self._fees[0]) // denominator)

    def _may_occur(self, key: str, direction: str, cache_writes: frozenset[str], audio: bool) -> bool:
        unit = REGISTRY.units[key]
        if not is_token_of(unit, direction):
            return False
        if unit.dimensions.get("modality") == _AUDIO and not audio:
            return False
        return unit.dimensions.get("token_type") != "cache_write" or (
            unit.dimensions.get("cache_ttl", "5m") in cache_writes
        )


def atoms_of(numerator: int, denominator: int) -> int:
    """Rounded half-even to one atom, and at most what a ledger amount can hold."""
    atoms, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and atoms & 1):
        atoms += 1
    return min(atoms, ATOMS_MAX)
