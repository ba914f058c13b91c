"""From one connection to hundreds: rate and latency beside those of the empty endpoint."""

from bench.context import Context, Line
from bench.rounds import interleave


def run(context: Context) -> list[Line]:
    """One line per number of connections, on SQLite: rate ÷ the empty endpoint's; no target."""
    server, admin_key = context.bursar("SQLite")
    principals = context.principals(server, admin_key)
    empty_server = context.empty_endpoint()
    lines = []
    for connections in context.settings.connection_counts:
        empty = context.contender("empty", empty_server, principals, connections=connections)
        ours = context.contender("SQLite", server, principals, connections=connections)
        series = interleave([empty, ours], rounds=context.settings.rounds)
        p50, p99 = series.median_latencies_ms("SQLite")
        empty_p50, empty_p99 = series.median_latencies_ms("empty")
        lines.append(
            Line(
                scenario="connections",
                what=f"authorize on SQLite ÷ empty endpoint, {connections} connections",
                ratio=series.ratio("SQLite", "empty"),
                target=None,
                detail=(
                    f"p50 {p50:.2f} ÷ {empty_p50:.2f} ms, p99 {p99:.2f} ÷ {empty_p99:.2f} ms; "
                    f"{series.median_rate('SQLite'):,.0f} ÷ {series.median_rate('empty'):,.0f} a second"
                ),
                rates={"SQLite": series.rates("SQLite"), "empty": series.rates("empty")},
                generator_busy=series.busiest_generator(),
            )
        )
    return lines
