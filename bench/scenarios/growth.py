"""A long history against a short one: whether a book gets slower as it grows."""

from bench.context import DATABASES, Context, Database, Line
from bench.history import load_history
from bench.rounds import interleave

TARGET = 0.85


def run(context: Context) -> list[Line]:
    """One line a database: authorizations per second after a long history ÷ after a short one."""
    return [_line(context, database) for database in DATABASES]


def _line(context: Context, database: Database) -> Line:
    contenders = []
    sizes = {"short": context.settings.short_history, "long": context.settings.growth}
    for name, transfers in sizes.items():
        url = context.new_database(database)
        admin_key = load_history(url, transfers)
        server = context.serve(database, url)
        contenders.append(context.contender(name, server, context.principals(server, admin_key)))
    series = interleave(contenders, rounds=context.settings.rounds)
    return Line(
        scenario="growth",
        what=f"authorize at {sizes['long']:,} transfers ÷ at {sizes['short']:,} on {database}",
        ratio=series.ratio("long", "short"),
        target=TARGET,
        detail=f"{series.median_rate('long'):,.0f} ÷ {series.median_rate('short'):,.0f} a second",
        rates={"long": series.rates("long"), "short": series.rates("short")},
        generator_busy=series.busiest_generator(),
    )
