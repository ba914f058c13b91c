"""A PostgreSQL server that these tests may kill, apart from the one that other tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.postgres_server import PostgresServer
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url


@pytest.fixture(scope="package")
def mortal_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server to be killed."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def mortal_postgres_url(mortal_postgres: PostgresServer) -> Iterator[str]:
    """A new, empty database on it."""
    with postgresql_database(mortal_postgres) as url:
        yield url


@pytest.fixture(params=DATABASE_KINDS, ids=DATABASE_KINDS)
def own_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of either kind, apart from the other tests'."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url: str = request.getfixturevalue("mortal_postgres_url")
    return url
