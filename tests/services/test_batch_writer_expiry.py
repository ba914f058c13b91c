"""Expiry at decision time: what is due ends first, whether or not a sweeper has run, and however much there is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger.core import decide as deciding
from ledger.core.command import Authorize, ExpireDue, Extend, Settle
from ledger.services import batch_writer
from ledger.services.batch_writer import DUE_MAX
from ledger.storage.errors import Busy, CommitUnknown, Unavailable
from tests.services.live_world import SWEEPER, Desk, LiveWorld
from tests.services.scripted_writer import Act, Script


@pytest.fixture
def three_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch ends at most three holds."""
    monkeypatch.setattr(batch_writer, "DUE_MAX", 3)


def fill(world: LiveWorld, count: int, amount: str, ttl_seconds: int = 5) -> list[str]:
    """Holds that fall due together; the ids."""
    asked = [world.ask(amount, budget="research", ttl_seconds=ttl_seconds) for _ in range(count)]
    assert {one.status.value for one in world.decide(*asked)} == {"approved"}
    return [one.id for one in asked]


def kinds(world: LiveWorld, start: int) -> list[str]:
    """The kinds of the records from an index on."""
    return [one.kind for one in world.recorded().log[start:]]


def test_what_is_due_ends_before_the_decision(world: LiveWorld) -> None:
    """Oldest first, in the same transaction; not a microsecond before its time."""
    fill(world, 1, "60", ttl_seconds=7)
    fill(world, 1, "30", ttl_seconds=5)
    size = world.size()
    world.sources.now += 7_000_000 - 1
    with Desk(world) as desk:
        assert desk.say(world.ask("60")) == ["budget_held"]
        world.sources.now += 1
        assert desk.say(world.ask("60")) == ["approved"]
    assert kinds(world, size) == ["expiry", "denial", "expiry", "hold"]
    amounts = [row[2] for one in world.recorded().of("expiry") for row in one.body["transfers"]]
    assert amounts == ["30000000000", "60000000000"]


def test_a_warm_snapshot_knows_when_the_next_is_due(world: LiveWorld) -> None:
    """Holds of many lengths, extended or not, made here and elsewhere, end each at its own second."""
    with Desk(world) as here, Desk(world) as there:
        for desk in (here, there):
            first, second = world.ask("10", ttl_seconds=4), world.ask("20", ttl_seconds=2)
            assert desk.say(first, second) == ["approved"] * 2
            longer = world.command(Extend, world.crawler, authorization=second.id, ttl_seconds=6)
            assert desk.say(longer) == ["done"]
        available = []
        for second_passed in range(10):
            desk = (here, there)[second_passed % 2]
            desk.say(ExpireDue(caller=SWEEPER))
            available.append(world.dollars("budgets:research:available"))
            world.advance(1)
    assert available == sorted(available)
    assert (available[0], available[-1]) == (40, 100)
    assert len(world.recorded().of("expiry")) == 4


@pytest.mark.usefixtures("three_at_most")
def test_a_denial_waits_until_the_backlog_is_through(world: LiveWorld) -> None:
    """Whether there is money is known once all that is due has ended; then it is decided, and answered once."""
    fill(world, 10, "10")
    size = world.size()
    world.advance(10)
    with Desk(world) as desk:
        assert desk.say(world.ask("95"), world.ask("95")) == ["approved", "budget_held"]
    assert [(report.commands, report.records) for report in desk.reports] == [(2, 12)]
    assert desk.reports[0].outcomes == {("authorize", "approved"): 1, ("authorize", "budget_held"): 1}
    assert kinds(world, size) == ["expiry"] * 10 + ["hold", "denial"]


@pytest.mark.usefixtures("three_at_most")
def test_what_needs_no_waiting_does_not_wait(world: LiveWorld) -> None:
    """An approval that fits before the backlog is through, and a settlement of a hold that is past its time."""
    references = fill(world, 9, "10")
    size = world.size()
    world.advance(10)
    settle = world.command(Settle, world.crawler, authorization=references[-1], amount="10", currency="USD")
    with Desk(world) as desk:
        assert desk.say(world.ask("10"), settle) == ["approved", "done"]
    late = world.recorded().of("settlement")[-1].body
    assert late["flags"] == ["late"]
    assert kinds(world, size).count("expiry") <= 4


@pytest.mark.usefixtures("three_at_most")
@pytest.mark.parametrize("error", [Unavailable("gone"), Busy("locked")], ids=["unavailable", "busy"])
def test_a_failure_while_waiting_is_that_of_those_who_waited(
    script: Script, world: LiveWorld, error: Exception
) -> None:
    """What was committed before it is answered as it is on record; the key of what was not decided stays free."""
    fill(world, 9, "10")
    world.advance(10)
    with Desk(world) as desk:
        script.at("begin", None, *[error] * 2)
        small, large = world.ask("5"), world.ask("95")
        assert desk.say(small, large, world.ask("4")) == ["approved", "DatabaseUnavailable", "approved"]
        script.calm()
        assert desk.say(small, large) == ["replayed", "budget_held"]
    assert desk.reports[0].outcomes[("authorize", "approved")] == 2
    assert world.dollars("budgets:research:held") == 9


@pytest.mark.usefixtures("three_at_most")
@pytest.mark.parametrize("place", ["commit", "committed"])
def test_a_commit_lost_while_waiting(script: Script, world: LiveWorld, place: str) -> None:
    """In any of the rounds: ended once each, decided once."""
    fill(world, 10, "10")
    size = world.size()
    world.advance(10)
    acts: list[Act] = [None, CommitUnknown("lost"), None, CommitUnknown("lost")]
    script.at(place, *acts)
    with Desk(world) as desk:
        assert desk.say(world.ask("95")) == ["approved"]
    assert kinds(world, size) == ["expiry"] * 10 + ["hold"]


@pytest.mark.usefixtures("three_at_most")
def test_a_command_that_fails_after_waiting_fails_alone(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours keep the answers they have and are not decided a second time."""
    fill(world, 10, "10")
    world.advance(10)
    authorize = deciding.DECIDERS[Authorize]
    rounds: list[int] = []

    def fail_later(batch: Any, asked: Authorize) -> Any:
        if asked.amount == "95":
            rounds.append(batch.index)
            if len(rounds) > 1:
                raise ZeroDivisionError("a bug")
        return authorize(batch, asked)

    monkeypatch.setitem(deciding.DECIDERS, Authorize, fail_later)
    with Desk(world) as desk:
        assert desk.say(world.ask("5"), world.ask("95"), world.ask("90"), world.ask("1")) == [
            "approved", "CommandFailed", "approved", "approved",
        ]  # fmt: skip
    assert world.dollars("budgets:research:held") == 96


@pytest.mark.usefixtures("three_at_most")
def test_the_sweeper_ends_a_bounded_number_at_a_time(world: LiveWorld) -> None:
    """And nothing once there is nothing."""
    fill(world, 7, "10")
    world.advance(10)
    size = world.size()
    with Desk(world) as desk:
        for ended in (3, 3, 1, 0, 0):
            before = world.size()
            assert desk.say(ExpireDue(caller=SWEEPER)) == ["done"]
            assert world.size() == before + ended
    assert kinds(world, size) == ["expiry"] * 7


def test_an_evaluation_sees_what_is_due_as_ended_and_writes_nothing(world: LiveWorld) -> None:
    """As long as it is no more than one batch may end; and it spoils nothing for the decision."""
    fill(world, 9, "10")
    size = world.size()
    world.advance(10)
    with Desk(world) as desk:
        for _ in range(2):
            assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("95"))).status.value == "approved"
            assert world.size() == size
        assert desk.say(world.ask("95")) == ["approved"]
    assert kinds(world, size) == ["expiry"] * 9 + ["hold"]


@pytest.mark.usefixtures("three_at_most")
def test_an_evaluation_behind_a_backlog_is_answered(script: Script, world: LiveWorld) -> None:
    """It ends what is due, as the sweeper would, and records nothing else; a failure of that is its answer."""
    fill(world, 10, "10")
    size = world.size()
    world.advance(10)
    with Desk(world) as desk:
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("95"))).status.value == "approved"
        assert set(kinds(world, size)) == {"expiry"}
        assert desk.say(world.ask("95")) == ["approved"]
        fill_again = [world.ask("0.5", ttl_seconds=5) for _ in range(8)]
        assert desk.say(*fill_again) == ["approved"] * 8
        world.advance(10)
        script.at("begin", None, Unavailable("gone"), Unavailable("gone"))
        with pytest.raises(Exception, match="reached"):
            asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("50")))
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("50"))).status.value == "budget_held"


def test_more_than_a_batch_may_end_by_default(world: LiveWorld) -> None:
    """With the bound as it is."""
    count = DUE_MAX + 120
    fill(world, count, "0.125")
    world.advance(10)
    with Desk(world) as desk:
        assert desk.say(world.ask("99")) == ["approved"]
    assert desk.reports[0].records == count + 1
    assert world.dollars("budgets:research:held") == 99
