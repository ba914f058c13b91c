"""Prices: what a call cost, what it can cost at most, and how much output an amount affords.

Pure but for ``load_overrides``, which reads a file. Invariants: all arithmetic is exact in integers until the one
rounding at the end; a cost is never above the ceiling of what it used; usage without a price is named, never free.
"""

from gateway.pricing.book import PriceBook
from gateway.pricing.cost import Cost
from gateway.pricing.loading import load_overrides
from gateway.pricing.overrides import NO_OVERRIDES, Overrides
from gateway.pricing.tariff import OUTPUT_UNBOUNDED, Tariff

__all__ = ["NO_OVERRIDES", "OUTPUT_UNBOUNDED", "Cost", "Overrides", "PriceBook", "Tariff", "load_overrides"]
