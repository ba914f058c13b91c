"""Empty databases for tests, on SQLite and on PostgreSQL.

Invariant: a test gets a database that nobody else has used or will use. One PostgreSQL server serves a whole
test process (each pytest-xdist worker has its own); each test has a database of its own on it.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from bench.postgres_server import PostgresServer

DATABASE_KINDS = ("sqlite", "postgresql")


def sqlite_url(directory: Path) -> str:
    """The SQLAlchemy URL of the SQLite file bursar.db in that directory; the file is made on first use."""
    return f"sqlite:///{directory / 'bursar.db'}"


@contextlib.contextmanager
def postgresql_database(server: PostgresServer, *, copied_from: str | None = None) -> Iterator[str]:
    """The SQLAlchemy URL of a new database on the server, dropped at the end: empty, or a copy of the one with the URL
    ``copied_from``, to which nobody may be connected.

    A test may stop or kill the server; it is started again before the database is dropped.
    """
    name = f"test_{uuid.uuid4().hex}"
    url = server.create_database(name, copied_from=make_url(copied_from).database if copied_from else None)
    try:
        yield url
    finally:
        if not server.running:
            server.restart()
        server.drop_database(name)
