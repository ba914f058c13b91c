"""Twelve limits on the path of every request, four of them per agent, against no policy at all.

The books are alike but for the policies: the same teams, 50 agents and 50 budgets, one server each, measured in turns.
What evaluation and counting cost is measured apart, in this process, where neither HTTP nor the database hides it.
"""

from bench.books import set_up_book
from bench.context import CONNECTIONS, DATABASES, Context, Database, Line
from bench.decision_cost import BATCH, HASHED_BYTES, Costs, Decider, measure
from bench.policies import LIMITS, TEAMS, apply_policies
from bench.rounds import interleave
from bench.servers import Server, initialize_book
from bench.wire import Principal

TARGET = 0.75
PARTS = {
    "evaluation": "evaluating twelve limits",
    "counting": "counting in their counters",
    "saying": "saying in the record what they saw",
    "limited": "a decision under twelve limits",
}


class _Book:
    """One server with a book, with or without the policies."""

    def __init__(self, context: Context, database: Database, *, limited: bool) -> None:
        self.limited = limited
        self.url = context.new_database(database)
        admin_key = initialize_book(self.url)
        self.server: Server = context.serve(database, self.url)
        self.principals: tuple[Principal, ...] = set_up_book(self.server.url, admin_key, teams=TEAMS)
        if limited:
            apply_policies(self.server.url, admin_key)

    def decider(self) -> Decider:
        """The book's facts, once its server has let go of the database."""
        self.server.stop()
        return Decider(self.url, self.principals, limits=LIMITS if self.limited else 0)


def run(context: Context) -> list[Line]:
    """Two lines a database (authorizations and pairs, with ÷ without), then one for each part of a decision."""
    lines: list[Line] = []
    costs: Costs | None = None
    for database in DATABASES:
        books = {name: _Book(context, database, limited=name == "limited") for name in ("without", "limited")}
        lines += _measured(context, database, books)
        deciders = {name: book.decider() for name, book in books.items()}
        if costs is None:
            costs = measure(
                deciders["without"], deciders["limited"],
                rounds=context.settings.rounds, seconds=context.settings.seconds / 4,
            )  # fmt: skip
    return lines + (_parts(costs) if costs is not None else [])


def _measured(context: Context, database: Database, books: dict[str, _Book]) -> list[Line]:
    lines = []
    for kind, what, target in (("single", "authorize", TARGET), ("pair", "authorize+settle pairs", None)):
        series = interleave(
            [context.contender(name, book.server, book.principals, kind=kind) for name, book in books.items()],
            rounds=context.settings.rounds,
        )
        p50, p99 = series.median_latencies_ms("limited")
        lines.append(
            Line(
                scenario="policies",
                what=f"{what} under {LIMITS} limits ÷ without policies on {database}, {CONNECTIONS} connections",
                ratio=series.ratio("limited", "without"),
                target=target,
                detail=(
                    f"{series.median_rate('limited'):,.0f} ÷ {series.median_rate('without'):,.0f} a second; "
                    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                ),
                rates={name: series.rates(name) for name in books},
                generator_busy=series.busiest_generator(),
            )
        )
    return lines


def _parts(costs: Costs) -> list[Line]:
    """The parts by a decision without policies. They have no rates: they are no requests."""
    return [
        Line(
            scenario="policies",
            what=f"{what} ÷ a decision without policies, in process, {BATCH} together",
            ratio=costs.ratio(part, "without"),
            target=None,
            detail=(
                f"{costs.microseconds(part):.1f} ÷ {costs.microseconds('without'):.1f} µs; "
                f"{costs.ratio(part, 'hashing'):.1f} times a SHA-256 of {HASHED_BYTES:,} bytes"
            ),
        )
        for part, what in PARTS.items()
    ]
