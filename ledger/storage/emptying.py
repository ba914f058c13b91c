"""Emptying SQLite's write-ahead log, which keeps old pages until they are written over."""

import sqlite3
from typing import Final

from ledger.storage.engine import parse_url, raise_translated

WAL_KEPT: Final = "others are using the database: its write-ahead log may keep what was removed until they close it"
"""What whoever removed a text is told where the log could not be emptied."""


def empty_write_ahead_log(database_url: str) -> bool:
    """Copy the log's pages back and cut it to nothing; False where somebody was using them. True on PostgreSQL, which
    has no such log beside its file. Raises StorageError."""
    url = parse_url(database_url)
    if url.drivername != "sqlite":
        return True
    try:
        connection = sqlite3.connect(str(url.database), timeout=1.0, isolation_level=None)
        try:
            busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            return not busy
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise_translated(error)
