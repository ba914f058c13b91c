"""Spans and measurements of calls, by OpenTelemetry's conventions for generative AI.

Owns the names of attributes and instruments (``docs/gateway.md`` lists them; a test compares). Invariants: no prompt,
no answer, no free text of a client and no key is in a span or a measurement; nothing that goes wrong here reaches a
call. This module is imported only where telemetry is on (``gateway.exporting``).

Source: OpenTelemetry semantic conventions, "Generative AI": client spans and client metrics.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from gateway.facts import LEFT, CallFacts
from gateway.headers import TRACE_HEADERS
from gateway.refusals import CUT_AT_CAP
from gateway.spend import UNKNOWN, decimal_text
from gateway.wires import Wire

SCOPE: Final = "bursar.gateway"
CHAT: Final = "chat"
EMBEDDINGS: Final = "embeddings"
TEXT_MAX: Final = 256
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bounds of the histograms are those of the conventions."""
_USAGE: Final = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
}
_FAILED_FROM: Final = 400
_logger = logging.getLogger("bursar.gateway")
Value = str | bool | int | float | Sequence[str]


@dataclass(frozen=True, slots=True)
class SpanTrace:
    """The span of one call, and the trace headers below it."""

    span: Span
    id: str
    headers: tuple[tuple[str, str], ...]


class OpenTelemetry:
    """Where calls are told to OpenTelemetry. ``flush`` sends what is left, and may take as long as it likes."""

    def __init__(
        self,
        *,
        tracers: TracerProvider | None,
        meters: MeterProvider | None,
        flush: Callable[[], None] | None = None,
    ) -> None:
        self._tracer = tracers.get_tracer(SCOPE) if tracers is not None else None
        self._instruments = Instruments(meters) if meters is not None else None
        self._flush = flush
        self._propagator = TraceContextTextMapPropagator()
        self._failed = False

    def begin(self, facts: CallFacts, headers: Sequence[tuple[bytes, bytes]]) -> SpanTrace | None:
        """Begin the span of a call, below whatever its client's ``traceparent`` names. None: it cannot be."""
        if self._tracer is None:
            return None
        try:
            wall_nanoseconds = time.time_ns() - int((time.monotonic() - facts.began_at) * 1e9)
            span = self._tracer.start_span(
                _span_name(facts),
                context=self._above(headers),
                kind=SpanKind.CLIENT,
                attributes=_asked(facts),
                start_time=wall_nanoseconds,
            )
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier, context=set_span_in_context(span))
            return SpanTrace(span, f"{span.get_span_context().trace_id:032x}", tuple(carrier.items()))
        except Exception as error:
            self._tell(error)
            return None

    def end(self, facts: CallFacts) -> None:
        """End the span of a call, and measure it."""
        try:
            if isinstance(facts.trace, SpanTrace):
                _finish(facts.trace.span, facts)
            if self._instruments is not None:
                self._instruments.measure(facts)
        except Exception as error:
            self._tell(error)

    async def stop(self, seconds: float) -> None:
        """Send what is left, in at most so many seconds: who does not take it by then does not get it."""
        flush, self._flush = self._flush, None
        if flush is None:
            # A server stops its gateway once before its last connections and once after: the time is given once.
            return
        # A thread that nothing waits for at the end of the process: the exporters' own deadlines are longer.
        sending = threading.Thread(target=self._quietly, args=(flush,), daemon=True, name="bursar-telemetry")
        sending.start()
        await asyncio.to_thread(sending.join, seconds)
        if sending.is_alive():
            _logger.warning("telemetry was not all sent within %s seconds; the rest is dropped", seconds)

    def _quietly(self, flush: Callable[[], None]) -> None:
        try:
            flush()
        except Exception as error:
            self._tell(error)

    def _above(self, headers: Sequence[tuple[bytes, bytes]]) -> Context:
        carrier: dict[str, str] = {}
        for name, value in headers:
            text = name.decode("latin-1")
            if text in TRACE_HEADERS:
                # Several lines of one header are one list (RFC 9110, section 5.3); two parents are none.
                said = value.decode("latin-1")
                carrier[text] = f"{carrier[text]},{said}" if text in carrier else said
        return self._propagator.extract(carrier, context=Context())

    def _tell(self, error: Exception) -> None:
        """Log the first failure: the next ones would say the same with every call."""
        if not self._failed:
            self._failed = True
            _logger.warning("a call could not be told to OpenTelemetry, and was not disturbed: %r", error)


class Instruments:
    """The measurements of calls that were forwarded."""

    def __init__(self, meters: MeterProvider) -> None:
        meter = meters.get_meter(SCOPE)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of input and output used by a call.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Time from forwarding a call to the end of its answer.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time from forwarding a call to the first event of its stream.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._cost = meter.create_counter(
            "bursar.cost", unit="{atom}", description="What calls were settled for, in atoms of their currency."
        )

    def measure(self, facts: CallFacts) -> None:
        """Count one call. What was not forwarded is in spans only: no provider worked for it."""
        if not facts.forwarded_at:
            return
        attributes: dict[str, Value] = _who(facts)
        error = _error_type(facts)
        self._duration.record(
            facts.ended_at - facts.forwarded_at, attributes | ({"error.type": error} if error else {})
        )
        if facts.stream and facts.first_byte_at and not error:
            self._first.record(facts.first_byte_at - facts.forwarded_at, attributes)
        if facts.usage is not None:
            self._tokens.record(facts.tokens("input_tokens"), attributes | {"gen_ai.token.type": "input"})
            if facts.wire is not Wire.EMBEDDINGS:
                self._tokens.record(facts.tokens("output_tokens"), attributes | {"gen_ai.token.type": "output"})
        if facts.cost is not None:
            self._cost.add(facts.cost, attributes | {"bursar.currency": facts.currency})


def _operation(facts: CallFacts) -> str:
    return EMBEDDINGS if facts.wire is Wire.EMBEDDINGS else CHAT


def _span_name(facts: CallFacts) -> str:
    return f"{_operation(facts)} {facts.model}".rstrip()


def _who(facts: CallFacts) -> dict[str, Value]:
    """What measurements and spans have alike."""
    url = URL(facts.base_url)
    found: dict[str, Value] = {
        "gen_ai.operation.name": _operation(facts),
        "gen_ai.provider.name": facts.provider,
        "server.address": url.host or "",
        "server.port": url.port or 0,
    }
    if facts.model:
        found["gen_ai.request.model"] = facts.model
    if facts.usage is not None and facts.usage.model:
        found["gen_ai.response.model"] = facts.usage.model[:TEXT_MAX]
    return found


def _asked(facts: CallFacts) -> dict[str, Value]:
    """What is known of a call when it begins: a sampler may look at it."""
    found = _who(facts) | {"bursar.agent": facts.agent, "bursar.request.id": facts.request_id}
    if facts.run:
        found["bursar.run"] = facts.run
    if facts.stream:
        found["gen_ai.request.stream"] = True
    return found


def _finish(span: Span, facts: CallFacts) -> None:
    span.set_attributes(_told(facts))
    error = _error_type(facts)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _told(facts: CallFacts) -> Mapping[str, Value]:
    """What is known of a call when it has ended."""
    found = _who(facts) | {"bursar.outcome": facts.outcome}
    if facts.authorization:
        found["bursar.authorization.id"] = facts.authorization
    if facts.code:
        found["bursar.code"] = facts.code
    if facts.status:
        found["http.response.status_code"] = facts.provider_status or facts.status
    if facts.output_limit:
        found["gen_ai.request.max_tokens"] = facts.output_limit
    if facts.finish_reasons:
        found["gen_ai.response.finish_reasons"] = facts.finish_reasons
    if facts.stream and facts.first_byte_at and facts.usage is not None:
        found["gen_ai.response.time_to_first_chunk"] = facts.first_byte_at - facts.forwarded_at
    if facts.usage is not None:
        found |= {name: facts.usage.counts[key] for key, name in _USAGE.items() if facts.usage.counts.get(key)}
        if facts.usage.response_id:
            found["gen_ai.response.id"] = facts.usage.response_id[:TEXT_MAX]
        found["bursar.estimated"] = facts.is_estimated
    if facts.cost is not None:
        found["bursar.cost"] = decimal_text(facts.cost, facts.currency)
        found["bursar.currency"] = facts.currency
    return found


def _error_type(facts: CallFacts) -> str:
    """What went wrong, as one of a few words; "" where nothing did. A stream that was cut at its cap is an answer."""
    if facts.code and facts.code != CUT_AT_CAP:
        return facts.code
    if facts.provider_status >= _FAILED_FROM:
        return str(facts.provider_status)
    return facts.outcome if facts.outcome in (LEFT, UNKNOWN) else ""
