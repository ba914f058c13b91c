"""prices.yaml as fields: what may stand in it, checked, and turned into values.

Owns the format that docs/prices.md describes. Invariants: an unknown field, a number that is no text and a price key
that nobody knows are refused; prices are read as decimals, never as binary fractions.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.metering.tiers import STANDARD
from gateway.pricing.overrides import Entry
from gateway.pricing.rates import Rate
from gateway.pricing.units import BY_PRICE_KEY, REGISTRY
from ledger.services.policies.document_errors import nearest

ENTRIES_MAX: Final = 1000
STEPS_MAX: Final = 8
TOKENS_MAX: Final = 10**9
_PRICE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?")
_PERCENT: Final = re.compile(r"-?[0-9]{1,4}(\.[0-9]{1,6})?")
_FEE_FAMILIES: Final = ("tool_calls", "requests")
_TOKEN_KEYS: Final = tuple(key for key, unit in BY_PRICE_KEY.items() if unit.dimensions.get("family") == "tokens")
_FEE_KEYS: Final = tuple(key for key, unit in REGISTRY.units.items() if unit.dimensions.get("family") in _FEE_FAMILIES)


def _one_of(known: tuple[str, ...], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            meant = nearest(value, known)
            hint = f'did you mean "{meant}"?' if meant else "docs/prices.md lists them"
            raise PydanticCustomError("unknown_key", "{text}", {"text": f'"{value[:60]}" is no {what}: {hint}'})
        return value

    return AfterValidator(check)


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("day", "{text}", {"text": f'"{value[:40]}" is no day: write 2026-01-31'}) from error


def _percent(value: str) -> Decimal:
    percent = Decimal(value) if _PERCENT.fullmatch(value) else None
    if percent is None or percent > 100:
        message = f'"{value[:40]}" is no discount: write a decimal number of at most 100 in quotes, such as "12.5"'
        raise PydanticCustomError("percent", "{text}", {"text": message})
    return percent


def _price(value: str) -> str:
    if _PRICE.fullmatch(value) is None:
        text = f'"{value[:40]}" is no price: write USD as a decimal number in quotes, such as "1.25"'
        raise PydanticCustomError("price", "{text}", {"text": text})
    return value


def _as_rate(value: Any) -> Any:
    return {"base": value} if isinstance(value, str | int) and not isinstance(value, bool) else value


Price = Annotated[str, AfterValidator(_price)]
Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Day = Annotated[str, AfterValidator(_day)]
Percent = Annotated[str, AfterValidator(_percent)]
TierName = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,32}(\+us)?$")]
Tokens = Annotated[int, Field(ge=1, le=TOKENS_MAX)]


class Fields(BaseModel):
    """What every set of fields shares: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StepFields(Fields):
    """The price of a whole call that reads more than ``above`` tokens."""

    above: Annotated[int, Field(ge=0, le=TOKENS_MAX)]
    price: Price


class RateFields(Fields):
    """A price, and its long-context steps. Written as a text where there are none."""

    base: Price
    steps: list[StepFields] = Field(default_factory=list, max_length=STEPS_MAX)

    def rate(self) -> Rate:
        """The value."""
        steps = sorted((step.above, Decimal(step.price)) for step in self.steps)
        return Rate(Decimal(self.base), tuple(steps))


RateField = Annotated[RateFields, BeforeValidator(_as_rate)]
TokenPrices = dict[Annotated[str, _one_of(_TOKEN_KEYS, "price of tokens")], RateField]
Fees = dict[Annotated[str, _one_of(_FEE_KEYS, "call with a fee")], Price]


class EntryFields(Fields):
    """One entry of ``prices``."""

    provider: Pattern = "*"
    model: Pattern = "*"
    from_: Day | None = Field(default=None, alias="from")
    until: Day | None = None
    prices: TokenPrices = Field(default_factory=dict)
    tiers: dict[TierName, TokenPrices] = Field(default_factory=dict)
    tools_per_thousand: Fees = Field(default_factory=dict)
    discount_percent: Percent | None = None
    max_output_tokens: Tokens | None = None
    context_window: Tokens | None = None

    @model_validator(mode="after")
    def _says_something(self) -> EntryFields:
        problem = ""
        if STANDARD in self.tiers:
            problem = "the standard tier's prices stand under prices, not under tiers"
        elif self.from_ is not None and self.until is not None and self.until < self.from_:
            problem = f"this ends on {self.until}, before it begins on {self.from_}"
        elif not self.model_fields_set - {"provider", "model", "from_", "until"}:
            problem = "this entry changes nothing: give prices, tiers, a discount, a fee or a limit"
        if problem:
            raise PydanticCustomError("entry", "{text}", {"text": problem})
        return self

    def entry(self) -> Entry:
        """The value. Fees are prices of the standard tier, which every tier has unless it says otherwise."""
        fees = {REGISTRY.units[key].price_key: Rate(Decimal(price)) for key, price in self.tools_per_thousand.items()}
        percent: Any = self.discount_percent
        # The validators of a day and of a percentage hand on a date and a decimal under the type of what was written.
        first: Any = self.from_
        last: Any = self.until
        return Entry(
            provider=self.provider,
            model=self.model,
            first_day=first or date.min,
            last_day=last or date.max,
            prices=_rates(self.prices) | fees,
            tiers={tier: _rates(prices) for tier, prices in self.tiers.items()},
            factor=None if percent is None else 1 - Fraction(percent) / 100,
            max_output_tokens=self.max_output_tokens,
            context_window=self.context_window,
        )


class FallbackFields(Fields):
    """The price of models that nobody knows."""

    prices: TokenPrices
    max_output_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _has_both(self) -> FallbackFields:
        if not {"input_mtok", "output_mtok"} <= set(self.prices):
            message = "a fallback needs input_mtok and output_mtok: nothing else bounds a model that nobody knows"
            raise PydanticCustomError("fallback", "{text}", {"text": message})
        return self

    def rates(self) -> dict[str, Rate]:
        """The value."""
        return _rates(self.prices)


class PricesFile(Fields):
    """A whole prices.yaml."""

    prices: list[EntryFields] = Field(default_factory=list, max_length=ENTRIES_MAX)
    fallback: FallbackFields | None = None


def _rates(prices: dict[str, RateFields]) -> dict[str, Rate]:
    return {key: rate.rate() for key, rate in prices.items()}
