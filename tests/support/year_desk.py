"""A book in Paris whose clock a story puts from day to day, and everybody who works on it.

Owns ``YearDesk``. Invariant: agents and finance go through the HTTP API of an app in the test's process, and finance
through the real command where there is one; nothing is written past them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from click.testing import CliRunner, Result

from bursar import asking
from bursar.command import bursar
from ledger.services.books import open_new_book
from ledger.services.sources import Sources
from tests.support.reconciled import Bridge
from tests.support.running_app import RunningApp

PARIS = ZoneInfo("Europe/Paris")
SECOND = 1_000_000
QUIET: dict[str, Any] = {
    "clock_jump_seconds": 31_536_000, "sweep_interval_seconds": 0, "lines_poll_seconds": 0, "webhook_poll_seconds": 0,
    "checkpoint_interval_seconds": 0, "partition_look_seconds": 0,
}  # fmt: skip
"""Nothing happens by itself: what is recorded is what the story does."""


class Clock(Sources):
    """A clock that stands where the story puts it."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.now = 0
        self.put(at)

    def put(self, at: str) -> None:
        """Let it be a minute on the walls of Paris, such as ``2026-03-02 10:00``."""
        wall = datetime.fromisoformat(at).replace(tzinfo=PARIS)
        now = int(wall.timestamp()) * SECOND
        assert now >= self.now, f"{at} is earlier than what happened last"
        self.now = now

    def pass_minute(self) -> None:
        """A minute later."""
        self.now += 60 * SECOND

    def now_us(self) -> int:
        return self.now

    def decision_time(self, clock_us: int) -> int:
        return self.now


class ParisApp(RunningApp):
    """An app on a new database with a book in Europe/Paris, opened when the clock says."""

    def __init__(self, database_url: str, clock: Clock) -> None:
        self._clock = clock
        super().__init__(database_url, sources=clock, **QUIET)

    def open_book(self, name: str) -> str:
        opened = open_new_book(
            self.database_url, name=name, currency="USD", timezone="Europe/Paris", sources=self._clock
        )
        return opened.admin_key


class YearDesk:
    """The app, its clock, a key for everybody by name, and a directory for files."""

    def __init__(self, app: ParisApp, clock: Clock, directory: Path) -> None:
        self.app = app
        self.clock = clock
        self.directory = directory
        self.keys: dict[str, str] = {"owner": app.admin_key}
        self.known: dict[str, str] = {}
        """What the story goes back to, by a name that it gives: ids of authorizations, charges, invoices, payments."""
        self.indexes: dict[str, int] = {}
        """The log index of the last record about each of them."""

    def at(self, moment: str) -> None:
        """Put the clock on."""
        self.clock.put(moment)

    def do(self, who: str, path: str, **body: Any) -> Any:
        """What somebody has changed; it must be done."""
        return self.app.make(f"/v1/{path}", body, key=self.keys[who])

    def post(self, who: str, path: str, **body: Any) -> Any:
        """What somebody asks for, whatever the answer: (status, body)."""
        answer = self.app.post(f"/v1/{path}", body, key=self.keys[who])
        return answer.status, answer.json

    def read(self, path: str, who: str = "ada") -> Any:
        """What the auditor, or whoever is said, reads."""
        answer = self.app.get(f"/v1/{path}", key=self.keys[who])
        assert answer.status == 200, answer.body
        return answer.json

    def hold(self, who: str, amount: str, budget: str, payee: str, category: str = "inference", **more: Any) -> str:
        """What an agent asks for and must get; its id. ``amount`` is in dollars unless it says ``50.00 EUR``."""
        asked = {"amount": money(amount), "budget": budget, "payee": payee, "category": category, **more}
        return str(self.do(who, "authorizations", **asked)["id"])

    def settle(self, who: str, held: str, amount: str, name: str = "", **more: Any) -> None:
        """What it cost."""
        self.clock.pass_minute()
        done = self.do(who, f"authorizations/{held}/settle", amount=money(amount), **more)
        self.known[name], self.indexes[name] = held, done["log"]["index"]

    def keep(self, name: str, done: Any) -> Any:
        """Keep what was done under a name; it again."""
        self.known[name], self.indexes[name] = done["id"], done["log"]["index"]
        return done

    def file(self, name: str, text: str) -> Path:
        """A file with a text."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, who: str, *arguments: object, status: int = 0) -> Result:
        """The command ``bursar``, by somebody, on this app as its server; it must end with a status."""
        given = {"BURSAR_URL": "http://bursar.test", "BURSAR_API_KEY": self.keys[who]}
        done = CliRunner().invoke(bursar, [str(one) for one in arguments], env=given)
        assert done.exit_code == status, (arguments, done.output, done.exception)
        return done

    def told(self, who: str, *arguments: object, status: int = 0) -> Any:
        """What it prints as JSON."""
        return json.loads(self.run(who, *arguments, status=status).stdout)


def money(text: str) -> dict[str, str]:
    """An amount as it is written: ``5.00`` in dollars, ``5.00 EUR`` in euros."""
    amount, _, currency = text.partition(" ")
    return {"amount": amount, "currency": currency or "USD"}


@contextmanager
def year_desk(database_url: str, directory: Path, opened: str, story: Callable[[YearDesk], None]) -> Iterator[YearDesk]:
    """A desk on a new database, after its story has happened."""
    clock = Clock(opened)
    with pytest.MonkeyPatch.context() as patch, ParisApp(database_url, clock) as app:
        bridge, client = Bridge(app), httpx.Client
        patch.setattr(asking.httpx, "Client", lambda **settings: client(**settings, transport=bridge))
        made = YearDesk(app, clock, directory)
        story(made)
        yield made
