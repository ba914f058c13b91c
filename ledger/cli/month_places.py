"""Where months are closed from the command line: a database, with the key of a person, or a server.

Owns ``place``. Invariants: whoever changes anything has a key and is on record, also where they own the database; both
places say the same of a month.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import click

from bursar import Remote, remote
from ledger.cli.checkpoint import book_option
from ledger.cli.database import BadValue, chosen_book, database_option, errors_in_one_line, require_file

Function = TypeVar("Function", bound=Callable[..., Any])
STOP_SECONDS: Final = 10.0


class NotDone(click.ClickException):
    """Nothing was recorded. The message says why, ``code`` in a word; ``facts`` is what came with it."""

    exit_code = 1

    def __init__(self, message: str, code: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.facts = facts


class Place(Protocol):
    """What the verbs ask for. Amounts of time may be long; every change is one record."""

    def months(self) -> list[dict[str, Any]]:
        """Every month, newest first, as ``GET /v1/periods`` has them."""

    def month(self, name: str) -> dict[str, Any]:
        """One month with its checks and digests, as ``GET /v1/periods/{period}``."""

    def change(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a POST to ``path`` records. Raises click.ClickException."""


def place_options(function: Function) -> Function:
    """The options that say where the book is, and who asks."""
    with_key = click.option(
        "--key", "api_key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
        help="Your own key; better given as BURSAR_API_KEY.",
    )  # fmt: skip
    with_url = click.option(
        "--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database."
    )
    return database_option(book_option(with_url(with_key(function))))


@contextmanager
def place(database_url: str, book: str | None, url: str | None, api_key: str | None) -> Iterator[Place]:
    """The place that the options name."""
    if url is not None:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        with remote(url, api_key) as server:
            yield _Server(server)
        return
    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        with _database(database_url, chosen.book_id, api_key) as made:
            yield made


class _Server:
    """A server, asked with a person's key."""

    def __init__(self, server: Remote) -> None:
        self._server = server

    def months(self) -> list[dict[str, Any]]:
        return [month for page in self._server.pages("/v1/periods") for month in page]

    def month(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._server.get(f"/v1/periods/{name}")
        return found

    def change(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self._server.post(path, body)
        return done


@contextmanager
def _database(database_url: str, book_id: int, api_key: str | None) -> Iterator[Place]:
    from ledger.services.authorizer import Authorizer
    from ledger.services.closing import Closer
    from ledger.services.statements.making import Statements
    from ledger.storage.engine import create_engine
    from ledger.storage.side_writer import SideWriter

    engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
    authorizer = Authorizer(database_url)
    authorizer.start()
    try:
        closer = Closer(engine, Statements(engine, side), authorizer.sources)
        yield _Database(book_id, authorizer, closer, api_key)
    finally:
        authorizer.stop(deadline_seconds=STOP_SECONDS)
        side.close()
        engine.dispose()


class _Database:
    """A database, used with a person's key and without a server."""

    def __init__(self, book_id: int, authorizer: Any, closer: Any, api_key: str | None) -> None:
        self._book_id = book_id
        self._authorizer = authorizer
        self._closer = closer
        self._api_key = api_key

    def months(self) -> list[dict[str, Any]]:
        return [self._closer.shown(one) for one in reversed(self._closer.months(self._book_id))]

    def month(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self._closer.detail(self._book_id, name)
        if found is None:
            raise click.ClickException(f"there is no month {name} in this book yet")
        return found

    def change(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        from ledger.core.outcome import Status

        outcome = self._decide(path, body)
        if outcome.status not in (Status.DONE, Status.REPLAYED):
            raise NotDone(outcome.detail, outcome.status.value, outcome.facts)
        said = dict(outcome.body or {})
        return said | {"log": {"index": outcome.log_index}}

    def _decide(self, path: str, body: dict[str, Any]) -> Any:
        from ledger.core.closing import accepted_said
        from ledger.core.command_closing import ApproveReopening, ClosePeriod, Explain, RequestReopening

        who: dict[str, Any] = {"caller": self._caller(), "idempotency_key": uuid.uuid4().hex}
        if path == "/v1/explanations":
            command: Any = Explain(**who, authorization=body["authorization"], reason=body["reason"])
            return self._authorizer.decide_now(self._book_id, command)
        _, _, _, period, *verb = path.split("/")
        if verb == ["close"]:
            accept, evidence = accepted_said(body["accept"])
            command = ClosePeriod(**who, period=period, accept=accept, evidence=evidence)
            return self._closer.close(self._book_id, command, self._authorizer.decide_now)
        kind: Any = ApproveReopening if verb[-1] == "approve" else RequestReopening
        return self._authorizer.decide_now(self._book_id, kind(**who, period=period, reason=body["reason"]))

    def _caller(self) -> Any:
        from ledger.core.command import Caller
        from ledger.services.sources import parse_key

        key = parse_key(self._api_key) if self._api_key is not None else None
        if key is None:
            raise BadValue("who closes a month is on record: give your own key, as BURSAR_API_KEY or --key")
        return Caller(key.digest)
