"""Watching the log for what is worth telling: the outbox of alerts is the log itself.

Owns ``Watcher``. Invariants: nothing is added to a decision; an event derives from a committed record; the events of a
stretch of the log, their deliveries, what must be remembered and the cursor change in one transaction or not at all, so
a crash between any two steps loses nothing and doubles nothing.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine

from ledger.core.alert_memory import Event
from ledger.core.alerts import currencies_of, events_of, places_of
from ledger.core.canonical import parse
from ledger.core.moment import SECOND
from ledger.services.sources import Sources
from ledger.storage import watch_rows
from ledger.storage.errors import Busy, Conflict, Refused
from ledger.storage.side_writer import SideWriter

RECORDS_AT_ONCE: Final = 500
HOLD_SECONDS: Final = 15
"""How long a process that stopped without a word keeps the others from reading a book."""
HOLD_RENEWED_SECONDS: Final = 5
PAUSE_SECONDS_MAX: Final = 0.05
LOGGER: Final = logging.getLogger("bursar.alerts")


class Watcher:
    """Reads the logs of books that have an endpoint. One per process; used by one thread."""

    def __init__(
        self,
        engine: Engine,
        writer: SideWriter,
        sources: Sources,
        *,
        on_event: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._sources = sources
        self._on_event = on_event
        self._holder = sources.random_bytes(8).hex()
        self._held: dict[int, int] = {}
        self.behind = 0
        """Records of watched books that nobody had looked at when this process last did."""

    def run_once(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        """Look at what every watched book has written since; how many records were looked at. Raises StorageError."""
        with self._engine.connect() as connection:
            books = [book for book in watch_rows.watched_books(connection) if book.size > book.next_index]
        self.behind = sum(book.size - book.next_index for book in books)
        seen = 0
        for book in books:
            while not stopping():
                started = time.thread_time()
                looked = self._look(book)
                seen += looked
                # In a process that also decides, reading takes the time that is left over.
                time.sleep(min(time.thread_time() - started, PAUSE_SECONDS_MAX))
                if looked < RECORDS_AT_ONCE:
                    break
                book = book._replace(next_index=book.next_index + looked)
        return seen

    def _look(self, book: watch_rows.Watched) -> int:
        """Look at a stretch of one book's log; how many records."""
        if not self._may_read(book):
            return 0
        with self._engine.connect() as connection:
            read_from = watch_rows.cursor(connection, book.book_id)
            if read_from is None:
                return 0
            start = max(read_from, book.first_index)
            stretch = watch_rows.bodies(connection, book.book_id, start, RECORDS_AT_ONCE)
            if not stretch:
                return 0
            records = [(index, parse(body)) for index, body in stretch if body is not None]
            bodies = [body for _, body in records]
            memory = watch_rows.memory(connection, book.book_id, places_of(bodies), currencies_of(bodies))
            listening = watch_rows.listeners(connection, book.book_id)
        known = frozenset(memory.values)
        events: list[Event] = []
        for index, body in records:
            events += self._events_of(memory, index, body)
        try:
            with self._writer.transaction() as connection:
                watch_rows.tell(
                    connection,
                    book.book_id,
                    read_from=read_from,
                    read_to=stretch[-1][0] + 1,
                    events=events,
                    remembered={place: memory.values[place] for place in memory.changed},
                    known=known,
                    listening=listening,
                    now=self._sources.now_us(),
                )
        except (Conflict, Refused):
            # Another process told them first.
            self._held.pop(book.book_id, None)
            return 0
        for event in events:
            self._on_event(event.type)
        return len(stretch)

    def _events_of(self, memory: Any, index: int, body: dict[str, Any]) -> list[Event]:
        try:
            return events_of(memory, index, body)
        except (KeyError, TypeError, ValueError):
            # One record that cannot be told must not keep all later ones from being told.
            LOGGER.exception("record %d of book %s gave no alert", index, body.get("book"))
            return []

    def _may_read(self, book: watch_rows.Watched) -> bool:
        now = self._sources.now_us()
        until = self._held.get(book.book_id, 0)
        if until - now > (HOLD_SECONDS - HOLD_RENEWED_SECONDS) * SECOND:
            return True
        until = now + HOLD_SECONDS * SECOND
        try:
            with self._writer.transaction() as connection:
                held = watch_rows.hold_cursor(connection, book, holder=self._holder, now=now, until=until)
        except (Busy, Refused):
            return False
        if held:
            self._held[book.book_id] = until
        else:
            self._held.pop(book.book_id, None)
        return held
