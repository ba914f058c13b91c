"""Inference calls through the gateway, against a hop that checks nothing and against the provider itself.

Each call is small (100 tokens in, 100 out) and the provider answers at once, so that what is measured is the gateway.
The provider runs on the generator's core; its own ceiling is the rate of `direct`. Gateways of others, started by
whoever runs the bench with the fake provider as their upstream, take the same load in the same rounds (`--peer`).
"""

import statistics
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from bench.context import DATABASES, Context, Line, Peer
from bench.load import Plan
from bench.rounds import Contender, Series, interleave, run_load
from bench.servers import Server, bursar_server, fake_provider, initialize_book, module_server
from bench.wire import Principal

CONNECTIONS = 32
TARGETS = {"SQLite": 0.35, "PostgreSQL": 0.25}
ADDED_MS_MOST = 2.0
AGENTS = 50
MODEL = "gpt-4o-mini"
PROVIDER_KEY = "sk-bench"
PATH = "/v1/chat/completions"
PROMPT = " ".join(f"Summarize ticket {number} in one sentence for the weekly report." for number in range(4700, 4708))
DIRECT, FLOOR = "direct", "floor"


def call_body(*, model: str, stream: bool) -> dict[str, object]:
    """The body of each call; the provider is told how much to bill by its own defaults."""
    messages = [{"role": "user", "content": PROMPT}]
    return {"model": model, "messages": messages, "max_tokens": 100} | ({"stream": True} if stream else {})


def run(context: Context) -> list[Line]:
    """Ratios of calls per second at 32 connections, and latencies at one; streaming and not; each database."""
    provider = context.resources.enter_context(
        fake_provider(port=context.settings.upstream_port, core=context.cores.load, directory=context.directory)
    )
    floor = context.resources.enter_context(
        module_server("bench.gateway_floor", provider.url, core=context.cores.server, directory=context.directory)
    )
    stranger: tuple[Principal, ...] = (Principal(PROVIDER_KEY, ("none",)),)
    targets = {DIRECT: (provider.url + PATH, stranger, MODEL), FLOOR: (floor.url + PATH, stranger, MODEL)}
    for database in DATABASES:
        server, principals = _gateway(context, database, provider)
        targets[database] = (f"{server.url}/openai{PATH}", principals, MODEL)
    targets |= {peer.name: _peer_target(peer) for peer in context.settings.peers}
    lines: list[Line] = []
    for stream, connections in product((False, True), (CONNECTIONS, 1)):
        contenders = [
            _contender(context, name, *target, stream=stream, connections=connections)
            for name, target in targets.items()
        ]
        series = interleave(contenders, rounds=context.settings.rounds)
        names = [*DATABASES, *(peer.name for peer in context.settings.peers)]
        make = _rate_line if connections == CONNECTIONS else _latency_line
        lines += [make(series, name, stream=stream) for name in names]
        if connections == CONNECTIONS:
            lines.append(_ceiling_line(series, stream=stream))
    return lines


def _gateway(context: Context, database: str, provider: Server) -> tuple[Server, tuple[Principal, ...]]:
    """A Bursar on a new database, whose gateway leads to the provider; and who may call."""
    url = context.new_database("SQLite" if database == "SQLite" else "PostgreSQL")
    admin_key = initialize_book(url)
    path = context.directory / "gateway.yaml"
    Path(path.with_name("provider-key")).write_text(PROVIDER_KEY)
    openai = {"base_url": f"{provider.url}/v1", "key": {"file": "provider-key"}}
    path.write_text(yaml.safe_dump({"providers": {"openai": openai}}))
    server = context.resources.enter_context(
        bursar_server(
            database,
            url,
            core=context.cores.server,
            directory=context.directory,
            options=("--gateway-file", str(path)),
        )
    )
    return server, context.principals(server, admin_key, agents=AGENTS, budgets=AGENTS)


def _peer_target(peer: Peer) -> tuple[str, tuple[Principal, ...], str]:
    return f"{peer.url}/chat/completions", (Principal(peer.key, ("none",)),), peer.model


def _contender(
    context: Context,
    name: str,
    url: str,
    principals: tuple[Principal, ...],
    model: str,
    *,
    stream: bool,
    connections: int,
) -> Contender:
    parts = urlsplit(url)
    plan = Plan(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 80,
        principals=principals,
        body=call_body(model=model, stream=stream),
        kind="call",
        path=parts.path,
        expected_marker="[DONE]" if stream else '"completion_tokens"',
        connections=connections,
        warmup_seconds=context.settings.warmup_seconds,
        seconds=context.settings.seconds,
        core=context.cores.load,
    )
    return Contender(name, lambda: run_load(plan))


def _sort(stream: bool) -> str:
    return "streamed calls" if stream else "calls"


def _rate_line(series: Series, name: str, *, stream: bool) -> Line:
    """Calls per second as a part of the floor's."""
    p50, p99 = series.median_latencies_ms(name)
    return Line(
        scenario="gateway",
        what=f"gateway: {_sort(stream)} on {name} ÷ the floor, {CONNECTIONS} connections",
        ratio=series.ratio(name, FLOOR),
        target=None if stream else TARGETS.get(name),
        detail=(
            f"{series.median_rate(name):,.0f} ÷ {series.median_rate(FLOOR):,.0f} a second "
            f"(direct {series.median_rate(DIRECT):,.0f}); p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        ),
        rates={each: series.rates(each) for each in (name, FLOOR, DIRECT)},
        generator_busy=series.busiest_generator(),
    )


def _latency_line(series: Series, name: str, *, stream: bool) -> Line:
    """Milliseconds that the median call takes longer than through the floor."""
    added = statistics.median(
        ours.p50_ms - bare.p50_ms for ours, bare in zip(series.results[name], series.results[FLOOR], strict=True)
    )
    medians = {each: series.median_latencies_ms(each)[0] for each in (name, FLOOR, DIRECT)}
    return Line(
        scenario="gateway",
        what=f"gateway: milliseconds added to the p50 of {_sort(stream)} on {name}, 1 connection",
        ratio=added,
        target=None if stream or name not in TARGETS else ADDED_MS_MOST,
        at_most=True,
        detail=f"{medians[name]:.2f} − {medians[FLOOR]:.2f} ms (direct {medians[DIRECT]:.2f})",
        rates={each: series.rates(each) for each in (name, FLOOR, DIRECT)},
        generator_busy=series.busiest_generator(),
    )


def _ceiling_line(series: Series, *, stream: bool) -> Line:
    """How far the provider is from being what bounds the floor."""
    return Line(
        scenario="gateway",
        what=f"gateway: the fake provider's own ceiling ÷ the floor, {_sort(stream)}, {CONNECTIONS} connections",
        ratio=series.ratio(DIRECT, FLOOR),
        target=None,
        detail=f"{series.median_rate(DIRECT):,.0f} ÷ {series.median_rate(FLOOR):,.0f} a second",
        rates={each: series.rates(each) for each in (DIRECT, FLOOR)},
        generator_busy=series.busiest_generator(),
    )
