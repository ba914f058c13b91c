"""Usage as real providers sent it, each with the price that genai-prices expects: ours is equal, or says why not.

The bodies are not part of this project; where they are absent the test is skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from gateway.metering import meter_answer
from gateway.pricing import PriceBook
from gateway.pricing.cost import atoms_of
from gateway.usage import Usage
from gateway.wires import Wire
from tests.support.shared_data import needs, shared_data

BODIES = shared_data("provider_usages.json")
# The day on which the list's dated prices are the ones that were expected; noon, because DeepSeek's depend on the hour.
DAY = datetime(2025, 11, 27, 12, tzinfo=UTC)
# What the gateway serves: each of the list's ways to read an answer as the wire that such an answer comes on.
FLAVORS = {
    "chat": Wire.CHAT,
    "responses": Wire.RESPONSES,
    "embeddings": Wire.EMBEDDINGS,
    "anthropic": Wire.MESSAGES,
}
DEFAULTS = {"anthropic": Wire.MESSAGES, "groq": Wire.CHAT, "mistral": Wire.CHAT}
PRICED = 1_510
"""Prices expected of providers and wires that the gateway serves, in the file as it is."""

pytestmark = needs(BODIES)


class Expected(NamedTuple):
    """One price that is expected of one body, read as one provider's."""

    provider: str
    wire: Wire
    model: str
    body: dict[str, Any]
    usage: dict[str, int]
    price: Fraction

    @property
    def reported(self) -> dict[str, Any]:
        """The usage object of the body."""
        return dict(self.body["usage"])


# Why our price is another one. Where a reason holds, the price must differ; where none holds, it must not.
REASONS: dict[str, Callable[[Expected, Usage], bool]] = {
    "a chat answer, read as an embedding: its output was generated and is not free": lambda case, usage: (
        case.wire is Wire.EMBEDDINGS and bool(case.reported.get("completion_tokens"))
    ),
    "Anthropic's answer, read as OpenAI's: its cached tokens or searches are priced, and were left out": (
        lambda case, usage: (
            case.wire is Wire.RESPONSES
            and "cache_creation_input_tokens" in case.reported
            and any(key in usage.counts for key in ("cache_read_tokens", "cache_write_tokens", "web_searches"))
        )
    ),
    "the advisor's tokens are billed at the advisor's model, and were left out": lambda case, usage: bool(usage.others),
    "web searches have a price of their own, and were left out": lambda case, usage: (
        case.provider == "azure" and "web_searches" in usage.counts and "server_tool_use" in case.reported
    ),
    "cache writes have a price of their own, and were left out": lambda case, usage: (
        case.provider == "azure" and "cache_write_tokens" in usage.counts and "cache_write_tokens" not in case.usage
    ),
    "the list had no long-context price for this model when the price was written down": lambda case, usage: (
        case.provider == "google"
        and case.model == "claude-sonnet-4-5-20250929"
        and usage.counts["input_tokens"] > 200_000
    ),
    "tokens that only the total counts are hidden thinking, billed as output": lambda case, usage: (
        case.provider == "google"
        and case.wire is Wire.CHAT
        and case.reported["total_tokens"] > case.reported["prompt_tokens"] + case.reported["completion_tokens"]
    ),
}
NO_PRICE = {("cerebras", "qwen-3-coder-480b"): "the list names the model and no price; we deny what we cannot price"}


@cache
def cases() -> tuple[Expected, ...]:
    """Every price that is expected of a provider and a wire that the gateway serves."""
    return tuple(_cases())


def _cases() -> Iterator[Expected]:
    for line in json.loads(BODIES.read_text(encoding="utf-8"), parse_float=Decimal):
        for found in line["extracted"]:
            for one in found["extractors"]:
                provider, flavor = one["provider_id"], one["api_flavor"]
                wire = FLAVORS.get(flavor) or (DEFAULTS.get(provider) if flavor == "default" else None)
                if wire is None or "input_price" not in one:
                    continue
                price = Fraction(one.get("total_price") or 0) or (
                    Fraction(one["input_price"]) + Fraction(one["output_price"])
                )
                yield Expected(provider, wire, line["model"], line["body"], found["usage"], price)


def test_there_are_bodies_of_every_wire_and_of_many_providers() -> None:
    """The test below would pass on nothing."""
    assert len(cases()) == PRICED
    assert {case.wire for case in cases()} == set(Wire)
    assert {"openai", "azure", "anthropic", "groq", "mistral", "openrouter", "deepseek", "cerebras"} <= {
        case.provider for case in cases()
    }


def test_every_price_is_the_expected_one_or_has_its_reason() -> None:
    """To the last digit, before any rounding; and no reason covers a price that is equal."""
    book, equal, reasons, wrong = PriceBook(), 0, Counter[str](), []
    for case in cases():
        usage = meter_answer(case.wire, case.body)
        assert usage is not None
        tariff = book.tariff(case.provider, case.model, DAY)
        if tariff is None:
            reasons[NO_PRICE[case.provider, case.model]] += 1
            assert case.price == 0
            continue
        numerator, denominator, _ = tariff.exact(usage)
        ours = Fraction(numerator, denominator) / 10**9
        reason = next((text for text, holds in REASONS.items() if holds(case, usage)), None)
        if (reason is None) != (ours == case.price):
            wrong.append((case, usage.counts, ours, reason))
        equal += reason is None
        reasons[reason or "equal"] += 1
        assert tariff.cost(usage).atoms == atoms_of(numerator, denominator)
    assert wrong == []
    assert equal >= 1_080
    assert set(reasons) == {*REASONS, *NO_PRICE.values(), "equal"}, "a reason that covers nothing is stale"


def test_flags_stand_where_the_usage_has_no_price() -> None:
    """What was flagged, over all bodies read on their own wire: tools whose fee nobody lists."""
    book, flags = PriceBook(), Counter[str]()
    for case in cases():
        usage, tariff = meter_answer(case.wire, case.body), book.tariff(case.provider, case.model, DAY)
        if usage is None or tariff is None or any(holds(case, usage) for holds in REASONS.values()):
            continue
        # The list's authors read every body in every way; OpenAI's bodies are not Anthropic's, nor the reverse.
        if ("total_tokens" in case.reported) == (case.wire is Wire.MESSAGES):
            continue
        flags.update(tariff.cost(usage).unpriced)
    assert set(flags) == {
        "web_searches",
        "usage.server_tool_use_details.tool_calls_executed",
        "usage.server_tool_use_details.tool_calls_requested",
    }
