"""A book, and a copy of it that went another way from the same beginning: what a witness is there to find."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ledger.services.witness_state import WitnessState
from ledger.services.witnessing import Witness
from tests.support.databases import sqlite_url
from tests.support.running_app import RunningApp, authorization
from tests.support.transport import AppServer


class _Copy(RunningApp):
    """An app on a copied database, whose book is there already."""

    def __init__(self, database_url: str, admin_key: str) -> None:
        self._key = admin_key
        super().__init__(database_url)

    def open_book(self, name: str) -> str:
        """Not opened again."""
        return self._key


class Forked:
    """A book, and a copy of it that went another way from the same beginning, signed with the same key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.true = RunningApp(sqlite_url(directory)).__enter__()
        self.crawler = self.true.make_agent("crawler", budget="research")
        self.spend(self.true)
        self.true.post("/v1/checkpoints")
        copied = directory / "copy"
        copied.mkdir()
        url = sqlite_url(copied)
        source = sqlite3.connect(_file(self.true.database_url))
        target = sqlite3.connect(_file(url))
        source.backup(target)
        source.close()
        target.close()
        self.false = _Copy(url, self.true.admin_key).__enter__()

    def spend(self, app: RunningApp, amount: str = "1.00", *, times: int = 1) -> None:
        """More records in one of the two."""
        for _ in range(times):
            app.make("/v1/authorizations", authorization(amount), key=self.crawler)

    def checkpoint(self, app: RunningApp) -> int:
        """Sign one of the two as it is now; its size."""
        answer = app.post("/v1/checkpoints")
        assert answer.status == 201, answer.json
        return int(answer.json["size"])

    def close(self) -> None:
        """End both."""
        for app in (self.true, self.false):
            app.__exit__()


def _file(url: str) -> str:
    return url.removeprefix("sqlite:///")


def watching(app: RunningApp) -> Witness:
    """A witness that has looked at a server once."""
    made = Witness(AppServer(app), WitnessState())
    made.trust_first()
    made.look()
    return made
