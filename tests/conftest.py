"""What every test may ask for: an empty database of each kind, and the PostgreSQL server itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from bench.postgres_server import PostgresServer
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

# A shared machine pauses at any moment, so how long one example takes says nothing about the code. In CI the
# examples are the same in every run, so that a failure can be had again.
settings.register_profile(
    "bursar",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bursar")

# A book's first checkpoint writes its signing key to the log, seconds after a server began, and tests count records.
# Those of checkpoints ask for them.
os.environ.setdefault("BURSAR_CHECKPOINT_INTERVAL_SECONDS", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked slow unless BURSAR_LONG=1 asks for it."""
    if os.environ.get("BURSAR_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; set BURSAR_LONG=1"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this test process. A test that stops it starts it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty PostgreSQL database."""
    with postgresql_database(postgres_server) as url:
        yield url


@pytest.fixture(params=DATABASE_KINDS, ids=DATABASE_KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of a new, empty database; the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url: str = request.getfixturevalue("postgresql_url")
    return url
