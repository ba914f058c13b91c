"""What every handler needs, gathered once per process.

Owns ``Context``: settings, the authorizer, the database for reads, keys, limits, metrics, and whether the process is
stopping. Invariant: nothing in the HTTP room is global; two apps in one process share nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine

from api.deadlines import Deadlines
from api.handover import Handover
from api.keys import KeyRing, RateLimit, Recent
from api.metrics import Metrics
from api.problems import ProblemError
from api.rendering import MONEY_SCALE, Scale
from api.request import Asked
from api.settings import Settings
from gateway.gateway import Gateway
from ledger.core.money import currency_digits
from ledger.services.alerting import Alerting, AlertSettings
from ledger.services.authorizer import Authorizer
from ledger.services.checkpointing import Checkpointing
from ledger.services.checkpoints import Checkpointer, CheckpointSettings
from ledger.services.closing import Closer
from ledger.services.delivering import DeliverySettings
from ledger.services.ed25519 import SigningPair, read_pair
from ledger.services.growing import Growing
from ledger.services.journal.making import Journals
from ledger.services.lining import Lining
from ledger.services.reports.making import Reports
from ledger.services.sources import ParsedKey, Sources
from ledger.services.statements.making import Statements
from ledger.storage import queries_log
from ledger.storage.side_writer import SideWriter

CLOSING_MAX = 1
"""Months that may be closed at the same time: each reads all that counts for it."""
UNITS_CACHED = 10_000
APPLYING_MAX = 2
"""Policies that may be applied at the same time: each reads the history that its new limits look at."""


def _alerting(settings: Settings, *, engine: Engine, side: SideWriter, sources: Sources, metrics: Metrics) -> Alerting:
    return Alerting(
        engine,
        side,
        sources,
        AlertSettings(
            poll_seconds=settings.webhook_poll_seconds,
            kept_days=settings.webhook_kept_days,
            delivery=DeliverySettings(
                allow_http=settings.webhook_allow_http,
                allow_private=settings.webhook_allow_private,
                timeout_seconds=float(settings.webhook_timeout_seconds),
                sending_max=settings.webhook_sending_max,
                disable_after_days=settings.webhook_disable_after_days,
            ),
        ),
        on_event=metrics.alert,
        on_result=metrics.webhook,
        on_behind=metrics.alerts_behind.set,
    )


def signing_pair(settings: Settings) -> SigningPair | None:
    """The key that the settings name, None where they name none. Raises KeyUnusable."""
    text = settings.checkpoint_key
    return read_pair(file=settings.checkpoint_key_file, text=text.get_secret_value() if text is not None else None)


class Context:
    """One per app. ``begin`` is called on the event loop before the first request."""

    def __init__(
        self, settings: Settings, *, authorizer: Authorizer, engine: Engine, sources: Sources, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.authorizer = authorizer
        self.engine = engine
        self.sources = sources
        self.metrics = metrics
        self.keys = KeyRing()
        self.rate = RateLimit(per_second=settings.rate_limit_per_second, burst=settings.rate_limit_burst)
        self.deadlines = Deadlines(settings.request_timeout_seconds)
        self.stopping = asyncio.Event()
        self.applying = asyncio.Semaphore(APPLYING_MAX)
        self.side = SideWriter(settings.database_url)
        self.alerting = _alerting(settings, engine=engine, side=self.side, sources=sources, metrics=metrics)
        self.checkpointer = Checkpointer(
            engine,
            self.side,
            authorizer.decide_now,
            sources,
            CheckpointSettings(origin=settings.checkpoint_origin or "", pair=signing_pair(settings)),
        )
        self.checkpointing = Checkpointing(
            engine,
            self.side,
            sources,
            self.checkpointer,
            interval_seconds=settings.checkpoint_interval_seconds,
            on_result=metrics.checkpoint,
        )
        self.growing = Growing(engine, self.side, interval_seconds=settings.partition_look_seconds)
        self.statements = Statements(engine, self.side)
        self.reports = Reports(engine, self.side, self.statements.liner)
        self.journals = Journals(engine, self.statements)
        self.closer = Closer(engine, self.statements, sources)
        self.closing = asyncio.Semaphore(CLOSING_MAX)
        self.lining = Lining(
            engine,
            self.statements.liner,
            poll_seconds=settings.lines_poll_seconds,
            on_behind=metrics.lines_behind.set,
        )
        self.gateway: Gateway | None = None
        self._units: Recent[tuple[int, str], int] = Recent(UNITS_CACHED)
        self._handover: Handover | None = None

    def begin(self) -> None:
        """Take the running event loop for the hand-over of outcomes."""
        self._handover = Handover(self.authorizer, asyncio.get_running_loop())

    @property
    def handover(self) -> Handover:
        """The hand-over of this process. Raises RuntimeError before ``begin``."""
        if self._handover is None:
            raise RuntimeError("the app has not been started")
        return self._handover

    def admit(self, asked: Asked, tokens: int = 1) -> ParsedKey:
        """The key of a request, once the limits on its headers and on its key's rate let it pass; with 0 tokens the
        rate is not asked. Raises ProblemError."""
        if asked.header_bytes > self.settings.header_bytes_max:
            raise ProblemError("header_too_large", f"the headers have at most {self.settings.header_bytes_max} bytes")
        if asked.problem:
            raise ProblemError(asked.problem)
        key = self.keys.read(asked.authorization)
        if tokens:
            self.take(key, tokens)
        return key

    def take(self, key: ParsedKey, tokens: int) -> None:
        """Let so many requests of a key pass, or at most a full bucket's worth. Raises ProblemError."""
        if self.rate.per_second:
            self.rate.take(key.digest, time.monotonic(), tokens)

    async def scale_of(self, book_id: int, body: Mapping[str, Any]) -> Scale:
        """The digits of every currency and unit in a record's body."""
        currency = body.get("currency", body.get("cap_currency"))
        named = {currency} if currency is not None else {row[3] for row in body.get("transfers", ())}
        named |= {pair[0] for pair in body.get("amounts", ())}
        return await self.scale(book_id, named)

    async def scale(self, book_id: int, currencies: set[str]) -> Scale:
        """The digits of currencies and units that are known to exist."""
        units = self._known_units(book_id, currencies)
        if None in units.values():
            units = await asyncio.to_thread(self._read_units, book_id, units)
        return self._with_units(units)

    def scale_in(self, connection: Connection, book_id: int, currencies: set[str]) -> Scale:
        """As ``scale``, for a reader that has a connection."""
        units = self._known_units(book_id, currencies)
        return self._with_units(self._find_units(connection, book_id, units) if None in units.values() else units)

    def _known_units(self, book_id: int, currencies: set[str]) -> dict[str, int | None]:
        return {code: self._units.get((book_id, code)) for code in currencies if currency_digits(code) is None}

    def _read_units(self, book_id: int, units: dict[str, int | None]) -> dict[str, int | None]:
        with self.engine.connect() as connection:
            return self._find_units(connection, book_id, units)

    def _find_units(self, connection: Connection, book_id: int, units: dict[str, int | None]) -> dict[str, int | None]:
        for name in [name for name, digits in units.items() if digits is None]:
            unit = queries_log.unit(connection, book_id, name)
            if unit is not None:
                units[name] = unit.digits
                self._units.put((book_id, name), unit.digits)
        return units

    @staticmethod
    def _with_units(units: dict[str, int | None]) -> Scale:
        if not units:
            return MONEY_SCALE
        return {**MONEY_SCALE, **{name: digits for name, digits in units.items() if digits is not None}}
