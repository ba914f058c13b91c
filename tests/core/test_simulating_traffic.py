"""Simulating random traffic: the live policy changes nothing, a tighter one denies what a naive recount says, sums add
up, and memory does not grow with the log."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from ledger.core.command import Refund, Release
from ledger.core.filling import Trees
from ledger.core.simulated import CATEGORIES
from ledger.core.simulating import Simulation
from ledger.core.simulating_uses import TooManyCounters
from tests.support.simulated import USD, Past, candidate, counts, limit, simulated
from tests.support.simulated_traffic import WIDE, Traffic, book


@pytest.mark.parametrize("seed", range(6))
def test_the_live_policy_changes_nothing(seed: int) -> None:
    """Every rule kind, denials and approvals among them, and one more policy that refuses things of its own."""
    world = Past(amount="400")
    world.policy(WIDE)
    world.policy(book("other", limits=[limit("few", "hour", "22", rolling=True)]))
    traffic = Traffic(world, seed)
    for _ in range(450):
        traffic.step()
    bodies = world.bodies()
    for page in (1, 7, 10_000):
        findings = simulated(world, WIDE, page=page)
        assert counts(findings) == {}, {name: findings.examples[name] for name in CATEGORIES}
    asked = [one for one in bodies if one["kind"] in ("hold", "approval_requested", "denial", "extension")]
    assert findings.requests.count == len(asked) + sum(one["kind"] in ("run", "run_denial") for one in bodies)
    # A simulation that begins in the middle counts what was before it.
    middle = world.rows("log_records")[len(bodies) // 2].recorded_at
    assert counts(simulated(world, WIDE, since=middle)) == {}
    codes = {one["decision"]["reasons"][0]["code"] for one in bodies if one["kind"] == "denial"}
    assert len(codes) >= 6, codes


TIGHT = book(
    limits=[
        limit("day", "day", "9", by=["agent"]),
        limit("hour", "hour", "6", rolling=True, by=["payee"]),
        limit("rate", "minute", max_count=2),
    ],
    timezone="UTC",
)


class Naive:
    """What ``TIGHT`` would have denied, told from the log by whoever has never seen the deciding core: at each request
    every earlier one that was let through is looked at again, with what it uses at that moment."""

    def __init__(self, bodies: list[dict[str, Any]], moments: list[int]) -> None:
        self.used: dict[str, int] = {}
        self.made: dict[str, tuple[int, str, str]] = {}
        self.denied: dict[str, str] = {}
        for body, moment in zip(bodies, moments, strict=True):
            reference = body.get("authorization")
            if body["kind"] == "hold":
                rule = self._refuses(body, moment)
                if rule is not None:
                    self.denied[reference] = rule
                    continue
                self.made[reference] = (moment, body["agent"], body["request"]["payee"])
            if reference in self.made and "held" in body | {"held": body.get("approved")}:
                held = int(body.get("held", body.get("approved")))
                self.used[reference] = held + int(body.get("settled", 0)) - int(body.get("refunded", 0))

    def _refuses(self, body: dict[str, Any], now: int) -> str | None:
        minute, day = 60_000_000, 86_400_000_000
        amount, agent, payee = int(body["approved"]), body["agent"], body["request"]["payee"]
        same_day = same_hour = in_minute = 0
        for reference, (moment, its_agent, its_payee) in self.made.items():
            if moment // day == now // day and its_agent == agent:
                same_day += self.used[reference]
            if moment // minute >= (now + 1) // minute - 60 and its_payee == payee:
                same_hour += self.used[reference]
            in_minute += moment // minute == now // minute
        found = (
            ("caps/day", amount > 9 * USD, same_day + amount > 9 * USD),
            ("caps/hour", amount > 6 * USD, same_hour + amount > 6 * USD),
            ("caps/rate", False, in_minute + 1 > 2),
        )
        return next((rule for rule, _, over in found if over), None)


@pytest.mark.parametrize("seed", range(5))
def test_a_tighter_policy_denies_what_a_naive_recount_says(seed: int) -> None:
    """No extension in this traffic, for each request to have one moment."""
    world = Past(amount="1000")
    chance = random.Random(seed)
    holds: list[tuple[Any, str]] = []
    for _ in range(260):
        agent = chance.choice((world.crawler, world.writer))
        what = chance.random()
        if what < 0.5:
            holds.append((agent, world.hold(agent, chance.choice(("0.5", "1", "2", "5")), ttl_seconds=86_400,
                                            payee=chance.choice(("openai", "brave")))))  # fmt: skip
        elif what < 0.7:
            world.advance(chance.choice((3, 40, 700, 5_000)))
        elif holds:
            owner, reference = holds.pop(chance.randrange(len(holds)))
            if what < 0.8:
                world.do(Release, owner, authorization=reference)
            else:
                world.settle(owner, reference, chance.choice(("0.2", "1")))
                if what > 0.95:
                    world.do(Refund, world.finance, authorization=reference, amount="0.1", currency="USD")
    log = world.rows("log_records")
    naive = Naive(world.bodies(), [one.recorded_at for one in log])
    findings = simulated(world, TIGHT, examples_max=1_000)
    denied = {one.reference for one in findings.examples["newly_denied"]}
    assert denied == set(naive.denied)
    assert 20 < len(denied) < findings.requests.count - 20
    assert set(counts(findings)) == {"newly_denied"}
    kept = {
        body["authorization"]: int(body["settled"]) - int(body.get("refunded", 0))
        for body in world.bodies() if body["kind"] in ("settlement", "refund") and body["authorization"] in denied
    }  # fmt: skip
    assert findings.tallies["newly_denied"].spent.get("USD", 0) == sum(kept.values())


@pytest.mark.parametrize("most", [1, 2, 9])
def test_the_sums_of_agents_add_up(most: int) -> None:
    """Whatever is listed apart: counts, amounts and what was really spent."""
    world = Past(amount="400")
    traffic = Traffic(world, 77)
    for _ in range(300):
        traffic.step()
    findings = simulated(world, WIDE | {"limits": [limit("day", maximum="20"), limit("each", "authorization", "3")]})
    assert len(counts(findings)) >= 2
    agents = findings.agents(most)
    assert len(agents) == min(most + 1, 2)
    assert sum(one.requests for one in agents) == findings.requests.count
    for category in CATEGORIES:
        tallies = [one.tallies[category] for one in agents if category in one.tallies]
        whole = findings.tallies[category]
        assert sum(tally.count for tally in tallies) == whole.count
        assert sum(tally.count for tally in findings.rules[category].values()) == whole.count
        for name in ("amounts", "spent"):
            assert sum(getattr(tally, name).get("USD", 0) for tally in tallies) == getattr(whole, name).get("USD", 0)


def test_counters_behind_their_window_are_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key a request, a minute each, and room for few keys: enough where they pass, refused where they stay."""
    monkeypatch.setattr("ledger.core.simulating_uses.PRUNE_FROM", 4)
    world = Past()
    for number in range(30):
        world.hold(world.crawler, "0.1", payee=f"p{number}")
        world.advance(20)
    policy = book(limits=[limit("pass", "minute", "1", rolling=True, by=["payee"])])
    assert counts(simulated(world, policy, counters_max=8)) == {}
    with pytest.raises(TooManyCounters, match="more than 8 keys"):
        simulated(world, book(limits=[limit("stay", "lifetime", "1", by=["payee"])]), counters_max=8)


def long_log(count: int) -> Iterator[tuple[int, str, int, bytes]]:
    """Two records for each of so many requests, every one settled five requests later, a second between them."""
    world = Past()
    reference = world.hold(world.crawler, "1")
    world.settle(world.crawler, reference, "0.5")
    held, settled = (one.body for one in world.rows("log_records")[-2:])
    index = 0
    for number in range(count + 5):
        moment = world.now + number * 1_000_000
        for kind, body, at in (("hold", held, number), ("settlement", settled, number - 5)):
            if 0 <= at < count:
                yield index, kind, moment, body.replace(reference.encode(), b"auth_%026d" % at)
                index += 1


def memory_of(count: int) -> int:
    """The most bytes that a simulation of so many requests has at once, between pages."""
    policy = book(limits=[limit("hour", "hour", "900", rolling=True, by=["agent"]), limit("day", maximum="30000"),
                          limit("rate", "minute", max_count=30, rolling=True)])  # fmt: skip
    simulation = Simulation(candidate(policy), Trees({}, {}), since=0, log_size=2 * count)
    records = long_log(count)
    most = 0
    tracemalloc.start()
    try:
        while some := list(islice(records, 500)):
            page = simulation.page(some)
            assert not page.elders
            simulation.take(page, {}, {})
            page.records.clear()
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert simulation.findings.requests.count == count
    assert simulation.findings.tallies["newly_denied"].count > count // 3
    assert simulation.open_count == 0
    return most


def test_memory_does_not_grow_with_the_log() -> None:
    """Three times the log takes as much memory, but for the bits of each record; half of the requests are denied."""
    memory_of(500)
    assert memory_of(9_000) < memory_of(3_000) + 150_000
