"""The load generator: a process of its own, on a core of its own, in a closed loop on keep-alive connections.

Reads one plan (JSON) on standard input, drives the server, and writes one result (JSON) on standard output.
It is a raw asyncio protocol on uvloop with requests made by joining bytes, because a client library costs
more than the servers it would measure. Invariant: a result counts only what was answered inside the
measured window, and a single answer that is not what the plan expects makes the whole result invalid.

    python -m bench.load < plan.json
"""

import asyncio
import json
import math
import os
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

import uvloop

from bench.wire import (
    BatchTemplate,
    KeySource,
    Principal,
    ResponseParser,
    SettleTemplate,
    UnreadableResponse,
    authorization_id,
    batch_template,
    call_template,
    settle_template,
    single_templates,
)

DRAIN_SECONDS = 30.0
KINDS = ("single", "pair", "batch", "call")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send, to whom and for how long.

    `kind`: `single` sends `body` again and again; `pair` authorizes, then settles what it got with
    `settle_body`; `batch` sends `items` authorizations a request; `call` sends `body` as an inference call, whose
    answer may be a stream. `expected_marker` is a byte string that an answer holds once per item that went well
    (batches), or at least once (calls). `core` is the processor to run on, or null.
    `maximum_requests` ends the run early, once that many requests were sent (0: only time ends it).
    """

    host: str
    port: int
    principals: tuple[Principal, ...]
    body: dict[str, Any]
    kind: str = "single"
    path: str = "/v1/authorizations"
    settle_body: dict[str, Any] = field(default_factory=dict)
    items: int = 200
    expected_marker: str = ""
    connections: int = 64
    warmup_seconds: float = 1.0
    seconds: float = 3.0
    core: int | None = None
    maximum_requests: int = 0

    def to_json(self) -> str:
        """The plan as the process reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read what `to_json` wrote. Raises ValueError for an unknown kind."""
        values = json.loads(text)
        principals = tuple(Principal(item["key"], tuple(item["budgets"])) for item in values["principals"])
        plan = cls(**(values | {"principals": principals}))
        if plan.kind not in KINDS:
            raise ValueError(f"unknown kind {plan.kind!r}; one of {', '.join(KINDS)}")
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What one run saw. Rates are per second of the measured window; latencies in milliseconds.

    `units` counts what the kind is about: requests, pairs, or authorizations inside batches. `generator_busy`
    is the share of one core that the generator itself used. `problem` is empty when the result is valid.
    """

    units: int
    units_per_second: float
    requests: int
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    generator_busy: float
    problem: str

    @property
    def valid(self) -> bool:
        """Whether every answer was the one expected."""
        return not self.problem

    @classmethod
    def from_json(cls, text: str) -> "LoadResult":
        """Read what the process wrote."""
        return cls(**json.loads(text))


def percentile(ordered: "array[float] | list[float]", share: float) -> float:
    """The nearest-rank percentile of values in ascending order; 0.0 for none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(slots=True)
class Recorder:
    """Counts what arrives: everything in `statuses`, but latencies and units only inside the window."""

    measuring: bool = False
    stopping: bool = False
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    units: int = 0
    sent: int = 0
    maximum_requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    problem: str = ""

    def record(self, *, status: int, body: bytes, seconds: float, units: int) -> None:
        """One answer, with its latency and what it is worth."""
        self.statuses[status] += 1
        if not 200 <= status < 300:
            self.fail(f"status {status}: {body[:300].decode('latin-1')}")
        if self.measuring:
            self.latencies.append(seconds)
            self.units += units

    def fail(self, problem: str) -> None:
        """Remember the first problem."""
        if not self.problem:
            self.problem = problem

    def may_send(self) -> bool:
        """Whether another request may start; counts it when so."""
        if self.stopping or self.problem or (self.maximum_requests and self.sent >= self.maximum_requests):
            return False
        self.sent += 1
        return True


Exchange = Callable[[], tuple[bytes, SettleTemplate | None]]


def exchange(plan: Plan, keys: KeySource) -> Exchange:
    """A function that makes the next request, with the settlement to send after its answer, if any.

    All connections share it, so that neighbouring requests name different agents and budgets.
    """
    host = f"{plan.host}:{plan.port}"
    if plan.kind == "batch":
        batches: cycle[BatchTemplate] = cycle(
            [
                batch_template(
                    principal,
                    path=plan.path,
                    host=host,
                    body=plan.body,
                    items=plan.items,
                    key_length_bytes=keys.length_bytes,
                )
                for principal in plan.principals
            ]
        )
        return lambda: (next(batches).render(keys), None)
    if plan.kind == "call":
        calls = cycle([call_template(each, path=plan.path, host=host, body=plan.body) for each in plan.principals])
        return lambda: (next(calls).render(keys), None)
    settles: dict[Principal, SettleTemplate | None] = {
        principal: settle_template(principal, host=host, body=plan.settle_body) if plan.kind == "pair" else None
        for principal in plan.principals
    }
    singles = single_templates(plan.principals, path=plan.path, host=host, body=plan.body)
    turns = cycle([(single, settles[principal]) for principal, single in singles])

    def next_exchange() -> tuple[bytes, SettleTemplate | None]:
        single, settle = next(turns)
        return single.render(keys), settle

    return next_exchange


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time."""

    def __init__(self, plan: Plan, keys: KeySource, next_exchange: Exchange, recorder: Recorder) -> None:
        self._next_exchange = next_exchange
        self._keys = keys
        self._marker = plan.expected_marker.encode()
        self._kind = plan.kind
        self._items = plan.items
        self._recorder = recorder
        self._parser = ResponseParser(streams=plan.kind == "call")
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._settle: SettleTemplate | None = None
        self._settling = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; sending starts when `start` is called."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that the server ends while it owes an answer makes the result invalid."""
        if not self.done.done():
            self._recorder.fail(f"connection lost while waiting for an answer: {error!r}")
            self.done.set_result(None)

    def start(self) -> None:
        """Send the next request, or finish when the run is over."""
        if not self._recorder.may_send():
            self._finish()
            return
        self._settling = False
        request, self._settle = self._next_exchange()
        self._write(request)

    def _write(self, request: bytes) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(request)  # type: ignore[union-attr]

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Record each whole answer and send what follows it."""
        try:
            for status, body in self._parser.feed(data):
                self._answered(status, body)
        except UnreadableResponse as unreadable:
            self._recorder.fail(f"unreadable response: {unreadable}")
            self._finish()

    def _answered(self, status: int, body: bytes) -> None:
        seconds = time.perf_counter() - self._sent_at
        units = 1
        if self._kind == "batch":
            units = body.count(self._marker) if self._marker else self._items
            if units != self._items and status == 200:
                self._recorder.fail(f"{self._items - units} items not approved: {body[:600].decode('latin-1')}")
        elif self._kind == "call":
            if self._marker not in body and status == 200:
                self._recorder.fail(f"an answer without {self._marker!r}: {body[:600].decode('latin-1')}")
        elif self._settle is not None:
            units = 1 if self._settling else 0
        self._recorder.record(status=status, body=body, seconds=seconds, units=units)
        if self._settle is not None and not self._settling and not self._recorder.problem:
            # A pair that began is finished even when the window has closed: no hold is left behind.
            self._settling = True
            self._write(self._settle.render(self._keys, authorization_id(body)))
            return
        self.start()


async def drive(plan: Plan) -> LoadResult:
    """Open the connections, warm up, measure, let what is under way finish, and add up."""
    loop = asyncio.get_running_loop()
    recorder = Recorder(maximum_requests=plan.maximum_requests)
    keys = KeySource()
    next_exchange = exchange(plan, keys)
    connections: list[Connection] = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(
            lambda: Connection(plan, keys, next_exchange, recorder), plan.host, plan.port
        )
        connections.append(connection)
    for connection in connections:
        connection.start()
    everyone = asyncio.gather(*(connection.done for connection in connections))
    await _wait(everyone, plan.warmup_seconds)
    recorder.measuring = True
    started, processor_started = time.perf_counter(), _processor_seconds()
    await _wait(everyone, plan.seconds)
    elapsed, processor = time.perf_counter() - started, _processor_seconds() - processor_started
    recorder.measuring = False
    recorder.stopping = True
    await _wait(everyone, DRAIN_SECONDS)
    if not everyone.done():
        recorder.fail(f"answers still missing {DRAIN_SECONDS:.0f} s after the end")
    ordered = sorted(recorder.latencies)
    return LoadResult(
        units=recorder.units,
        units_per_second=recorder.units / elapsed,
        requests=len(ordered),
        p50_ms=percentile(ordered, 0.50) * 1000,
        p99_ms=percentile(ordered, 0.99) * 1000,
        statuses={str(status): count for status, count in sorted(recorder.statuses.items())},
        generator_busy=processor / elapsed,
        problem=recorder.problem or ("" if ordered else "nothing was answered inside the window"),
    )


async def _wait(everyone: "asyncio.Future[Any]", seconds: float) -> None:
    await asyncio.wait([everyone], timeout=seconds)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Read the plan, run it, print the result."""
    plan = Plan.from_json(sys.stdin.read())
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    result = uvloop.run(drive(plan))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
