"""A durable authorization against an endpoint that does nothing, on both databases."""

from bench.context import CONNECTIONS, DATABASES, Context, Line
from bench.rounds import interleave

TARGETS = {"SQLite": 1.5, "PostgreSQL": 1.0}


def run(context: Context) -> list[Line]:
    """One line a database: authorizations per second ÷ the empty endpoint's requests per second."""
    servers = {database: context.bursar(database) for database in DATABASES}
    principals = {name: context.principals(server, key) for name, (server, key) in servers.items()}
    empty = context.contender("empty", context.empty_endpoint(), principals["SQLite"])
    ours = [context.contender(name, server, principals[name]) for name, (server, _) in servers.items()]
    series = interleave([empty, *ours], rounds=context.settings.rounds)
    lines = []
    for name in DATABASES:
        p50, p99 = series.median_latencies_ms(name)
        lines.append(
            Line(
                scenario="authorize",
                what=f"authorize on {name} ÷ empty endpoint, {CONNECTIONS} connections",
                ratio=series.ratio(name, "empty"),
                target=TARGETS[name],
                detail=(
                    f"{series.median_rate(name):,.0f} ÷ {series.median_rate('empty'):,.0f} a second; "
                    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                ),
                rates={name: series.rates(name), "empty": series.rates("empty")},
                generator_busy=series.busiest_generator(),
            )
        )
    return lines
