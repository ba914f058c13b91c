"""Verification against a bare loop of SHA-256 over the same bytes, on one core."""

import gc
import statistics
import time
from collections.abc import Callable
from hashlib import sha256

from sqlalchemy import select

from bench.context import DATABASES, Context, Database, Line
from bench.history import load_history
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine
from ledger.storage.tables import log_records

TARGET_LEAVES = 0.15
TARGET_EVERYTHING = 0.03
HASHING_PASSES = 5


class NotVerified(Exception):
    """The book that the bench made does not verify."""


def run(context: Context) -> list[Line]:
    """Two lines a database: leaves and root, and everything, each as processor seconds of the bare loop ÷ its own."""
    return [line for database in DATABASES for line in _lines(context, database)]


def _lines(context: Context, database: Database) -> list[Line]:
    url = context.new_database(database)
    load_history(url, context.settings.verified_history)
    bodies = _bodies(url)
    rates: dict[str, list[float]] = {"hashing": [], "leaves": [], "everything": []}
    for _ in range(context.settings.rounds):
        rates["hashing"].append(HASHING_PASSES / _processor_seconds(lambda: _hash(bodies)))
        rates["leaves"].append(1 / _processor_seconds(lambda: _verify(url, leaves_only=True)))
        rates["everything"].append(1 / _processor_seconds(lambda: _verify(url, leaves_only=False)))
    targets = {"leaves": TARGET_LEAVES, "everything": TARGET_EVERYTHING}
    named = {"leaves": "leaves and root", "everything": "everything"}
    return [
        Line(
            scenario="verify",
            what=f"verify {named[part]} ÷ bare SHA-256 of the same bytes on {database}",
            ratio=statistics.median(mine / bare for mine, bare in zip(rates[part], rates["hashing"], strict=True)),
            target=targets[part],
            detail=f"{len(bodies):,} records of {sum(map(len, bodies)) // len(bodies):,} bytes on average",
            rates={part: rates[part], "hashing": rates["hashing"]},
        )
        for part in targets
    ]


def _bodies(database_url: str) -> list[bytes]:
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            return list(connection.scalars(select(log_records.c.body)))
    finally:
        engine.dispose()


def _hash(bodies: list[bytes]) -> None:
    for _ in range(HASHING_PASSES):
        for body in bodies:
            sha256(b"\x00" + body).digest()


def _verify(database_url: str, *, leaves_only: bool) -> None:
    for report in verify_books(database_url, leaves_only=leaves_only):
        if not report.verified:
            raise NotVerified(str(report.differences[:1]))


def _processor_seconds(work: Callable[[], None]) -> float:
    """Processor time of this process for ``work``: the database server's own is not counted."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started
