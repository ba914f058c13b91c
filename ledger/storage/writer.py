"""The seam between the authorizer and a database: one transaction on one book, begun, read, written, committed.

Owns the protocol that both writers keep and the choice between them. Invariants: a transaction holds its book's head
locked from its beginning; the head moves only from the size and root that the decision was made on; no exception but
those of ``ledger.storage.errors`` comes out.
"""

from typing import Final, Protocol

from ledger.core.book import Book
from ledger.core.changeset import Changeset
from ledger.core.needs import Needs
from ledger.storage.engine import parse_url
from ledger.storage.facts import Facts, Opening
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.sqlite_writer import SqliteWriter

LOCK_TIMEOUT_SECONDS: Final = 5.0


class BookWriter(Protocol):
    """One synchronous connection, used by one thread at a time.

    After ``Unavailable`` or ``CommitUnknown``, close the writer and open another. After any other error, ``rollback``
    makes it ready again.
    """

    def begin(self, book_id: int, needs: Needs) -> Opening:
        """Begin a transaction: lock the head of ``book_id``, then read the clock and the facts in ``needs``.

        Raises Busy when the lock is not had in time, Unavailable, SchemaOutdated.
        """

    def read(self, needs: Needs) -> Facts:
        """Read further facts in the same transaction."""

    def read_book(self) -> tuple[Book, bytes] | None:
        """The book and the secret that salts its texts, or None when it does not exist."""

    def read_due(self, limit: int) -> list[tuple[str, int]]:
        """At most ``limit`` (authorization id, due_at in microseconds), earliest first, of open holds that have one."""

    def read_renewals(self, limit: int) -> list[tuple[str, int]]:
        """At most ``limit`` (budget, next_at in microseconds), earliest first, of budgets that renew."""

    def write(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """Write everything of ``changeset`` and move the head; with ``text_secret``, make the book.

        Raises Conflict unless exactly one head stood where the changeset left off; Refused on a constraint.
        """

    def commit(self) -> None:
        """Commit. Raises CommitUnknown when the connection dies meanwhile."""

    def write_and_commit(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        """``write`` and ``commit`` in one round trip. Raises as both do; nothing is committed unless the head moved."""

    def rollback(self) -> None:
        """End the transaction, if there is one, without a trace. Never raises."""

    def close(self) -> None:
        """Close the connection; what was not committed is gone. Never raises."""


def open_writer(database_url: str, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> BookWriter:
    """A writer for the database that the URL names. Raises Unavailable, UnsupportedUrl."""
    url = parse_url(database_url)
    if url.drivername == "sqlite":
        return SqliteWriter(str(url.database), lock_timeout_seconds=lock_timeout_seconds)
    return PostgresqlWriter(url, lock_timeout_seconds=lock_timeout_seconds)
