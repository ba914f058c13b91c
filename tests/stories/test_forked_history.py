"""A forked history shown to two witnesses, and a restored older one: real servers, real commands, real signatures.

Owns the story of an operator who keeps two databases of one book. Invariant: what tells is never in the databases,
because each of them is a good one.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from psycopg import sql

from bench.postgres_server import PostgresServer
from tests.support.databases import DATABASE_KINDS, sqlite_url
from tests.support.server import BURSAR, OpenBook, ServerProcess, open_book

Copy = Callable[[str], str]


class Databases(NamedTuple):
    """An empty database, and how a copy of one is made under a name while no server runs."""

    url: str
    copy: Copy


@pytest.fixture(params=DATABASE_KINDS, ids=DATABASE_KINDS)
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Of either kind."""
    if request.param == "sqlite":

        def copy_file(name: str) -> str:
            (tmp_path / name).mkdir()
            source, target = sqlite3.connect(tmp_path / "bursar.db"), sqlite3.connect(tmp_path / name / "bursar.db")
            source.backup(target)
            source.close()
            target.close()
            return sqlite_url(tmp_path / name)

        yield Databases(sqlite_url(tmp_path), copy_file)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    made = [f"forked_{tmp_path.name.lower().replace('-', '_')}"]

    def copy_database(name: str) -> str:
        made.append(f"{made[0]}_{name}")
        source, target = sql.Identifier(made[0]), sql.Identifier(made[-1])
        server._administer(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(target, source))
        return server.url(made[-1])

    try:
        yield Databases(server.create_database(made[0]), copy_database)
    finally:
        for name in made:
            server.drop_database(name)


class Operator:
    """Whoever runs the servers, and whatever is asked of them over HTTP."""

    def __init__(self, book: OpenBook, directory: Path) -> None:
        self.book = book
        self._directory = directory
        self._crawler = ""

    def serve(self, database_url: str) -> ServerProcess:
        """A server on a database of the book, to be entered."""
        return ServerProcess(database_url, directory=self._directory)

    def post(self, server: ServerProcess, path: str, body: Any = None, *, key: str = "") -> Any:
        """The JSON of an answer that must be good."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = {"Authorization": f"Bearer {key or self.book.admin_key}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body or {}), headers | {"Idempotency-Key": os.urandom(8).hex()})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        assert answer.status in (200, 201), content
        return content

    def set_up(self, server: ServerProcess) -> None:
        """An agent with money."""
        self.post(server, "/v1/agents", {"name": "crawler"})
        self._crawler = self.post(server, "/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
        self.post(server, "/v1/budgets", {"name": "research", "currency": "USD", "agents": ["crawler"]})
        amount = {"amount": {"amount": "100.00", "currency": "USD"}}
        self.post(server, "/v1/budgets/research/allocations", amount)

    def spend(self, server: ServerProcess, amount: str, *, times: int) -> int:
        """Spend some times, and sign; the size that was signed."""
        asked = {"amount": {"amount": amount, "currency": "USD"}, "category": "inference", "payee": "openai"}
        for _ in range(times):
            self.post(server, "/v1/authorizations", asked, key=self._crawler)
        return int(self.post(server, "/v1/checkpoints")["size"])


class Bystander:
    """Whoever runs `bursar` elsewhere, with a key of the book and files of their own."""

    def __init__(self, book: OpenBook, directory: Path) -> None:
        self._environment = {**os.environ, "BURSAR_API_KEY": book.admin_key}
        self._directory = directory

    def file(self, name: str) -> Path:
        """One of their files."""
        return self._directory / name

    def run(self, *arguments: str) -> tuple[int, str]:
        """(status, all that was said) of a command."""
        done = subprocess.run(
            [BURSAR, *arguments], capture_output=True, text=True, timeout=120, check=False, env=self._environment
        )
        return done.returncode, done.stdout + done.stderr

    def look(self, server: ServerProcess, name: str) -> tuple[int, str]:
        """Look once as the witness of this name."""
        return self.run("witness", server.url, "--state", str(self.file(name)), "--once")

    def compare(self, one: str, other: str, *more: str) -> tuple[int, str]:
        """Compare what two witnesses saw."""
        return self.run("witness", "compare", str(self.file(one)), str(self.file(other)), *more)

    def verify(self, database_url: str, *against: str) -> tuple[int, str]:
        """Verify a database, against what witnesses saw."""
        files = [word for name in against for word in ("--against", str(self.file(name)))]
        return self.run("verify", "--database-url", database_url, *files)


def test_two_histories_of_one_book_are_told_by_their_witnesses(databases: Databases, tmp_path: Path) -> None:
    """Each database verifies and each witness is content; together they know, and so does one who saw both."""
    book = open_book(databases.url)
    operator, bystander = Operator(book, tmp_path), Bystander(book, tmp_path)
    with operator.serve(databases.url) as server:
        operator.set_up(server)
        shared = operator.spend(server, "1.00", times=2)
        for name in ("one", "other", "both"):
            assert bystander.look(server, name)[0] == 0
        server.stop()
    forked = databases.copy("forked")
    with operator.serve(databases.url) as true, operator.serve(forked) as false:
        sizes = operator.spend(true, "2.00", times=3), operator.spend(false, "3.00", times=3)
        assert sizes[0] == sizes[1] > shared
        for server, name in ((true, "one"), (false, "other"), (true, "both")):
            status, said = bystander.look(server, name)
            assert (status, f"{sizes[0]} records" in said) == (0, True), said
        status, said = bystander.compare("one", "other")
        assert (status, "FORK" in said) == (1, True), said
        assert bystander.compare("one", "both")[0] == 0
        status, said = bystander.look(false, "both")
        assert (status, "ALARM fork" in said) == (1, True), said
        # The longer branch, and witnesses who share no size: a server of the shorter log has not what is asked for; the
        # other gives itself away.
        longer = operator.spend(false, "3.00", times=2)
        late = bystander.look(false, "late")
        assert (late[0], f"{longer} records" in late[1]) == (0, True), late
        assert bystander.compare("one", "late")[0] == 2
        assert bystander.compare("one", "late", "--url", true.url)[0] == 2
        status, said = bystander.compare("one", "late", "--url", false.url)
        assert (status, "FORK" in said) == (1, True), said
        status, said = bystander.look(false, "one")
        assert (status, "ALARM fork" in said) == (1, True), said
        for server in (true, false):
            server.stop()
    # A longer log's checkpoint alone cannot tell a shorter one from its beginning, and is not believed to.
    for url, kept, alien, words in (
        (databases.url, "both", "other", "not the log that was signed"),
        (databases.url, "one", "late", "cannot be known from this"),
        (forked, "late", "both", "not the log that was signed"),
    ):
        assert bystander.verify(url)[0] == 0
        assert bystander.verify(url, kept)[0] == 0
        status, said = bystander.verify(url, alien)
        assert (status, words in said) == (1, True), said


def test_an_older_database_that_is_put_back_is_told_by_its_witness(databases: Databases, tmp_path: Path) -> None:
    """At once as a rollback, and as a fork once it has grown past what was seen; verify alone calls it good."""
    book = open_book(databases.url)
    operator, bystander = Operator(book, tmp_path), Bystander(book, tmp_path)
    with operator.serve(databases.url) as server:
        operator.set_up(server)
        older = operator.spend(server, "1.00", times=2)
        assert bystander.look(server, "witness")[0] == 0
        server.stop()
    backup = databases.copy("backup")
    with operator.serve(databases.url) as server:
        newer = operator.spend(server, "2.00", times=3)
        assert bystander.look(server, "witness")[0] == 0
        server.stop()
    shutil.copy(bystander.file("witness"), bystander.file("evidence"))
    with operator.serve(backup) as server:
        status, said = bystander.look(server, "witness")
        assert (status, f"it has {older} records and had {newer}" in said) == (1, True), said
        assert bystander.verify(backup)[0] == 0
        status, said = bystander.verify(backup, "evidence")
        assert (status, f"the last {newer - older} of those are not here" in said) == (1, True), said
        assert operator.spend(server, "3.00", times=4) > newer
        status, said = bystander.look(server, "witness")
        assert (status, "ALARM fork" in said) == (1, True), said
        server.stop()
    assert bystander.verify(backup)[0] == 0
    status, said = bystander.verify(backup, "evidence")
    assert (status, "not the log that was signed" in said) == (1, True), said
