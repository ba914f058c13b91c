"""What a call used, in one form for all wires.

Invariant: totals include their parts. ``input_tokens`` is everything that was read, cached tokens and tokens written to
a cache among it; ``output_tokens`` everything that was generated, reasoning among it; whatever the wire says, the
keys and this rule are those of genai-prices' registry of units.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts by key (tokens, or calls of a tool), none of them negative.

    ``model`` and ``response_id`` are what the provider answered ("" where it said nothing); ``tier`` is the service
    tier that served the call (``standard``, ``flex``, ``priority``, ``fast``, ``batch``, or a word of the provider's
    that nobody here knows), with ``+us`` behind it where the provider says that it ran only in the US; ``unknown``
    names fields of the provider's usage that nobody here knows and that are not zero, as paths such as
    ``usage.quantum_tokens``. ``others`` is what other models used inside the same call, outside these counts.
    """

    counts: dict[str, int]
    model: str = ""
    response_id: str = ""
    tier: str = "standard"
    unknown: tuple[str, ...] = ()
    others: tuple[Usage, ...] = ()
