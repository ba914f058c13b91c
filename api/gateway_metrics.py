"""What the gateway counts, for Prometheus.

Owns the metrics ``bursar_gateway_…``. As those of requests, they are tallied in plain integers while calls run and
handed over by ``flush``. Invariant: labels are wires, outcomes, and the providers that ``gateway.yaml`` names: nothing
that a client chose is one.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.facts import CallFacts
from gateway.spend import UNKNOWN

FIRST_BYTE_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class GatewayMetrics:
    """The gateway's metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.under_way = Gauge(
            "bursar_gateway_calls_under_way",
            "Calls that hold or wait for money now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.calls = Counter(
            "bursar_gateway_calls", "Calls ended, by wire and outcome.", ("wire", "outcome"), registry=registry
        )
        self.tokens = Counter(
            "bursar_gateway_tokens",
            "Tokens used, by provider and direction (input, output).",
            ("provider", "direction"),
            registry=registry,
        )
        self.cost = Counter(
            "bursar_gateway_cost_atoms",
            "What calls were settled for, in atoms, by provider and currency.",
            ("provider", "currency"),
            registry=registry,
        )
        self.unknown = Counter(
            "bursar_gateway_unknown",
            "Calls whose outcome is not known, by provider; their holds were kept.",
            ("provider",),
            registry=registry,
        )
        self.estimates = Counter(
            "bursar_gateway_estimates",
            "Calls settled at an estimate, because the provider did not say what was used, by provider.",
            ("provider",),
            registry=registry,
        )
        self.first_byte = Histogram(
            "bursar_gateway_first_byte_seconds",
            "Time from forwarding a call to the head of its answer, or the first event of its stream, by wire.",
            ("wire",),
            buckets=FIRST_BYTE_SECONDS,
            registry=registry,
        )
        self._calls: Tally[tuple[str, str]] = Tally()
        self._tokens: Tally[tuple[str, str]] = Tally()
        self._cost: Tally[tuple[str, str]] = Tally()
        self._unknown: Tally[str] = Tally()
        self._estimates: Tally[str] = Tally()
        self._first_bytes: list[tuple[str, float]] = []

    def ended(self, facts: CallFacts) -> None:
        """Count one call. Called on the event loop only."""
        if facts.wire is None:
            return
        wire, provider, outcome = facts.wire.value, facts.provider, facts.outcome
        self._calls[wire, outcome] += 1
        if outcome == UNKNOWN:
            self._unknown[provider] += 1
        if facts.first_byte_at:
            self._first_bytes.append((wire, facts.first_byte_at - facts.forwarded_at))
        if facts.cost is not None:
            self._cost[provider, facts.currency] += facts.cost
            self._tokens[provider, "input"] += facts.tokens("input_tokens")
            self._tokens[provider, "output"] += facts.tokens("output_tokens")
            if facts.is_estimated:
                self._estimates[provider] += 1

    def flush(self) -> None:
        """Hand over what was tallied."""
        for tally, counter in (
            (self._calls, self.calls), (self._tokens, self.tokens), (self._cost, self.cost),
        ):  # fmt: skip
            for labels, number in tally.items():
                counter.labels(*labels).inc(number)
            tally.clear()
        for named, counter in ((self._unknown, self.unknown), (self._estimates, self.estimates)):
            for provider, number in named.items():
                counter.labels(provider).inc(number)
            named.clear()
        first_bytes, self._first_bytes = self._first_bytes, []
        for wire, seconds in first_bytes:
            self.first_byte.labels(wire).observe(seconds)
