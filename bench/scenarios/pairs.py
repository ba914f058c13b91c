"""Authorize, then settle what was authorized: the whole life of a spend, in pairs per second.

The design compares with TigerBeetle called from Python; the package index has TigerBeetle's client and no
server, so the yardstick here is the empty endpoint: a pair is two requests, so 0.5 is its speed.
"""

from bench.context import CONNECTIONS, DATABASES, Context, Line
from bench.rounds import interleave


def run(context: Context) -> list[Line]:
    """One line a database: pairs per second ÷ the empty endpoint's requests per second; no target."""
    servers = {database: context.bursar(database) for database in DATABASES}
    principals = {name: context.principals(server, key) for name, (server, key) in servers.items()}
    empty = context.contender("empty", context.empty_endpoint(), principals["SQLite"])
    ours = [context.contender(name, server, principals[name], kind="pair") for name, (server, _) in servers.items()]
    series = interleave([empty, *ours], rounds=context.settings.rounds)
    return [
        Line(
            scenario="pairs",
            what=f"authorize+settle pairs on {name} ÷ empty endpoint, {CONNECTIONS} connections",
            ratio=series.ratio(name, "empty"),
            target=None,
            detail=(
                f"{series.median_rate(name):,.0f} pairs ÷ {series.median_rate('empty'):,.0f} requests "
                "a second; not ÷ TigerBeetle, as the package index has no server of it"
            ),
            rates={name: series.rates(name), "empty": series.rates("empty")},
            generator_busy=series.busiest_generator(),
        )
        for name in DATABASES
    ]
