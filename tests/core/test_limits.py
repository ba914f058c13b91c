"""What limits count, and when, as tables that a finance person can read.

Each scene is a policy and what happened, a line each: when, what, how much, and what the answer was. ``ask A 6`` asks
for 6 dollars under the name A; ``settle``, ``part`` (not final), ``release``, ``extend`` and ``refund`` name what was
asked before; ``charge`` is spend that nobody authorized. Times are moments on the wall with their offset, or seconds
after the line before. Behind the answer may stand the rule that refused, or what the limit had used.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Authorize, Charge, Extend, Refund, Release, Settle
from ledger.core.command_policies import ApplyPolicy
from ledger.core.moment import moment_of
from ledger.core.outcome import Outcome
from tests.support.policed import USD, Policed, decision, limit, reason, status, used

ATOM = "0.000000001"
FOREVER = 2_592_000


class Scene:
    """A world with one policy, to which lines of a scene happen."""

    def __init__(self, *limits: dict[str, Any], **fields: Any) -> None:
        self.world = Policed(amount="100000")
        self.world.policy(limits=list(limits), **fields)
        self.named: dict[str, str] = {}

    def happen(self, line: str) -> Outcome:
        """One line; its answer must be what the line says."""
        when, verb, *words = line.split()
        self.world.now = self.moment(when)
        name = words.pop(0)
        amount = words.pop(0) if verb != "release" else ""
        expected = words.pop(0)
        outcome = self.carry_out(verb, name, amount)
        assert status(outcome) == expected, f"{line}: {outcome}"
        if words and "/" in words[0]:
            assert reason(outcome)["rule"] == words[0], line
        elif words:
            rule, _, told = words[0].partition("=")
            assert used(outcome, rule) == round(float(told) * USD), line
        return outcome

    def moment(self, when: str) -> int:
        """A moment on the wall, or so many seconds later."""
        if when.startswith("+"):
            return self.world.now + round(float(when[1:]) * 1_000_000)
        read = datetime.fromisoformat(when)
        moment = round(read.replace(microsecond=0).timestamp()) * 1_000_000 + read.microsecond
        assert moment >= self.world.now, when
        return moment

    def carry_out(self, verb: str, name: str, amount: str) -> Outcome:
        """The command behind a line."""
        world, dollars = self.world, {"amount": amount, "currency": "USD"}
        if verb == "ask":
            said = {"category": "inference", "payee": "openai", "ttl_seconds": FOREVER, "budget": "research"}
            made = world.command(Authorize, world.crawler, **dollars, **said)
            self.named[name] = made.id
            return world.decide(made)[0]
        if verb == "charge":
            said = {"category": "inference", "payee": "openai", "budget": "research", "agent": "crawler"}
            made = world.command(Charge, world.finance, **dollars, **said)
            self.named[name] = made.id
            return world.decide(made)[0]
        named = {"authorization": self.named[name]}
        if verb == "refund":
            return world.do(Refund, world.finance, **dollars, **named)
        if verb == "release":
            return world.do(Release, world.crawler, **named)
        if verb == "extend":
            return world.do(Extend, world.crawler, **dollars, **named)
        return world.do(Settle, world.crawler, **dollars, **named, final=verb == "settle")


def play(lines: tuple[str, ...], *limits: dict[str, Any], **fields: Any) -> Scene:
    """Make a scene and let it happen; the log gives every counter and every decision again."""
    scene = Scene(*limits, **fields)
    for line in lines:
        scene.happen(line)
    scene.world.prove()
    return scene


# Windows: period, zone, and what happens around where one ends and the next begins.
EDGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a day ends at midnight in UTC": ("day", "UTC", (
        "2026-11-23T00:00:00+00:00 ask A 4 approved", "2026-11-23T23:58:59.999999+00:00 ask B 6 approved",
        "+0 ask C 0.000000001 limit_held", "+60 ask D 0.000000001 velocity",
        "2026-11-24T00:00:00+00:00 ask E 10 approved day=0",
    )),
    "a day ends at midnight in Paris, an hour before UTC's": ("day", "Europe/Paris", (
        "2026-11-23T00:00:00+01:00 ask A 10 approved", "2026-11-23T22:59:59.999999+00:00 ask B 1 velocity",
        "2026-11-23T23:00:00+00:00 ask C 10 approved day=0",
    )),
    "a day ends at midnight in Kolkata, at half past six in UTC": ("day", "Asia/Kolkata", (
        "2026-11-23T12:00:00+05:30 ask A 10 approved", "2026-11-23T18:29:59.999999+00:00 ask B 1 velocity",
        "2026-11-23T18:30:00+00:00 ask C 10 approved day=0",
    )),
    "the short day of Paris in spring": ("day", "Europe/Paris", (
        "2027-03-27T23:59:59+01:00 ask A 10 approved", "2027-03-28T00:00:00+01:00 ask B 10 approved day=0",
        "2027-03-28T03:00:00+02:00 ask C 1 limit_held", "2027-03-28T21:59:59.999999+00:00 ask D 1 velocity",
        "2027-03-28T22:00:00+00:00 ask E 10 approved day=0",
    )),
    "the long day of New York in autumn": ("day", "America/New_York", (
        "2027-11-07T00:00:00-04:00 ask A 10 approved", "2027-11-08T04:00:00+00:00 ask B 1 limit_held",
        "2027-11-08T04:59:59.999999+00:00 ask C 1 velocity", "2027-11-08T05:00:00+00:00 ask D 10 approved day=0",
    )),
    "the day of Cairo that begins at one, because midnight is skipped": ("day", "Africa/Cairo", (
        "2027-04-29T12:00:00+02:00 ask A 10 approved", "2027-04-29T21:59:59.999999+00:00 ask B 1 velocity",
        "2027-04-29T22:00:00+00:00 ask C 10 approved day=0",
    )),
    "the day of Cairo whose last hour comes twice": ("day", "Africa/Cairo", (
        "2027-10-28T23:30:00+03:00 ask A 10 approved", "2027-10-28T23:30:00+02:00 ask B 1 limit_held",
        "2027-10-29T00:00:00+02:00 ask C 10 approved day=0",
    )),
    "the hour of Paris that comes twice is two hours": ("hour", "Europe/Paris", (
        "2027-10-31T02:10:00+02:00 ask A 10 approved", "2027-10-31T02:50:00+02:00 ask B 1 limit_held",
        "2027-10-31T02:10:00+01:00 ask C 10 approved hour=0", "2027-10-31T02:50:00+01:00 ask D 1 limit_held",
        "2027-10-31T03:00:00+01:00 ask E 10 approved hour=0",
    )),
    "the hour of Lord Howe that the clocks cut in half": ("hour", "Australia/Lord_Howe", (
        "2027-04-04T01:40:00+11:00 ask A 10 approved", "2027-04-04T01:40:00+10:30 ask B 10 approved hour=0",
        "2027-04-04T01:58:59+10:30 ask C 1 limit_held", "2027-04-04T02:00:00+10:30 ask D 10 approved hour=0",
    )),
    "a minute": ("minute", "UTC", (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "2026-11-23T12:00:59.999999+00:00 ask B 1 velocity",
        "2026-11-23T12:01:00+00:00 ask C 10 approved minute=0",
    )),
    "a week begins on Monday": ("week", "Europe/Paris", (
        "2026-11-16T00:00:00+01:00 ask A 10 approved", "2026-11-22T23:00:00+01:00 ask B 1 limit_held",
        "2026-11-23T00:00:00+01:00 ask C 10 approved week=0",
    )),
    "a month of thirty days": ("month", "Europe/Paris", (
        "2026-11-30T23:59:59+01:00 ask A 10 approved", "2026-12-01T00:00:00+01:00 ask B 10 approved month=0",
        "+0 settle B 10 done", "2026-12-31T23:00:00+01:00 ask C 1 limit_exceeded",
        "2027-01-01T00:00:00+01:00 ask D 10 approved month=0",
    )),
    "February of a common year": ("month", "UTC", (
        "2027-02-28T23:00:00+00:00 ask A 10 approved", "2027-03-01T00:00:00+00:00 ask B 10 approved month=0",
    )),
    "February has the leap day": ("month", "UTC", (
        "2028-02-28T12:00:00+00:00 ask A 10 approved", "2028-02-29T12:00:00+00:00 ask B 1 limit_held",
        "2028-03-01T00:00:00+00:00 ask C 10 approved month=0",
    )),
    "the leap day is a day": ("day", "America/New_York", (
        "2028-02-28T23:59:59-05:00 ask A 10 approved", "2028-02-29T00:00:00-05:00 ask B 10 approved day=0",
        "2028-03-01T00:00:00-05:00 ask C 10 approved day=0",
    )),
    "a year": ("year", "America/New_York", (
        "2026-12-31T23:58:59-05:00 ask A 10 approved", "+0 ask B 1 limit_held",
        "2027-01-01T00:00:00-05:00 ask C 10 approved year=0",
    )),
    "a lifetime has no end": ("lifetime", "UTC", (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "+1 release A done",
        "2028-11-23T12:00:00+00:00 ask B 10 approved",
        "+0 settle B 10 done", "2036-11-23T12:00:00+00:00 ask C 0.000000001 limit_exceeded caps/lifetime",
    )),
}  # fmt: skip


@pytest.mark.parametrize("scene", EDGES)
def test_where_one_window_ends_and_the_next_begins(scene: str) -> None:
    """Ten dollars for each; a hold that lasts no longer than thirty days."""
    per, zone, lines = EDGES[scene]
    play(lines, limit(per, per, "10"), timezone=zone)


# What an authorization counts, and in which of two days. The limit is ten dollars a day in UTC.
COUNTED: dict[str, tuple[str, ...]] = {
    "exactly the limit": ("2026-11-23T12:00:00+00:00 ask A 10 approved", "+0 ask B 0.000000001 limit_held"),
    "one atom above": ("2026-11-23T12:00:00+00:00 ask A 10.000000001 limit_too_small caps/day",),
    "one atom above what is left": (
        "2026-11-23T12:00:00+00:00 ask A 9.999999999 approved", "+0 ask B 0.000000002 limit_held caps/day",
        "+0 ask C 0.000000001 approved",
    ),
    "held and settled are counted once each": (
        "2026-11-23T12:00:00+00:00 ask A 4 approved day=0", "+1 ask B 3 approved day=4", "+1 settle A 4 done",
        "+1 ask C 1 approved day=7", "+1 part B 2 done", "+1 ask D 1 approved day=8",
    ),
    "what is settled below the hold comes back": (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "+1 settle A 4 done", "+1 ask B 6.1 limit_exceeded",
        "+1 ask C 6 approved day=4",
    ),
    "what is settled below the hold comes back to the day of the hold, and to no other": (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "2026-11-24T12:00:00+00:00 ask B 6 approved day=0",
        "+1 settle A 1 done", "+1 ask C 4 approved day=6", "+1 ask D 0.01 limit_held",
    ),
    "what is settled on the next day counts on the day of the hold": (
        "2026-11-23T12:00:00+00:00 ask A 8 approved", "2026-11-24T12:00:00+00:00 settle A 8 done",
        "+1 ask B 10 approved day=0",
    ),
    "a release gives back": (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "+1 release A done", "+1 ask B 10 approved day=0",
    ),
    "a release after a part was settled gives back the rest": (
        "2026-11-23T12:00:00+00:00 ask A 10 approved", "+1 part A 3 done", "+1 release A done",
        "+1 ask B 7.5 limit_exceeded", "+1 ask C 7 approved day=3",
    ),
    "a hold whose time is over gives back without anybody looking": (
        "2026-11-02T12:00:00+00:00 ask A 10 approved", "2026-12-02T11:59:59+00:00 ask B 4 approved day=0",
        "+2 ask C 6 approved day=4",
    ),
    "an extension counts as more": (
        "2026-11-23T12:00:00+00:00 ask A 4 approved", "+1 extend A 5 done", "+1 extend A 2 limit_held",
        "+1 ask B 1 approved day=9",
    ),
    "an extension counts on its own day": (
        "2026-11-23T12:00:00+00:00 ask A 4 approved", "2026-11-24T12:00:00+00:00 ask B 5 approved day=0",
        "+1 extend A 5 done", "+1 ask C 0.01 limit_held caps/day",
    ),
    "what comes back of an extended hold comes back to the extension first": (
        "2026-11-23T12:00:00+00:00 ask A 4 approved", "2026-11-24T12:00:00+00:00 extend A 5 done",
        "+1 settle A 6 done", "+1 ask B 8 approved day=2",
    ),
    "cost above an extended hold counts on the day of the request": (
        "2026-11-23T12:00:00+00:00 ask A 4 approved", "2026-11-24T12:00:00+00:00 extend A 2 done",
        "+1 settle A 9 done", "+1 ask B 8 approved day=2",
    ),
    "a refund gives back to the day of the hold": (
        "2026-11-23T12:00:00+00:00 ask A 8 approved", "+1 settle A 8 done", "+1 ask B 5 limit_exceeded",
        "+1 refund A 3 done", "+1 ask C 5 approved day=5",
    ),
    "a refund on the next day gives that day nothing": (
        "2026-11-23T12:00:00+00:00 ask A 8 approved", "+1 settle A 8 done",
        "2026-11-24T12:00:00+00:00 ask B 10 approved", "+1 refund A 8 done", "+1 ask C 0.01 limit_held",
    ),
    "cost above the hold counts on the day of the hold": (
        "2026-11-23T12:00:00+00:00 ask A 2 approved", "+1 settle A 9 done", "+1 ask B 1.5 limit_exceeded",
        "2026-11-24T12:00:00+00:00 ask C 10 approved day=0",
    ),
    "cost above the limit is recorded, and nothing more fits": (
        "2026-11-23T12:00:00+00:00 ask A 2 approved", "+1 settle A 50 done",
        "+1 ask B 0.000000001 limit_exceeded caps/day", "2026-11-24T00:00:00+00:00 ask C 10 approved day=0",
    ),
    "cost that comes late counts on the day of the hold": (
        "2026-11-23T12:00:00+00:00 ask A 6 approved", "+1 release A done",
        "2026-11-24T12:00:00+00:00 settle A 6 done", "+1 ask B 10 approved day=0",
    ),
    "cost that comes late on the same day counts again": (
        "2026-11-23T12:00:00+00:00 ask A 6 approved", "+1 release A done", "+1 ask B 4 approved day=0",
        "+1 settle A 6 done", "+1 ask C 0.01 limit_held",
    ),
    "a charge counts when it is recorded": (
        "2026-11-23T12:00:00+00:00 charge X 7 done", "+1 ask A 3.5 limit_exceeded", "+1 ask B 3 approved day=7",
        "2026-11-24T00:00:00+00:00 ask C 10 approved day=0",
    ),
    "a charge is never refused, and a refund of it gives back": (
        "2026-11-23T12:00:00+00:00 charge X 70 done", "+1 ask A 0.01 limit_exceeded", "+1 refund X 65 done",
        "+1 ask B 5 approved day=5",
    ),
    "a denial counts nothing": (
        "2026-11-23T12:00:00+00:00 ask A 11 limit_too_small", "+1 ask B 10 approved day=0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("scene", COUNTED)
def test_what_counts_and_on_which_day(scene: str) -> None:
    """Ten dollars a day."""
    play(COUNTED[scene], limit("day", "day", "10"), timezone="UTC")


COUNTS: dict[str, tuple[str, ...]] = {
    "a release gives no count back": (
        "2026-11-23T12:00:00+00:00 ask A 1 approved", "+1 release A done", "+1 ask B 1 approved", "+1 release B done",
        "+1 ask C 1 limit_exceeded caps/rate",
    ),
    "a settlement gives no count back": (
        "2026-11-23T12:00:00+00:00 ask A 1 approved", "+1 settle A 0 done", "+1 ask B 1 approved", "+1 settle B 1 done",
        "+1 ask C 1 limit_exceeded caps/rate",
    ),
    "extensions and charges are no further requests": (
        "2026-11-23T12:00:00+00:00 ask A 1 approved", "+1 extend A 1 done", "+1 extend A 1 done", "+1 charge X 5 done",
        "+1 ask B 1 approved", "+1 ask C 1 limit_exceeded caps/rate", "+1 extend A 1 done",
    ),
    "denials are not counted": (
        "2026-11-23T12:00:00+00:00 ask A 999999 insufficient_budget", "+1 ask B 999999 insufficient_budget",
        "+1 ask C 1 approved", "+1 ask D 1 approved", "+1 ask E 1 limit_exceeded caps/rate",
    ),
    "the next day has its own": (
        "2026-11-23T12:00:00+00:00 ask A 1 approved", "+1 ask B 1 approved",
        "2026-11-24T00:00:00+00:00 ask C 1 approved", "+0 ask D 1 approved", "+0 ask E 1 limit_exceeded caps/rate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("scene", COUNTS)
def test_how_many_are_counted(scene: str) -> None:
    """Two requests a day."""
    play(COUNTS[scene], limit("rate", "day", max_count=2), timezone="UTC")


# How long a rolling window lasts, and the part of it that it may count too much, in seconds.
ROLLING = {
    "minute": (60, 1), "hour": (3_600, 60), "day": (86_400, 1_800), "week": (604_800, 10_800),
    "month": (2_592_000, 43_200), "year": (31_536_000, 432_000),
}  # fmt: skip


@pytest.mark.parametrize("per", ROLLING)
@pytest.mark.parametrize("offset", ["0", "0.000001", "0.5", "0.999999"])
def test_a_rolling_window_never_counts_too_little_and_at_most_a_part_too_much(per: str, offset: str) -> None:
    """What was asked at some moment of a part is counted for the whole window, and no longer than a part more."""
    seconds, part = ROLLING[per]
    scene = play((), limit("all", per, "10", rolling=True), timezone="UTC")
    begins = -(-scene.world.now // (part * 1_000_000)) * part * 1_000_000
    scene.world.now = begins + round(float(offset) * part * 1_000_000)
    asked_at = scene.world.now
    scene.happen("+0 ask A 10 approved all=0")
    scene.happen("+0 settle A 10 done")
    scene.world.now = asked_at + seconds * 1_000_000 - 1
    refused = scene.carry_out("ask", "B", ATOM)
    assert status(refused) in ("velocity", "limit_exceeded")
    fits_at = moment_of(reason(refused)["fits_at"])
    assert asked_at + seconds * 1_000_000 <= fits_at < asked_at + (seconds + part) * 1_000_000
    scene.world.now = fits_at - 1
    assert status(scene.carry_out("ask", "C", ATOM)) in ("velocity", "limit_exceeded")
    scene.world.now = fits_at
    scene.happen("+0 ask D 10 approved all=0")


def test_a_rolling_window_lets_go_of_the_oldest_first() -> None:
    """Each part comes free by itself, and the answer says when enough of them have."""
    scene = play(
        (
            "2026-11-23T12:00:00+00:00 ask A 4 approved", "+0 settle A 4 done",
            "2026-11-23T12:20:00+00:00 ask B 5 approved", "+0 settle B 5 done",
            "2026-11-23T12:59:00+00:00 ask C 1 approved all=9",
        ),
        limit("all", "hour", "10", rolling=True),
    )  # fmt: skip
    little = scene.happen("+0.5 ask D 4 limit_exceeded")
    much = scene.happen("+0 ask E 4.5 limit_exceeded")
    assert reason(little)["fits_at"] == "2026-11-23T13:00:59.999999Z"
    assert reason(much)["fits_at"] == "2026-11-23T13:20:59.999999Z"
    scene.happen("2026-11-23T13:01:00+00:00 ask F 4 approved all=6")


def test_the_tighter_of_two_limits_flips() -> None:
    """In the first hour the hour is tighter; once the day is nearly used it is the day; and after midnight the hour."""
    play(
        (
            "2026-11-23T10:00:00+00:00 ask A 6 approved", "+0 settle A 6 done", "+1 ask B 3 limit_exceeded caps/hour",
            "2026-11-23T11:00:00+00:00 ask C 4.5 limit_exceeded caps/day", "+0 ask D 4 approved", "+0 settle D 4 done",
            "+1 ask E 1 limit_exceeded caps/day", "2026-11-24T00:00:00+00:00 ask F 6 approved", "+0 settle F 6 done",
            "+1 ask G 1 limit_exceeded caps/hour",
        ),
        limit("day", "day", "10"),
        limit("hour", "hour", "6"),
        timezone="UTC",
    )  # fmt: skip


def test_both_limits_are_said_when_both_refuse() -> None:
    """The first in precedence is answered, the other stands beside it."""
    scene = play(
        ("2026-11-23T10:00:00+00:00 ask A 6 approved", "+0 settle A 6 done"),
        limit("day", "day", "6"),
        limit("all", "lifetime", "6", max_count=1),
    )
    outcome = scene.happen("+1 ask B 1 limit_exceeded caps/day")
    said = [(one["rule"], one["code"], one.get("unit", "money")) for one in decision(outcome)["reasons"]]
    assert said == [
        ("caps/day", "limit_exceeded", "money"), ("caps/all", "limit_exceeded", "money"),
        ("caps/all", "limit_exceeded", "count"),
    ]  # fmt: skip


def test_a_window_that_rolls_before_a_batch_rolls_once_for_all_of_it() -> None:
    """At the first instant of a day, in one batch: what was held yesterday is settled above it, ends or is released in
    the middle, and none of it is counted today; the commands share the day that has begun."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")], timezone="UTC")
    world.at("2026-11-23T23:00:00Z")
    early, late, due = (world.hold(world.crawler, amount, ttl_seconds=ttl) for amount, ttl in
                        (("3", 86_400), ("2", 86_400), ("5", 3_600)))  # fmt: skip
    world.at("2026-11-24T00:00:00Z")
    first, second, third, fourth = (
        world.command(Authorize, world.crawler, amount=amount, currency="USD", category="inference", payee="openai")
        for amount in ("6", "3", "2", "1")
    )
    settle = world.command(Settle, world.crawler, authorization=early, amount="9", currency="USD")
    release = world.command(Release, world.crawler, authorization=late)
    outcomes = world.decide(first, settle, second, release, third, fourth)
    assert [status(one) for one in outcomes] == ["approved", "done", "approved", "done", "limit_held", "approved"]
    assert world.authorization(due).state == "expired"
    assert world.counters("day") == {"[]": (0, 10 * USD, 3)}


def test_a_rolling_window_that_moves_on_before_a_batch() -> None:
    """The counter leaves behind what is too old for the first command, and the second sees what the first took."""
    world = Policed()
    world.policy(limits=[limit("all", "minute", "10", rolling=True)])
    world.settle(world.crawler, world.hold(world.crawler, "10"), "10")
    world.advance(61)
    asked = [
        world.command(Authorize, world.crawler, amount="6", currency="USD", category="inference", payee="openai")
        for _ in range(2)
    ]
    assert [status(one) for one in world.decide(*asked)] == ["approved", "velocity"]


# Never, or wait: what the answer says beside its code.
WAITS: dict[str, tuple[dict[str, Any], str, str, str | None, bool]] = {
    "more than the limit never fits": (limit("x", "day", "10"), "11", "limit_too_small", None, True),
    "more than one authorization may be never fits": (
        limit("x", "authorization", "5"), "5.01", "limit_too_small", None, True,
    ),
    "a limit of no requests never fits": (limit("x", "day", max_count=0), "1", "limit_too_small", None, True),
    "what a lifetime has spent never comes back": (limit("x", "lifetime", "10"), "7", "limit_exceeded", None, True),
    "a day must be waited for": (limit("x", "day", "10"), "7", "limit_exceeded", "2026-11-24T00:00:00.000000Z", False),
    "a minute is short": (limit("x", "minute", "10"), "7", "velocity", "2026-11-23T12:01:00.000000Z", False),
    "a rolling hour": (
        limit("x", "hour", "10", rolling=True), "7", "limit_exceeded", "2026-11-23T13:00:59.999999Z", False,
    ),
    "a count must be waited for": (
        limit("x", "day", max_count=1), "1", "limit_exceeded", "2026-11-24T00:00:00.000000Z", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WAITS)
def test_never_is_told_apart_from_wait(case: str) -> None:
    """Four dollars were spent at noon."""
    rule, amount, code, fits_at, never = WAITS[case]
    world = Policed()
    world.at("2026-11-23T12:00:00Z")
    world.settle(world.crawler, world.hold(world.crawler, "4"), "4")
    world.policy(limits=[rule], timezone="UTC")
    outcome = world.authorize(world.crawler, amount)
    said = reason(outcome)
    assert (status(outcome), said.get("fits_at"), said.get("never_fits", False)) == (code, fits_at, never)


def test_a_limit_that_only_holds_fill_is_told_apart_from_one_that_is_spent() -> None:
    """The first may come free at any moment and does not bind the key; the second will not before midnight."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    reference = world.hold(world.crawler, "7")
    asked = world.command(Authorize, world.writer, amount="6", currency="USD", category="inference", payee="openai")
    (held,) = world.decide(asked)
    assert status(held) == "limit_held"
    assert reason(held) | {"detail": ""} == {
        "code": "limit_held", "rule": "caps/day", "detail": "", "observed": str(13 * USD), "limit": str(10 * USD),
        "remaining": str(3 * USD), "fits_at": "2026-11-02T23:00:00.000000Z",
    }  # fmt: skip
    world.settle(world.crawler, reference, "7")
    assert status(world.authorize(world.writer, "6")) == "limit_exceeded"
    world.at("2026-11-02T23:00:00Z")
    again = world.command(
        Authorize, world.writer, amount="6", currency="USD", category="inference", payee="openai",
        idempotency_key=asked.idempotency_key,
    )  # fmt: skip
    assert status(world.decide(again)[0]) == "approved"


# Edits.


def test_an_edit_keeps_what_was_used() -> None:
    """Higher, lower, turned to shadow and back, moved in the file, a rule beside it: the same meter with its use."""
    world = Policed()
    day = limit("day", "day", "10")
    world.policy(limits=[day])
    world.settle(world.crawler, world.hold(world.crawler, "8"), "8")
    for edit in (
        {"limits": [day | {"max": "12"}]},
        {"limits": [day | {"max": "9"}]},
        {"limits": [day | {"max": "9"}], "shadow": True},
        {"limits": [limit("rate", "hour", max_count=5), day | {"max": "9"}]},
        {"limits": [day | {"max": "9", "max_count": 7}], "description": "said otherwise"},
        {"limits": [day | {"max": "9"}], "deny": {"payees": ["nobody"]}},
    ):
        world.policy(**edit)
        assert world.counters("day") == {"[]": (8 * USD, 0, 1)}, edit
    assert status(world.authorize(world.crawler, "1.5")) == "limit_exceeded"
    assert status(world.authorize(world.crawler, "1")) == "approved"


NEW_METERS: dict[str, dict[str, Any]] = {
    "other windows": limit("day", "hour", "100"),
    "rolling": limit("day", "day", "100", rolling=True),
    "for a lifetime": limit("day", "lifetime", "100"),
    "counted apart": limit("day", "day", "100", by=["agent"]),
    "about some": limit("day", "day", "100", match={"payees": ["open*"]}),
    "under another name": limit("daily", "day", "100"),
}


@pytest.mark.parametrize("case", NEW_METERS)
def test_a_limit_that_is_new_or_changed_is_filled_from_history(case: str) -> None:
    """What is held, spent, given back, extended and refunded is in it as if it had counted from the first day on."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "100")])
    world.settle(world.crawler, world.hold(world.crawler, "8"), "5")
    world.do(Release, world.crawler, authorization=world.hold(world.crawler, "30"))
    held = world.hold(world.crawler, "2")
    world.do(Extend, world.crawler, authorization=held, amount="4", currency="USD")
    spent = world.hold(world.crawler, "3")
    world.settle(world.crawler, spent, "3")
    world.do(Refund, world.finance, authorization=spent, amount="1", currency="USD")
    world.do(
        Charge, world.finance, budget="research", amount="7", currency="USD", category="a", payee="openai",
        agent="crawler",
    )  # fmt: skip
    rule = NEW_METERS[case]
    world.policy(limits=[rule])
    key = '["crawler"]' if "by" in rule else "[]"
    assert world.counters(rule["id"]) == {key: (14 * USD, 6 * USD, 4)}


def test_a_policy_that_was_retired_comes_back_with_what_was_used_meanwhile() -> None:
    """A gap in the policy is no gap in its limit."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    world.hold(world.crawler, "4")
    world.retire()
    assert status(world.authorize(world.crawler, "50")) == "approved"
    world.policy(limits=[limit("day", "day", "60")])
    assert status(world.authorize(world.crawler, "6.01")) == "limit_held"
    assert used(world.authorize(world.crawler, "6"), "day") == 54 * USD


def test_a_new_limit_without_its_history_does_not_take_effect() -> None:
    """Who applies it must fill it first; the policy that was live goes on."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    document = {"policy": "caps", "applies_to": {"book": True}, "currency": "USD", "limits": [limit("x", "hour", "99")]}
    text = canonical_bytes(document).decode()
    assert status(world.do(ApplyPolicy, world.admin, id=world.new_id("pol"), document=text)) == "fill_needed"
    assert status(world.authorize(world.crawler, "11")) == "limit_too_small"


# Who is counted together.


def test_a_team_s_cap_binds_all_its_agents_together() -> None:
    """Ten dollars for the team, whoever spends them; nobody outside of it is counted or bound."""
    world = Policed()
    world.agent("intern", "writer")
    intern = world.key("agent", "intern")
    stranger = world.agent("stranger")
    world.budget("own", "100", "stranger")
    world.policy(applies_to={"team": "research"}, limits=[limit("day", "day", "10")])
    world.hold(world.crawler, "4")
    world.hold(world.writer, "3")
    world.hold(intern, "2")
    assert [status(world.authorize(who, "1.5")) for who in (world.crawler, world.writer, intern)] == ["limit_held"] * 3
    assert status(world.authorize(stranger, "50")) == "approved"
    assert status(world.authorize(intern, "1")) == "approved"


def test_an_agent_s_cap_binds_those_it_spawned() -> None:
    """Spawning is no way to a fresh allowance."""
    world = Policed()
    children = [world.agent(f"child-{number}", "crawler") for number in range(3)]
    world.policy(applies_to={"agent": "crawler"}, limits=[limit("day", "day", "10")])
    assert [status(world.authorize(child, "4")) for child in children] == ["approved", "approved", "limit_held"]
    assert status(world.authorize(world.crawler, "4")) == "limit_held"
    assert status(world.authorize(world.writer, "40")) == "approved"


def test_a_parent_budget_s_cap_binds_the_budgets_below_it() -> None:
    """Whichever of them the money comes from."""
    world = Policed()
    world.budget("left", "20", "research", parent="research")
    world.budget("right", "20", "research", parent="research")
    world.policy(applies_to={"budget": "research"}, limits=[limit("day", "day", "10")])
    said = [status(world.authorize(world.crawler, "4", budget=name)) for name in ("left", "right", "research")]
    assert said == ["approved", "approved", "limit_held"]


BY: dict[str, tuple[list[str], dict[str, str], dict[str, str]]] = {
    "payee": (["payee"], {"payee": "openai"}, {"payee": "anthropic"}),
    "category": (["category"], {"category": "inference"}, {"category": "search"}),
    "resource": (["resource"], {"resource": "gpt-5"}, {"resource": "gpt-5-mini"}),
    "a label": (["label.prompt"], {"labels": "v1"}, {"labels": "v2"}),
    "two together": (["payee", "category"], {"payee": "serp"}, {"payee": "serp", "category": "search"}),
}


@pytest.mark.parametrize("case", BY)
def test_a_limit_by_something_counts_each_apart(case: str) -> None:
    """Ten dollars for each; what names none of it is one more, counted together."""
    by, one, other = BY[case]
    world = Policed()
    world.policy(limits=[limit("day", "day", "10", by=by)])

    def ask(fields: dict[str, str], amount: str) -> str:
        said: dict[str, Any] = dict(fields)
        if "labels" in said:
            said["labels"] = (("prompt", said["labels"]),)
        return status(world.authorize(world.crawler, amount, **said))

    assert [ask(one, "8"), ask(other, "8"), ask({}, "1") if "payee" not in one else "approved"] == ["approved"] * 3
    assert [ask(one, "3"), ask(other, "3")] == ["limit_held", "limit_held"]
    assert [ask(one, "1"), ask(other, "2")] == ["approved", "approved"]


def test_agents_counted_apart() -> None:
    """Each has its own ten dollars."""
    world = Policed()
    world.policy(limits=[limit("own", "day", "10", by=["agent"])])
    assert [status(world.authorize(who, "8")) for who in (world.crawler, world.writer)] == ["approved"] * 2
    assert [status(world.authorize(who, "3")) for who in (world.crawler, world.writer)] == ["limit_held"] * 2


def test_money_counts_only_where_the_limit_is_about_it() -> None:
    """Globs fit whatever the case; what names no resource fits no list of resources."""
    world = Policed()
    world.policy(limits=[limit("gpt", "day", "10", match={"resources": ["GPT-*"], "agents": ["c*"]})])
    assert status(world.authorize(world.crawler, "9", resource="gpt-5")) == "approved"
    assert status(world.authorize(world.crawler, "9", resource="Gpt-4")) == "limit_held"
    for who, fields in (
        (world.crawler, {}),
        (world.crawler, {"resource": "claude"}),
        (world.writer, {"resource": "gpt-5"}),
    ):
        assert status(world.authorize(who, "9", **fields)) == "approved", fields


def test_less_is_approved_where_less_is_of_use() -> None:
    """The tightest limit says how much; where nothing is left all is refused."""
    world = Policed()
    world.policy(limits=[limit("each", "authorization", "6"), limit("day", "day", "10")])
    first = world.authorize(world.crawler, "50", partial_ok=True)
    assert (status(first), (first.body or {})["approved"]) == ("approved", str(6 * USD))
    second = world.authorize(world.crawler, "50", partial_ok=True)
    assert (status(second), (second.body or {})["approved"]) == ("approved", str(4 * USD))
    assert status(world.authorize(world.crawler, "50", partial_ok=True)) == "limit_too_small"
    assert status(world.authorize(world.crawler, "5", partial_ok=True)) == "limit_held"
