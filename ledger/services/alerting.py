"""Alerts in a server process: a thread that watches the log, begins deliveries and sweeps what is old.

Owns ``Alerting``. Invariant: it stands beside the authorizer and shares nothing with it but the database; whatever goes
wrong here is logged and tried again, and no decision waits for it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine

from ledger.core.moment import SECOND
from ledger.services.delivering import Deliverer, DeliverySettings
from ledger.services.sources import Sources
from ledger.services.watching import Watcher
from ledger.storage import delivery_rows
from ledger.storage.errors import Busy, StorageError
from ledger.storage.side_writer import SideWriter

SWEEP_SECONDS: Final = 3_600
SWEEP_LOOK_SECONDS: Final = 60
FAILED_SECONDS_MAX: Final = 30.0
BUSY_SECONDS: Final = 0.05
"""The pause between two looks while there is more to do than one look takes."""
LOGGER: Final = logging.getLogger("bursar.alerts")


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """How often is looked (0: never), how long events are kept, and how deliveries are made."""

    poll_seconds: int = 1
    kept_days: int = 30
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


class Alerting:
    """Watches and delivers in the background, from ``start`` to ``stop``."""

    def __init__(
        self,
        engine: Engine,
        writer: SideWriter,
        sources: Sources,
        settings: AlertSettings,
        *,
        on_event: Callable[[str], None] = lambda kind: None,
        on_result: Callable[[str], None] = lambda result: None,
        on_behind: Callable[[int], None] = lambda records: None,
    ) -> None:
        self.watcher = Watcher(engine, writer, sources, on_event=on_event)
        self.deliverer = Deliverer(engine, writer, sources, settings.delivery, on_result=on_result)
        self._engine = engine
        self._writer = writer
        self._sources = sources
        self._settings = settings
        self._on_behind = on_behind
        self._sweep_at = 0
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the settings say never."""
        if self._settings.poll_seconds and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Look now, and not at the next turn."""
        self._awake.set()

    def stop(self, *, deadline_seconds: float) -> None:
        """End; what is being sent has until the deadline. What is not kept by then is sent again by whoever runs
        next."""
        self._stopping.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)
            self.deliverer.wait_idle(min(deadline_seconds, self._settings.delivery.timeout_seconds))
        self._writer.close()

    def look(self) -> bool:
        """Watch, deliver and sweep once; whether there was something to do. Raises StorageError."""
        seen = self.watcher.run_once(stopping=self._stopping.is_set)
        begun = self.deliverer.run_once()
        self._sweep()
        self._on_behind(self.watcher.behind)
        return bool(seen or begun)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            pause = float(self._settings.poll_seconds)
            try:
                if self.look():
                    pause = BUSY_SECONDS
                failures = 0
            except Busy:
                # Somebody decides. There is no hurry here.
                LOGGER.debug("the database was busy; alerts will be looked for again")
            except Exception as error:
                failures += 1
                pause = min(pause * 2**failures, FAILED_SECONDS_MAX)
                known = isinstance(error, StorageError)
                LOGGER.warning("alerts will be looked for again: %s", error, exc_info=None if known else error)
            self._awake.wait(pause)
            self._awake.clear()

    def _sweep(self) -> None:
        now = self._sources.now_us()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_LOOK_SECONDS * SECOND
        with self._engine.connect() as connection:
            books = delivery_rows.books_to_sweep(connection, now - SWEEP_SECONDS * SECOND)
        for book_id in books:
            if self._stopping.is_set():
                return
            told_before = now - self._settings.kept_days * 86_400 * SECOND
            with self._writer.transaction() as connection:
                delivery_rows.sweep(connection, book_id, told_before=told_before, now=now)
