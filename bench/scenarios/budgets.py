"""One hot budget against many: whether authorizations on one budget wait for each other."""

from bench.context import DATABASES, Context, Database, Line
from bench.rounds import interleave

TARGET = 0.9


def run(context: Context) -> list[Line]:
    """One line a database: authorizations per second on one budget ÷ on many, in the same book."""
    return [_line(context, database) for database in DATABASES]


def _line(context: Context, database: Database) -> Line:
    many = context.settings.many_budgets
    server, admin_key = context.bursar(database)
    spread = context.contender("many", server, context.principals(server, admin_key, budgets=many))
    hot = context.contender("one", server, context.principals(server, admin_key, budgets=1))
    series = interleave([spread, hot], rounds=context.settings.rounds)
    return Line(
        scenario="budgets",
        what=f"one hot budget ÷ {many:,} budgets on {database}",
        ratio=series.ratio("one", "many"),
        target=TARGET,
        detail=f"{series.median_rate('one'):,.0f} ÷ {series.median_rate('many'):,.0f} a second",
        rates={"one": series.rates("one"), "many": series.rates("many")},
        generator_busy=series.busiest_generator(),
    )
