"""A book on either database that grows, is signed, and is set back or rewritten behind Bursar's back."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.merkle import Frontier
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.owner_checkpoints import owner_desk
from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.services.stored_book import Row, StoredBook


class SignedBook:
    """The book ``acme``, how it is used, and its tables without any constraint in the way."""

    def __init__(self, database_url: str) -> None:
        upgrade(database_url)
        self.url = database_url
        self.world = LiveWorld(database_url, "acme")
        self.stored = StoredBook.beside(database_url, self.world.book_id)

    def close(self) -> None:
        """Stop everything."""
        self.stored.close()
        self.world.close()

    def spend(self, count: int = 1) -> None:
        """Two records more for each."""
        for _ in range(count):
            self.world.advance(1)
            held = self.world.hold(self.world.crawler, "0.5")
            self.world.settle(self.world.crawler, held, "0.25")

    def sign(self) -> str:
        """The note of a checkpoint of the log as it is."""
        with owner_desk(self.url, CheckpointSettings(), sources=self.world.sources) as desk:
            return desk.checkpointer.make(self.world.book_id).note

    def size(self) -> int:
        """How many records the log has."""
        return len(self.stored.rows("log_records"))

    @contextlib.contextmanager
    def set_back(self, rows: dict[str, list[Row]]) -> Iterator[None]:
        """The whole database as it was, until the end of the block: an older copy was restored."""
        now = self.stored.everything()
        self.stored.put_everything(rows)
        try:
            yield
        finally:
            self.stored.put_everything(now)

    @contextlib.contextmanager
    def rewritten(self, at: int, **changes: Any) -> Iterator[None]:
        """One record's body changed, with every hash that follows from it set right, until the end of the block."""
        rows = self.stored.rows("log_records")
        rows[at] = rows[at] | {"body": canonical_bytes(parse(rows[at]["body"]) | changes)}
        frontier = Frontier()
        for row in rows:
            row["leaf_hash"] = hashlib.sha256(b"\x00" + row["body"]).digest()
            frontier.append(row["leaf_hash"])
        head = {"root": frontier.root(), "frontier": frontier.to_bytes()}
        with (
            self.stored.with_rows("log_records", rows),
            self.stored.with_row("book_heads", 0, **head),
            self.stored.with_rows("merkle_tiles", []),
            self.stored.with_rows("checkpoints", []),
        ):
            yield
