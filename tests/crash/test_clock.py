"""A clock that jumps: ahead it is refused, back it changes nothing, and time that really passed is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.core.command import Allocate, Authorize, Caller, CreateAgent, CreateBudget, CreateKey, Settle
from ledger.core.outcome import Outcome
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.books import open_new_book
from ledger.services.clock import ClockGuard
from ledger.services.errors import ClockJumped
from ledger.services.sources import Sources, parse_key
from ledger.services.verify import verify_books
from ledger.storage import migrate
from tests.support.databases import sqlite_url
from tests.support.recorded import Recorded
from tests.support.running_app import RunningApp, authorization, usd

BOUND_SECONDS = 300
SECOND_US = 1_000_000


class JumpingSources(Sources):
    """The database's clock as a test sets it, apart from the time that passes here."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_ahead_seconds = 0
        self.passed_seconds = 0

    def pass_time(self, seconds: int) -> None:
        """Let time pass, on every clock alike."""
        self.passed_seconds += seconds
        self.clock_ahead_seconds += seconds

    def decision_time(self, clock_us: int) -> int:
        """The database's clock, off by as much as was said."""
        return clock_us + self.clock_ahead_seconds * SECOND_US

    def elapsed_us(self) -> int:
        """The clock of this machine that only runs forward."""
        return super().elapsed_us() + self.passed_seconds * SECOND_US


class Desk:
    """An authorizer on one book with an agent and a budget of 100.00."""

    def __init__(self, database_url: str) -> None:
        migrate.upgrade(database_url)
        self.sources = JumpingSources()
        self.database_url = database_url
        opened = open_new_book(database_url, name="acme", currency="USD", timezone="UTC", sources=self.sources)
        self.book_id = opened.book.book_id
        self.authorizer = Authorizer(
            database_url,
            sources=self.sources,
            settings=AuthorizerSettings(clock_jump_seconds=float(BOUND_SECONDS)),
        )
        self.authorizer.start()
        parsed = parse_key(opened.admin_key)
        assert parsed is not None
        self._made = 0
        admin = Caller(parsed.digest)
        _, digest = self.sources.new_key(self.book_id, "agent")
        self.agent = Caller(digest)
        self.do(CreateAgent, admin, id=self.sources.new_id("agt"), name="crawler", kind="agent")
        self.do(CreateKey, admin, id=self.sources.new_id("key"), digest=digest, role="agent", agent="crawler")
        self.do(
            CreateBudget, admin, id=self.sources.new_id("bud"), name="research", currency="USD", agents=("crawler",)
        )
        self.do(Allocate, admin, id=self.sources.new_id("alc"), budget="research", amount="100", currency="USD")

    def do(self, kind: type, caller: Caller, /, **fields: object) -> Outcome:
        """Decide one command."""
        self._made += 1
        command = kind(caller=caller, idempotency_key=f"key-{self._made}", **fields)
        return self.authorizer.decide_now(self.book_id, command)

    def hold(self, ttl_seconds: int = 60) -> Outcome:
        """Ask for 1.00."""
        fields = {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
        return self.do(Authorize, self.agent, id=self.sources.new_id("auth"), ttl_seconds=ttl_seconds, **fields)

    def recorded(self) -> Recorded:
        """What is in the book."""
        return Recorded(self.database_url, self.book_id)

    def times(self) -> list[str]:
        """The times of all records, in order."""
        return [record.body["time"] for record in self.recorded().log]


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A desk on either database; in the end its book verifies."""
    made = Desk(database_url)
    yield made
    made.authorizer.stop(deadline_seconds=10)
    assert [report.verified for report in verify_books(database_url)] == [True]


def test_a_jump_ahead_is_refused_and_expires_nothing(desk: Desk) -> None:
    """Refused as long as it lasts, for everything that would decide; nothing is recorded, and once the clock is right
    the hold is there as if nothing had been."""
    held = desk.hold()
    size = len(desk.recorded().log)
    desk.sources.clock_ahead_seconds = BOUND_SECONDS + 1
    for _ in range(3):
        with pytest.raises(ClockJumped):
            desk.hold()
    assert len(desk.recorded().log) == size
    desk.sources.clock_ahead_seconds = 0
    reference = (held.body or {})["authorization"]
    settled = desk.do(Settle, desk.agent, authorization=reference, amount="1", currency="USD")
    assert (settled.body or {})["state"] == "settled"
    assert "flags" not in (settled.body or {})


def test_a_jump_within_the_bound_is_believed(desk: Desk) -> None:
    """The bound is what may be corrected unseen; a hold that is over by then expires."""
    desk.hold(ttl_seconds=BOUND_SECONDS - 10)
    desk.sources.clock_ahead_seconds = BOUND_SECONDS - 5
    assert desk.hold().status.value == "approved"
    assert [record.kind for record in desk.recorded().log].count("expiry") == 1


def test_time_that_really_passed_is_believed(desk: Desk) -> None:
    """A night without requests is no jump: this machine's own clock says as much."""
    desk.hold()
    desk.sources.pass_time(8 * 3600)
    assert desk.hold().status.value == "approved"
    assert [record.kind for record in desk.recorded().log].count("expiry") == 1


def test_a_clock_set_back_stops_the_book_s_time_and_not_its_service(desk: Desk) -> None:
    """Decisions go on at the time of the last record, holds do not live longer than they were to on that clock, and
    when the clock is set right again, that is no jump."""
    desk.sources.pass_time(7200)
    desk.hold(ttl_seconds=60)
    desk.sources.clock_ahead_seconds -= 3600
    assert desk.hold().status.value == "approved"
    times = desk.times()
    assert times == sorted(times)
    assert times[-1] == times[-2]
    desk.sources.clock_ahead_seconds += 3600
    desk.sources.pass_time(30)
    assert desk.hold().status.value == "approved"
    times = desk.times()
    assert times == sorted(times)
    assert times[-1] > times[-2]
    assert [record.kind for record in desk.recorded().log].count("expiry") == 0


def test_a_restart_says_that_the_clock_is_right(desk: Desk) -> None:
    """A new process has no time to compare with, and takes the clock as its operator left it."""
    desk.hold()
    desk.sources.clock_ahead_seconds = 3600
    with pytest.raises(ClockJumped):
        desk.hold()
    desk.authorizer.stop(deadline_seconds=10)
    desk.authorizer = Authorizer(desk.database_url, sources=desk.sources)
    desk.authorizer.start()
    assert desk.hold().status.value == "approved"


@pytest.mark.parametrize(
    ("readings", "refused"),
    [
        ([(0, 0), (300, 0)], None),
        ([(0, 0), (301, 0)], 1),
        ([(0, 0), (1000, 700)], None),
        ([(0, 0), (1000, 699)], 1),
        ([(1000, 0), (0, 10), (1010, 10)], None),
        ([(1000, 0), (0, 10), (1400, 10)], 2),
        ([(1000, 0), (800, 0), (1000, 0)], None),
        ([(1000, 0), (800, 0), (1101, 0)], 2),
    ],
)
def test_readings_in_a_row(readings: list[tuple[int, int]], refused: int | None) -> None:
    """Seconds on the database's clock and on this machine's, and which reading is refused: ahead by more than 300."""
    now = {"elapsed": 0}

    class Elapsed(Sources):
        def elapsed_us(self) -> int:
            return now["elapsed"] * SECOND_US

    guard = ClockGuard(Elapsed(), bound_seconds=BOUND_SECONDS)
    found = None
    for number, (clock, elapsed) in enumerate(readings):
        now["elapsed"] = elapsed
        try:
            assert guard.check(clock * SECOND_US) == clock * SECOND_US
        except ClockJumped:
            found = number
            break
    assert found == refused


def test_over_http(tmp_path: Path) -> None:
    """503 with Retry-After on hot routes and behind them, in a batch item by item; reads go on."""
    sources = JumpingSources()
    with RunningApp(sqlite_url(tmp_path), sources=sources, sweep_interval_seconds=0) as app:
        key = app.make_agent("crawler", budget="research")
        made = app.make("/v1/authorizations", authorization("2.00"), key=key)
        size = app.log_size()
        sources.clock_ahead_seconds = 3600
        settle = f"/v1/authorizations/{made['id']}/settle"
        for path, body in (
            ("/v1/authorizations", authorization()),
            (settle, {"amount": usd("1.00")}),
            ("/v1/runs", {"name": "run-1"}),
            ("/v1/evaluations", authorization()),
        ):
            answer = app.post(path, body, key=key)
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "clock_jumped", "30")
        batch = app.post("/v1/authorizations/batch", {"items": [authorization(idempotency_key="a")]}, key=key)
        assert [item["problem"]["code"] for item in batch.json["items"]] == ["clock_jumped"]
        assert app.get(f"/v1/authorizations/{made['id']}", key=key).json["state"] == "held"
        assert app.log_size() == size
        sources.clock_ahead_seconds = 0
        assert app.post(settle, {"amount": usd("1.00")}, key=key).status == 200
