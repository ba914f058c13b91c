"""List prices: genai-prices' data, read from the installed package and from nowhere else.

Invariant: what is read depends on the package's version alone (its own snapshot can be replaced at run time; this does
not look at it), so a price that a record names can be found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Final

from genai_prices.types import ModelInfo, ModelPrice, Provider, TimeOfDateConstraint

from gateway.metering.tiers import STANDARD
from gateway.pricing.rates import Rate, Rates, rates_of

MODEL_CHARACTERS_MAX: Final = 256
# What others call the same providers. genai-prices' own matching takes any name that contains a provider's, which
# would price a private server called openai-at-home as OpenAI.
_ALIASES: Final = {
    "xai": "x-ai",
    "grok": "x-ai",
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "moonshot": "moonshotai",
    "z-ai": "zai",
    "together-ai": "together",
    "togetherai": "together",
    "fireworks-ai": "fireworks",
}
# The words that genai-prices selects variants by, for each tier.
_CONTEXTS: Final = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "batch": {"processing": "batch"},
}
_FREE: Final = ":free"


@cache
def list_source() -> str:
    """The package and its version, as records name it: ``genai-prices 0.2.3``."""
    return f"genai-prices {version('genai-prices')}"


@cache
def providers() -> tuple[Provider, ...]:
    """Every provider of the list. Read once; the data is large."""
    from genai_prices.data import providers as listed

    return tuple(listed)


def find_provider(name: str) -> Provider | None:
    """The provider of this id or alias, in any case; None for one that the list has not."""
    plain = name.strip().lower()
    wanted = _ALIASES.get(plain, plain)
    return next((provider for provider in providers() if provider.id == wanted), None)


def find_model(provider: Provider, model: str) -> ModelInfo | None:
    """The model that a client's or an answer's name means at this provider, by genai-prices' own matching."""
    if not model or len(model) > MODEL_CHARACTERS_MAX:
        return None
    return provider.find_model(model, all_providers=list(providers()))


def providers_of(model: str) -> Iterator[tuple[Provider, ModelInfo]]:
    """Every provider that lists a model of this name itself."""
    for provider in providers():
        found = provider.find_model(model) if len(model) <= MODEL_CHARACTERS_MAX else None
        if found is not None:
            yield provider, found


def boundaries(model: ModelInfo) -> tuple[time, ...]:
    """The times of day (UTC) at which the model's price may change, midnight first."""
    constraints = [entry.constraint for entry in model.prices] if isinstance(model.prices, list) else []
    constraints += [variant.constraint for variant in model.price_variants or ()]
    times = {time(0)}
    for constraint in constraints:
        if isinstance(constraint, TimeOfDateConstraint):
            times |= {_in_utc(constraint.start_time), _in_utc(constraint.end_time)}
    return tuple(sorted(times))


def _in_utc(value: time) -> time:
    if value.tzinfo is None:
        return value
    return datetime.combine(date(2000, 1, 1), value).astimezone(UTC).time()


def listed_rates(provider: Provider, model: ModelInfo, day: date, at: time) -> dict[str, Rates] | None:
    """The rates by tier at one time of a day; None where the list has no price for tokens of this model."""
    moment = datetime.combine(day, at, tzinfo=UTC)
    standard = _token_rates(model, model.get_prices(moment))
    if standard is None:
        return None
    found: dict[str, Rates] = {STANDARD: standard}
    # A model that another provider's list lends (Azure's of OpenAI) comes without that provider's tiers.
    if any(model is own for own in provider.models):
        for tier, context in _CONTEXTS.items():
            if _has_variant(model, moment, context):
                found[tier] = rates_of(model.get_prices(moment, context))
    return found


def _token_rates(model: ModelInfo, price: ModelPrice) -> dict[str, Rate] | None:
    rates = rates_of(price)
    if not rates and model.id.endswith(_FREE):
        return {"input_mtok": Rate(Decimal(0)), "output_mtok": Rate(Decimal(0))}
    # A model that is priced by the hour, the page or the character only is not one of those that the gateway's wires
    # carry; and a price below zero, which is how one provider's list says "depends", is none.
    prices = [step for rate in rates.values() for step in (rate.base, *(dearer for _, dearer in rate.steps))]
    return rates if "input_mtok" in rates and min(prices) >= 0 else None


def _has_variant(model: ModelInfo, moment: datetime, context: dict[str, str]) -> bool:
    return any(
        all(context.get(key) == value for key, value in variant.when.items())
        and (variant.constraint is None or variant.constraint.active(moment))
        and any(price is not None for price in vars(variant.prices).values())
        for variant in model.price_variants or ()
    )
