"""A book's own prices as values: which entry of prices.yaml says what about a model on a day.

Pure. Invariant: each thing (a price, a tier's price, a discount, a limit) comes from the first entry, from the top,
that covers the model and the day and says it; so a short entry above a long one changes one thing and leaves the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final

from gateway.pricing.rates import Rate, Rates


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. None, or an empty mapping, is what it does not say. ``factor`` is what is paid of the list price."""

    provider: str = "*"
    model: str = "*"
    first_day: date = date.min
    last_day: date = date.max
    prices: Rates = field(default_factory=dict)
    tiers: Mapping[str, Rates] = field(default_factory=dict)
    factor: Fraction | None = None
    max_output_tokens: int | None = None
    context_window: int | None = None

    def covers(self, providers: tuple[str, ...], model: str, day: date) -> bool:
        """Whether the entry is about this model (patterns with ``*`` and ``?``, in any case) on this day, under one of
        the provider's names."""
        return (
            self.first_day <= day <= self.last_day
            and any(fnmatchcase(name.lower(), self.provider.lower()) for name in providers)
            and fnmatchcase(model.lower(), self.model.lower())
        )


@dataclass(frozen=True, slots=True)
class Overrides:
    """Everything in one prices.yaml. ``digest`` is the SHA-256 of its bytes in hex, "" where there is no file."""

    entries: tuple[Entry, ...] = ()
    fallback: Rates | None = None
    fallback_max_output_tokens: int | None = None
    digest: str = ""

    @property
    def source(self) -> str:
        """The file as records name it: ``prices.yaml`` and the first 12 digits of its digest."""
        return f"prices.yaml {self.digest[:12]}"

    def about(self, providers: tuple[str, ...], models: tuple[str, ...], day: date) -> Entry:
        """What the file says about a model on a day, as one entry. ``providers`` are names of one provider,
        ``models`` of one model, the most particular first."""
        prices: dict[str, Rate] = {}
        tiers: dict[str, dict[str, Rate]] = {}
        factor, output, window = None, None, None
        for entry in self._covering(providers, models, day):
            for key, rate in entry.prices.items():
                prices.setdefault(key, rate)
            for tier, rates in entry.tiers.items():
                for key, rate in rates.items():
                    tiers.setdefault(tier, {}).setdefault(key, rate)
            factor = entry.factor if factor is None else factor
            output = entry.max_output_tokens if output is None else output
            window = entry.context_window if window is None else window
        return Entry(prices=prices, tiers=tiers, factor=factor, max_output_tokens=output, context_window=window)

    def _covering(self, providers: tuple[str, ...], models: tuple[str, ...], day: date) -> list[Entry]:
        """The entries about a model, in the file's order, but that one which is about it by a less particular name
        stands behind those that have a more particular name itself."""
        found: list[tuple[int, int, Entry]] = []
        for position, entry in enumerate(self.entries):
            rank = next((rank for rank, name in enumerate(models) if entry.covers(providers, name, day)), None)
            if rank is not None:
                found.append((position, rank, entry))
        named = [(position, rank) for position, rank, entry in found if entry.model.lower() == models[rank].lower()]

        def place(item: tuple[int, int, Entry]) -> tuple[int, int, int]:
            position, rank, _ = item
            behind = max((other for other, more in named if more < rank), default=position)
            return max(position, behind), rank, position

        return [entry for _, _, entry in sorted(found, key=place)]


NO_OVERRIDES: Final = Overrides()
