"""A book whose log is in its fourth partition, to be archived: made once for a module, and copied for each test.

Owns ``LongBook``. Invariant: a copy is a database of its own, so no test meets what another one did.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.postgres_server import PostgresServer
from ledger.core.command import Allocate, Authorize, CreateBudget, Release
from ledger.core.command_redactions import Redact
from ledger.services.archiving import Archiver, Detached
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.owner_checkpoints import owner_desk
from ledger.storage import queries_log
from ledger.storage.engine import create_engine, create_migration_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.support.databases import postgresql_database
from tests.support.every_kind import LiveLedger

WIDTH = 256
DAY = 86_400
ASKED = {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}


class LongBook:
    """The book "acme", the last partition of its log a hundred days younger than the first two, and the small "tiny"
    beside. The first partition has the whole of a day and the beginning of the next. ``before`` is the moment before
    those days, ``replayed`` a request of the first partition that was answered there, ``first`` the authorization that
    it made, which the record ``released`` ended for a reason, after which its intent was redacted by the record
    ``redacted``; the record ``allocated`` has a reason too. ``settled`` was settled there, and ``lasting`` released
    behind the second partition."""

    def __init__(self, url: str) -> None:
        upgrade(url, partition_records=WIDTH)
        self.ledger = LiveLedger(url)
        self._open(url)
        self.crawler = self.ledger.agent("crawler")
        self.ledger.budget("research", "100000", "crawler")
        self.ledger.do(CreateBudget, self.ledger.admin, name="once", currency="USD", agents=())
        self.ledger.do(Allocate, self.ledger.admin, budget="once", amount="7", currency="USD", reason="for Bob")
        self.allocated = self.size() - 1
        self.replayed = self.ledger.command(
            Authorize, self.crawler, **ASKED, intent="help Bob", idempotency_key="long ago"
        )
        self.first = str((self.ledger.decide(self.replayed)[0].body or {})["authorization"])
        self.ledger.do(Release, self.crawler, authorization=self.first, reason="Bob went home")
        self.released = self.size() - 1
        mistaken = self.released - 1, "intent"
        self.ledger.do(
            Redact, self.ledger.admin, texts=(mistaken,), record=mistaken[0], reason="named Bob", ground="mistake"
        )
        self.redacted = self.size() - 1
        self.finance = self.ledger.key("finance", "fay")
        self.settled = self.ledger.hold(self.crawler, "5")
        self.ledger.settle(self.crawler, self.settled, "3")
        self.ledger.advance(DAY)
        self.lasting = self.ledger.hold(self.crawler, "1")
        self.ledger.settle(self.crawler, self.ledger.hold(self.crawler, "5"), "2.5")
        self.spend(2 * WIDTH)
        self.ledger.do(Release, self.crawler, authorization=self.lasting)
        self.before = self.ledger.sources.now
        self.ledger.advance(100 * DAY)
        self.ledger.settle(self.crawler, self.ledger.hold(self.crawler, "5"), "4")
        self.spend(3 * WIDTH + 40)
        self.tiny = LiveLedger(url, "tiny")
        self.tiny.sources.now = self.ledger.sources.now
        self.tiny.agent("reader")

    def _open(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(url)
        self.owner = create_migration_engine(url)
        self.side = SideWriter(url)

    @contextlib.contextmanager
    def copied(self, server: PostgresServer) -> Iterator[LongBook]:
        """The same books in a copy of the database. Whatever this one had open is closed."""
        self.close()
        with postgresql_database(server, copied_from=self.url) as url:
            made = copy.copy(self)
            made.ledger, made.tiny = self.ledger.copied(url), self.tiny.copied(url)
            made._open(url)
            try:
                yield made
            finally:
                made.close()

    def close(self) -> None:
        """Close every connection."""
        self.tiny.close()
        self.ledger.close()
        self.side.close()
        self.engine.dispose()
        self.owner.dispose()

    @property
    def book_id(self) -> int:
        """That of "acme"."""
        return self.ledger.book.book_id

    def size(self) -> int:
        """How many records the log of "acme" has."""
        with self.engine.connect() as connection:
            head = queries_log.head(connection, self.book_id)
        assert head is not None
        return head.size

    def spend(self, until: int) -> None:
        """Hold and release until the log has so many records, fifty a second."""
        while (left := until - self.size()) > 0:
            asked = [self.ledger.command(Authorize, self.crawler, **ASKED) for _ in range(min(50, -(-left // 2)))]
            made = [str((one.body or {})["authorization"]) for one in self.ledger.decide(*asked)]
            self.ledger.decide(*(self.ledger.command(Release, self.crawler, authorization=one) for one in made))
            self.ledger.advance(1)

    def sign(self) -> Any:
        """Make the checkpoint of "acme" as it is now."""
        with owner_desk(self.url, CheckpointSettings(), sources=self.ledger.sources) as desk:
            return desk.checkpointer.make(self.book_id)

    def archiver(self, **options: Any) -> Archiver:
        """What archives this database, at the time of its books."""
        return Archiver(self.engine, self.owner, self.side, now=self.ledger.sources.now, **options)

    def archive(self, place: Path, *, drop: bool = False) -> Detached:
        """Sign, write the lowest partition into ``place``, and detach it."""
        self.sign()
        archiver = self.archiver()
        part = archiver.next_range()
        archiver.export(part, place)
        return archiver.detach(part, place, drop=drop)

    def tables(self) -> set[str]:
        """The names of all tables."""
        with self.owner.connect() as connection:
            return set(connection.execute(text("SELECT relname FROM pg_class WHERE relkind = 'r'")).scalars())
