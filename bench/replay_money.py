"""The money of a replay, added up with Decimal and without the ledger's code.

Invariant: what stands here is computed from the trace and the price list alone, so that agreeing with the
ledger means something. A hold rounds up to one atom; a settlement rounds half-even at one atom.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from genai_prices import Usage, calc_price

ZERO = Decimal(0)
COLUMNS = ("ContextTokens", "GeneratedTokens")


class TraceUnreadable(Exception):
    """The trace is not a CSV file with the columns it must have; the message says where."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the trace, in tokens."""

    context_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class PricedCall:
    """What to hold for a call, and what it cost, in units of the currency, both whole atoms."""

    hold: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sum, as added up here and as the ledger has it."""

    what: str
    ours: Decimal
    ledger: Decimal

    @property
    def equal(self) -> bool:
        """Whether they agree to the atom."""
        return self.ours == self.ledger


def read_trace(path: Path) -> list[Call]:
    """The calls of a trace, in its order. Raises TraceUnreadable."""
    calls = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise TraceUnreadable(f"{path} has no column {' and no column '.join(missing)}")
        for number, row in enumerate(reader, start=2):
            try:
                call = Call(*(int(row[column]) for column in COLUMNS))
            except (TypeError, ValueError) as error:
                raise TraceUnreadable(f"{path}, line {number}: {error}") from error
            if call.context_tokens < 0 or call.generated_tokens < 0:
                raise TraceUnreadable(f"{path}, line {number}: a negative number of tokens")
            calls.append(call)
    if not calls:
        raise TraceUnreadable(f"{path} has no calls")
    return calls


def round_up(amount: Decimal, *, digits: int) -> Decimal:
    """The amount, raised to the next whole atom of a currency with so many digits."""
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_CEILING)


def round_half_even(amount: Decimal, *, digits: int) -> Decimal:
    """The amount at the nearest atom; from the middle, at the even one."""
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)


def price_calls(
    calls: Iterable[Call], *, model: str, provider: str, worst_output_tokens: int, digits: int
) -> list[PricedCall]:
    """Price every call at one moment, so that a price that changes meanwhile cannot divide the replay.

    Raises LookupError when genai-prices does not know the model.
    """
    now = datetime.now(UTC)

    def price(input_tokens: int, output_tokens: int) -> Decimal:
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        total: Decimal = calc_price(
            usage, model_ref=model, provider_id=provider, genai_request_timestamp=now
        ).total_price
        return total

    return [
        PricedCall(
            hold=round_up(price(call.context_tokens, max(worst_output_tokens, call.generated_tokens)), digits=digits),
            cost=round_half_even(price(call.context_tokens, call.generated_tokens), digits=digits),
        )
        for call in calls
    ]


def deal_in_turn(calls: Sequence[PricedCall], players: int) -> list[list[PricedCall]]:
    """The calls of each agent: the first goes to the first agent, the next to the next, and round again."""
    return [list(calls[first::players]) for first in range(players)]


def decimal_of(value: Any) -> Decimal:
    """An amount of the HTTP contract: `{"amount": "1.50", "currency": "USD"}` or its text; None is 0.

    Raises ValueError for a float: money never travels as one.
    """
    if value is None:
        return ZERO
    if isinstance(value, dict):
        return decimal_of(value["amount"])
    if not isinstance(value, str):
        raise ValueError(f"money must travel as text, not as {value!r}")
    return Decimal(value)


def text_of(amount: Decimal) -> str:
    """The amount as a request carries it: plain digits, never an exponent."""
    return f"{amount:f}"
