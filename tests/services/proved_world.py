"""A book that is signed and proved in a test, and a log as long as a proof needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, text

from ledger.core.merkle import Frontier
from ledger.services.checkpoints import Checkpointer, CheckpointSettings
from ledger.storage import tile_rows
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import LiveWorld


@dataclass
class Proofs:
    """A book, and what signs it."""

    world: LiveWorld
    engine: Engine
    side: SideWriter
    checkpointer: Checkpointer

    @property
    def book_id(self) -> int:
        """The book's id."""
        return self.world.book_id

    def another(self, **settings: Any) -> Checkpointer:
        """As another process, or one with other settings, has it."""
        return Checkpointer(
            self.engine, self.side, self.world.authorizer.decide_now, self.world.sources, CheckpointSettings(**settings)
        )

    def change(self, statement: str, **values: Any) -> None:
        """Change the database, as its owner can."""
        with self.side.transaction() as connection:
            connection.execute(text(statement), {"book": self.book_id, **values})

    def spend(self, count: int = 1) -> None:
        """More records."""
        self.world.decide(*(self.world.ask("0.01") for _ in range(count)))


@contextmanager
def proved_book(url: str, name: str) -> Iterator[Proofs]:
    """A book of its own in a migrated database."""
    world = LiveWorld(url, name)
    engine, side = create_engine(url, pool_size=2), SideWriter(url)
    checkpointer = Checkpointer(engine, side, world.authorizer.decide_now, world.sources, CheckpointSettings())
    yield Proofs(world, engine, side, checkpointer)
    world.close()
    side.close()
    engine.dispose()


def grow(proofs: Proofs, size: int) -> list[bytes]:
    """Make the log ``size`` records long with rows that only the tree looks at; the leaf of each."""
    with proofs.engine.connect() as connection:
        found = [leaf for _, leaf in tile_rows.leaves(connection, proofs.book_id, 0, size)]
    more = [sha256(b"%d" % index).digest() for index in range(len(found), size)]
    rows = [{"book": proofs.book_id, "index": index, "leaf": leaf} for index, leaf in enumerate(more, start=len(found))]
    frontier = Frontier()
    for leaf in found + more:
        frontier.append(leaf)
    insert = (
        "INSERT INTO log_records (book_id, log_index, kind, subject, recorded_at, effective_at, body, leaf_hash)"
        " VALUES (:book, :index, 'test', 'test', 0, 0, :leaf, :leaf)"
    )
    with proofs.side.transaction() as connection:
        connection.execute(text(insert), rows)
    proofs.change(
        "UPDATE book_heads SET size = :size, root = :root, frontier = :frontier WHERE book_id = :book",
        size=size,
        root=frontier.root(),
        frontier=frontier.to_bytes(),
    )
    return found + more


def root_of(leaves: list[bytes]) -> bytes:
    """The root by the frontier, which knows nothing of tiles."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
