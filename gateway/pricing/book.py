"""Where tariffs come from: list prices, changed by the book's own, for one provider, model and day.

Invariants: a model without a price is None, never free; every tariff names its source; what is kept is bounded, however
many names clients make up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Final

from genai_prices.types import ModelInfo, Provider

from gateway.metering.tiers import STANDARD
from gateway.pricing.listed import boundaries, find_model, find_provider, list_source, listed_rates
from gateway.pricing.outputs import largest_output
from gateway.pricing.overrides import NO_OVERRIDES, Entry, Overrides
from gateway.pricing.rates import Rate, Rates
from gateway.pricing.tariff import Moment, Tariff
from gateway.usage import Usage

TARIFFS_KEPT_MAX: Final = 4096
_WHOLE: Final = Fraction(1)


class PriceBook:
    """List prices with one file of overrides. Make one at start and share it; threads may use it at once."""

    def __init__(self, overrides: Overrides | None = None) -> None:
        self._overrides = overrides or NO_OVERRIDES
        self._kept: dict[tuple[str, str, str, date], tuple[Tariff, tuple[tuple[time, Tariff], ...]] | None] = {}
        self._fallbacks: dict[tuple[str, str, str, tuple[tuple[str, Decimal], ...]], Tariff] = {}

    def tariff(self, provider: str, model: str, day: date, *, asked: str = "") -> Tariff | None:
        """The prices of a model on a day, or None where nobody has a price for it.

        ``provider`` is genai-prices' id (or a name that prices.yaml uses), ``model`` the name as a client sent it or as
        the provider answered it. ``day`` is in UTC; a datetime (aware) also says the hour, which decides at a few
        providers. With a day alone such a model costs its dearest hour. A ceiling is always the whole day's.
        The book's own prices may name the model as it is called here, as the list calls it, or as it was ``asked``,
        where the list says that all of these are one model.
        """
        at = day if isinstance(day, datetime) else None
        if at is not None and at.tzinfo is not UTC:
            at = at.astimezone(UTC)
        key = (provider, model, asked, at.date() if at else day)
        if key in self._kept:
            found = self._kept[key]
        else:
            found = self._make(*key)
            while len(self._kept) >= TARIFFS_KEPT_MAX:
                self._kept.pop(next(iter(self._kept), key), None)
            self._kept[key] = found
        if found is None:
            return None
        whole_day, hours = found
        if at is None or not hours:
            return whole_day
        return [tariff for start, tariff in hours if start <= at.time()][-1]

    def served(self, provider: str, model: str, usage: Usage, day: date) -> Tariff | None:
        """The prices of the model that answered, else of the one that was asked (``model``), else None."""
        answered = self.tariff(provider, usage.model, day, asked=model) if usage.model else None
        if answered is None or answered.is_fallback:
            return self.tariff(provider, model, day) or answered
        return answered

    def fallback(self, provider: str, model: str, prices: Mapping[str, Decimal], *, source: str) -> Tariff:
        """A tariff for a model that nobody has a price for, from prices (USD a million, ``input_mtok`` and
        ``output_mtok`` among them) that a policy names; ``source`` says which. Raises KeyError for an unknown key."""
        key = (provider, model, source, tuple(sorted(prices.items())))
        found = self._fallbacks.get(key)
        if found is None:
            found = self._fallback(provider, model, {name: Rate(price) for name, price in prices.items()}, source, None)
            while len(self._fallbacks) >= TARIFFS_KEPT_MAX:
                self._fallbacks.pop(next(iter(self._fallbacks), key), None)
            self._fallbacks[key] = found
        return found

    def _make(
        self, provider: str, model: str, asked: str, day: date
    ) -> tuple[Tariff, tuple[tuple[time, Tariff], ...]] | None:
        listing = find_provider(provider)
        info = find_model(listing, model) if listing else None
        # A file may use the provider's name in gateway.yaml or the list's; records have the list's.
        names = (provider, listing.id) if listing else (provider,)
        said = self._overrides.about(names, _names(listing, info, model, asked), day)
        times = boundaries(info) if info else (time(0),)
        moments = [_moment(listing, info, said, day, at) for at in times]
        found = [moment for moment in moments if moment is not None]
        if len(found) < len(moments):
            if self._overrides.fallback is None:
                return None
            rates, source = self._overrides.fallback, f"{self._overrides.source} (fallback)"
            output = said.max_output_tokens or self._overrides.fallback_max_output_tokens
            return self._fallback(provider, model, rates, source, output, said.context_window), ()

        name = info.id if info else model

        def made(chosen: tuple[Moment, ...], bounding: Tariff | None = None) -> Tariff:
            return Tariff(
                source=self._source(said, listed=any(_lists(listing, info, day, at) for at in times)),
                provider=listing.id if listing else provider,
                model=name,
                moments=chosen,
                # Claude writes to its cache what a request marks; others write what they like and may bill it.
                implicit_cache_writes="claude" not in name.lower(),
                context_window=said.context_window or (info.context_window if info else None),
                max_output_tokens=said.max_output_tokens or largest_output(model) or largest_output(name),
                others=lambda other: self.tariff(provider, other, day),
                bounding=bounding,
            )

        whole_day = made(tuple(found))
        if len(times) == 1:
            return whole_day, ()
        return whole_day, tuple((at, made((moment,), whole_day)) for at, moment in zip(times, found, strict=True))

    def _fallback(
        self,
        provider: str,
        model: str,
        rates: Rates,
        source: str,
        output: int | None,
        window: int | None = None,
    ) -> Tariff:
        return Tariff(
            source=source,
            provider=provider,
            model=model,
            moments=({STANDARD: rates},),
            implicit_cache_writes=True,
            context_window=window,
            max_output_tokens=output or largest_output(model),
            is_fallback=True,
        )

    def _source(self, said: Entry, *, listed: bool) -> str:
        if not listed:
            return self._overrides.source
        if said.prices or said.tiers or said.factor is not None:
            return f"{self._overrides.source} over {list_source()}"
        return list_source()


def _names(provider: Provider | None, info: ModelInfo | None, model: str, asked: str) -> tuple[str, ...]:
    """What a file may call a model, the most particular name first: a date makes a name longer."""
    if provider is None or info is None:
        return (model,)
    known = {model: None, info.id: None}
    if asked and find_model(provider, asked) is info:
        known[asked] = None
    return tuple(sorted(known, key=len, reverse=True))


def _lists(provider: Provider | None, model: ModelInfo | None, day: date, at: time) -> bool:
    return provider is not None and model is not None and listed_rates(provider, model, day, at) is not None


def _moment(provider: Provider | None, model: ModelInfo | None, said: Entry, day: date, at: time) -> Moment | None:
    """List prices less the discount, with what the book's own prices replace; None where no input price comes of it."""
    listed = listed_rates(provider, model, day, at) if provider and model else None
    factor = said.factor if said.factor is not None else _WHOLE
    standard = _paid((listed or {}).get(STANDARD, {}), factor) | dict(said.prices)
    if "input_mtok" not in standard:
        return None
    found: dict[str, Rates] = {STANDARD: standard}
    for tier in sorted({*(listed or {}), *said.tiers} - {STANDARD}):
        of_list = {
            key: rate for key, rate in (listed or {}).get(tier, {}).items() if rate != (listed or {})[STANDARD].get(key)
        }
        found[tier] = standard | _paid(of_list, factor) | dict(said.tiers.get(tier, {}))
    return found


def _paid(rates: Rates, factor: Fraction) -> dict[str, Rate]:
    return {key: rate.times(factor) if factor != _WHOLE else rate for key, rate in rates.items()}
