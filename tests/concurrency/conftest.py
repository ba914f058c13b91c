"""The ways to serve one book from several processes that the promises must hold for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.clients import Office
from tests.support.databases import postgresql_database, sqlite_url
from tests.support.recorded import Recorded
from tests.support.server import OpenBook, ServerProcess, open_book, verified

# Name: database, separate servers, flags of each.
ARRANGEMENTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "sqlite-1-server": ("sqlite", 1, ()),
    "sqlite-2-servers": ("sqlite", 2, ()),
    "postgresql-2-servers-of-2-workers": ("postgresql", 2, ("--workers", "2")),
    "postgresql-1-server-of-4-workers": ("postgresql", 1, ("--workers", "4")),
    "postgresql-4-servers": ("postgresql", 4, ()),
}
# Four processes by default; the other ways to have four take as long again to start.
LONG = ("postgresql-1-server-of-4-workers", "postgresql-4-servers")
PARAMETERS = [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in ARRANGEMENTS]


@dataclass
class Arrangement:
    """One book, served on ``ports``; names for tests that share it come from ``new_name``."""

    book: OpenBook
    ports: list[int]
    office: Office
    _made: int = field(default=0)

    def new_name(self) -> str:
        """A name that no test used before."""
        self._made += 1
        return f"n{self._made}"

    def agent_with(self, allocated: str) -> tuple[str, str]:
        """(name, key) of a new agent that has a new budget of the same name."""
        name = self.new_name()
        return name, self.office.make_agent(name, budget=name, allocated=allocated)

    def recorded(self) -> Recorded:
        """What is in the book now."""
        return Recorded(self.book.database_url, self.book.book_id)

    def verify(self) -> None:
        """Insist that the books verify."""
        verified(self.book.database_url)


@pytest.fixture(scope="module", params=PARAMETERS)
def arrangement(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrangement]:
    """A book and the servers of one arrangement, for the tests of a module."""
    kind, servers, flags = ARRANGEMENTS[request.param]
    directory = tmp_path_factory.mktemp("arrangement")
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            url = sqlite_url(directory)
        else:
            url = stack.enter_context(postgresql_database(request.getfixturevalue("postgres_server")))
        book = open_book(url)
        started = [stack.enter_context(ServerProcess(url, *flags, directory=directory)) for _ in range(servers)]
        yield Arrangement(book, [server.port for server in started], Office(started[0].port, book.admin_key))
        for server in started:
            server.stop()
