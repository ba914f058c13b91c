"""Waiting in line through the real authorizer on both databases: who is served when, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from ledger.core.command import Allocate, Authorize, Extend, FreezeAgent, Release, RevokeKey, Settle
from ledger.services.book_line import RETRY_SECONDS
from ledger.services.errors import Overloaded
from ledger.storage.errors import Busy, CommitUnknown, Unavailable
from tests.services.live_world import Desk, LiveWorld, Waiting, codes
from tests.services.scripted_writer import Script
from tests.services.test_authorizer import Gate


def settle(world: LiveWorld, asked: Authorize, amount: str) -> Settle:
    """The final settlement of a hold."""
    made: Settle = world.command(Settle, world.crawler, authorization=asked.id, amount=amount, currency="USD")
    return made


def release(world: LiveWorld, asked: Authorize) -> Release:
    """The release of a hold."""
    made: Release = world.command(Release, world.crawler, authorization=asked.id)
    return made


def extend(world: LiveWorld, asked: Authorize, amount: str) -> Extend:
    """An extension of a hold."""
    made: Extend = world.command(Extend, world.crawler, authorization=asked.id, amount=amount, currency="USD")
    return made


def in_order(desk: Desk, *commands: Authorize | Extend) -> list[Waiting]:
    """Line commands up, one after the other."""
    waiting = []
    for command in commands:
        before = desk.authorizer.line_length
        waiting.append(desk.line_up(command))
        desk.lined_up(before + 1)
    return waiting


def test_a_budget_full_of_worst_case_holds_delays_and_does_not_refuse(world: LiveWorld) -> None:
    """A hundred requests at once hold five dollars each and cost ten cents: all of them get their turn, and only real
    spend is gone."""
    with Desk(world) as desk:
        asked = [world.ask("5") for _ in range(100)]
        waiting = [desk.line_up(one, 25) for one in asked]
        settled: list[Waiting] = []
        for one, request in zip(waiting, asked, strict=True):
            assert codes(one.wait()) == ["approved"]
            settled.append(desk.submit(settle(world, request, "0.1")))
        assert [codes(one.wait()) for one in settled] == [["done"]] * 100
        assert world.recorded().of("denial") == []
        assert (world.dollars("budgets:research:spent"), world.dollars("budgets:research:held")) == (10, 0)
        assert world.recorded().lowest("budgets:research:available") >= 0
        counted = sum((report.outcomes for report in desk.reports), start=type(desk.reports[0].outcomes)())
        assert counted == {("authorize", "approved"): 100, ("settle", "done"): 100}
        assert len(desk.waited) >= 60
        assert {outcome for outcome, _ in desk.waited} == {"approved"}
        assert desk.authorizer.line_length == 0


def test_a_big_one_at_the_head_is_not_starved(world: LiveWorld) -> None:
    """Small ones that came later and wait too stand behind it, though they would fit; then come in their order."""
    first, second = world.ask("50"), world.ask("45")
    with Desk(world) as desk:
        assert desk.say(first, second) == ["approved"] * 2
        (big,) = in_order(desk, world.ask("60"))
        small = in_order(desk, *[world.ask("1") for _ in range(5)])
        assert desk.say(release(world, second)) == ["done"]
        time.sleep(3 * RETRY_SECONDS[1])
        assert desk.authorizer.line_length == 6
        assert desk.say(release(world, first)) == ["done"]
        outcomes = [*big.wait(), *(result for one in small for result in one.wait())]
        assert codes(outcomes) == ["approved"] * 6
        indexes = [one.log_index for one in outcomes if not isinstance(one, Exception)]
        assert indexes == sorted(indexes)


def test_who_does_not_wait_overtakes(world: LiveWorld) -> None:
    """And is decided at once, with or without room."""
    with Desk(world) as desk:
        assert desk.say(world.ask("90")) == ["approved"]
        (big,) = in_order(desk, world.ask("20"))
        assert desk.say(world.ask("4"), world.ask("7")) == ["approved", "budget_held"]
        assert not big.done.is_set()
        big.leave()
        assert codes(big.wait()) == ["LeftLine"]


def test_extensions_come_first(world: LiveWorld) -> None:
    """Before requests that have waited longer: a call is under way on them."""
    first, second = world.ask("30"), world.ask("65")
    with Desk(world) as desk:
        assert desk.say(first, second) == ["approved"] * 2
        earlier, later = in_order(desk, world.ask("50"), extend(world, first, "30"))
        assert desk.say(release(world, second)) == ["done"]
        assert codes(later.wait()) == ["done"]
        time.sleep(2 * RETRY_SECONDS[1])
        assert not earlier.done.is_set()
        assert desk.say(release(world, first)) == ["done"]
        assert codes(earlier.wait()) == ["approved"]
        assert desk.waited[0][0] == "done"


def test_a_repeat_joins_and_another_request_does_not(world: LiveWorld) -> None:
    """One hold, two answers; the second is marked as a replay."""
    first = world.ask("95")
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        asked = world.ask("20")
        one, again = in_order(desk, asked, world.ask("20", idempotency_key=asked.idempotency_key))
        other = desk.line_up(world.ask("21", idempotency_key=asked.idempotency_key))
        assert codes(other.wait()) == ["idempotency_mismatch"]
        assert desk.say(release(world, first)) == ["done"]
        outcomes: list[Any] = [*one.wait(), *again.wait()]
        assert codes(outcomes) == ["approved", "replayed"]
        assert [outcome.replayed for outcome in outcomes] == [False, True]
        assert outcomes[0].body == outcomes[1].body
        assert len(world.recorded().of("hold")) == 2
        assert codes(desk.line_up(asked).wait()) == ["replayed"]


def test_two_with_one_key_in_one_batch_join(script: Script, world: LiveWorld) -> None:
    """Neither stood in line before the other."""
    first, gate = world.ask("95"), Gate()
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        script.at("commit", gate)
        blocking = desk.submit(world.ask("1"))
        gate.reached()
        asked = world.ask("20")
        pair = [desk.line_up(asked), desk.line_up(world.ask("20", idempotency_key=asked.idempotency_key))]
        gate.open()
        desk.lined_up(2)
        assert codes(blocking.wait()) == ["approved"]
        assert desk.say(release(world, first)) == ["done"]
        assert codes([*pair[0].wait(), *pair[1].wait()]) == ["approved", "replayed"]


def test_who_leaves_leaves_nothing(world: LiveWorld) -> None:
    """At once, with the line standing still; and those behind move up."""
    with Desk(world) as desk:
        first = world.ask("90")
        assert desk.say(first) == ["approved"]
        size = world.size()
        big, small = in_order(desk, world.ask("95"), world.ask("5"))
        started = time.monotonic()
        big.leave()
        assert codes(big.wait()) == ["LeftLine"]
        assert codes(small.wait()) == ["approved"]
        assert time.monotonic() - started < 5
        assert world.size() == size + 1
        assert [outcome for outcome, _ in desk.waited] == ["LeftLine", "approved"]


def test_who_leaves_while_it_is_decided_gets_the_outcome(script: Script, world: LiveWorld) -> None:
    """It is on record by then; who left while still queued was never looked at."""
    first, gate = world.ask("95"), Gate()
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        (one,) = in_order(desk, world.ask("20"))
        script.at("commit", None, gate)
        assert desk.say(release(world, first)) == ["done"]
        gate.reached()
        queued = desk.line_up(world.ask("1"))
        one.leave()
        queued.leave()
        gate.open()
        assert codes(one.wait()) == ["approved"]
        assert codes(queued.wait()) == ["LeftLine"]
        assert len(world.recorded().of("hold")) == 2


def test_the_time_is_over(world: LiveWorld) -> None:
    """The denial it would have had, on record, its key free."""
    with Desk(world) as desk:
        assert desk.say(world.ask("95")) == ["approved"]
        asked = world.ask("20")
        started = time.monotonic()
        waiting = desk.line_up(asked, 0.4)
        assert codes(waiting.wait()) == ["budget_held"]
        assert 0.35 < time.monotonic() - started < 5
        (denial,) = world.recorded().of("denial")
        assert denial.body["authorization"] == asked.id
        assert desk.say(world.ask("5", idempotency_key=asked.idempotency_key)) == ["approved"]
        ((outcome, seconds),) = desk.waited
        assert outcome == "budget_held"
        assert seconds >= 0.4


@pytest.mark.parametrize("what", ["allocation", "freeze", "key"])
def test_whatever_is_recorded_wakes_the_line(world: LiveWorld, what: str) -> None:
    """More money, an agent that is frozen, a key that ends: all is told at once, long before the deadline."""
    allocate = world.command(Allocate, world.admin, budget="research", amount="50", currency="USD")
    commands = {
        "allocation": (allocate, "approved"),
        "freeze": (world.command(FreezeAgent, world.admin, agent="crawler", frozen=True), "agent_frozen"),
        "key": (None, "key_revoked"),
    }
    command, status = commands[what]
    if command is None:
        (key,) = [one.body for one in world.recorded().of("key") if one.body["principal"] == "agent:crawler"]
        command = world.command(RevokeKey, world.admin, key=key["key"])
    with Desk(world) as desk:
        assert desk.say(world.ask("95")) == ["approved"]
        (waiting,) = in_order(desk, world.ask("20"))
        assert desk.say(command) == ["done"]
        started = time.monotonic()
        assert codes(waiting.wait()) == [status]
        assert time.monotonic() - started < 5


def test_a_hold_that_expires_frees_the_line(world: LiveWorld) -> None:
    """Nobody settles it and nobody asks: the interval finds it."""
    with Desk(world) as desk:
        assert desk.say(world.ask("95", ttl_seconds=1)) == ["approved"]
        (waiting,) = in_order(desk, world.ask("20"))
        world.advance(2)
        assert codes(waiting.wait()) == ["approved"]
        assert len(world.recorded().of("expiry")) == 1


def test_a_settlement_in_another_process_frees_the_line(world: LiveWorld) -> None:
    """It is not told of it, and tries again by itself."""
    first = world.ask("95")
    with Desk(world) as here, Desk(world) as there:
        assert here.say(first) == ["approved"]
        (waiting,) = in_order(here, world.ask("20"))
        assert there.say(settle(world, first, "1")) == ["done"]
        started = time.monotonic()
        assert codes(waiting.wait()) == ["approved"]
        assert time.monotonic() - started < 5


def test_lines_in_two_processes_never_exceed_the_budget(world: LiveWorld) -> None:
    """Each serves its own; together they hold no more than there is, and all are served in the end."""
    with Desk(world) as here, Desk(world) as there:
        asked = [world.ask("30") for _ in range(24)]
        waiting = [(here, there)[number % 2].line_up(one, 29) for number, one in enumerate(asked)]
        left = dict(enumerate(zip(waiting, asked, strict=True)))
        deadline = time.monotonic() + 40
        while left and time.monotonic() < deadline:
            for number, (one, request) in list(left.items()):
                if one.done.is_set():
                    assert codes(one.results) == ["approved"]
                    assert (there, here)[number % 2].say(settle(world, request, "1")) == ["done"]
                    del left[number]
            time.sleep(0.005)
        assert left == {}
    assert world.recorded().lowest("budgets:research:available") >= 0
    assert world.dollars("budgets:research:spent") == 24


def test_other_books_and_new_commands_have_their_turn(shared_url: str, world: LiveWorld) -> None:
    """While a long line stands in one book, another is served without delay, and so is the one itself."""
    other = LiveWorld(shared_url, f"{world.book.name}-other")
    with Desk(world) as desk:
        first = world.ask("95")
        assert desk.say(first) == ["approved"]
        waiting = [desk.line_up(world.ask("6")) for _ in range(300)]
        desk.lined_up(300)
        started = time.monotonic()
        for _ in range(20):
            done = threading.Event()
            desk.authorizer.submit(other.book_id, (other.ask("0.1"),), lambda results, told=done: told.set())
            assert done.wait(10)
            assert desk.say(world.ask("0.1")) == ["approved"]
        assert time.monotonic() - started < 10
        for one in waiting:
            one.leave()
        assert {code for one in waiting for code in codes(one.wait())} == {"LeftLine"}
    other.close()
    other.prove()


def test_a_full_line_decides_at_once(world: LiveWorld) -> None:
    """As if it did not wait; those who stand there stay."""
    with Desk(world, waiting_commands_max=2) as desk:
        first = world.ask("95")
        assert desk.say(first) == ["approved"]
        standing = in_order(desk, world.ask("20"), world.ask("21"))
        started = time.monotonic()
        assert codes(desk.line_up(world.ask("22")).wait()) == ["budget_held"]
        assert time.monotonic() - started < 5
        assert not any(one.done.is_set() for one in standing)
        assert desk.say(release(world, first)) == ["done"]
        assert [codes(one.wait()) for one in standing] == [["approved"]] * 2


def test_a_full_queue_lines_nobody_up(world: LiveWorld) -> None:
    """As of any command."""
    with Desk(world, queue_commands_max=0) as desk, pytest.raises(Overloaded):
        desk.line_up(world.ask("1"))


@pytest.mark.parametrize("failure", [Busy("locked"), Unavailable("gone")])
def test_a_database_that_cannot_be_had_is_told(script: Script, world: LiveWorld, failure: Exception) -> None:
    """To those who were being tried: nothing was recorded, and they ask again. Afterwards the line works."""
    first = world.ask("95")
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        (waiting,) = in_order(desk, world.ask("20"))
        size = world.size()
        script.at("begin", *[failure] * 8)
        assert codes(waiting.wait()) == ["DatabaseUnavailable"]
        script.calm()
        assert world.size() == size
        (waiting,) = in_order(desk, world.ask("20"))
        assert desk.say(release(world, first)) == ["done"]
        assert codes(waiting.wait()) == ["approved"]


def test_a_command_that_cannot_be_processed_fails_alone(script: Script, world: LiveWorld) -> None:
    """Those who stand in the same line stay or are served."""
    first = world.ask("95")
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        bad = world.ask("20", labels=(("a", object()),))
        failed = desk.line_up(bad)
        assert codes(failed.wait()) == ["CommandFailed"]
        (good,) = in_order(desk, world.ask("20"))
        assert desk.say(release(world, first)) == ["done"]
        assert codes(good.wait()) == ["approved"]


def test_a_commit_that_was_lost_is_looked_up(script: Script, world: LiveWorld) -> None:
    """What was approved in line is on record once."""
    first = world.ask("95")
    with Desk(world) as desk:
        assert desk.say(first) == ["approved"]
        (waiting,) = in_order(desk, world.ask("20"))
        script.at("committed", None, CommitUnknown("lost"))
        assert desk.say(release(world, first)) == ["done"]
        assert codes(waiting.wait()) == ["approved"]
        assert len(world.recorded().of("hold")) == 2


def test_stopping_decides_who_stands_in_line(world: LiveWorld) -> None:
    """For good and at once: who fits is approved, who does not is denied on record."""
    desk = Desk(world)
    desk.authorizer.start()
    assert desk.say(world.ask("90")) == ["approved"]
    waiting = in_order(desk, world.ask("20"), world.ask("4"), world.ask("5"))
    started = time.monotonic()
    desk.authorizer.stop(deadline_seconds=20)
    assert time.monotonic() - started < 10
    assert [codes(one.results) for one in waiting] == [["budget_held"], ["approved"], ["approved"]]
    assert len(world.recorded().of("denial")) == 1
    assert desk.authorizer.line_length == 0


def test_stopping_answers_whom_it_cannot_decide(script: Script, world: LiveWorld) -> None:
    """A writer that hangs keeps nobody in line beyond the deadline; nothing of them is recorded."""
    gate = Gate()
    desk = Desk(world)
    desk.authorizer.start()
    first = world.ask("90")
    assert desk.say(first) == ["approved"]
    waiting = in_order(desk, *[world.ask("20") for _ in range(3)])
    script.at("commit", gate)
    hanging = desk.submit(world.ask("1"))
    gate.reached()
    queued = desk.line_up(world.ask("1"))
    desk.authorizer.stop(deadline_seconds=0.2)
    told = [codes(one.results) for one in (*waiting, queued)]
    gate.open()
    assert codes(hanging.wait()) == ["approved"]
    desk.authorizer.stop(deadline_seconds=10)
    assert told[3] == ["Stopping"]
    assert all(one in ([], ["Stopping"]) for one in told[:3])
    assert [codes(one.wait()) for one in waiting] == [["Stopping"]] * 3
    assert world.recorded().of("denial") == []


def test_evaluations_do_not_wait(world: LiveWorld) -> None:
    """And do not see the line."""
    with Desk(world) as desk:
        assert desk.say(world.ask("90")) == ["approved"]
        (waiting,) = in_order(desk, world.ask("20"))
        for amount, status in (("20", "budget_held"), ("5", "approved")):
            outcome = asyncio.run(desk.authorizer.evaluate(world.book_id, world.ask(amount)))
            assert outcome.status.value == status
        assert not waiting.done.is_set()
        waiting.leave()
        waiting.wait()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_everybody_is_answered_once(world: LiveWorld, seed: int) -> None:
    """Two processes, random amounts, deadlines, repeats, leaves, extensions, settlements and releases: the budget is
    never exceeded, nobody is forgotten, and one key never holds twice."""
    chance = random.Random(seed)
    open_holds: list[Authorize] = []
    standing: list[tuple[Waiting, Authorize | Extend]] = []
    ended: list[tuple[Waiting, Authorize | Extend]] = []

    def stand(desk: Desk, command: Authorize | Extend) -> None:
        standing.append((desk.line_up(command, chance.choice([0.05, 0.3, 2, 20])), command))

    def collect() -> None:
        for pair in [pair for pair in standing if pair[0].done.is_set()]:
            standing.remove(pair)
            ended.append(pair)
            if isinstance(pair[1], Authorize) and codes(pair[0].results) == ["approved"]:
                open_holds.append(pair[1])

    with Desk(world) as here, Desk(world) as there:
        for _ in range(300):
            desk = chance.choice((here, there))
            dice = chance.random()
            if dice < 0.45:
                stand(desk, world.ask(str(chance.choice([5, 10, 30, 60]))))
            elif dice < 0.55 and standing:
                again = chance.choice(standing)[1]
                if isinstance(again, Authorize):
                    stand(desk, world.ask(again.amount, idempotency_key=again.idempotency_key))
            elif dice < 0.65 and open_holds:
                stand(desk, extend(world, chance.choice(open_holds), "5"))
            elif dice < 0.75 and standing:
                chance.choice(standing)[0].leave()
            elif dice < 0.95 and open_holds:
                held = open_holds.pop(chance.randrange(len(open_holds)))
                desk.submit(settle(world, held, "0.5") if dice < 0.85 else release(world, held))
            else:
                time.sleep(chance.choice([0.0, 0.02]))
            collect()
        while open_holds or standing:
            collect()
            for held in open_holds:
                assert set(here.say(settle(world, held, "0.5"))) <= {"done", "wrong_state"}
            open_holds.clear()
            time.sleep(0.005)
        assert (here.authorizer.line_length, there.authorizer.line_length) == (0, 0)
    assert all(len(one.results) == 1 for one, _ in ended)
    assert world.recorded().lowest("budgets:research:available") >= 0
    assert world.dollars("budgets:research:held") == 0
    keys = Counter(record.body["idempotency"][0] for record in world.recorded().of("hold"))
    assert set(keys.values()) == {1}
