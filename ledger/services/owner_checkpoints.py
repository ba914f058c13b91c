"""Checkpoints as the owner of the database, without a server: what the command line signs and rotates with.

Invariant: an authorizer runs only where something is recorded, and is stopped in the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Engine

from ledger.core.command import Command
from ledger.core.outcome import Outcome
from ledger.services.authorizer import Authorizer
from ledger.services.checkpoints import Checkpointer, CheckpointSettings
from ledger.services.sources import Sources
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter


class Desk(NamedTuple):
    """What the owner of a database works with."""

    engine: Engine
    checkpointer: Checkpointer


@contextmanager
def owner_desk(database_url: str, settings: CheckpointSettings, *, sources: Sources | None = None) -> Iterator[Desk]:
    """A checkpointer on a database. Raises UnsupportedUrl."""
    own = sources or Sources()
    engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
    started: list[Authorizer] = []

    def decide(book_id: int, command: Command) -> Outcome:
        if not started:
            started.append(Authorizer(database_url, sources=own))
            started[0].start()
        return started[0].decide_now(book_id, command)

    try:
        yield Desk(engine, Checkpointer(engine, side, decide, own, settings))
    finally:
        for authorizer in started:
            authorizer.stop(deadline_seconds=10.0)
        side.close()
        engine.dispose()
