"""Between the event loop and the writer threads: one wake-up for a batch, and nothing queued is withdrawn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.handover import Handover
from ledger.core.outcome import Outcome
from ledger.services.errors import LeftLine, Overloaded, Stopping, UnknownBook
from tests.services.live_world import Desk, LiveWorld, codes
from tests.services.scripted_writer import Script
from tests.services.test_authorizer import Gate


class Watched:
    """A hand-over inside a loop, counting submissions and wake-ups."""

    def __init__(self, desk: Desk) -> None:
        self.loop = asyncio.get_running_loop()
        self.submitted: list[int] = []
        self.wakes = 0
        wake, submit = self.loop.call_soon_threadsafe, desk.authorizer.submit
        submit_together = desk.authorizer.submit_together

        def counting_wake(*arguments: Any, **named: Any) -> Any:
            self.wakes += 1
            return wake(*arguments, **named)

        def counting_submit(book_id: int, commands: Any, deliver: Any, **named: Any) -> None:
            self.submitted.append(len(commands))
            submit(book_id, commands, deliver, **named)

        def counting_together(book_id: int, submissions: Any) -> None:
            self.submitted.append(sum(len(one.commands) for one in submissions))
            submit_together(book_id, submissions)

        self.loop.call_soon_threadsafe = counting_wake  # type: ignore[method-assign]
        desk.authorizer.submit = counting_submit  # type: ignore[method-assign]
        desk.authorizer.submit_together = counting_together  # type: ignore[method-assign]
        self.handover = Handover(desk.authorizer, self.loop)


def test_one_turn_is_one_submission_and_one_batch_one_wake_up(world: LiveWorld) -> None:
    """However many requests there are; each gets its own outcome."""

    async def requests(desk: Desk) -> tuple[Watched, list[Outcome]]:
        watched = Watched(desk)
        asked = [world.ask("0.25") for _ in range(50)]
        outcomes = await asyncio.gather(*[watched.handover.decide(world.book_id, one) for one in asked])
        assert [(one.body or {})["authorization"] for one in outcomes] == [one.id for one in asked]
        return watched, list(outcomes)

    with Desk(world) as desk:
        watched, outcomes = asyncio.run(requests(desk))
    assert codes(list(outcomes)) == ["approved"] * 50
    assert (watched.submitted, watched.wakes) == ([50], 1)
    assert [report.commands for report in desk.reports] == [50]


def test_those_who_may_wait_in_line_are_handed_over_with_the_rest(world: LiveWorld) -> None:
    """One submission to the queue and one batch, for those who may wait and those who may not."""

    async def requests(desk: Desk) -> tuple[Watched, list[Outcome]]:
        watched = Watched(desk)
        asked = [world.ask("0.25") for _ in range(20)]
        waiting = [
            watched.handover.decide_waiting(world.book_id, one, 20).future
            if number % 2
            else watched.handover.decide(world.book_id, one)
            for number, one in enumerate(asked)
        ]
        outcomes = await asyncio.gather(*waiting)
        assert [(one.body or {})["authorization"] for one in outcomes] == [one.id for one in asked]
        return watched, list(outcomes)

    with Desk(world) as desk:
        watched, outcomes = asyncio.run(requests(desk))
    assert codes(list(outcomes)) == ["approved"] * 20
    assert (watched.submitted, watched.wakes) == ([20], 1)
    assert [report.commands for report in desk.reports] == [20]


def test_who_left_before_it_was_handed_over_is_not_decided(world: LiveWorld) -> None:
    size = world.size()

    async def leave(desk: Desk) -> None:
        waiting = Handover(desk.authorizer, asyncio.get_running_loop()).decide_waiting(world.book_id, world.ask(), 20)
        waiting.leave()
        with pytest.raises(LeftLine):
            await waiting.future

    with Desk(world) as desk:
        asyncio.run(leave(desk))
    assert world.size() == size


def test_submissions_that_commit_together_wake_once(script: Script, world: LiveWorld) -> None:
    """Those of several turns of the loop that became one batch."""
    gate = Gate()

    async def requests(desk: Desk) -> tuple[int, list[str]]:
        watched = Watched(desk)
        script.at("commit", gate)
        first = watched.handover.decide(world.book_id, world.ask())
        await asyncio.sleep(0)
        await asyncio.to_thread(gate.reached)
        waiting = []
        for _ in range(5):
            waiting += [watched.handover.decide(world.book_id, world.ask()) for _ in range(3)]
            await asyncio.sleep(0)
        watched.wakes = 0
        gate.open()
        said = codes(list(await asyncio.gather(first, *waiting)))
        return watched.wakes, said

    with Desk(world) as desk:
        wakes, said = asyncio.run(requests(desk))
    assert said == ["approved"] * 16
    assert 1 <= wakes <= 2
    assert [report.commands for report in desk.reports] == [1, 15]


def test_outcomes_that_arrive_before_the_loop_wakes_travel_together(world: LiveWorld) -> None:
    """While the loop is busy, the writer does not knock again."""

    async def requests(desk: Desk) -> int:
        watched = Watched(desk)
        books = [world.book_id, world.book_id ^ 1, world.book_id ^ 2]
        waiting = [watched.handover.decide(book, world.ask()) for book in books]
        await asyncio.sleep(0)
        while len(desk.reports) < 3:
            pass
        assert not any(one.done() for one in waiting)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in results] == [Outcome, UnknownBook, UnknownBook]
        return watched.wakes

    with Desk(world) as desk:
        assert asyncio.run(requests(desk)) == 1


@pytest.mark.parametrize("when", ["before it is queued", "while it commits"])
def test_a_client_that_left_does_not_withdraw_its_command(script: Script, world: LiveWorld, when: str) -> None:
    """It is on record, and its neighbours get their answers."""
    gate = Gate()

    async def requests(desk: Desk) -> list[str]:
        watched = Watched(desk)
        waiting = [watched.handover.decide(world.book_id, world.ask()) for _ in range(3)]
        if when == "before it is queued":
            waiting[1].cancel()
        else:
            script.at("commit", gate)
            await asyncio.sleep(0)
            await asyncio.to_thread(gate.reached)
            waiting[1].cancel()
            gate.open()
        return codes([await waiting[0], await waiting[2]])

    with Desk(world) as desk:
        assert asyncio.run(requests(desk)) == ["approved", "approved"]
    assert len(world.recorded().of("hold")) == 3


def test_a_batch_of_items_is_one_submission_and_answers_in_order(world: LiveWorld) -> None:
    """And goes on when its client leaves."""

    async def requests(desk: Desk) -> Watched:
        watched = Watched(desk)
        asked = [world.ask("0.5"), world.ask("500"), world.ask("0.5")]
        assert codes(await watched.handover.decide_all(world.book_id, asked)) == [
            "approved", "insufficient_budget", "approved",
        ]  # fmt: skip
        leaving = asyncio.ensure_future(watched.handover.decide_all(world.book_id, [world.ask(), world.ask()]))
        await asyncio.sleep(0)
        leaving.cancel()
        return watched

    with Desk(world) as desk:
        watched = asyncio.run(requests(desk))
    assert watched.submitted == [3, 2]
    assert len(world.recorded().of("hold")) == 4


def test_what_was_not_queued_fails_for_each(world: LiveWorld) -> None:
    """A full queue, and a server that stops: nothing recorded, nobody left waiting."""
    size = world.size()

    async def requests(desk: Desk, error: type[Exception]) -> None:
        handover = Handover(desk.authorizer, asyncio.get_running_loop())
        waiting = [handover.decide(world.book_id, world.ask()) for _ in range(3)]
        waiting.append(handover.decide_waiting(world.book_id, world.ask(), 20).future)
        waiting[0].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in results] == [asyncio.CancelledError, error, error, error]
        with pytest.raises(error):
            await handover.decide_all(world.book_id, [world.ask() for _ in range(4)])

    with Desk(world, queue_commands_max=3) as desk:
        asyncio.run(requests(desk, Overloaded))
    asyncio.run(requests(desk, Stopping))
    assert world.size() == size


def test_a_loop_that_has_closed_stops_nothing(script: Script, world: LiveWorld) -> None:
    """Its outcomes find nobody; the next loop's do."""
    gate = Gate()

    async def leave(desk: Desk) -> None:
        handover = Handover(desk.authorizer, asyncio.get_running_loop())
        handover.decide(world.book_id, world.ask())
        await asyncio.sleep(0)
        await asyncio.to_thread(gate.reached)

    async def stay(desk: Desk) -> Outcome:
        return await Handover(desk.authorizer, asyncio.get_running_loop()).decide(world.book_id, world.ask())

    with Desk(world) as desk:
        script.at("commit", gate)
        asyncio.run(leave(desk))
        gate.open()
        assert asyncio.run(stay(desk)).status.value == "approved"
    assert len(world.recorded().of("hold")) == 2
