"""Simulating a policy over a long past: requests judged in a processor second, against a million in a minute."""

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import select

from bench.context import DATABASES, Context, Database, Line
from bench.history import load_history
from ledger.services.policies.simulating import simulate
from ledger.storage.engine import create_engine
from ledger.storage.tables import books

WANTED: Final = 1_000_000 / 60
"""Requests a second; each of them comes with a settlement, which is read as well."""
CANDIDATE: Final[dict[str, Any]] = {
    "policy": "candidate",
    "applies_to": {"book": True},
    "currency": "USD",
    "limits": [
        {"id": "each", "per": "authorization", "max": "5"},
        {"id": "day", "per": "day", "max": "500", "by": ["agent"]},
        {"id": "hour", "per": "hour", "rolling": True, "max": "0.01", "by": ["agent"]},
        {"id": "rate", "per": "minute", "rolling": True, "max_count": 600, "by": ["agent"]},
        {"id": "month", "per": "month", "max": "10000"},
    ],
}


class NotSimulated(Exception):
    """The simulation did not judge every request of the history."""


def run(context: Context) -> list[Line]:
    """One line a database."""
    return [_line(context, database) for database in DATABASES]


def _line(context: Context, database: Database) -> Line:
    url = context.new_database(database)
    load_history(url, context.settings.verified_history)
    requests = 0
    rates = []
    with _collecting_seldom():
        for _ in range(context.settings.rounds):
            started = time.process_time()
            requests = _simulate(url)
            rates.append(requests / (time.process_time() - started))
    return Line(
        scenario="simulate",
        what=f"requests judged anew in a processor second ÷ a million in a minute on {database}",
        ratio=statistics.median(rates) / WANTED,
        target=1.0,
        detail=f"{requests:,} requests and their settlements, {len(CANDIDATE['limits'])} limits, 3 of them per agent",
        rates={"simulate": rates},
    )


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for cycles as seldom as the command does."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _simulate(database_url: str) -> int:
    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            book_id = connection.scalars(select(books.c.book_id)).one()
        found = simulate(engine, book_id, CANDIDATE, since=1, until=2**62)
    finally:
        engine.dispose()
    count = found.findings.requests.count
    if not count:
        raise NotSimulated("the history has no request")
    return count
