"""What policies say about inference calls, for the gateway: limits of output, ceilings, a price of last resort.

Owns the section ``inference`` of a policy as data, and how several policies come together. Invariants: pure; a decision
never looks at it, so editing it changes no verdict; of several policies the strictest word counts, in whatever order
they come; a section that cannot be read says nothing, which only ever refuses more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.core.canonical import parse
from ledger.core.money import MoneyError, parse_atoms
from ledger.core.policy_row import Policy

ANY: Final = "any"
CEILING_KEYS: Final = (
    "previous_response", "conversation", "background", "url_input", "file_input", "server_tools", "stored_prompt",
    "item_reference", "web_search_options", "fast_mode", "compaction", "other_models", "data_residency", "service_tier",
    ANY,
)  # fmt: skip
"""What a call may ask for whose cost nobody can bound before; ``any`` stands for whatever is not named."""
UNKNOWN_KEEP: Final = "keep"
UNKNOWN_SETTLE: Final = "settle"


@dataclass(frozen=True, slots=True)
class FallbackPrice:
    """Prices for models that nobody has a price for, in atoms per million tokens."""

    input_mtok: int
    output_mtok: int


@dataclass(frozen=True, slots=True)
class StreamStart:
    """How a stream may start on less than it can cost: the output tokens that the first hold covers, and how many
    tokens ahead of what was seen the hold is kept."""

    start_tokens: int
    lookahead_tokens: int


@dataclass(frozen=True, slots=True)
class InferenceRules:
    """What one policy says, or several together. Amounts in atoms of the currency that they were read for.

    ``default_max_output_tokens`` is held, and forwarded as the limit, where a client names none (None: the model's
    largest output); ``min_output_tokens`` is the floor below which a call is denied and not lowered (None: the
    gateway's own, 16);
    ``ceilings`` are sorted pairs; ``fallback_price`` None denies a model without a price; ``unknown`` is what becomes
    of a call whose outcome is not known once its time has run out; ``stream`` None: streams hold all they can cost.
    """

    default_max_output_tokens: int | None = None
    min_output_tokens: int | None = None
    ceilings: tuple[tuple[str, int], ...] = ()
    fallback_price: FallbackPrice | None = None
    unknown: str = UNKNOWN_KEEP
    stream: StreamStart | None = None

    def ceiling(self, key: str) -> int | None:
        """What a call with ``key`` in it is held at (atoms, more than 0), the ceiling of ``any`` where ``key`` has none
        of its own; None: it must be denied with ``cannot_bound``. A ceiling of zero denies too: what nothing may be
        spent on must not run on a hold of nothing."""
        return _said(self.ceilings, key) or None


NO_RULES: Final = InferenceRules()


def rules_of(document: dict[str, Any], digits: dict[str, int], *, currency: str | None) -> InferenceRules:
    """What a canonical document says about inference. ``digits`` are those of each currency that it names. Amounts in
    another currency than ``currency`` bound nothing and price nothing, because no rate is known. Raises KeyError,
    TypeError or MoneyError for a malformed document."""
    section = document.get("inference")
    if section is None:
        return NO_RULES
    ours = currency is not None and document.get("currency") == currency
    ceilings, price, stream = section.get("ceilings", {}), section.get("fallback_price"), section.get("stream")
    scale = digits[currency] if ours and currency is not None else 0
    return InferenceRules(
        section.get("default_max_output_tokens"),
        section.get("min_output_tokens"),
        tuple((key, parse_atoms(text, scale)) for key, text in sorted(ceilings.items())) if ours else (),
        FallbackPrice(parse_atoms(price["input_mtok"], scale), parse_atoms(price["output_mtok"], scale))
        if ours and price is not None
        else None,
        section.get("unknown", UNKNOWN_KEEP),
        StreamStart(stream["start_tokens"], stream["lookahead_tokens"]) if stream is not None else None,
    )


def merge(several: Iterable[InferenceRules]) -> InferenceRules:
    """The rules of all policies on a path together: the smallest default, the largest floor, the smallest ceiling of
    each policy that bounds a key (by its name, else by ``any``), the larger of each price, ``settle`` if any says so,
    and for streams the smallest start with the largest lookahead."""
    rules = tuple(several)
    defaults = [one.default_max_output_tokens for one in rules if one.default_max_output_tokens is not None]
    floors = [one.min_output_tokens for one in rules if one.min_output_tokens is not None]
    prices = [one.fallback_price for one in rules if one.fallback_price is not None]
    streams = [one.stream for one in rules if one.stream is not None]
    return InferenceRules(
        min(defaults, default=None),
        max(floors, default=None),
        _ceilings(rules),
        FallbackPrice(max(price.input_mtok for price in prices), max(price.output_mtok for price in prices))
        if prices
        else None,
        UNKNOWN_SETTLE if any(one.unknown == UNKNOWN_SETTLE for one in rules) else UNKNOWN_KEEP,
        StreamStart(min(one.start_tokens for one in streams), max(one.lookahead_tokens for one in streams))
        if streams
        else None,
    )


def _said(ceilings: Iterable[tuple[str, int]], key: str) -> int | None:
    held = dict(ceilings)
    return held.get(key, held.get(ANY))


def _ceilings(rules: Sequence[InferenceRules]) -> tuple[tuple[str, int], ...]:
    named = sorted({key for one in rules for key, _ in one.ceilings})
    found = []
    for key in named:
        said = [ceiling for one in rules if (ceiling := _said(one.ceilings, key)) is not None]
        found.append((key, min(said)))
    return tuple(found)


def rules_on_path(rows: Iterable[Policy], *, currency: str | None) -> InferenceRules:
    """The rules of the live policies on a path. Policies that are only tried say nothing here."""
    return merge(_rules_of_row(row, currency) for row in rows)


def _rules_of_row(row: Policy, currency: str | None) -> InferenceRules:
    """Never raises: a policy that cannot be read denies every request in the core, whatever it says of inference."""
    try:
        packed = parse(row.packed.encode())
        if packed["document"].get("shadow", False):
            return NO_RULES
        return rules_of(packed["document"], packed["digits"], currency=currency)
    except (ValueError, KeyError, TypeError, AttributeError, MoneyError):
        return NO_RULES
