"""Whether telemetry is on, and where it goes.

Owns the reading of OpenTelemetry's own variables. Invariants: nothing of OpenTelemetry is imported where telemetry is
off; nothing global is set, so two apps in one process share nothing; each process tells its own measurements under a
``service.instance.id`` of its own, so that several workers are not taken for one.

Source: OpenTelemetry, "SDK configuration" and "OTLP exporter configuration" (names of the variables).
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Callable, Mapping
from typing import Final, Literal

from gateway.facts import Telemetry

Mode = Literal["auto", "on", "off"]
INSTALL: Final = "install it with: pip install 'bursar-server[otel]'"
SERVICE: Final = "bursar"
PACKAGES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
PROTOCOL: Final = "http/protobuf"
TRACES: Final = "traces"
METRICS: Final = "metrics"
_PREFIX: Final = "OTEL_EXPORTER_OTLP_"


class TelemetryInvalid(ValueError):
    """Telemetry is asked for and cannot be had, with a sentence that says what to change."""


def signals(mode: Mode, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What is to be exported: ``traces``, ``metrics``, both or nothing.

    ``auto`` exports where the environment names an endpoint, ``on`` also to the default one on this machine.
    """
    if mode == "off" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    found = []
    for signal in (TRACES, METRICS):
        places = (f"{_PREFIX}ENDPOINT", f"{_PREFIX}{signal.upper()}_ENDPOINT")
        is_named = any(environment.get(name, "").strip() for name in places)
        exporters = environment.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower()
        if exporters in ("", "otlp") and (mode == "on" or is_named):
            found.append(signal)
    return tuple(found)


def problem(wanted: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """Why what is wanted cannot be exported; "" where it can."""
    for signal in wanted:
        own = environment.get(f"{_PREFIX}{signal.upper()}_PROTOCOL", "").strip()
        protocol = own or environment.get(f"{_PREFIX}PROTOCOL", "").strip()
        if protocol not in ("", PROTOCOL):
            return f"{signal} go out over OTLP as {PROTOCOL} only, not as {protocol}; set {_PREFIX}PROTOCOL={PROTOCOL}"
    if wanted and not all(_is_installed(package) for package in PACKAGES):
        return f"OpenTelemetry is not installed; {INSTALL}"
    return ""


def insist(mode: Mode, environment: Mapping[str, str]) -> None:
    """Raise TelemetryInvalid where ``on`` asks for what cannot be had."""
    why = problem(signals(mode, environment), environment)
    if why and mode == "on":
        raise TelemetryInvalid(why)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def telemetry(mode: Mode, environment: Mapping[str, str], warn: Callable[[str], None]) -> Telemetry | None:
    """Where calls are told, or None where telemetry is off.

    What cannot be had is refused with TelemetryInvalid where it was asked for by ``on``; where only the environment
    names an endpoint, which may stand there for other programs, it is told to ``warn``.
    """
    insist(mode, environment)
    wanted = signals(mode, environment)
    why = problem(wanted, environment)
    if why:
        warn(f"no telemetry: {why}")
    return None if why or not wanted else _exporting(wanted, environment)


def _exporting(wanted: tuple[str, ...], environment: Mapping[str, str]) -> Telemetry:
    # Half a second, and thirty megabytes, that a server without telemetry does not pay.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from gateway.telemetry import OpenTelemetry

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create(
        {"service.instance.id": str(uuid.uuid4()), **({} if named else {"service.name": SERVICE})}
    )
    tracers = meters = None
    if TRACES in wanted:
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if METRICS in wanted:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        meters = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)

    def flush() -> None:
        for provider in (tracers, meters):
            if provider is not None:
                provider.shutdown()

    return OpenTelemetry(tracers=tracers, meters=meters, flush=flush)
