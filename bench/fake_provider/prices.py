"""What a call costs at the provider: asked of genai-prices itself, or read from a table of round prices.

The oracle that the gateway's own pricing is judged by, so it shares no code with it. Invariant: a cost is exact
(Decimal); a call that nobody can price has no cost, which is not a cost of zero.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from genai_prices import Usage, calc_price

from bench.fake_provider.calls import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, Counts

PROVIDERS = {CHAT: "openai", RESPONSES: "openai", EMBEDDINGS: "openai", MESSAGES: "anthropic"}
_TOKENS_PER_PRICE_DIGITS = 6
_REMEMBERED = 65536


def read_table(entries: Iterable[str]) -> dict[str, tuple[Decimal, Decimal]]:
    """Prices in USD for a million input and output tokens by model, from `MODEL=IN,OUT` each; `*` is any other model.

    Raises ValueError for an entry of another form.
    """
    table = {}
    for entry in entries:
        model, _, prices = entry.rpartition("=")
        given = prices.split(",")
        try:
            price_in, price_out = map(Decimal, given)
        except (InvalidOperation, ValueError):
            raise ValueError(f"{entry!r} is not MODEL=IN,OUT in USD for a million tokens") from None
        table[model] = (price_in, price_out)
    return table


class Oracle:
    """Costs in USD, remembered by what was used: genai-prices takes a hundred microseconds for one."""

    def __init__(self, table: Mapping[str, tuple[Decimal, Decimal]]) -> None:
        self.table = dict(table)
        self._remembered: dict[tuple[object, ...], Decimal | None] = {}

    def cost(self, *, provider: str, model: str, tier: str, speed: str, counts: Counts) -> Decimal | None:
        """The exact cost, in today's prices; None where there is no price."""
        now = datetime.now(UTC)
        key = (provider, model, tier, speed, counts, now.toordinal())
        if key not in self._remembered:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = self._calculated(provider, model, tier, speed, counts, now)
        return self._remembered[key]

    def _calculated(
        self, provider: str, model: str, tier: str, speed: str, counts: Counts, now: datetime
    ) -> Decimal | None:
        prices = self.table.get(model) or self.table.get("*")
        if prices is not None:
            input_tokens = counts.input + counts.compaction_in
            output_tokens = counts.output + counts.compaction_out
            total = input_tokens * prices[0] + output_tokens * prices[1]
            return total.scaleb(-_TOKENS_PER_PRICE_DIGITS)
        try:
            price = calc_price(
                _usage(counts),
                model,
                provider_id=provider,
                genai_request_timestamp=now,
                price_context=_context(tier, speed),
            )
        except LookupError:
            return None
        return price.total_price


def _context(tier: str, speed: str) -> dict[str, str]:
    """The tier in the words of genai-prices, for which batch is a way of processing."""
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    return context | ({"speed": speed} if speed else {})


def _usage(counts: Counts) -> Usage:
    """The counts in the units of genai-prices, whose totals include their parts; zero parts are left out."""
    written = counts.write5m + counts.write1h
    parts = {
        "cache_read_tokens": counts.cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": counts.write1h,
        "input_audio_tokens": counts.audio_in,
        "output_audio_tokens": counts.audio_out,
        "output_reasoning_tokens": counts.reasoning,
        "web_searches": counts.searches,
    }
    return Usage(
        input_tokens=counts.input + counts.compaction_in,
        output_tokens=counts.output + counts.compaction_out,
        **{name: count for name, count in parts.items() if count},
    )
