"""Telemetry of a real server: what arrives at a collector, and what becomes of a call and of the end without one."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.gateway import KEY_VARIABLE, chat, gateway_world
from tests.support.server import BURSAR, free_port, open_book

CHAT = "/openai/v1/chat/completions"


class Collector(http.server.ThreadingHTTPServer):
    """A collector that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiving)
        self.received: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def traces(self) -> list[Any]:
        """Every group of spans, with its resource."""
        bodies = [body for path, body in self.received if path == "/v1/traces"]
        return [group for body in bodies for group in ExportTraceServiceRequest.FromString(body).resource_spans]

    def instruments(self) -> set[str]:
        """The names of all measurements."""
        bodies = [body for path, body in self.received if path == "/v1/metrics"]
        return {
            metric.name
            for body in bodies
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }


class Receiving(http.server.BaseHTTPRequestHandler):
    """One request to the collector."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def test_a_collector_has_every_call_of_every_worker_at_the_end(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM sends what is left; each worker is an instance of one service, and no secret goes out."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with gateway_world(sqlite_url(tmp_path), tmp_path, flags=("--workers", "2")) as world:
        answers = [
            world.office.send("POST", CHAT, chat("a-secret-prompt", max_tokens=9), key=world.key) for _ in range(6)
        ]
        key = world.key
        world.server.stop()
    spans = [span for group in collector.traces() for scope in group.scope_spans for span in scope.spans]
    told = [{pair.key: pair.value.string_value for pair in span.attributes} for span in spans]
    assert {each["bursar.authorization.id"] for each in told} == {
        answer.headers["x-bursar-authorization"] for answer in answers
    }
    resources = [
        {pair.key: pair.value.string_value for pair in group.resource.attributes} for group in collector.traces()
    ]
    assert {each["service.name"] for each in resources} == {"bursar"}
    assert {each["deployment.environment.name"] for each in resources} == {"test"}
    assert 1 <= len({each["service.instance.id"] for each in resources}) <= 2
    assert {"gen_ai.client.token.usage", "gen_ai.client.operation.duration", "bursar.cost"} <= collector.instruments()
    sent = b"".join(body for _, body in collector.received)
    for secret in (b"a-secret-prompt", KEY.encode(), key.encode()):
        assert secret not in sent


def test_a_collector_that_is_gone_delays_no_call_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens; calls are answered, and the server ends with 0 within its time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with gateway_world(sqlite_url(tmp_path), tmp_path) as world:
        for _ in range(3):
            assert world.office.send("POST", CHAT, chat(max_tokens=9), key=world.key).status == 200
        assert world.insist_that_the_bill_is_spent() > 0
        world.server.stop()


@pytest.mark.parametrize(
    ("flags", "content", "says"),
    [
        (("--gateway-telemetry", "on"), "{}", "--gateway-telemetry: traces go out over OTLP as http/protobuf only"),
        ((), "providers: {openai: {base_url: 'ftp://x'}}", "providers.openai.base_url: a base URL is http(s)://HOST"),
        ((), "prices: nowhere.yaml", "nowhere.yaml cannot be read"),
    ],
)
def test_a_server_that_cannot_do_as_told_says_so_and_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], content: str, says: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    path = tmp_path / "gateway.yaml"
    path.write_text(content, encoding="utf-8")
    url = open_book(sqlite_url(tmp_path)).database_url
    command = [BURSAR, "serve", "--database-url", url, "--port", "0", "--gateway-file", str(path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_the_environment_asks_for_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with FakeProvider() as fake, gateway_world(sqlite_url(tmp_path), tmp_path, provider=fake) as world:
        assert world.office.send("POST", CHAT, chat(max_tokens=9), key=world.key).status == 200
        assert "no telemetry: traces go out over OTLP as http/protobuf only, not as grpc" in world.server.log_text()
