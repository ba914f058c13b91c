"""OpenTelemetry through real calls: what spans and measurements say, what the provider gets, what is never told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.exporting import TelemetryInvalid, problem, signals, telemetry
from gateway.facts import OUTCOMES, CallFacts, shown_model
from gateway.telemetry import OpenTelemetry
from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.gateway import KEY_VARIABLE, chat, gateway_file
from tests.support.running_app import Answer, RunningApp

ROOT = Path(__file__).resolve().parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
CHAT = "/openai/v1/chat/completions"
DELTA: dict[type, AggregationTemporality] = dict.fromkeys((Histogram, Counter), AggregationTemporality.DELTA)
SECRET = "the prompt that nobody may see"


class Watched:
    """An app with a gateway, its fake provider, and what it told OpenTelemetry."""

    def __init__(self, app: RunningApp, fake: FakeProvider, spans: InMemorySpanExporter, reader: InMemoryMetricReader):
        self.app = app
        self.fake = fake
        self._spans = spans
        self._reader = reader
        self.key = self.poor_key = ""
        self._data: Any = None

    def forget(self) -> None:
        """Begin anew: nothing was told, and nothing was billed."""
        self._spans.clear()
        self._reader.get_metrics_data()
        self._data = None
        self.fake.reset()

    def call(self, path: str, body: Any, *, key: str | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One call as a client sends it."""
        sent = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json", **(headers or {})}
        lines = [(name.encode(), value.encode()) for name, value in sent.items()]
        return self.app.request("POST", path, body=orjson.dumps(body), headers=lines)

    def last(self) -> ReadableSpan:
        """The span that ended last."""
        return self._spans.get_finished_spans()[-1]

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Every span."""
        return self._spans.get_finished_spans()

    def points(self, name: str) -> list[Any]:
        """The points of one instrument, of everything until the first look."""
        self._data = self._data or self._reader.get_metrics_data()
        return [
            point
            for resource in (self._data.resource_metrics if self._data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def running(directory: Path, patch: pytest.MonkeyPatch, fake: FakeProvider, told: OpenTelemetry) -> RunningApp:
    patch.setenv(KEY_VARIABLE, KEY)
    path = directory / "gateway.yaml"
    path.write_text(yaml.safe_dump(gateway_file(fake, {}, {})), encoding="utf-8")
    return RunningApp(sqlite_url(directory), telemetry=told, gateway_file=path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader(preferred_temporality=DELTA)
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    told = OpenTelemetry(
        tracers=tracers, meters=MeterProvider(metric_readers=[reader], shutdown_on_exit=False), flush=tracers.shutdown
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        FakeProvider() as fake,
        running(tmp_path_factory.mktemp("telemetry"), patch, fake, told) as app,
    ):
        made = Watched(app, fake, spans, reader)
        made.key = app.make_agent("crawler", budget="research", allocated="1.00")
        made.poor_key = app.make_agent("pauper", budget="pennies", allocated="0.00001")
        yield made


@pytest.fixture
def world(shared: Watched) -> Watched:
    shared.forget()
    return shared


def test_a_span_says_what_the_call_was_and_did_cost(world: Watched) -> None:
    answer = world.call(CHAT, chat(f"{SECRET} [[fake in=100 out=20 cached=64]]", max_tokens=50))
    assert answer.status == 200, answer.body
    span, (line,) = world.last(), world.fake.bill()["lines"]
    told = dict(span.attributes or {})
    assert (span.name, span.kind, span.status.status_code) == (
        "chat gpt-4o-mini", SpanKind.CLIENT, StatusCode.UNSET,
    )  # fmt: skip
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": line["model"],
        "gen_ai.response.id": line["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "server.address": "127.0.0.1",
        "server.port": int(world.fake.url.rpartition(":")[2]),
        "http.response.status_code": 200,
        "bursar.agent": "crawler",
        "bursar.authorization.id": answer.headers["x-bursar-authorization"],
        "bursar.cost": answer.headers["x-bursar-cost"],
        "bursar.currency": "USD",
        "bursar.estimated": False,
        "bursar.outcome": "settled",
        "bursar.request.id": answer.headers.get("x-bursar-request-id") or answer.headers["x-request-id"],
    }
    assert Decimal(str(told["bursar.cost"])) == Decimal(line["cost"])
    assert world.app.get(f"/v1/authorizations/{told['bursar.authorization.id']}").json["state"] == "settled"


def test_the_trace_of_the_client_goes_on_to_the_provider(world: Watched) -> None:
    """The client's span is the parent of ours, and ours the parent of whatever the provider does."""
    world.call(CHAT, chat(max_tokens=9), headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
    span, seen = world.last(), world.fake.seen()[-1]
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert [value for name, value in seen.headers if name == "traceparent"] == [
        f"00-{TRACE}-{span.context.span_id:016x}-01"
    ]
    assert seen.header("tracestate") == "vendor=1"


def test_without_a_trace_of_the_client_one_begins(world: Watched) -> None:
    world.call(CHAT, chat(max_tokens=9), headers={"traceparent": "nonsense"})
    span, seen = world.last(), world.fake.seen()[-1]
    assert span.parent is None
    sent = seen.header("traceparent") or ""
    assert sent.split("-")[:3] == ["00", f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]


@pytest.mark.parametrize(
    ("path", "body", "reasons"),
    [
        (CHAT, chat("[[fake out=5]]", max_tokens=9, stream=True, n=2), ("stop", "stop")),
        ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "[[fake out=5]]", "stream": True}, ("completed",)),
        ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "[[fake out=5]]"}, ("completed",)),
        ("/anthropic/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 3, "stream": True,
         "messages": [{"role": "user", "content": "[[fake out=5]]"}]}, ("max_tokens",)),
        ("/anthropic/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 9,
         "messages": [{"role": "user", "content": "[[fake out=5]]"}]}, ("end_turn",)),
    ],
)  # fmt: skip
def test_every_wire_tells_why_its_answer_ended(
    world: Watched, path: str, body: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert world.call(path, body).status == 200
    told = dict(world.last().attributes or {})
    assert told["gen_ai.response.finish_reasons"] == reasons
    assert told["gen_ai.response.id"] == world.fake.bill()["lines"][-1]["id"]
    assert ("gen_ai.response.time_to_first_chunk" in told) == bool(body.get("stream"))
    assert len(world.points("gen_ai.client.operation.time_to_first_chunk")) == int(bool(body.get("stream")))


@pytest.mark.parametrize(
    ("body", "outcome", "error", "status"),
    [
        (chat("[[fake status=429]]", max_tokens=9), "released", "429", 429),
        (chat("[[fake status=503]]", max_tokens=9), "unknown", "503", 503),
        (chat("[[fake close=1]]", max_tokens=9), "unknown", "upstream_broken", 502),
        (chat("[[fake close_after=3]]", max_tokens=9, stream=True), "unknown", "upstream_broken", 200),
        (chat(model="no-such-model"), "denied", "price_unknown", 403),
        (chat("poor"), "denied", "insufficient_budget", 403),
    ],
)
def test_what_goes_wrong_is_an_error_with_a_type(
    world: Watched, body: dict[str, Any], outcome: str, error: str, status: int
) -> None:
    world.call(CHAT, body, key=world.poor_key if error == "insufficient_budget" else world.key)
    span = world.last()
    told = dict(span.attributes or {})
    assert span.status.status_code is StatusCode.ERROR
    assert (told["bursar.outcome"], told["error.type"], told["http.response.status_code"]) == (outcome, error, status)
    assert world.app.get(f"/v1/authorizations/{told['bursar.authorization.id']}").status == 200
    assert "bursar.cost" not in told
    durations = world.points("gen_ai.client.operation.duration")
    # What was not forwarded took no provider's time.
    assert [point.attributes["error.type"] for point in durations] == ([] if outcome == "denied" else [error])


def test_measurements_add_up_to_the_bill(world: Watched) -> None:
    for out in (10, 20):
        world.call(CHAT, chat(f"[[fake in=50 out={out}]]", max_tokens=99))
    world.call("/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": ["hello", "world"]})
    lines = world.fake.bill()["lines"]
    used = {
        (point.attributes["gen_ai.operation.name"], point.attributes["gen_ai.token.type"]): (point.count, point.sum)
        for point in world.points("gen_ai.client.token.usage")
    }
    embedded = lines[-1]["input_tokens"]
    assert used == {
        ("chat", "input"): (2, 100),
        ("chat", "output"): (2, 30),
        ("embeddings", "input"): (1, embedded),
    }
    assert sum(point.value for point in world.points("bursar.cost")) == world.fake.billed_atoms()
    assert {point.attributes["bursar.currency"] for point in world.points("bursar.cost")} == {"USD"}
    durations = world.points("gen_ai.client.operation.duration")
    assert sum(point.count for point in durations) == 3
    assert world.last().name == "embeddings text-embedding-3-small"


def test_nothing_that_was_said_and_no_key_is_in_a_span(world: Watched) -> None:
    headers = {"x-bursar-intent": f"because {SECRET}", "x-bursar-labels": "customer=acme-secret"}
    for directive in ("out=3", "status=500", "close=1"):
        world.call(CHAT, chat(f"{SECRET} [[fake {directive}]]", max_tokens=9), headers=headers)
    world.call(CHAT, chat(SECRET, model=world.key), headers=headers)
    world.call(CHAT, chat(SECRET, model=KEY), headers=headers)
    shown = "\n".join(span.to_json() for span in world.spans())
    assert len(world.spans()) == 5
    answered = next(orjson.loads(seen.answer) for seen in world.fake.seen() if seen.status == 200)
    for secret in (SECRET, world.key, KEY, "acme-secret", answered["choices"][0]["message"]["content"]):
        assert secret not in shown


class FailingExporter(SpanExporter):
    """An exporter that cannot export."""

    def export(self, spans: Any) -> SpanExportResult:
        raise RuntimeError("no collector")


class FailingTracers(TracerProvider):
    """A provider whose tracers cannot even begin a span."""

    def get_tracer(self, *arguments: Any, **named: Any) -> Any:
        return self

    def start_span(self, *arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no span")


@pytest.mark.parametrize("kind", ["exporter", "tracer"])
def test_failing_telemetry_touches_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracers = TracerProvider(shutdown_on_exit=False) if kind == "exporter" else FailingTracers(shutdown_on_exit=False)
    if kind == "exporter":
        tracers.add_span_processor(SimpleSpanProcessor(FailingExporter()))
    told = OpenTelemetry(tracers=tracers, meters=None, flush=tracers.shutdown)
    with FakeProvider() as fake, running(tmp_path, monkeypatch, fake, told) as app:
        world = Watched(app, fake, InMemorySpanExporter(), InMemoryMetricReader())
        world.key = app.make_agent("crawler", budget="research", allocated="1.00")
        for _ in range(3):
            assert world.call(CHAT, chat(max_tokens=9), headers={"traceparent": TRACEPARENT}).status == 200
        if kind == "tracer":
            assert caplog.text.count("could not be told to OpenTelemetry") == 1
            assert fake.seen()[-1].header("traceparent") == TRACEPARENT


def test_stopping_waits_for_no_collector(caplog: pytest.LogCaptureFixture) -> None:
    """What is not sent by the deadline is dropped, and that is told."""
    hanging = OpenTelemetry(tracers=None, meters=None, flush=lambda: time.sleep(3600))
    asyncio.run(asyncio.wait_for(hanging.stop(0.05), 60))
    asyncio.run(asyncio.wait_for(hanging.stop(3600), 60))
    assert caplog.text.count("the rest is dropped") == 1
    caplog.clear()

    def fail() -> None:
        raise RuntimeError("no collector")

    asyncio.run(OpenTelemetry(tracers=None, meters=None, flush=fail).stop(60))
    assert "no collector" in caplog.text


ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("mode", "environment", "wanted"),
    [
        ("auto", {}, ()),
        ("auto", {ENDPOINT: ""}, ()),
        ("auto", {ENDPOINT: "http://c:4318"}, ("traces", "metrics")),
        ("auto", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, ("traces",)),
        ("auto", {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, ("metrics",)),
        ("auto", {ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, ("traces",)),
        ("auto", {ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, ()),
        ("on", {}, ("traces", "metrics")),
        ("on", {"OTEL_SDK_DISABLED": "TRUE"}, ()),
        ("off", {ENDPOINT: "http://c:4318"}, ()),
    ],
)
def test_it_is_off_unless_configured(mode: Any, environment: dict[str, str], wanted: tuple[str, ...]) -> None:
    assert signals(mode, environment) == wanted
    if not wanted:
        assert telemetry(mode, environment, pytest.fail) is None


def test_what_cannot_be_had_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where it was asked for; a warning where an endpoint stands in the environment for whomever."""
    grpc = {ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert "http/protobuf" in problem(("traces",), grpc)
    assert problem(("traces",), {**grpc, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}) == ""
    with pytest.raises(TelemetryInvalid, match="not as grpc"):
        telemetry("on", grpc, pytest.fail)
    monkeypatch.setattr("gateway.exporting.PACKAGES", ("opentelemetry_is_not_here",))
    with pytest.raises(TelemetryInvalid, match=r"pip install 'bursar-server\[otel\]'"):
        telemetry("on", {}, pytest.fail)
    warned: list[str] = []
    assert telemetry("auto", {ENDPOINT: "http://c:4318"}, warned.append) is None
    assert warned == [
        "no telemetry: OpenTelemetry is not installed; install it with: pip install 'bursar-server[otel]'"
    ]


def test_nothing_is_imported_where_it_is_off() -> None:
    """Neither the SDK nor our use of it, in a server with its gateway. (FastAPI looks for the bare API by itself.)"""
    program = (
        "import sys\n"
        "from api.app import make_app\n"
        "from api.settings import Settings\n"
        "assert make_app(Settings(database_url='sqlite:///nowhere.db')).context.gateway is not None\n"
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto', 'gateway.telemetry')\n"
        "print([name for name in sys.modules if name.startswith(ours)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
        env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_no_model_is_not_shown() -> None:
    assert shown_model("meta-llama/Llama-3.1-8B:free") == "meta-llama/Llama-3.1-8B:free"
    for name in ("", "bk_agent_1", "sk-proj-1", "two words", "x" * 200, "line\nfeed"):
        assert shown_model(name) == ""


def test_a_request_that_never_became_a_call_is_refused() -> None:
    facts = CallFacts("req_1", "POST", CHAT)
    facts.code, facts.status = "invalid_api_key", 401
    assert facts.outcome == "refused"
    facts.code, facts.status = "database_unavailable", 503
    assert facts.outcome == "failed"
    facts.has_left = True
    assert facts.outcome == "left"
    assert {"refused", "failed", "left", "denied", "settled", "unknown", "released"} == set(OUTCOMES)
