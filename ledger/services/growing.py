"""Room for the log to grow: a thread of a server process that makes partitions before they are needed.

Owns ``Growing``. Invariants: it does nothing on SQLite, which has no partitions; it looks with reads alone and asks for
a lock only when something is to be made; several processes do it beside one another, and make each partition once; a
writer never waits for it, because a writer that finds no partition makes one itself.
"""

import logging
import threading
from typing import Final

from sqlalchemy import Engine

from ledger.storage import partitioning
from ledger.storage.errors import Busy, StorageError
from ledger.storage.side_writer import SideWriter

LOGGER: Final = logging.getLogger("bursar.partitions")


class Growing:
    """Looks every ``interval_seconds`` (0: never), from ``start`` to ``stop``."""

    def __init__(self, engine: Engine, side: SideWriter, *, interval_seconds: int) -> None:
        self._engine = engine
        self._side = side
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where there is anything to do."""
        if self._interval_seconds and self._engine.dialect.name == "postgresql" and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="partitions", daemon=True)
            self._thread.start()

    def stop(self, *, deadline_seconds: float) -> None:
        """End."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def look(self) -> int:
        """Make what is lacking ahead of the books' heads; how many ranges. Raises StorageError."""
        with self._engine.connect() as connection:
            room = partitioning.room(connection)
        if room is None or room.is_enough:
            return 0
        with self._side.transaction() as connection:
            made = partitioning.add_partitions(connection)
        if made:
            LOGGER.info("made partitions for %d further log indexes", made * room.width)
        return made

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_seconds):
            try:
                self.look()
            except Busy:
                LOGGER.debug("the tables of the log were busy; room will be made at the next look")
            except Exception as error:
                known = isinstance(error, StorageError)
                LOGGER.warning("room for the log will be made later: %s", error, exc_info=None if known else error)
