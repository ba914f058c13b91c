"""The cost of a line of a bill that says what was used and not what it costs, at the published prices.

Owns the look-up. Invariant: what nobody has a price for, or a tier with a price of its own, stays without a cost;
nothing is priced at zero in silence.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from gateway.cli.bill import BillLine

CURRENCY: Final = "USD"
PRICED: Final = frozenset(
    (
        "input_tokens", "output_tokens", "output_reasoning_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_5m_tokens", "cache_write_1h_tokens", "input_audio_tokens", "output_audio_tokens",
    )
)  # fmt: skip
"""Counts whose price is part of a model's. Of others, such as searches, the library leaves out what it cannot price."""
STANDARD: Final = ("", "standard", "default")


def priced(line: BillLine, *, provider: str, model: str, at: int) -> BillLine:
    """The line with a cost in USD, where it has none, has usage, and the price of all of it is known. ``provider`` and
    ``model`` are those of the call, for a line that names none; ``at`` (microseconds) is when it was made."""
    if line.cost is not None or not line.usage or line.currency not in ("", CURRENCY):
        return line
    if line.tier not in STANDARD or not {name for name, count in line.usage.items() if count} <= PRICED:
        return line
    from genai_prices import Usage, calc_price

    try:
        with warnings.catch_warnings():
            # It warns of a count that it has no name for, and would leave it out of the price.
            warnings.simplefilter("error")
            found = calc_price(
                Usage(**line.usage),
                line.model or model,
                provider_id=line.provider or provider,
                genai_request_timestamp=datetime.fromtimestamp(at // 1_000_000, UTC),
            )
    except (LookupError, ValueError, TypeError, UserWarning):
        return line
    cost = Decimal(found.total_price)
    return replace(line, cost=cost, currency=CURRENCY, priced_by=f"genai-prices {version('genai-prices')}")
