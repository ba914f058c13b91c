"""Books for tests of the services: one database of each kind for a module, a book of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from ledger.storage.migrate import upgrade
from tests.services.live_world import LiveWorld
from tests.services.proved_world import Proofs, proved_book
from tests.services.scripted_writer import Script
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def shared_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database that the tests of a module share; each has a book of its own in it."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path_factory.mktemp("shared"))
        upgrade(url)
        yield url
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        upgrade(url)
        yield url


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """A script that every batch writer made from here on follows; ask for it before ``world``."""
    made = Script()
    made.install(monkeypatch)
    return made


@pytest.fixture
def world(script: Script, shared_url: str) -> Iterator[LiveWorld]:
    """A book with money, its writer following ``script``. At the end it must verify."""
    made = LiveWorld(shared_url, f"book-{next(_NUMBERS)}")
    script.calm()
    yield made
    script.calm()
    made.close()
    made.prove()


@pytest.fixture
def proofs(shared_url: str) -> Iterator[Proofs]:
    """A book to be signed and proved; what it leaves is no book that verifies, where a test made its log long."""
    with proved_book(shared_url, f"proved-{next(_NUMBERS)}") as made:
        yield made
