"""What is known of who asks, kept for a moment, so that a busy key is not read for every call.

Owns ``AskerCache``. Invariants: what it answers was so within the last ``LIVES_SECONDS``, because it was read then, or
because it is known that nobody changed it since it was read; it is bounded, whatever keys and names clients send; a
key, book and budget are read once at a time, however many wait for them. What it says only shapes a request (how much
to hold, in which currency, at which limit of output): a key that was revoked, a freeze, or a budget that was closed
while an entry lives is still refused by the core at the commit. What needs no commit (a list of models) may be answered
for that long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Engine

from ledger.services.asker import Asker, read_asker
from ledger.services.settings_seen import SettingsOf

ENTRIES: Final = 10_000
REFRESH_SECONDS: Final = 2.0
LIVES_SECONDS: Final = 4.0
READS_AT_ONCE: Final = 4
"""Less than the pool of the reading engine has, so that other reads find a connection."""

_Sort = tuple[int, bytes, str | None]


class _Entry(NamedTuple):
    asker: Asker | None
    read_at: float
    epoch: int | None


class AskerCache:
    """Askers by book, key and budget, read through ``engine`` in threads; for one event loop.

    An entry younger than ``REFRESH_SECONDS`` is served as it is, an older one once more while it is read again, and one
    of ``LIVES_SECONDS`` or more is waited for. ``clock`` counts seconds. One is as young as the last moment at which
    ``settings`` knows that nothing was changed: where one process writes, a busy book is hardly ever read again.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        entries: int = ENTRIES,
        clock: Callable[[], float] = time.monotonic,
        settings: SettingsOf | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._entries = max(1, entries)
        self._clock = clock
        self._known: dict[_Sort, _Entry] = {}
        self._reading: dict[_Sort, asyncio.Task[Asker | None]] = {}
        self._room = asyncio.Semaphore(READS_AT_ONCE)

    async def get(self, book_id: int, key_digest: bytes, budget: str | None) -> Asker | None:
        """The asker as ``read_asker`` finds it, or None. Raises StorageError where it had to be read and could not be;
        nothing is remembered of that."""
        sort = (book_id, key_digest, budget)
        entry = self._known.get(sort)
        age = self._clock() - entry.read_at if entry is not None else LIVES_SECONDS
        if entry is not None and (age < REFRESH_SECONDS or self._is_known_unchanged(book_id, entry)):
            return entry.asker
        task = self._reading.get(sort)
        if task is None:
            task = self._reading[sort] = asyncio.create_task(self._read(sort))
            task.add_done_callback(lambda done: self._ended(sort, done))
        if entry is not None and age < LIVES_SECONDS:
            return entry.asker
        # Who gives up waiting must not take the reading away from the others.
        return await asyncio.shield(task)

    def _is_known_unchanged(self, book_id: int, entry: _Entry) -> bool:
        """Whether nobody changed the book's settings from before the entry was read until a moment ago."""
        seen = self._settings(book_id) if self._settings is not None else None
        return seen is not None and seen.epoch == entry.epoch and self._clock() - seen.at < REFRESH_SECONDS

    def __len__(self) -> int:
        return len(self._known)

    async def _read(self, sort: _Sort) -> Asker | None:
        async with self._room:
            # What is read is as old as the beginning of its transaction, not as its end.
            begun = self._clock()
            seen = self._settings(sort[0]) if self._settings is not None else None
            asker = await asyncio.to_thread(self._look_up, sort)
        self._keep(sort, _Entry(asker, begun, seen.epoch if seen is not None else None))
        return asker

    def _look_up(self, sort: _Sort) -> Asker | None:
        book_id, key_digest, budget = sort
        with self._engine.connect() as connection:
            return read_asker(connection, book_id, key_digest, budget=budget)

    def _keep(self, sort: _Sort, entry: _Entry) -> None:
        self._known.pop(sort, None)
        while len(self._known) >= self._entries:
            # The first of a dict is what was read longest ago.
            del self._known[next(iter(self._known))]
        self._known[sort] = entry

    def _ended(self, sort: _Sort, task: asyncio.Task[Asker | None]) -> None:
        self._reading.pop(sort, None)
        if not task.cancelled():
            # Taken note of here: where nobody waits any more, asyncio would complain that nobody did.
            task.exception()
