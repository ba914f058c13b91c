"""What a call used, in one form for all wires.

Invariant: totals include their parts. ``input_tokens`` is everything that was read, cached tokens and tokens written to
a cache among it; ``output_tokens`` everything that was generated, reasoning among it; whatever the wire says, the
keys and this rule are those of genai-prices' registry of units.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts by key (tokens, or calls of a tool), none of them negative.

    ``model`` and ``response_id`` are what the provider answered ("" where it said nothing); ``tier`` is the service
    tier that served the call (``standard``, ``flex``, ``priority``, ``batch``); ``unknown`` names fields of the
    provider's usage that nobody here knows and that are not zero, as paths such as ``usage.quantum_tokens``.
    """

    counts: dict[str, int]
    model: str = ""
    response_id: str = ""
    tier: str = "standard"
    unknown: tuple[str, ...] = ()
