"""What one model costs on one day: costs, ceilings, and how much output an amount affords.

Owns ``Tariff``. Invariants: for a usage with at most the tokens that a ceiling was asked for, billed in a way that the
question allowed, ``cost`` is never above ``ceiling``; ``affordable_output`` is the exact inverse of ``ceiling``; a
tier, a tool or a unit without a price is named by ``Cost.unpriced``, and before the call by ``knows_tier`` or
``knows_fee``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal

from gateway.metering.tiers import STANDARD, US_ONLY
from gateway.pricing.cost import OUT_OF_RANGE, Bound, Cost, Plan, atoms_of
from gateway.pricing.rates import Rates
from gateway.pricing.units import BY_PRICE_KEY
from gateway.usage import Usage
from ledger.core.money import ATOMS_MAX

CacheWrite = Literal["5m", "1h"]
Moment = Mapping[str, Rates]
"""The prices at one time of day, by tier; ``standard`` is always there."""

OUTPUT_UNBOUNDED: Final = 2**53
"""What ``affordable_output`` answers where output costs nothing: more than any model writes."""
OUTPUT_TOKENS_DEFAULT: Final = 32_768
# A tier that costs no more than the standard one: where it has no price of its own, the standard price is not too low.
CHEAPER_TIERS: Final = frozenset({"flex", "batch"})
# Anthropic, "Data residency": calls that run only in the US cost 1.1 times the price of tokens, tool fees excepted.
US_ONLY_FACTOR: Final = Fraction(11, 10)
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
_PLANS_MAX: Final = 64


class Tariff:
    """The prices of one model of one provider on one day. Safe to share between threads; a call costs microseconds."""

    def __init__(
        self,
        *,
        source: str,
        provider: str,
        model: str,
        moments: tuple[Moment, ...],
        implicit_cache_writes: bool,
        context_window: int | None = None,
        max_output_tokens: int | None = None,
        is_fallback: bool = False,
        others: Callable[[str], Tariff | None] = lambda model: None,
        bounding: Tariff | None = None,
    ) -> None:
        """``moments`` are the prices that may hold: one for nearly all models, several where the hour of the day
        decides and was not given; ``bounding`` is then the day's tariff, which ceilings are taken from."""
        self.source = source
        self.provider = provider
        self.model = model
        self.currency = "USD"
        self.context_window = context_window
        self.max_output_tokens = max_output_tokens
        self.is_fallback = is_fallback
        self._moments = moments
        self._implicit = implicit_cache_writes
        self._others = others
        self._bounding = bounding or self
        self._plans: dict[str, tuple[tuple[Plan, ...], str]] = {}
        self._said: dict[str, dict[str, str]] = {}
        self._bounds: dict[tuple[str, str | None, bool], list[tuple[list[int], list[Bound]]]] = {}

    def output_limit(self, *, input_tokens: int, default: int | None = None, unknown: int | None = None) -> int:
        """The most output tokens to hold and to forward where a request names no limit: ``default``, else the model's
        largest output, else ``unknown`` or 32,768; never more than a context window has room for beside so much input.

        Where nothing is left of the window, the limit stays: the provider is to refuse what does not fit, and not to
        answer it with next to nothing.
        """
        limit = default or self.max_output_tokens or unknown or OUTPUT_TOKENS_DEFAULT
        if self.context_window is None:
            return limit
        room = self.context_window - input_tokens
        return min(limit, room if room > 0 else self.context_window)

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers that have prices of their own, ``standard`` first."""
        return (STANDARD, *sorted(self._moments[0].keys() - {STANDARD}))

    def knows_tier(self, tier: str) -> bool:
        """Whether calls of this tier have a price, so that a ceiling holds for them."""
        return not self._plans_of(tier)[1]

    def knows_fee(self, usage_key: str) -> bool:
        """Whether calls of a tool (``web_searches``) have a price."""
        return all(plan.has_fee(usage_key) for plan in self._bounding._plans_of(STANDARD)[0])

    def prices(self, tier: str = STANDARD) -> dict[str, Decimal]:
        """USD by price key (``input_mtok``), and by ``KEY.above_TOKENS`` for long-context steps, as records show them.

        Where several times of day have prices of their own, the first of the day.
        """
        return self._plans_of(tier)[0][0].prices()

    def prices_said(self, tier: str) -> Mapping[str, str]:
        """``prices`` as records name and write them; not to be changed."""
        said = self._said.get(tier)
        if said is None:
            said = {f"price.{key}": format(price, "f") for key, price in self.prices(tier).items()}
            if len(self._said) < _PLANS_MAX:
                self._said[tier] = said
        return said

    def cost(self, usage: Usage) -> Cost:
        """What a call cost: exact, then rounded half-even to one atom. The tier is the one that ``usage`` says.

        Of several prices that may hold, the dearest. What other models did in the call (``usage.others``) is priced at
        their own prices. Never raises for a usage whose counts are not negative.
        """
        numerator, denominator, unpriced = self.exact(usage)
        atoms = atoms_of(numerator, denominator)
        if atoms == ATOMS_MAX:
            unpriced += (OUT_OF_RANGE,)
        return Cost(atoms, unpriced)

    def exact(self, usage: Usage) -> tuple[int, int, tuple[str, ...]]:
        """``cost`` before it is rounded: numerator and denominator in atoms, and what has no price."""
        plans, flag = self._plans_of(usage.tier)
        numerator, denominator, unpriced = plans[0].price(usage.counts)
        for plan in plans[1:]:
            other = plan.price(usage.counts)
            if other[0] * denominator > numerator * other[1]:
                numerator, denominator, unpriced = other
        unpriced += usage.unknown
        if flag:
            unpriced += (flag,)
        for part in usage.others:
            tariff = self._others(part.model)
            if tariff is None:
                unpriced += (f"model={part.model[:64]}",)
                continue
            more, below, names = tariff.exact(part)
            numerator, denominator = numerator * below + more * denominator, denominator * below
            unpriced += names
        return numerator, denominator, unpriced

    def ceiling(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        tier: str = STANDARD,
        requests: Mapping[str, int] = _NOTHING,
        cache_write: CacheWrite | None = None,
        audio: bool = False,
    ) -> int:
        """Atoms, rounded up, that a call with at most so many tokens and calls of tools can cost.

        ``tier`` is the one asked for; the standard one may serve the call as well. ``cache_write`` is the longest
        lifetime that the request asks to write to the cache; ``audio`` says that audio may be read or written. Raises
        LookupError for a tool without a price. The bound does not cover tiers that ``knows_tier`` denies.
        """
        atoms = 0
        for starts, bounds in self._bounds_of(tier, cache_write, audio):
            bound = bounds[bisect_left(starts, input_tokens)] if starts else bounds[0]
            atoms = max(atoms, bound.atoms(input_tokens=input_tokens, output_tokens=output_tokens))
        return atoms + self._fees(tier, requests) if requests else atoms

    def affordable_output(
        self,
        atoms: int,
        *,
        input_tokens: int,
        tier: str = STANDARD,
        requests: Mapping[str, int] = _NOTHING,
        cache_write: CacheWrite | None = None,
        audio: bool = False,
    ) -> int:
        """The most output tokens whose ceiling is at most ``atoms``; -1 where not even the input fits, and
        OUTPUT_UNBOUNDED where output costs nothing. Raises LookupError for a tool without a price."""
        if requests:
            atoms -= self._fees(tier, requests)
        most = OUTPUT_UNBOUNDED
        for starts, bounds in self._bounds_of(tier, cache_write, audio):
            bound = bounds[bisect_left(starts, input_tokens)] if starts else bounds[0]
            room = atoms * bound.denominator - bound.fixed - bound.read * input_tokens
            if room < 0:
                return -1
            if bound.written:
                most = min(most, room // bound.written)
        return most

    def _fees(self, tier: str, requests: Mapping[str, int]) -> int:
        return max(plan.fee_atoms(requests) for plan in self._bounding._possible(tier))

    def _possible(self, tier: str) -> list[Plan]:
        """The plans that a call may be billed by that asks for this tier."""
        return [*self._plans_of(STANDARD)[0], *(self._plans_of(tier)[0] if tier != STANDARD else ())]

    def _bounds_of(self, tier: str, cache_write: str | None, audio: bool) -> list[tuple[list[int], list[Bound]]]:
        asked = (tier, cache_write, audio)
        found = self._bounds.get(asked)
        if found is None:
            writes = {"1h": {"5m", "1h"}, "5m": {"5m"}, None: set[str]()}[cache_write]
            possible = frozenset(writes | ({"5m"} if self._implicit else set()))
            found = [plan.bounds(cache_writes=possible, audio=audio) for plan in self._bounding._possible(tier)]
            if len(self._bounds) < _PLANS_MAX:
                self._bounds[asked] = found
        return found

    def _plans_of(self, tier: str) -> tuple[tuple[Plan, ...], str]:
        """The plans of a tier, and the flag for a tier without a price of its own that may be dearer."""
        found = self._plans.get(tier)
        if found is None:
            chosen = [_rates_at(moment, tier) for moment in self._moments]
            flag = next((flag for _, flag in chosen if flag), "")
            found = tuple(Plan(rates) for rates, _ in chosen), flag
            # A provider's made-up words must not fill the memory; what is not kept is made again.
            if len(self._plans) < _PLANS_MAX:
                self._plans[tier] = found
        return found


def _rates_at(moment: Moment, tier: str) -> tuple[Rates, str]:
    if tier in moment:
        return moment[tier], ""
    if tier.endswith(US_ONLY):
        rates, flag = _rates_at(moment, tier.removesuffix(US_ONLY))
        return {key: rate.times(US_ONLY_FACTOR) if _of_tokens(key) else rate for key, rate in rates.items()}, flag
    return moment[STANDARD], "" if tier in CHEAPER_TIERS else f"service_tier={tier}"


def _of_tokens(price_key: str) -> bool:
    return BY_PRICE_KEY[price_key].dimensions.get("family") == "tokens"
