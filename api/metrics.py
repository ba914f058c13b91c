"""What the server counts, for Prometheus; right over several workers.

Owns the metrics and their names (``docs/metrics.md`` lists them; a test compares). Requests are tallied in plain
integers while they run and handed to prometheus_client by ``flush``, because locked updates would cost more than
parsing a request. Invariants: labels have few values, fixed by the code and never by a client; money is read from the
database when asked for, so every worker says the same.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from api.gateway_metrics import GatewayMetrics
from ledger.services.authorizer import BatchReport

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
COMMANDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FLUSH_SECONDS: Final = 1.0


# When a series was first counted is of no use here, and doubles the exposition.
disable_created_metrics()


class Metrics:
    """The metrics of one process, in a registry of its own (or in the directory that several processes share)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bursar_http_requests",
            "Requests answered, by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Counter(
            "bursar_http_request_seconds", "Time spent answering, by route.", ("route",), registry=self.registry
        )
        self.requests_within = Counter(
            "bursar_http_requests_within",
            "Requests answered within le seconds, by route (cumulative).",
            ("route", "le"),
            registry=self.registry,
        )
        self.decisions = Counter(
            "bursar_decisions",
            "Commands decided, by operation and outcome.",
            ("operation", "outcome"),
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "bursar_rate_limited_requests", "Requests refused by the rate limit of their key.", registry=self.registry
        )
        self.batch_commands = Histogram(
            "bursar_batch_commands", "Commands in a committed batch.", buckets=COMMANDS, registry=self.registry
        )
        self.commit_seconds = Histogram(
            "bursar_commit_seconds", "Time to commit a batch.", buckets=SECONDS, registry=self.registry
        )
        self.queue_commands = Gauge(
            "bursar_queue_commands",
            "Commands waiting to be decided.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.waiting_commands = Gauge(
            "bursar_waiting_commands",
            "Commands standing in line for held money.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.waited_seconds = Histogram(
            "bursar_waited_seconds",
            "Time from the request of who stood in line to its end, by outcome.",
            ("outcome",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.balance_failures = Counter(
            "bursar_balance_read_failures",
            "Scrapes that could not read what is held and spent.",
            registry=self.registry,
        )
        self.alerts = Counter("bursar_alerts", "Events made for webhooks, by type.", ("type",), registry=self.registry)
        self.webhooks = Counter(
            "bursar_webhook_attempts",
            "Attempts to deliver an event, by how they went: delivered, retried or failed.",
            ("result",),
            registry=self.registry,
        )
        self.checkpoints = Counter(
            "bursar_checkpoints",
            "Checkpoints that were due, by how it went: signed, refused or failed.",
            ("result",),
            registry=self.registry,
        )
        self.alerts_behind = Gauge(
            "bursar_alerts_behind_records",
            "Log records of books with webhooks that were not looked at yet.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.lines_behind = Gauge(
            "bursar_lines_behind_records",
            "Log records that no statement line was written for yet.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.gateway = GatewayMetrics(self.registry)
        self._statuses: Tally[tuple[str, int]] = Tally()
        self._seconds: dict[str, float] = {}
        self._within: dict[str, list[int]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one request. Called on the event loop only."""
        self._statuses[route, status] += 1
        within = self._within.get(route)
        if within is None:
            within = self._within[route] = [0] * (len(SECONDS) + 1)
            self._seconds[route] = 0.0
        within[bisect_left(SECONDS, seconds)] += 1
        self._seconds[route] += seconds

    def batch(self, report: BatchReport) -> None:
        """Count one batch and its outcomes; nothing of an evaluation. Called by the writer threads."""
        if report.dry:
            return
        if report.committed:
            self.batch_commands.observe(report.commands)
            self.commit_seconds.observe(report.commit_seconds)
        for (operation, outcome), number in report.outcomes.items():
            self.decisions.labels(operation, outcome).inc(number)

    def waited(self, outcome: str, seconds: float) -> None:
        """Count one that stood in line, at its end. Called by the writer threads."""
        self.waited_seconds.labels(outcome).observe(seconds)

    def alert(self, kind: str) -> None:
        """Count one event. Called by the alerts' thread."""
        self.alerts.labels(kind).inc()

    def webhook(self, result: str) -> None:
        """Count one attempt to deliver. Called by the threads that send."""
        self.webhooks.labels(result).inc()

    def checkpoint(self, result: str) -> None:
        """Count one checkpoint that was due. Called by the checkpoints' thread."""
        self.checkpoints.labels(result).inc()

    def flush(self) -> None:
        """Hand over what was tallied."""
        self.gateway.flush()
        statuses, self._statuses = self._statuses, Tally()
        for (route, status), number in statuses.items():
            self.requests.labels(route, str(status)).inc(number)
        for route, within in self._within.items():
            self.request_seconds.labels(route).inc(self._seconds[route])
            self._seconds[route] = 0.0
            total = 0
            for position, bound in enumerate((*SECONDS, "+Inf")):
                total += within[position]
                within[position] = 0
                self.requests_within.labels(route, str(bound)).inc(total)

    def exposition(self, money: Iterable[tuple[str, str, int, int]]) -> bytes:
        """The text that Prometheus reads. ``money`` has (book, currency, held atoms, spent atoms)."""
        self.flush()
        registry = self.registry
        if MULTIPROCESS_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        held = GaugeMetricFamily("bursar_held_atoms", "Held by open holds, in atoms.", labels=("book", "currency"))
        spent = GaugeMetricFamily("bursar_spent_atoms", "Spent, in atoms.", labels=("book", "currency"))
        for book, currency, held_atoms, spent_atoms in money:
            held.add_metric((book, currency), held_atoms)
            spent.add_metric((book, currency), spent_atoms)
        balances = CollectorRegistry()
        balances.register(_Fixed((held, spent)))
        return generate_latest(registry) + generate_latest(balances)


class _Fixed:
    """A collector of families that are made already."""

    def __init__(self, families: tuple[GaugeMetricFamily, ...]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families."""
        return self._families
