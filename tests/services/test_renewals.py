"""Renewals and stopping on real databases: exactly once whatever processes run, were down, or died in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core import renewing
from ledger.core.command import Caller, Command, ExpireDue, FreezeAgent, Release, Settle
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget, SetRenewal, StopRenewal
from ledger.core.moment import moment_of
from ledger.services import batch_writer
from ledger.storage.engine import create_engine
from ledger.storage.errors import CommitUnknown, Unavailable
from ledger.storage.queries_due import books_due
from tests.services.live_world import SWEEPER, Desk, LiveWorld
from tests.services.scripted_writer import Act, Script
from tests.support.ledger import SECOND

DAY = 24 * 3600
MIDNIGHT = moment_of("2026-11-02T23:00:00Z")
"""The first midnight in Paris after the opening of these books."""


def renew(world: LiveWorld, budget: str = "research", amount: str = "100", **fields: Any) -> None:
    """Set a renewal, daily unless told otherwise."""
    fields = {"every": "day", "currency": "USD"} | fields
    assert world.do(SetRenewal, world.admin, budget=budget, amount=amount, **fields).status.value == "done"


def renewed(world: LiveWorld) -> list[tuple[str, str]]:
    """(budget, the midnight its period began at) of every renewal on record, oldest first."""
    return [(one.body["renewed"], one.body["period"]["from"]) for one in world.recorded().of("renewal")]


def check_once(world: LiveWorld, budgets: int, days: int) -> None:
    """Each of so many budgets renewed once at each of so many midnights, in order."""
    found = renewed(world)
    assert len(found) == len(set(found)) == budgets * days
    for name in {name for name, _ in found}:
        midnights = [moment_of(at) for other, at in found if other == name]
        assert midnights[0] == MIDNIGHT
        assert {later - earlier for earlier, later in pairwise(midnights)} <= {DAY * SECOND}
    assert [at for _, at in found] == sorted(at for _, at in found)


@pytest.fixture
def four_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch renews at most four times."""
    monkeypatch.setattr(batch_writer, "RENEWALS_MAX", 4)
    monkeypatch.setattr(renewing, "RENEWALS_MAX", 4)


def family(world: LiveWorld, count: int = 5) -> None:
    """``research`` and so many budgets below it, all renewing daily."""
    for number in range(count):
        world.budget(f"b-{number}", None, parent="research")
        renew(world, f"b-{number}", "1")
    renew(world, "research", "50")


def test_the_first_to_decide_after_midnight_renews(world: LiveWorld) -> None:
    """Not a microsecond before it, in a snapshot that is warm or not."""
    world.decide(world.ask("90", ttl_seconds=DAY))
    renew(world)
    with Desk(world) as here, Desk(world) as there:
        world.sources.now = MIDNIGHT - 1
        assert here.say(world.ask("20")) == there.say(world.ask("20")) == ["budget_held"]
        world.sources.now = MIDNIGHT
        assert there.say(world.ask("100")) == ["approved"]
        assert here.say(world.ask("1")) == ["budget_held"]
    check_once(world, 1, 1)


def test_two_processes_race_over_many_midnights(world: LiveWorld) -> None:
    """Both come across each midnight at the same time; one of them records it."""
    renew(world, amount="30", carry_over="10")
    with Desk(world) as here, Desk(world) as there:
        for _ in range(12):
            world.advance(DAY)
            ready = threading.Barrier(2)

            def decide(desk: Desk, ready: threading.Barrier = ready) -> None:
                ready.wait(10)
                for _ in range(3):
                    desk.say(ExpireDue(caller=SWEEPER), world.ask("1", ttl_seconds=60))

            threads = [threading.Thread(target=decide, args=(desk,)) for desk in (here, there)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    check_once(world, 1, 12)
    assert world.recorded().lowest("budgets:research:available") >= 0


def test_three_days_without_a_process(world: LiveWorld) -> None:
    """Each missed period has its record, before the first decision; those above come first."""
    world.budget("a-below", None, parent="research")
    renew(world, "a-below", "20", carry_over="25")
    renew(world, "research", "50")
    size = world.size()
    world.advance(3 * DAY)
    with Desk(world) as desk:
        assert desk.say(world.ask("30", budget="research")) == ["approved"]
    assert [one.kind for one in world.recorded().log[size:]] == ["renewal"] * 6 + ["hold"]
    assert [name for name, _ in renewed(world)] == ["research", "a-below"] * 3
    check_once(world, 2, 3)
    assert world.dollars("budgets:a-below:available") == 45


@pytest.mark.usefixtures("four_at_most")
def test_a_backlog_beyond_the_bound(world: LiveWorld) -> None:
    """In batches of the bound, before anything else of the book; then what was asked is answered, once."""
    family(world)
    size = world.size()
    world.advance(3 * DAY)
    with Desk(world) as desk:
        settle = world.command(Settle, world.crawler, authorization="auth_0000000000000000000000000A", amount="1",
                               currency="USD")  # fmt: skip
        assert desk.say(world.ask("45", budget="research"), settle) == ["approved", "not_found"]
    assert desk.reports[0].records == 19
    assert [one.kind for one in world.recorded().log[size:]] == ["renewal"] * 18 + ["hold"]
    assert [name for name, _ in renewed(world)] == ["research", *(f"b-{number}" for number in range(5))] * 3
    check_once(world, 6, 3)


@pytest.mark.usefixtures("four_at_most")
def test_the_sweeper_renews_a_bounded_number_at_a_time(world: LiveWorld) -> None:
    """On a book where nobody asks for anything; and nothing once there is nothing."""
    family(world)
    world.advance(2 * DAY)
    with Desk(world) as desk:
        for count in (4, 4, 4, 0):
            size = world.size()
            assert desk.say(ExpireDue(caller=SWEEPER)) == ["done"]
            assert world.size() == size + count
    check_once(world, 6, 2)


@pytest.mark.usefixtures("four_at_most")
@pytest.mark.parametrize("place", ["commit", "committed"])
def test_a_commit_whose_outcome_is_lost(script: Script, world: LiveWorld, place: str) -> None:
    """Whether it happened or not: in any of the rounds, each period once."""
    family(world)
    world.advance(3 * DAY)
    acts: list[Act] = [None, CommitUnknown("lost"), None, CommitUnknown("lost"), CommitUnknown("lost")]
    script.at(place, *acts)
    with Desk(world) as desk:
        assert desk.say(world.ask("45", budget="research")) == ["approved"]
    check_once(world, 6, 3)


def test_a_database_that_is_away_at_midnight(script: Script, world: LiveWorld) -> None:
    """Nothing is renewed without it, and nothing is missed."""
    renew(world)
    world.sources.now = MIDNIGHT
    with Desk(world) as desk:
        script.at("begin", *[Unavailable("gone")] * 2)
        assert desk.say(world.ask("1")) == ["DatabaseUnavailable"]
        assert renewed(world) == []
        script.calm()
        world.advance(2 * DAY)
        assert desk.say(world.ask("1")) == ["approved"]
    check_once(world, 1, 3)


KILLED = """
import os, sys
from ledger.core.command import Caller, ExpireDue
from ledger.services.batch_writer import BatchWriter
from ledger.services.sources import Sources
from ledger.storage.sqlite_writer import SqliteWriter
from ledger.storage.postgresql_writer import PostgresqlWriter

url, book_id, now, where = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

class At(Sources):
    def decision_time(self, clock_us):
        return now

def dying(cls):
    commit = cls.write_and_commit
    def write_and_commit(self, changeset, *, text_secret=None):
        if where == "before":
            self.write(changeset, text_secret=text_secret)
        else:
            commit(self, changeset, text_secret=text_secret)
        os._exit(9)
    cls.write_and_commit = write_and_commit

dying(SqliteWriter)
dying(PostgresqlWriter)
writer = BatchWriter(url, sources=At(), clock_jump_seconds=1e9, lock_timeout_seconds=5.0)
writer.process(book_id, (ExpireDue(caller=Caller(None)),), dry=False)
"""


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_process_that_is_killed_while_it_renews(world: LiveWorld, where: str) -> None:
    """Between writing and committing, or between committing and answering: the next process finishes, once."""
    family(world)
    world.advance(2 * DAY)
    arguments = [world.url, str(world.book_id), str(world.sources.now), where]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=60)
    assert died.returncode == 9, died.stderr
    assert len(renewed(world)) == (0 if where == "before" else 12)
    with Desk(world) as desk:
        assert desk.say(world.ask("1", budget="research")) == ["approved"]
    check_once(world, 6, 2)


def test_a_clock_that_goes_back_renews_nothing_again(world: LiveWorld) -> None:
    """A decision is never earlier than the last record, and what was renewed stays so."""
    renew(world)
    world.sources.now = MIDNIGHT
    with Desk(world) as here, Desk(world) as there:
        assert here.say(ExpireDue(caller=SWEEPER)) == ["done"]
        world.sources.now = MIDNIGHT - 3600 * SECOND
        for desk in (here, there):
            assert desk.say(ExpireDue(caller=SWEEPER), world.ask("1")) == ["done", "approved"]
        world.sources.now = MIDNIGHT + 1
        assert there.say(world.ask("1")) == ["approved"]
    check_once(world, 1, 1)


def test_a_clock_that_jumps_far_ahead_renews_nothing(world: LiveWorld) -> None:
    """It is refused as it is for expiries; a year of renewals on a wrong clock could not be taken back."""
    renew(world)
    with Desk(world, clock_jump_seconds=3600) as desk:
        desk.say(world.ask("1"))
        size = world.size()
        world.advance(30 * DAY)
        assert desk.say(world.ask("1")) == ["ClockJumped"]
        assert world.size() == size


def engine_of(world: LiveWorld) -> Engine:
    """A reader's engine."""
    return create_engine(world.url, pool_size=1)


def test_the_sweeper_finds_a_book_with_nothing_but_a_renewal(world: LiveWorld) -> None:
    """From the midnight on, until it has renewed; not once the renewal is stopped."""
    renew(world)
    engine = engine_of(world)

    def due(now: int) -> bool:
        with engine.connect() as connection:
            return world.book_id in books_due(connection, now)

    try:
        assert [due(MIDNIGHT - 1), due(MIDNIGHT), due(MIDNIGHT + DAY * SECOND)] == [False, True, True]
        world.sources.now = MIDNIGHT
        world.decide(ExpireDue(caller=SWEEPER))
        assert [due(MIDNIGHT), due(MIDNIGHT + DAY * SECOND)] == [False, True]
        world.do(StopRenewal, world.admin, budget="research")
        assert not due(MIDNIGHT + DAY * SECOND)
    finally:
        engine.dispose()


def test_an_evaluation_after_midnight_sees_it_and_records_nothing(world: LiveWorld) -> None:
    """And spoils nothing for the decision."""
    renew(world, amount="500")
    world.sources.now = MIDNIGHT
    size = world.size()
    with Desk(world) as desk:
        for _ in range(2):
            assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("450"))).status.value == "approved"
            assert world.size() == size
        assert desk.say(world.ask("450")) == ["approved"]
    check_once(world, 1, 1)


@pytest.mark.usefixtures("four_at_most")
def test_an_evaluation_behind_a_backlog_is_answered(world: LiveWorld) -> None:
    """What is due renews, as the sweeper would have it; the evaluation itself records nothing."""
    family(world)
    world.advance(3 * DAY)
    size = world.size()
    with Desk(world) as desk:
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("45", budget="research"))).status.value
    assert {one.kind for one in world.recorded().log[size:]} == {"renewal"}


def test_a_setting_made_elsewhere_is_known_here(world: LiveWorld) -> None:
    """A warm snapshot learns of a renewal by another process from the head that moved."""
    with Desk(world) as here, Desk(world) as there:
        assert here.say(world.ask("1", ttl_seconds=60)) == ["approved"]
        asked = world.command(
            SetRenewal, world.admin, budget="research", every="day", amount="7", carry_over="0", currency="USD"
        )
        assert there.say(asked) == ["done"]
        world.sources.now = MIDNIGHT
        assert here.say(world.ask("1")) == ["approved"]
        assert there.say(world.ask("6"), world.ask("1")) == ["approved", "budget_held"]
    check_once(world, 1, 1)


# Stopping, and closing.


def stops(world: LiveWorld) -> list[tuple[Command, Command, str]]:
    """Ways to stop the crawler, ways to let it go on, and what it is answered in between."""
    made = []
    for kind, fields, code in (
        (FreezeBook, {}, "book_frozen"),
        (FreezeBudget, {"budget": "research"}, "budget_frozen"),
        (FreezeAgent, {"agent": "crawler"}, "agent_frozen"),
    ):
        pair = [
            world.command(kind, world.admin, frozen=frozen, reason="an operator said so", **fields)
            for frozen in (True, False)
        ]
        made.append((pair[0], pair[1], code))
    return made


def test_a_freeze_there_is_effective_here_at_the_next_decision(world: LiveWorld) -> None:
    """Both ways, for what is new; what is in flight ends in either process."""
    with Desk(world) as here, Desk(world) as there:
        for stop, go, code in stops(world):
            first, second = world.ask("5"), world.ask("5")
            assert here.say(first, second) == ["approved"] * 2
            assert there.say(world.ask("1", ttl_seconds=60)) == ["approved"]
            assert there.say(stop) == ["done"]
            assert here.say(world.ask("1"), world.ask("1")) == [code] * 2
            settle = world.command(Settle, world.crawler, authorization=first.id, amount="5", currency="USD")
            assert here.say(settle) == ["done"]
            assert there.say(world.command(Release, world.crawler, authorization=second.id)) == ["done"]
            assert here.say(go) == ["done"]
            assert there.say(world.ask("1", ttl_seconds=60)) == ["approved"]


def test_the_owner_of_the_database_stops_a_book_under_running_servers(world: LiveWorld) -> None:
    """Without any key; it is on record as done by the owner."""
    owner = Caller(None, as_owner=True)
    with Desk(world) as here, Desk(world) as there:
        assert here.say(world.ask("1")) == ["approved"]
        assert there.say(FreezeBook(caller=owner, frozen=True, reason="stop everything")) == ["done"]
        assert here.say(world.ask("1")) == ["book_frozen"]
        assert there.say(FreezeBook(caller=owner, frozen=False, reason="it was a drill")) == ["done"]
        assert here.say(world.ask("1")) == ["approved"]
    bodies = [one.body for one in world.recorded().of("book_freeze", "book_unfreeze")]
    assert [body["by"] for body in bodies] == [{"principal": "system:database-owner"}] * 2


def test_what_is_closed_there_is_closed_here(world: LiveWorld) -> None:
    """And a child made here counts there."""
    with Desk(world) as here, Desk(world) as there:
        world.budget("below", "10", "crawler", parent="research")
        assert there.say(world.command(CloseBudget, world.admin, budget="research")) == ["budget_in_use"]
        assert here.say(world.ask("1", budget="below", ttl_seconds=60)) == ["approved"]
        world.advance(60)
        assert there.say(world.command(CloseBudget, world.admin, budget="below")) == ["done"]
        assert here.say(world.ask("1", budget="below")) == ["budget_closed"]
        assert here.say(world.command(CloseBudget, world.admin, budget="research")) == ["done"]
        assert there.say(world.ask("1", budget="research")) == ["budget_closed"]
    assert world.dollars("authority") == 0
