"""A long history against a short one: whether a book gets slower as it grows."""

import random
import statistics
import time

from bench.context import DATABASES, Context, Database, Line
from bench.history import load_history
from bench.rounds import interleave
from ledger.storage import queries_accounts, queries_log
from ledger.storage.engine import create_engine

TARGET = 0.85
LOOK_UPS = 300
SEED = 1


def run(context: Context) -> list[Line]:
    """Two lines a database: authorizations per second after a long history ÷ after a short one, and the same for
    balances at a past moment."""
    return [line for database in DATABASES for line in _lines(context, database)]


def _lines(context: Context, database: Database) -> list[Line]:
    contenders = []
    sizes = {"short": context.settings.short_history, "long": context.settings.growth}
    look_ups: dict[str, list[float]] = {}
    for name, transfers in sizes.items():
        url = context.new_database(database)
        admin_key = load_history(url, transfers)
        look_ups[name] = _look_up_seconds(url)
        server = context.serve(database, url)
        contenders.append(context.contender(name, server, context.principals(server, admin_key)))
    series = interleave(contenders, rounds=context.settings.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in look_ups.items()}
    return [
        Line(
            scenario="growth",
            what=f"authorize at {sizes['long']:,} transfers ÷ at {sizes['short']:,} on {database}",
            ratio=series.ratio("long", "short"),
            target=TARGET,
            detail=f"{series.median_rate('long'):,.0f} ÷ {series.median_rate('short'):,.0f} a second",
            rates={"long": series.rates("long"), "short": series.rates("short")},
            generator_busy=series.busiest_generator(),
        ),
        Line(
            scenario="growth",
            what=f"past balances a second at {sizes['long']:,} transfers ÷ at {sizes['short']:,} on {database}",
            ratio=medians["short"] / medians["long"],
            target=None,
            detail=f"median {medians['long'] * 1000:.2f} ms against {medians['short'] * 1000:.2f} ms, one connection",
            rates={name: [1 / second for second in seconds] for name, seconds in look_ups.items()},
        ),
    ]


def _look_up_seconds(database_url: str) -> list[float]:
    """How long each of many balances at a random past moment took, of random accounts."""
    chance = random.Random(SEED)
    engine = create_engine(database_url)
    taken = []
    try:
        with engine.connect() as connection:
            book_id = queries_log.list_books(connection)[0].book_id
            accounts = queries_accounts.list_accounts(connection, book_id, limit=200).items
            head = queries_log.head(connection, book_id)
            if head is None:
                raise LookupError("the book has no head")
            for _ in range(LOOK_UPS):
                account, size = chance.choice(accounts), chance.randrange(1, head.size)
                started = time.perf_counter()
                queries_accounts.balance_at_size(connection, book_id, account.account_no, size)
                taken.append(time.perf_counter() - started)
    finally:
        engine.dispose()
    return taken
