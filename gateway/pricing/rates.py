"""One set of prices: what each price key costs in USD, with the steps of long-context prices.

Owns the value ``Rate``. Invariant: prices are Decimals as they were written, never rounded here and never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from genai_prices.types import ModelPrice, TieredPrices

from gateway.pricing.units import BY_PRICE_KEY


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per the unit's own measure (a million tokens, a thousand calls): ``base``, and per step the price of the
    whole call once its input tokens are more than the step's number."""

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """The price for a call with so many input tokens."""
        price = self.base
        for above, dearer in self.steps:
            if input_tokens > above:
                price = dearer
        return price

    def times(self, factor: Fraction) -> Rate:
        """Each price times a factor whose denominator has no prime but 2 and 5, exactly."""
        return Rate(_times(self.base, factor), tuple((above, _times(price, factor)) for above, price in self.steps))


Rates = Mapping[str, Rate]
"""By price key: ``input_mtok``, ``web_searches_kcount``."""


def _times(price: Decimal, factor: Fraction) -> Decimal:
    exact = Fraction(price) * factor
    digits = 0
    while exact.denominator != 1:
        exact *= 10
        digits += 1
    return Decimal(exact.numerator).scaleb(-digits) if digits else Decimal(exact.numerator)


def rates_of(price: ModelPrice) -> dict[str, Rate]:
    """genai-prices' set as rates; keys that its registry does not know are left out, as it does itself."""
    found: dict[str, Rate] = {}
    for key, value in vars(price).items():
        if key not in BY_PRICE_KEY or value is None:
            continue
        if isinstance(value, TieredPrices):
            found[key] = Rate(value.base, tuple((step.start, step.price) for step in value.tiers))
        else:
            found[key] = Rate(value)
    return found


def shown(rates: Rates) -> dict[str, Decimal]:
    """For records and people: each price by its key, each step of it by ``KEY.above_TOKENS``."""
    found: dict[str, Decimal] = {}
    for key, rate in rates.items():
        found[key] = rate.base
        for above, price in rate.steps:
            found[f"{key}.above_{above}"] = price
    return found
