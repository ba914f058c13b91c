"""Checkpoints in a server process: a thread that signs books with activity, and writes tiles as they are complete.

Owns ``Checkpointing``. Invariants: it stands beside the authorizer and shares nothing with it but the database; of
several processes one writes the checkpoint of an interval; whatever goes wrong is logged and tried again, and no
decision waits for it.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine

from ledger.core.moment import SECOND
from ledger.services.checkpoints import Checkpointer, SigningRefused
from ledger.services.errors import ServiceError
from ledger.services.sources import Sources
from ledger.storage import checkpoint_rows
from ledger.storage.errors import Busy, StorageError
from ledger.storage.side_writer import SideWriter

LOOK_SECONDS_MAX: Final = 5.0
"""How often is looked whether a checkpoint is due, where the interval is longer."""
LOGGER: Final = logging.getLogger("bursar.checkpoints")


class Checkpointing:
    """Signs in the background, from ``start`` to ``stop``, at most every ``interval_seconds`` (0: never)."""

    def __init__(
        self,
        engine: Engine,
        side: SideWriter,
        sources: Sources,
        checkpointer: Checkpointer,
        *,
        interval_seconds: int,
        on_result: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._engine = engine
        self._side = side
        self._sources = sources
        self._checkpointer = checkpointer
        self._interval_seconds = interval_seconds
        self._on_result = on_result
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the interval says never."""
        if self._interval_seconds and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()

    def stop(self, *, deadline_seconds: float) -> None:
        """End. A checkpoint that is not kept by then is made by whoever runs next."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def look(self) -> int:
        """Sign every book whose log has grown and whose checkpoint is due; how many. What goes wrong with one book is
        logged and counted, and the others have their turn. Raises StorageError where not even the books can be read."""
        with self._engine.connect() as connection:
            books = checkpoint_rows.active_books(connection)
        signed = 0
        for book in books:
            if self._stopping.is_set():
                break
            try:
                signed += self._look_at(book.book_id)
            except Busy:
                # Somebody decides. There is no hurry here.
                LOGGER.debug("the database was busy; book %s will be looked at again", book.book_id)
            except SigningRefused as refused:
                LOGGER.error("book %s is not signed: %s", book.book_id, refused)
                self._on_result("refused")
            except Exception as error:
                unknown = None if isinstance(error, (StorageError, ServiceError)) else error
                LOGGER.warning("book %s will be signed later: %s", book.book_id, error, exc_info=unknown)
                self._on_result("failed")
        return signed

    def _look_at(self, book_id: int) -> int:
        """Extend the tiles of a book, and sign it if it is this process's turn; how many checkpoints that made."""
        lacking: ServiceError | None = None
        try:
            self._checkpointer.tiler.extend(book_id)
        except ServiceError as error:
            # Whether the log is damaged is for the proof to say, which the checkpoint needs, and once an interval.
            lacking = error
        with self._side.transaction() as connection:
            mine = checkpoint_rows.take_turn(
                connection, book_id, now=self._sources.now_us(), interval=self._interval_seconds * SECOND
            )
        if not mine:
            return 0
        if lacking is not None:
            LOGGER.warning("tiles of book %s are not written: %s", book_id, lacking)
        self._checkpointer.make(book_id)
        self._on_result("signed")
        return 1

    def _run(self) -> None:
        pause = min(LOOK_SECONDS_MAX, self._interval_seconds)
        while not self._stopping.wait(pause):
            try:
                self.look()
            except Busy:
                # Somebody decides. There is no hurry here.
                LOGGER.debug("the database was busy; checkpoints will be looked for again")
            except Exception as error:
                known = isinstance(error, (StorageError, ServiceError))
                LOGGER.warning("checkpoints will be looked for again: %s", error, exc_info=None if known else error)
