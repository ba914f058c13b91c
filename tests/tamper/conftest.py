"""The attacked books, made once for a module and a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.tamper.attacker import Attacker


@pytest.fixture(scope="module", params=DATABASE_KINDS, ids=DATABASE_KINDS)
def attacker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """Whoever has the database, of either kind."""
    if request.param == "sqlite":
        made = Attacker(sqlite_url(tmp_path_factory.mktemp("tamper")))
        yield made
        made.close()
        return
    with postgresql_database(request.getfixturevalue("postgres_server")) as url:
        made = Attacker(url)
        yield made
        made.close()
