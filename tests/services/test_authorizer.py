"""The authorizer from submission to answer: group commit, bounds, order, stopping, and evaluations."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from ledger.core.command import Allocate, Settle
from ledger.services.errors import CommandFailed, Overloaded, Stopping, UnknownBook
from ledger.storage.errors import Unavailable
from tests.services.live_world import Desk, LiveWorld, codes
from tests.services.scripted_writer import Script, ScriptedWriter


class Gate:
    """Stops a writer at a place until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, writer: ScriptedWriter) -> None:
        self._reached.set()
        assert self._open.wait(60)

    def reached(self) -> None:
        """Wait until a writer stands there."""
        assert self._reached.wait(60)

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


def test_what_arrives_during_a_commit_is_one_next_batch(script: Script, world: LiveWorld) -> None:
    """However many submissions; and a single one does not wait for company."""
    gate = Gate()
    with Desk(world) as desk:
        script.at("commit", gate)
        first = desk.submit(world.ask())
        gate.reached()
        others = [desk.submit(world.ask()) for _ in range(20)] + [desk.submit(*[world.ask() for _ in range(5)])]
        assert desk.authorizer.queue_depth == 25
        assert not first.done.is_set()
        gate.open()
        assert codes(first.wait()) == ["approved"]
        assert [codes(one.wait()) for one in others] == [["approved"]] * 20 + [["approved"] * 5]
    assert [(report.commands, report.records) for report in desk.reports] == [(1, 1), (25, 25)]
    assert script.count("committed") == 2


def test_nothing_is_delivered_before_its_commit(script: Script, world: LiveWorld) -> None:
    """In the order of events, over several batches, and after an attempt that failed."""
    events: list[str] = []
    script.events = events
    done = threading.Semaphore(0)

    def deliver(results: list[Any]) -> None:
        events.append("delivered")
        done.release()

    script.at("commit", Unavailable("gone"))
    with Desk(world) as desk:
        for _ in range(3):
            desk.authorizer.submit(world.book_id, (world.ask(),), deliver)
            assert done.acquire(timeout=60)
    told = [event for event in events if event in ("commit", "committed", "delivered")]
    assert told == ["commit"] + ["commit", "committed", "delivered"] * 3


def test_commands_of_a_book_are_decided_in_order_of_arrival(script: Script, world: LiveWorld) -> None:
    """Across submissions and batches: each settles what the one before it held, and their log indexes rise."""
    gate = Gate()
    with Desk(world, batch_commands_max=7) as desk:
        script.at("commit", gate)
        desk.submit(world.ask("0.01"))
        gate.reached()
        waiting = []
        for _ in range(12):
            asked = world.ask("5")
            waiting.append(desk.submit(asked))
            waiting.append(
                desk.submit(world.command(Settle, world.crawler, authorization=asked.id, amount="5", currency="USD"))
            )
        gate.open()
        results = [result for one in waiting for result in one.wait()]
    assert codes(results) == ["approved", "done"] * 12
    indexes = [result.log_index for result in results]
    assert indexes == sorted(indexes)
    assert [report.commands for report in desk.reports] == [1, 7, 7, 7, 3]


def test_batches_are_bounded_and_submissions_whole(script: Script, world: LiveWorld) -> None:
    """A submission that does not fit goes with the next batch; one larger than a batch goes alone."""
    gate = Gate()
    with Desk(world, batch_commands_max=10) as desk:
        script.at("commit", gate)
        desk.submit(world.ask("0.01"))
        gate.reached()
        sizes = [4, 5, 2, 12, 1]
        waiting = [desk.submit(*[world.ask("0.01") for _ in range(size)]) for size in sizes]
        gate.open()
        assert [len(one.wait()) for one in waiting] == sizes
    assert [report.commands for report in desk.reports] == [1, 9, 2, 12, 1]


def test_a_full_queue_refuses_at_once(script: Script, world: LiveWorld) -> None:
    """Nothing of what was refused is queued or recorded, and there is service again afterwards."""
    gate = Gate()
    size = world.size()
    with Desk(world, queue_commands_max=5) as desk:
        script.at("commit", gate)
        first = desk.submit(world.ask())
        gate.reached()
        second = desk.submit(*[world.ask() for _ in range(4)])
        for _ in range(3):
            with pytest.raises(Overloaded):
                desk.submit(world.ask(), world.ask())
        assert desk.authorizer.queue_depth == 4
        gate.open()
        assert codes(first.wait() + second.wait()) == ["approved"] * 5
        assert desk.say(world.ask()) == ["approved"]
    assert world.size() == size + 6


def test_books_take_turns(script: Script, shared_url: str, world: LiveWorld) -> None:
    """One book with a long queue does not keep another waiting for all of it."""
    other = LiveWorld(shared_url, f"{world.book.name}-other")
    gate = Gate()
    order: list[int] = []
    done = threading.Semaphore(0)
    with Desk(world, batch_commands_max=2) as desk:
        script.calm()
        script.at("commit", gate)
        desk.submit(world.ask())
        gate.reached()
        for owner in [world] * 6 + [other]:

            def deliver(results: list[Any], owner: LiveWorld = owner) -> None:
                assert codes(results) == ["approved"]
                order.append(owner.book_id)
                done.release()

            desk.authorizer.submit(owner.book_id, (owner.ask(),), deliver)
        gate.open()
        for _ in range(7):
            assert done.acquire(timeout=60)
    assert order.index(other.book_id) == 2
    other.close()
    other.prove()


def test_a_book_always_goes_to_the_same_thread(shared_url: str, world: LiveWorld) -> None:
    """Several on PostgreSQL; on SQLite there is one whatever the setting."""
    worlds = [world] + [LiveWorld(shared_url, f"{world.book.name}-{number}") for number in range(3)]
    threads: dict[int, set[str]] = defaultdict(set)
    with Desk(world, writers=3) as desk:
        for _ in range(4):
            for waiting, one in [(desk.submit(one.ask(), book_id=one.book_id), one) for one in worlds]:
                assert codes(waiting.wait()) == ["approved"]
                threads[one.book_id].add(waiting.thread)
    writers = 1 if shared_url.startswith("sqlite") else 3
    assert threads == {one.book_id: {f"writer-{one.book_id % writers}"} for one in worlds}
    for one in worlds[1:]:
        one.close()
        one.prove()


# Stopping.


def test_what_is_queued_when_stopping_is_finished(script: Script, world: LiveWorld) -> None:
    """Nothing more is taken in; everything queued is decided, answered and durable; the connection is closed."""
    gate = Gate()
    desk = Desk(world, batch_commands_max=2)
    desk.authorizer.start()
    script.at("commit", gate)
    waiting = [desk.submit(world.ask()) for _ in range(7)]
    gate.reached()
    stopping = threading.Thread(target=desk.authorizer.stop, kwargs={"deadline_seconds": 30})
    stopping.start()
    while True:
        try:
            waiting.append(desk.submit(world.ask()))
        except Stopping:
            break
    gate.open()
    stopping.join(30)
    assert not stopping.is_alive()
    assert [codes(one.results) for one in waiting] == [["approved"]] * len(waiting)
    assert len(world.recorded().of("hold")) == len(waiting)
    with pytest.raises(Stopping):
        desk.submit(world.ask())
    with pytest.raises(Exception, match="closed"):
        script.opened[-1].inner.connection.execute("SELECT 1")  # type: ignore[attr-defined]


def test_what_the_deadline_leaves_is_answered_with_stopping(script: Script, world: LiveWorld) -> None:
    """And is not recorded; what was being committed is answered when it is."""
    gate = Gate()
    desk = Desk(world)
    desk.authorizer.start()
    script.at("commit", gate)
    committing = desk.submit(world.ask())
    gate.reached()
    left = [desk.submit(world.ask(), world.ask()) for _ in range(3)]
    started = time.monotonic()
    desk.authorizer.stop(deadline_seconds=0.2)
    assert 0.15 < time.monotonic() - started < 10
    assert [codes(one.results) for one in left] == [["Stopping"] * 2] * 3
    assert not committing.done.is_set()
    gate.open()
    assert codes(committing.wait()) == ["approved"]
    desk.authorizer.stop(deadline_seconds=10)
    assert len(world.recorded().of("hold")) == 1


def test_the_deadline_is_one_for_all_threads(script: Script, shared_url: str, world: LiveWorld) -> None:
    """Not one for each (SQLite has one only)."""
    gates = [Gate() for _ in range(1 if shared_url.startswith("sqlite") else 4)]
    script.at("begin", *gates)
    desk = Desk(world, writers=4)
    desk.authorizer.start()
    for number, gate in enumerate(gates):
        desk.submit(world.ask(), book_id=4_000 + number)
        gate.reached()
    started = time.monotonic()
    desk.authorizer.stop(deadline_seconds=0.4)
    assert time.monotonic() - started < 1.2
    for gate in gates:
        gate.open()
    desk.authorizer.stop(deadline_seconds=10)


def test_stopping_what_was_never_started_answers_what_was_queued(world: LiveWorld) -> None:
    """Nobody waits for ever."""
    desk = Desk(world)
    waiting = desk.submit(world.ask())
    desk.authorizer.stop(deadline_seconds=1)
    assert codes(waiting.results) == ["Stopping"]


def test_somebody_who_cannot_be_told_stops_nothing(script: Script, world: LiveWorld) -> None:
    """A delivery that fails, in a batch or when stopping, takes nothing from the others."""

    def refuse(results: list[Any]) -> None:
        raise RuntimeError("Event loop is closed")

    gate = Gate()
    desk = Desk(world)
    desk.authorizer.start()
    script.at("commit", gate)
    desk.authorizer.submit(world.book_id, (world.ask(),), refuse)
    gate.reached()
    desk.authorizer.submit(world.book_id, (world.ask(),), refuse)
    same_batch = desk.submit(world.ask())
    gate.open()
    assert codes(same_batch.wait()) == ["approved"]
    assert desk.say(world.ask()) == ["approved"]
    late = Gate()
    script.at("commit", late)
    desk.submit(world.ask())
    late.reached()
    desk.authorizer.submit(world.book_id, (world.ask(),), refuse)
    left = desk.submit(world.ask())
    desk.authorizer.stop(deadline_seconds=0.05)
    assert codes(left.results) == ["Stopping"]
    late.open()
    desk.authorizer.stop(deadline_seconds=10)
    assert len(world.recorded().of("hold")) == 5


# Evaluations, and waiting here.


def test_an_evaluation_says_what_would_be_and_writes_nothing(world: LiveWorld) -> None:
    """The decision that the same request then gets; its key stays free."""
    size = world.size()
    fits, too_much = world.ask("60"), world.ask("101")
    with Desk(world) as desk:
        for asked, status in ((fits, "approved"), (too_much, "insufficient_budget"), (fits, "approved")):
            outcome = asyncio.run(desk.authorizer.evaluate(world.book_id, asked))
            assert outcome.status.value == status
        assert world.size() == size
        assert world.dollars("budgets:research:held") == 0
        assert desk.say(fits) == ["approved"]
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, fits)).status.value == "replayed"
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("60"))).status.value == "budget_held"
        assert desk.say(world.command(Allocate, world.admin, budget="research", amount="30", currency="USD")) == [
            "done"
        ]
        assert asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask("60"))).status.value == "approved"
    assert world.size() == size + 2


def test_an_evaluation_raises_what_a_decision_would(world: LiveWorld) -> None:
    """An unknown book, a full queue, a server that stops."""
    with Desk(world, queue_commands_max=0) as full, pytest.raises(Overloaded):
        asyncio.run(full.authorizer.evaluate(world.book_id, world.ask()))
    with Desk(world) as desk, pytest.raises(UnknownBook):
        asyncio.run(desk.authorizer.evaluate(world.book_id ^ 1, world.ask()))
    with pytest.raises(Stopping):
        asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask()))


def test_an_evaluation_whose_client_left_disturbs_nobody(script: Script, world: LiveWorld) -> None:
    """Its answer finds the loop closed, or nobody waiting."""
    gate = Gate()

    async def leave(desk: Desk) -> None:
        waiting = asyncio.ensure_future(desk.authorizer.evaluate(world.book_id, world.ask()))
        await asyncio.to_thread(gate.reached)
        waiting.cancel()

    with Desk(world) as desk:
        script.at("begun", gate)
        asyncio.run(leave(desk))
        gate.open()
        assert desk.say(world.ask()) == ["approved"]


def test_deciding_here_waits_no_longer_than_told(script: Script, world: LiveWorld) -> None:
    """And what was queued is decided all the same."""
    gate = Gate()
    with Desk(world) as desk:
        script.at("commit", gate)
        with pytest.raises(CommandFailed):
            desk.authorizer.decide_now(world.book_id, world.ask(), timeout_seconds=0.05)
        gate.open()
        with pytest.raises(UnknownBook):
            desk.authorizer.decide_now(world.book_id ^ 1, world.ask())
    assert len(world.recorded().of("hold")) == 1
