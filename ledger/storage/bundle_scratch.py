"""A scratch database on disk for what a bundle's pass must find again: transfers, which texts were there, and bodies
that explain overdrafts.

Owns a SQLite file in a directory of its own, gone when closed. Invariant: nothing of it stays in memory, so that a book
of any length is imported in the memory of a page.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from ledger.core.changeset import TRANSFERS

PAGE_ROWS: Final = 2_000
_COLUMNS: Final = ", ".join(TRANSFERS.columns[1:])
_PLACES: Final = ", ".join("?" * (len(TRANSFERS.columns) - 1))


class BundleScratch:
    """Rows that are written once, in order, and read once."""

    def __init__(self, *, directory: str | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bursar-bundle-", dir=directory, ignore_cleanup_errors=True)
        self._connection = sqlite3.connect(Path(self._folder.name) / "bundle.db", isolation_level=None)
        # Nothing here outlives the process, so nothing needs to survive a crash.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"CREATE TABLE transfers ({_COLUMNS})")
        self._connection.execute("CREATE TABLE bodies (log_index INTEGER PRIMARY KEY, body)")
        self._connection.execute(
            "CREATE TABLE texts (log_index, field, size, redacted, PRIMARY KEY (log_index, field)) WITHOUT ROWID"
        )

    def add_transfers(self, rows: list[Any]) -> None:
        """Keep rows of ``transfers``, without their book."""
        self._connection.execute("BEGIN")
        self._connection.executemany(f"INSERT INTO transfers VALUES ({_PLACES})", rows)
        self._connection.execute("COMMIT")

    def transfers(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows as they came, a page at a time."""
        cursor = self._connection.execute(f"SELECT {_COLUMNS} FROM transfers ORDER BY rowid")
        while page := cursor.fetchmany(PAGE_ROWS):
            yield page

    def add_body(self, index: int, body: bytes) -> None:
        """Keep a record's body."""
        self._connection.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (index, body))

    def body(self, index: int) -> bytes:
        """A body that was kept, empty where none was."""
        found = self._connection.execute("SELECT body FROM bodies WHERE log_index = ?", (index,)).fetchone()
        return b"" if found is None else bytes(found[0])

    def add_texts(self, places: Iterable[tuple[int, str]], size: int) -> None:
        """Keep the (log index, field) of texts of a bundle of ``size`` records."""
        self._put_texts((index, field, size, None) for index, field in places)

    def add_gone(self, places: Iterable[tuple[int, str, int]]) -> None:
        """Keep the (log index, field, record) of texts that are gone, as a bundle says because of that record."""
        self._put_texts((index, field, None, by) for index, field, by in places)

    def _put_texts(self, rows: Iterable[tuple[int, str, int | None, int | None]]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def gone(self) -> Iterator[tuple[int, str, int]]:
        """What ``add_gone`` was given, in the order of its keys."""
        columns = "log_index, field, redacted"
        yield from self._connection.execute(
            f"SELECT {columns} FROM texts WHERE redacted IS NOT NULL ORDER BY log_index, field"
        )

    def text(self, index: int, field: str) -> tuple[int | None] | None:
        """The size that a text was kept with (None: it was gone), None where it was not kept."""
        found: tuple[int | None] | None = self._connection.execute(
            "SELECT size FROM texts WHERE log_index = ? AND field = ?", (index, field)
        ).fetchone()
        return found

    def close(self) -> None:
        """Drop everything."""
        self._connection.close()
        self._folder.cleanup()
