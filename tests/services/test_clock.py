"""The clock rule: no jump ahead expires every hold, and recorded time never runs backwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.core.command import ExpireDue
from ledger.core.moment import moment_text
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.clock import ClockGuard
from ledger.services.errors import ClockJumped
from ledger.services.sources import Sources
from tests.services.live_world import SWEEPER, LiveWorld

SECOND = 1_000_000
START = 1_793_610_000 * SECOND


class TwoClocks(Sources):
    """The database's clock and this machine's forward-only one, both moved by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = START
        self.elapsed = 0

    def decision_time(self, clock_us: int) -> int:
        return self.clock

    def elapsed_us(self) -> int:
        return self.elapsed

    def pass_time(self, seconds: float, *, clock_seconds: float | None = None) -> None:
        """Time passes here, and on the database's clock as much unless told otherwise."""
        self.elapsed += round(seconds * SECOND)
        self.clock += round((seconds if clock_seconds is None else clock_seconds) * SECOND)


@pytest.fixture
def clocks() -> TwoClocks:
    """Two clocks that agree."""
    return TwoClocks()


def guard_of(clocks: TwoClocks) -> ClockGuard:
    """A guard with a bound of 300 seconds that has seen the clock once."""
    guard = ClockGuard(clocks, bound_seconds=300)
    assert guard.check(clocks.clock) == START
    return guard


@pytest.mark.parametrize("pause", [0, 1, 86_400 * 30])
def test_a_step_up_to_the_bound_is_taken_however_long_the_pause(clocks: TwoClocks, pause: float) -> None:
    """The bound is on the difference between the clocks, so a server that was idle for a month is not locked out."""
    guard = guard_of(clocks)
    clocks.pass_time(pause, clock_seconds=pause + 300)
    assert guard.check(clocks.clock) == clocks.clock
    clocks.clock += 300 * SECOND + 1
    with pytest.raises(ClockJumped):
        guard.check(clocks.clock)


def test_a_jump_stays_refused_until_the_clock_comes_back(clocks: TwoClocks) -> None:
    """Asking often does not wear the bound down, and neither does waiting."""
    guard = guard_of(clocks)
    clocks.clock += 3_600 * SECOND
    for _ in range(20):
        clocks.pass_time(10)
        with pytest.raises(ClockJumped):
            guard.check(clocks.clock)
    clocks.clock -= 3_600 * SECOND
    assert guard.check(clocks.clock) == START + 200 * SECOND


def test_small_steps_are_followed(clocks: TwoClocks) -> None:
    """A clock that is slewed, or runs a little fast or slow, is the clock."""
    guard = guard_of(clocks)
    for step in (0.9, 1.1, 0, 2, 1, -0.5) * 50:
        clocks.pass_time(1, clock_seconds=step)
        assert guard.check(clocks.clock) == clocks.clock


def test_a_step_back_is_taken(clocks: TwoClocks) -> None:
    """The book's last record keeps time from running backwards, not the guard."""
    guard = guard_of(clocks)
    clocks.pass_time(1, clock_seconds=-7_200)
    assert guard.check(clocks.clock) == START - 7_200 * SECOND


def test_a_new_guard_takes_what_it_sees_first(clocks: TwoClocks) -> None:
    """Which is how an operator says that the clock is right."""
    guard = guard_of(clocks)
    clocks.clock += 86_400 * SECOND
    with pytest.raises(ClockJumped):
        guard.check(clocks.clock)
    assert ClockGuard(clocks, bound_seconds=300).check(clocks.clock) == clocks.clock


def test_the_forward_only_clock_runs_forward() -> None:
    """And in microseconds."""
    sources = Sources()
    first = sources.elapsed_us()
    started = sources.now_us()
    while sources.now_us() < started + 20_000:
        pass
    assert 15_000 <= sources.elapsed_us() - first < 10_000_000


# On a book.


@pytest.fixture
def timed(world: LiveWorld, clocks: TwoClocks) -> Iterator[Authorizer]:
    """An authorizer with the usual bound on the world's book, its clock that of the world's setting up."""
    clocks.clock = world.sources.now
    authorizer = Authorizer(world.url, sources=clocks, settings=AuthorizerSettings())
    authorizer.start()
    yield authorizer
    authorizer.stop(deadline_seconds=10)


def times(world: LiveWorld) -> list[str]:
    """When each record was written."""
    return [one.body["time"] for one in world.recorded().log]


def test_a_jump_ahead_refuses_and_records_nothing(world: LiveWorld, timed: Authorizer, clocks: TwoClocks) -> None:
    """No hold expires by it, whoever asks, dry or not; service comes back with the clock."""
    asked = world.ask(ttl_seconds=600)
    held = timed.decide_now(world.book_id, asked)
    assert held.status.value == "approved"
    before = times(world)
    clocks.clock += 86_400 * SECOND
    for command in (world.ask(), asked, ExpireDue(caller=SWEEPER)):
        clocks.pass_time(1)
        with pytest.raises(ClockJumped):
            timed.decide_now(world.book_id, command)
    assert times(world) == before
    clocks.clock -= 86_400 * SECOND
    assert timed.decide_now(world.book_id, world.ask()).status.value == "approved"
    assert timed.decide_now(world.book_id, asked).status.value == "replayed"
    assert world.dollars("budgets:research:held") == 2
    assert times(world)[-1] == moment_text(clocks.clock)


def test_a_step_back_keeps_recorded_time_from_running_backwards(
    world: LiveWorld, timed: Authorizer, clocks: TwoClocks
) -> None:
    """Records stand at the last time until the clock has caught up, and holds last as long as they were given."""
    clocks.pass_time(60)
    timed.decide_now(world.book_id, world.ask(ttl_seconds=600))
    latest = clocks.clock
    clocks.pass_time(1, clock_seconds=-30)
    for _ in range(3):
        outcome = timed.decide_now(world.book_id, world.ask(ttl_seconds=600))
        assert (outcome.body or {})["time"] == moment_text(latest)
        assert (outcome.body or {})["expires_at"] == moment_text(latest + 600 * SECOND)
        clocks.pass_time(5)
    clocks.pass_time(60)
    timed.decide_now(world.book_id, world.ask())
    recorded = times(world)
    assert recorded == sorted(recorded)
    assert recorded[-1] == moment_text(clocks.clock) > moment_text(latest)


def test_the_time_is_that_of_the_database(world: LiveWorld) -> None:
    """Read under the head's lock; here it is this machine's, and the book's last record when that is later."""
    authorizer = Authorizer(world.url)
    authorizer.start()
    before = Sources().now_us()
    outcome = authorizer.decide_now(world.book_id, world.ask())
    after = Sources().now_us()
    authorizer.stop(deadline_seconds=10)
    opened = world.sources.now
    recorded_at = (outcome.body or {})["time"]
    assert moment_text(max(before, opened)) <= recorded_at <= moment_text(max(after, opened))
