"""The cost of a line of a bill that says what was used and not what it costs, at the prices that the gateway goes by.

Owns the look-up. Invariant: a line of which anything has no price stays without a cost; nothing is priced at zero in
silence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.cli.bill import BillLine
from gateway.usage import Usage
from ledger.core.money import NANO_DIGITS

if TYPE_CHECKING:
    from gateway.pricing import PriceBook

CURRENCY: Final = "USD"
_STANDARD: Final = ("", "default")


def priced(line: BillLine, book: PriceBook, *, provider: str, model: str, at: int) -> BillLine:
    """The line with a cost in USD and what a settlement records of it, where it has no cost, has usage, and all of that
    has a price. ``provider`` and ``model`` are those of the call, for a line that names none; ``at`` (microseconds) is
    when the call was made."""
    from gateway.pricing.recorded import recorded

    if line.cost is not None or not line.usage or line.currency not in ("", CURRENCY):
        return line
    tier = "standard" if line.tier in _STANDARD else line.tier
    usage = Usage(dict(line.usage), model=line.model, response_id=line.response_id, tier=tier)
    day = datetime.fromtimestamp(at // 1_000_000, UTC)
    # The model of the line is the one that was billed: without a price of its own it has not that of the one asked for.
    tariff = book.tariff(line.provider or provider, line.model or model, day)
    if tariff is None:
        return line
    cost = tariff.cost(usage)
    if cost.unpriced:
        return line
    amount = Decimal(cost.atoms).scaleb(-NANO_DIGITS)
    said = recorded(usage, tariff)
    return replace(line, cost=amount, currency=CURRENCY, priced_by=tariff.source, recorded=said)
