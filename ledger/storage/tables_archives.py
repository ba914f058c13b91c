"""The side table of archives: which ranges of a book's log were detached from the database, and into what.

Invariants: no balance and no decision depends on a row here; a row without its records is what tells readers and
`bursar verify` that the records are elsewhere and not lost; every key is led by ``book_id``.
"""

from typing import Final

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table

from ledger.core.changeset import SIDE
from ledger.storage.tables import _big, _bytes, _text, metadata

log_archives: Final = Table(
    "log_archives",
    metadata,
    _big("book_id"),
    _big("start"),
    _big("stop"),
    _text("name"),
    _bytes("digest"),
    _big("last_recorded_at"),
    _big("detached_at"),
    CheckConstraint("start >= 0 AND stop > start", name="range_not_empty"),
    CheckConstraint("length(digest) = 32", name="digest_is_a_hash"),
    PrimaryKeyConstraint("book_id", "start"),
    info={"sort": SIDE},
    sqlite_with_rowid=False,
)
"""Log indexes from ``start`` to before ``stop``, in the archive ``name`` whose manifest has this digest."""
