"""Service tiers: each provider's words for them, as one word.

Invariant: a word that nobody here knows stays what it is, so that pricing flags it instead of taking it for standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.metering.fields import text
from gateway.wires import Wire

STANDARD: Final = "standard"
US_ONLY: Final = "+us"
WORD_CHARACTERS_MAX: Final = 32

# `auto` stands in requests only, and in answers of proxies that repeat the request: both mean that nothing was chosen.
# Groq calls its ordinary tier on_demand; Anthropic's standard_only refuses the priority tier.
_SAME_AS_STANDARD: Final = frozenset({"", "default", "standard", "auto", "on_demand", "standard_only", "none"})


def tier_word(word: Any) -> str:
    """A tier as one word: ``standard`` for every name of the ordinary one, else the provider's word in lower case."""
    plain = text(word).strip().lower()
    if plain in _SAME_AS_STANDARD:
        return STANDARD
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in plain)
    return kept[:WORD_CHARACTERS_MAX]


def served_tier(wire: Wire, body: Mapping[str, Any], usage: Mapping[str, Any]) -> str:
    """The tier that served a call, from its answer: the usage's word before the body's, and Anthropic's speed.

    Sources: OpenAI API reference, ``service_tier`` of a response is the mode that was used and may differ from the one
    asked for; Anthropic, ``usage.service_tier``, ``usage.speed`` and ``usage.inference_geo``.
    """
    tier = tier_word(usage.get("service_tier") or body.get("service_tier"))
    return _with_speed_and_place(wire, tier, usage)


def asked_tier(wire: Wire, request: Mapping[str, Any]) -> str:
    """The tier that a request asks for, in the same words: for a hold before the call, never for a price after it."""
    return _with_speed_and_place(wire, tier_word(request.get("service_tier")), request)


def _with_speed_and_place(wire: Wire, tier: str, said: Mapping[str, Any]) -> str:
    if wire is not Wire.MESSAGES:
        return tier
    if tier == STANDARD and text(said.get("speed")).lower() == "fast":
        tier = "fast"
    return tier + US_ONLY if text(said.get("inference_geo")).lower() == "us" else tier
