"""How much a call holds, and what limit on its output is forwarded for it.

Pure. Invariants: what is held covers whatever the call can cost under the limit that is forwarded; a call is lowered
only to what its budget affords in all, and never below the floor; what cannot be bounded is held at a ceiling that a
policy sets, or not at all.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gateway.config import Provider
from gateway.estimate import Bound, Counts, Request, bound
from gateway.estimate.reading import SERVICE_TIER
from gateway.pricing import Tariff
from gateway.refusals import Refusal
from gateway.wires import Wire
from ledger.core.inference import ANY, InferenceRules

FLOORS: Final = {Wire.RESPONSES: 16}
"""The smallest limit that a wire takes (OpenAI: ``max_output_tokens`` is at least 16); 1 elsewhere."""
FLOOR_DEFAULT: Final = 16
BYTES_A_TOKEN: Final = 3
_STANDARD: Final = "standard"


class Holding(NamedTuple):
    """Amounts in atoms, outputs in tokens.

    ``amount`` is held if the budget has it; ``least`` is the smallest hold with which the call can be made; ``start``
    is less than ``amount`` where a stream may begin on a smaller hold; ``ceilings`` is the part that stands for what
    cannot be bounded.
    """

    bound: Bound
    ways: dict[str, Any]
    amount: int
    least: int
    start: int
    ceilings: int

    @property
    def starts_small(self) -> bool:
        """Whether the hold has to grow with the stream."""
        return self.start < self.amount

    def limit_afforded(self, tariff: Tariff, approved: int) -> int:
        """The limit on each choice's output that ``approved`` atoms cover."""
        if approved >= self.amount:
            return self.bound.output_limit
        afforded = tariff.affordable_output(
            approved - self.ceilings, input_tokens=self.bound.input_tokens, **self.ways
        )  # fmt: skip
        return min(self.bound.limit_within(afforded), self.bound.output_limit)

    def cost_of(self, tariff: Tariff, output_tokens: int) -> int:
        """What the call costs at most if it generates no more than this in all its choices."""
        most = min(output_tokens, self.bound.output_tokens)
        held = tariff.ceiling(input_tokens=self.bound.input_tokens, output_tokens=most, **self.ways)
        return int(held + self.ceilings)


def ways_of(request: Request, provider: Provider) -> dict[str, Any]:
    """What of a call decides how dear each token can be."""
    lifetimes = request.cache_writes
    tier = request.tier
    return {
        "tier": provider.highest_service_tier if tier == _STANDARD else tier,
        "cache_write": "1h" if "1h" in lifetimes else "5m" if "5m" in lifetimes else None,
        "audio": request.audio_output or request.audio_tokens > 0,
    }


def plan(
    request: Request,
    counts: Counts,
    tariff: Tariff,
    provider: Provider,
    rules: InferenceRules,
    *,
    history_tokens: int | None = None,
) -> Holding:
    """What to hold for a call. ``history_tokens`` is what such calls generated lately.

    Raises Refusal ``cannot_bound`` where nothing says what the call can cost.
    """
    ways = ways_of(request, provider)
    default = tariff.output_limit(
        input_tokens=_input_expected(request, counts),
        default=rules.default_max_output_tokens,
        unknown=provider.max_output_tokens,
    )
    most = bound(request, counts, default_output_tokens=default)

    # Under the limit that the client named, or that is forwarded where it named none.
    known = tariff.ceiling(input_tokens=most.input_tokens, output_tokens=most.output_tokens, **ways)
    ceilings = _ceilings(request, tariff, ways, rules, known=known)

    def held(limit: int) -> int:
        output = most.choices * (limit + most.predicted_tokens)
        return max(tariff.ceiling(input_tokens=most.input_tokens, output_tokens=output, **ways) + ceilings, 1)

    if request.wire is Wire.EMBEDDINGS:
        amount = held(0)
        return Holding(bound=most, ways=ways, amount=amount, least=amount, start=amount, ceilings=ceilings)
    amount = max(known + ceilings, 1)
    floor = min(_floor(request, rules), most.output_limit)
    start = amount
    if request.stream and rules.stream is not None and not request.hidden_output and not request.unbounded:
        begin = history_tokens if history_tokens is not None else rules.stream.start_tokens
        start = min(held(min(begin + rules.stream.lookahead_tokens, most.output_limit)), amount)
    return Holding(bound=most, ways=ways, amount=amount, least=held(floor), start=start, ceilings=ceilings)


def _input_expected(request: Request, counts: Counts) -> int:
    """How much of the context window the input is taken to fill, without images and audio, whose bounds are far above
    what they fill. Text that is bounded by its bytes has a third as many tokens at most in nearly all languages and
    code; where it has more, the provider refuses a limit that does not fit."""
    tokens = counts.texts + request.fixed_tokens
    return tokens if request.encoding is not None else tokens // BYTES_A_TOKEN


def _floor(request: Request, rules: InferenceRules) -> int:
    """Below this a call is denied rather than lowered."""
    floor = rules.min_output_tokens if rules.min_output_tokens is not None else FLOOR_DEFAULT
    return max(floor, FLOORS.get(request.wire, 1), request.least_output)


def _ceilings(request: Request, tariff: Tariff, ways: dict[str, Any], rules: InferenceRules, *, known: int) -> int:
    names = request.unbounded
    if not tariff.knows_tier(ways["tier"]) and SERVICE_TIER not in names:
        names = (*names, SERVICE_TIER)
    held = {name: rules.ceiling(name) or rules.ceiling(ANY) or 0 for name in names}
    missing = [name for name, ceiling in held.items() if not ceiling]
    if missing:
        raise Refusal(
            403,
            "cannot_bound",
            f"Bursar denied this call: what it can cost cannot be bounded ({', '.join(missing)}); "
            "leave that out, or have a policy set a ceiling for it under inference.ceilings",
            amount=max(known, 1),
        )
    # A name that stands there twice is held twice.
    return sum(held[name] for name in names)
