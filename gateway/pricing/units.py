"""The units that usage is counted and priced in: genai-prices' registry, and what follows from it.

Owns the order of units (a part before its total) and which unit covers which. Invariant: a unit covers another where it
is the same or one of its totals, so a count of the part is inside a count of the total.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Final

from genai_prices.data_units import unit_data
from genai_prices.units import UnitDef, UnitRegistry

REGISTRY: Final = UnitRegistry(unit_data)
BY_PRICE_KEY: Final = MappingProxyType({unit.price_key: unit for unit in REGISTRY.units.values()})
REQUESTS: Final = "requests"
CACHE_WRITE_1H: Final = "cache_write_1h_tokens"
CACHE_WRITE: Final = "cache_write_tokens"


@cache
def totals_of(usage_key: str) -> frozenset[str]:
    """The units, itself among them, that a count of ``usage_key`` is inside of; empty for a key nobody knows."""
    return REGISTRY.ancestor_usage_keys(usage_key) | {usage_key} if usage_key in REGISTRY.units else frozenset()


def parts_first(usage_keys: frozenset[str]) -> list[str]:
    """The keys in an order in which every part stands before its totals."""
    return sorted(usage_keys, key=lambda key: (-len(REGISTRY.units[key].dimensions), key))


def is_token_of(unit: UnitDef, direction: str) -> bool:
    """Whether the unit counts tokens that go in this direction (``input`` or ``output``)."""
    return unit.dimensions.get("family") == "tokens" and unit.dimensions.get("direction") == direction
