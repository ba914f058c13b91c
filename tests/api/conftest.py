"""Apps for the tests of the HTTP room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp
from tests.support.signed_app import Signed


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """One app for the tests of a module, on SQLite, with agent `crawler` and its budget `research`."""
    with RunningApp(sqlite_url(tmp_path_factory.mktemp("acme"))) as app:
        yield app


@pytest.fixture(scope="module")
def crawler(acme: RunningApp) -> str:
    """The key of agent `crawler`, which may spend from budget `research` (100 USD)."""
    return acme.make_agent("crawler", budget="research")


@pytest.fixture
def app_on(database_url: str) -> Iterator[RunningApp]:
    """An app of a test's own, on either database."""
    with RunningApp(database_url) as app:
        yield app


@pytest.fixture
def own_app(tmp_path: Path) -> Iterator[RunningApp]:
    """An app of a test's own, on SQLite."""
    with RunningApp(sqlite_url(tmp_path)) as app:
        yield app


@pytest.fixture
def signed(app_on: RunningApp) -> Signed:
    """An app with an authorization that was settled, and a checkpoint of it, on either database."""
    return Signed(app_on)
