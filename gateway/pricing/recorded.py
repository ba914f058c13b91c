"""What a settlement records of a call's usage and price, and the usage read back from there.

Owns the names under which records keep them: ``input_tokens`` and other counts, ``price.input_mtok`` and
``price.source``, ``other.1.model`` for what another model did in the call. Invariant: what ``recorded`` wrote in full
``usage_of`` reads back; a usage that did not fit says so in ``incomplete`` and is read back as none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from gateway.pricing.cost import Plan, atoms_of
from gateway.pricing.rates import Rate
from gateway.pricing.tariff import Tariff
from gateway.pricing.units import BY_PRICE_KEY
from gateway.usage import Usage

PAIRS_MAX: Final = 40
KEY_CHARACTERS_MAX: Final = 64
VALUE_CHARACTERS_MAX: Final = 256
PRICE: Final = "price."
SOURCE: Final = "price.source"
_OTHER: Final = "other."
_INCOMPLETE: Final = "incomplete"
_PRICE: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,40})?")
_WORDS: Final = ("provider", "model", "tier", "response_id", "unknown", _INCOMPLETE)


def recorded(usage: Usage, tariff: Tariff) -> dict[str, str]:
    """Texts by name, at most 40, for a settlement: who answered, what was used, at which prices.

    The usage comes before the prices: where not all fit, prices are left out first; their source finds them again.
    """
    pairs = {
        "provider": tariff.provider,
        "model": usage.model or tariff.model,
        "tier": usage.tier,
        SOURCE: tariff.source,
        "response_id": usage.response_id,
        "unknown": " ".join(usage.unknown),
    }
    pairs |= {key: str(count) for key, count in usage.counts.items()}
    for number, part in enumerate(usage.others, start=1):
        pairs[f"{_OTHER}{number}.model"] = part.model
        pairs[f"{_OTHER}{number}.tier"] = part.tier
        pairs |= {f"{_OTHER}{number}.{key}": str(count) for key, count in part.counts.items()}
    pairs = {key: printable(value) for key, value in pairs.items() if value and len(key) <= KEY_CHARACTERS_MAX}
    if len(pairs) > PAIRS_MAX:
        pairs = dict(list(pairs.items())[: PAIRS_MAX - 1]) | {_INCOMPLETE: "true"}
    prices = tariff.prices_said(usage.tier)
    return pairs | dict(prices if len(prices) + len(pairs) <= PAIRS_MAX else _first(prices, PAIRS_MAX - len(pairs)))


def prices_said(tariff: Tariff, tier: str) -> dict[str, str]:
    """The prices of a tariff as records name them, without their source."""
    return dict(tariff.prices_said(tier))


def usage_of(pairs: Mapping[str, str]) -> Usage | None:
    """The usage that a settlement recorded; None where it recorded no counts, or not all of them."""
    counts: dict[str, int] = {}
    others: dict[str, dict[str, str]] = {}
    for key, value in pairs.items():
        if key.startswith(_OTHER):
            number, _, name = key.removeprefix(_OTHER).partition(".")
            others.setdefault(number, {})[name] = value
        elif key not in _WORDS and not key.startswith(PRICE) and _is_count(value):
            counts[key] = int(value)
    if "input_tokens" not in counts or _INCOMPLETE in pairs:
        return None
    return Usage(
        counts=counts,
        model=pairs.get("model", ""),
        response_id=pairs.get("response_id", ""),
        tier=pairs.get("tier", "standard"),
        unknown=tuple(pairs.get("unknown", "").split()),
        others=tuple(
            Usage(
                counts={name: int(value) for name, value in part.items() if _is_count(value) and name not in _WORDS},
                model=part.get("model", ""),
                tier=part.get("tier", "standard"),
            )
            for _, part in sorted(others.items())
        ),
    )


def cost_recorded(pairs: Mapping[str, str]) -> int | None:
    """Atoms that the recorded usage costs at the recorded prices; None where the record has too little to say.

    What a settlement was made for can differ from it: a call settled in several parts records the last part's usage.
    """
    usage = usage_of(pairs)
    bases: dict[str, Decimal] = {}
    steps: dict[str, list[tuple[int, Decimal]]] = {}
    for name, value in pairs.items():
        key, _, above = name.removeprefix(PRICE).partition(".above_")
        if name.startswith(PRICE) and key in BY_PRICE_KEY and _PRICE.fullmatch(value):
            if above.isdigit():
                steps.setdefault(key, []).append((int(above), Decimal(value)))
            else:
                bases[key] = Decimal(value)
    if usage is None or usage.others or not bases:
        return None
    plan = Plan({key: Rate(base, tuple(sorted(steps.get(key, ())))) for key, base in bases.items()})
    return atoms_of(*plan.price(usage.counts)[:2])


def _first(prices: Mapping[str, str], count: int) -> list[tuple[str, str]]:
    return list(prices.items())[:count]


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 30


def printable(value: str) -> str:
    """A text as records take it: what is not printable is replaced, what is too long is cut."""
    if not value.isprintable():
        value = "".join(letter if letter.isprintable() else "?" for letter in value)
    return value[:VALUE_CHARACTERS_MAX]
