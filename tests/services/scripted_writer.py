"""The real writer of a database, with a script of what goes wrong where, and a list of what was asked of it.

Invariant: what the script does not name happens for real, so that what is in the book afterwards is the truth.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

import psycopg
import pytest

from ledger.core.book import Book
from ledger.core.changeset import Changeset
from ledger.core.needs import Needs
from ledger.services import batch_writer
from ledger.storage.engine import connection_info, parse_url
from ledger.storage.facts import Facts, Opening
from ledger.storage.postgresql_writer import PostgresqlWriter
from ledger.storage.writer import BookWriter, open_writer

Act = BaseException | Callable[["ScriptedWriter"], None] | None

PLACES = ("open", "begin", "begun", "read", "write", "commit", "committed")
"""``begin`` is before the head is locked and ``begun`` after; ``commit`` is before the database is asked to commit and
``committed`` after it has."""


class Script:
    """What goes wrong, and what happened. ``events`` are places, and whatever else a test appends."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.opened: list[ScriptedWriter] = []
        self._acts: dict[str, deque[Act]] = defaultdict(deque)

    def at(self, place: str, *acts: Act) -> None:
        """What the next passages of ``place`` do: raise an exception, call a function, or nothing for None."""
        assert place in PLACES
        self._acts[place].extend(acts)

    def calm(self) -> None:
        """Forget what has not happened yet, and what has."""
        self._acts.clear()
        self.events.clear()

    def meet(self, place: str, writer: ScriptedWriter | None) -> None:
        """Do what is next at ``place``."""
        self.events.append(place)
        act = self._acts[place].popleft() if self._acts[place] else None
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            assert writer is not None
            act(writer)

    def count(self, place: str) -> int:
        """How often ``place`` was passed."""
        return self.events.count(place)

    def open(self, database_url: str, *, lock_timeout_seconds: float) -> ScriptedWriter:
        """In the place of ``open_writer``."""
        self.meet("open", None)
        writer = ScriptedWriter(self, open_writer(database_url, lock_timeout_seconds=lock_timeout_seconds))
        self.opened.append(writer)
        return writer

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every batch writer use this script."""
        monkeypatch.setattr(batch_writer, "open_writer", self.open)


class ScriptedWriter:
    """``BookWriter``, passing the places of a script."""

    def __init__(self, script: Script, inner: BookWriter) -> None:
        self._script = script
        self.inner = inner

    def begin(self, book_id: int, needs: Needs) -> Opening:
        self._script.meet("begin", self)
        opening = self.inner.begin(book_id, needs)
        self._script.meet("begun", self)
        return opening

    def read(self, needs: Needs) -> Facts:
        self._script.meet("read", self)
        return self.inner.read(needs)

    def read_book(self) -> tuple[Book, bytes] | None:
        return self.inner.read_book()

    def read_due(self, limit: int) -> list[tuple[str, int]]:
        return self.inner.read_due(limit)

    def read_renewals(self, limit: int) -> list[tuple[str, int]]:
        return self.inner.read_renewals(limit)

    def write(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        self._script.meet("write", self)
        self.inner.write(changeset, text_secret=text_secret)

    def commit(self) -> None:
        self._script.meet("commit", self)
        self.inner.commit()
        self._script.meet("committed", self)

    def write_and_commit(self, changeset: Changeset, *, text_secret: bytes | None = None) -> None:
        self.write(changeset, text_secret=text_secret)
        self.commit()

    def rollback(self) -> None:
        self.inner.rollback()

    def close(self) -> None:
        self.inner.close()


def lose_connection(writer: ScriptedWriter) -> None:
    """Take the connection away: PostgreSQL ends the session, a SQLite file is closed."""
    inner = writer.inner
    if not isinstance(inner, PostgresqlWriter):
        inner.close()
        return
    information = inner.connection.info
    with psycopg.connect(information.dsn, password=information.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (information.backend_pid,))


def connection_to(database_url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the test's own to a PostgreSQL database."""
    return psycopg.connect(connection_info(parse_url(database_url)), autocommit=True)
