"""The batch endpoint against one transaction per hold, on the same PostgreSQL server."""

from bench import pgbench
from bench.context import BATCH_CONNECTIONS, BATCH_ITEMS, Context, Line
from bench.rounds import Contender, interleave

TARGET = 2.5


def run(context: Context) -> list[Line]:
    """One line: authorizations per second in batches ÷ pgbench's holds per second, over as many budgets."""
    many = context.settings.many_budgets
    server, admin_key = context.bursar("PostgreSQL")
    principals = context.principals(server, admin_key, budgets=many)
    postgres = context.lasting.postgres
    pgbench.prepare(postgres, budgets=many)
    seconds = context.settings.seconds
    one_by_one = Contender("pgbench", lambda: pgbench.measure(postgres, budgets=many, seconds=seconds))
    batches = context.contender("batch", server, principals, kind="batch", connections=BATCH_CONNECTIONS)
    series = interleave([one_by_one, batches], rounds=context.settings.rounds)
    return [
        Line(
            scenario="batch",
            what=(
                f"batches of {BATCH_ITEMS} on PostgreSQL, {BATCH_CONNECTIONS} connections ÷ pgbench, "
                f"one transaction a hold, {pgbench.CLIENTS} clients"
            ),
            ratio=series.ratio("batch", "pgbench"),
            target=TARGET,
            detail=(
                f"{series.median_rate('batch'):,.0f} ÷ {series.median_rate('pgbench'):,.0f} holds a second, "
                f"{many:,} budgets each"
            ),
            rates={"batch": series.rates("batch"), "pgbench": series.rates("pgbench")},
            generator_busy=series.busiest_generator(),
        )
    ]
