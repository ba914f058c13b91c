"""A book in a migrated database with everything that alerts need, step by step, without a server."""

from __future__ import annotations

from typing import Any

from ledger.core.command import Caller
from ledger.core.command_webhooks import RegisterWebhook, RemoveWebhook, RotateWebhook
from ledger.core.moment import SECOND
from ledger.services.delivering import Deliverer, DeliverySettings
from ledger.services.sources import Sources
from ledger.services.watching import Watcher
from ledger.services.webhook_signing import secret_text
from ledger.storage import delivery_rows, queries_webhooks
from ledger.storage.engine import create_engine
from ledger.storage.queries_webhooks import DeliveryView, EventView
from ledger.storage.side_writer import SideWriter
from tests.support.every_kind import LiveLedger

LOCAL = DeliverySettings(allow_http=True, allow_private=True, timeout_seconds=2.0)


class Moved(Sources):
    """This machine's clock, moved ahead by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead


class AlertWorld:
    """Book, agent crawler with 100 USD in budget research, and what watches and delivers."""

    def __init__(self, database_url: str, name: str, settings: DeliverySettings = LOCAL) -> None:
        self.database_url = database_url
        self.ledger = LiveLedger(database_url, name)
        self.book_id = self.ledger.book.book_id
        self.engine = create_engine(database_url)
        self.writer = SideWriter(database_url)
        self.sources = Moved()
        self.frozen = False
        self.watcher = Watcher(self.engine, self.writer, self.sources)
        self.deliverer = self.new_deliverer(settings)
        self.crawler: Caller = self.ledger.agent("crawler")
        self.ledger.budget("research", "100", "crawler")

    def new_deliverer(self, settings: DeliverySettings = LOCAL, **more: Any) -> Deliverer:
        """Another deliverer on this database."""
        return Deliverer(self.engine, self.writer, self.sources, settings, **more)

    def pass_time(self, seconds: float) -> None:
        """Let what watches and delivers see a later time."""
        self.sources.ahead += round(seconds * SECOND)

    def register(self, url: str, *events: str) -> tuple[str, str]:
        """(id, secret) of a new endpoint."""
        name, text = self._secret()
        command = RegisterWebhook(
            caller=self.ledger.admin,
            idempotency_key=self.ledger.new_key(),
            id=self.sources.new_id("whk"),
            url=url,
            events=events or ("*",),
            secret=name,
        )
        (outcome,) = self.ledger.decide(command)
        assert outcome.status.value == "done", outcome
        return command.id, text

    def rotate(self, webhook: str, overlap_seconds: int = 60) -> str:
        """The new secret of an endpoint."""
        name, text = self._secret()
        fields = {"webhook": webhook, "secret": name, "overlap_seconds": overlap_seconds}
        assert self.ledger.do(RotateWebhook, self.ledger.admin, **fields).status.value == "done"
        return text

    def _secret(self) -> tuple[str, str]:
        secret, name = self.sources.random_bytes(32), self.sources.new_id("whs")
        with self.writer.transaction() as connection:
            delivery_rows.add_secret(connection, self.book_id, name, secret, now=self.sources.now_us())
        return name, secret_text(secret)

    def deliver(self) -> int:
        """Make every attempt that is due, until none is; how many."""
        made = 0
        while True:
            begun = self.deliverer.run_once()
            assert self.deliverer.wait_idle(20)
            if not begun:
                return made
            made += begun

    def events(self) -> list[EventView]:
        """The book's events, oldest first."""
        with self.engine.connect() as connection:
            return queries_webhooks.list_events(connection, self.book_id, limit=200).items[::-1]

    def deliveries(self, webhook: str) -> list[DeliveryView]:
        """What was sent to an endpoint, or is to be, oldest event first."""
        with self.engine.connect() as connection:
            return queries_webhooks.list_deliveries(connection, self.book_id, webhook, limit=200).items[::-1]

    def state(self, webhook: str) -> tuple[str | None, bool]:
        """(why it is disabled, whether it is failing)."""
        with self.engine.connect() as connection:
            found = queries_webhooks.endpoint(connection, self.book_id, webhook)
        assert found is not None
        return (found.reason if found.disabled_at is not None else None), found.failing_since is not None

    def close(self) -> None:
        """Stop everything. The database goes on with other books, which must not meet this one's endpoints."""
        with self.engine.connect() as connection:
            left = queries_webhooks.list_endpoints(connection, self.book_id, limit=200).items
        for found in left:
            self.ledger.do(RemoveWebhook, self.ledger.admin, webhook=found.webhook.id)
        self.ledger.close()
        self.writer.close()
        self.engine.dispose()
