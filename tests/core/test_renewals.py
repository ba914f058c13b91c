"""Renewals in the core: which midnight, what lapses and what comes, in which order, and exactly once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ledger.core.command import Allocate, Caller, Charge, ExpireDue, Release
from ledger.core.command_budgets import CloseBudget, FreezeBudget, SetRenewal, StopRenewal
from ledger.core.deriving import Clock, columns_of
from ledger.core.moment import moment_of, moment_text
from ledger.core.money import ATOMS_MAX
from ledger.core.outcome import Outcome, Status
from ledger.core.projecting import Fold
from tests.support.ledger import Ledger
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

USD = 10**9
DAY = 24 * 3600


def renew(world: Ledger, budget: str = "research", amount: str = "100", **fields: Any) -> Outcome:
    """Set a renewal, daily unless told otherwise."""
    fields = {"every": "day", "currency": "USD"} | fields
    return world.do(SetRenewal, world.admin, budget=budget, amount=amount, **fields)


def sweep(world: Ledger) -> list[dict[str, Any]]:
    """Let the sweeper come by once; the bodies that it wrote."""
    size = world.head.size
    world.do(ExpireDue, Caller(None), idempotency_key="")
    return world.bodies()[size:]


def available(world: Ledger, budget: str = "research") -> str:
    """What a budget has available."""
    return world.shown(f"budgets:{budget}:available")


def check(world: Ledger) -> None:
    """The fold over the log gives the same rows, and finds nothing wrong with any record."""
    store = MemoryStore()
    fold = Fold(1, store)
    clock = Clock()
    for body in world.bodies():
        fold.apply(body, columns_of(body, clock))
    assert fold.differences == []
    for name in ("budgets", "renewals", "accounts"):
        made = sorted(map(repr, getattr(store, name).rows.values()))
        assert made == sorted(map(repr, world.rows(name))), name
    assert fold.frozen == world.head.frozen


# Time zone, period, when it is set, and the next three midnights.
MIDNIGHTS = (
    ("UTC", "day", "2026-11-02T09:00:00Z", ("2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z", "2026-11-05T00:00:00Z")),
    # Exactly at midnight it is the next one: strictly after.
    ("UTC", "day", "2026-11-03T00:00:00Z", ("2026-11-04T00:00:00Z", "2026-11-05T00:00:00Z", "2026-11-06T00:00:00Z")),
    ("UTC", "week", "2026-11-02T09:00:00Z", ("2026-11-09T00:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")),
    # Month ends: 31, 28 and 31 days; and a leap year.
    ("UTC", "month", "2027-01-31T23:59:59Z", ("2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z")),
    ("UTC", "month", "2028-02-10T00:00:00Z", ("2028-03-01T00:00:00Z", "2028-04-01T00:00:00Z", "2028-05-01T00:00:00Z")),
    ("UTC", "day", "2028-02-28T12:00:00Z", ("2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", "2028-03-02T00:00:00Z")),
    # Clocks forward on 28 March 2027 in Paris: a day of 23 hours.
    ("Europe/Paris", "day", "2027-03-27T12:00:00Z",
     ("2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z", "2027-03-29T22:00:00Z")),
    ("Europe/Paris", "month", "2027-03-15T12:00:00Z",
     ("2027-03-31T22:00:00Z", "2027-04-30T22:00:00Z", "2027-05-31T22:00:00Z")),
    ("Asia/Kolkata", "day", "2026-11-02T09:00:00Z",
     ("2026-11-02T18:30:00Z", "2026-11-03T18:30:00Z", "2026-11-04T18:30:00Z")),
    ("America/New_York", "week", "2026-11-02T09:00:00Z",
     ("2026-11-09T05:00:00Z", "2026-11-16T05:00:00Z", "2026-11-23T05:00:00Z")),
    # Midnight was skipped in Sao Paulo on 4 November 2018: the day began at one o'clock, that is 03:00 UTC.
    ("America/Sao_Paulo", "day", "2018-11-03T12:00:00Z",
     ("2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z", "2018-11-06T02:00:00Z")),
    # Midnight came twice in Sao Paulo on 18 February 2018: 17 February has 25 hours, and its hour comes again.
    ("America/Sao_Paulo", "day", "2018-02-16T12:00:00Z",
     ("2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z", "2018-02-19T03:00:00Z")),
)  # fmt: skip


def in_zone(timezone: str, opened: str) -> Ledger:
    """A book of a time zone, with a budget that has a hundred dollars."""
    ledger = Ledger()
    ledger.book = dataclasses.replace(ledger.book, timezone=timezone)
    ledger.tables["books"][(1,)] = ledger.book
    ledger.tables["book_heads"][(1,)].recorded_at = 0
    ledger.now = moment_of(opened)
    ledger._warm = None
    return ledger


@pytest.mark.parametrize(("timezone", "every", "now", "midnights"), MIDNIGHTS)
def test_it_renews_at_the_midnights_of_the_book(
    timezone: str, every: str, now: str, midnights: tuple[str, ...]
) -> None:
    """Not a microsecond before; and the record says which period began."""
    ledger = in_zone(timezone, now)
    ledger.budget("research", "10")
    made = renew(ledger, every=every, amount="100")
    assert made.body is not None
    assert moment_of(made.body["next_at"]) == moment_of(midnights[0])
    for number, midnight in enumerate(midnights):
        ledger.now = moment_of(midnight) - 1
        assert sweep(ledger) == []
        ledger.now += 1
        (body,) = sweep(ledger)
        assert (body["kind"], body["renewed"]) == ("renewal", "research")
        assert moment_of(body["period"]["from"]) == moment_of(midnight)
        if number + 1 < len(midnights):
            assert moment_of(body["period"]["to"]) == moment_of(midnights[number + 1])
        assert sweep(ledger) == []
        assert available(ledger) == "100.00"


# What is available and carry-over before; what lapses, is carried, allocated and short; what is available after.
AMOUNTS = (
    ("30", "0", "30", "0", "100", "0", "100.00"),
    ("30", "50", "0", "30", "100", "0", "130.00"),
    ("30", "30", "0", "30", "100", "0", "130.00"),
    ("30", "29.999999999", "0.000000001", "29.999999999", "100", "0", "129.999999999"),
    ("80", "50", "30", "50", "100", "0", "150.00"),
    ("0.000000001", "0", "0.000000001", "0", "100", "0", "100.00"),
    (None, "50", "0", "0", "100", "0", "100.00"),
)


@pytest.mark.parametrize(("has", "carry_over", "lapsed", "carried", "allocated", "short", "after"), AMOUNTS)
def test_what_lapses_and_what_comes(
    has: str | None, carry_over: str, lapsed: str, carried: str, allocated: str, short: str, after: str
) -> None:
    """Two transfers at most, in the order in which they are said, each only where it moves something."""
    ledger = Ledger()
    ledger.budget("research", has)
    renew(ledger, carry_over=carry_over)
    ledger.advance(DAY)
    (body,) = sweep(ledger)
    said = tuple(int(body[name]) for name in ("lapsed", "carried", "allocated", "short"))
    assert said == tuple(round(float(text) * USD) for text in (lapsed, carried, allocated, short))
    own, above = "budgets:research:available", "authority"
    moved = [[above, own, body["lapsed"], "USD"], [own, above, body["allocated"], "USD"]]
    assert body["transfers"] == [one for one in moved if one[2] != "0"]
    assert body["budget"]["available"] == str(ledger.balance(own))
    assert "effective_at" not in body
    assert available(ledger) == after
    assert ledger.balance("authority") == -ledger.balance(own)
    check(ledger)


def test_what_is_held_does_not_lapse() -> None:
    """It stays held; what it leaves free lapses at the next midnight."""
    world = World()
    renew(world, amount="50")
    reference = world.hold(world.crawler, "40", ttl_seconds=3 * DAY)
    world.advance(DAY)
    (body,) = sweep(world)
    assert (body["lapsed"], body["budget"]["held"]) == (str(60 * USD), str(40 * USD))
    world.settle(world.crawler, reference, "15")
    assert available(world) == "75.00"
    world.advance(DAY)
    sweep(world)
    assert available(world) == "50.00"
    check(world)


def test_a_negative_balance_lapses_nothing() -> None:
    """What was overspent is taken from the new period."""
    world = World(amount="10")
    renew(world, amount="100", carry_over="5")
    world.do(
        Charge, world.finance, budget="research", amount="25", currency="USD", category="inference", payee="openai"
    )
    assert available(world) == "-15.00"
    world.advance(DAY)
    (body,) = sweep(world)
    assert (body["lapsed"], body["carried"], body["allocated"]) == ("0", str(-15 * USD), str(100 * USD))
    assert available(world) == "85.00"
    check(world)


def tree(ledger: Ledger, company: str | None = "250") -> None:
    """``company`` above ``team`` above ``project``, each with a name that sorts before the one above it."""
    ledger.budget("z-company", company)
    ledger.budget("m-team", None, parent="z-company")
    ledger.budget("a-project", None, parent="m-team")


def test_a_short_parent_gives_what_it_has() -> None:
    """Down to nothing and never below; the record says how much was short, and is written also where nothing moves."""
    ledger = Ledger()
    tree(ledger)
    renew(ledger, "m-team", "200")
    shorts, allocated = [], []
    for _ in range(3):
        ledger.advance(DAY)
        (body,) = sweep(ledger)
        shorts.append(int(body["short"]) // USD)
        allocated.append(int(body["allocated"]) // USD)
        ledger.do(Allocate, ledger.admin, budget="a-project", amount="100", currency="USD")
    # What is left above carry-over goes back first, so it can be given again.
    assert (allocated, shorts) == ([200, 150, 50], [0, 50, 150])
    assert ledger.balance("budgets:z-company:available") == 0
    ledger.do(Allocate, ledger.admin, budget="a-project", amount="50", currency="USD")
    ledger.advance(DAY)
    (body,) = sweep(ledger)
    assert (body["allocated"], body["short"], "transfers" in body) == ("0", str(200 * USD), False)
    check(ledger)


def test_a_parent_below_zero_gives_nothing() -> None:
    """And is not taken further down."""
    world = World()
    world.budget("below", None, parent="research")
    renew(world, "below", "10")
    world.do(
        Charge, world.finance, budget="research", amount="130", currency="USD", category="inference", payee="openai"
    )
    world.advance(DAY)
    (body,) = sweep(world)
    assert (body["allocated"], body["parent"]["available"]) == ("0", str(-30 * USD))
    check(world)


def test_those_above_renew_first() -> None:
    """At the same midnight, whatever their names; otherwise the child would find the parent empty."""
    ledger = Ledger()
    tree(ledger, None)
    for name, amount in (("a-project", "10"), ("m-team", "50"), ("z-company", "200")):
        renew(ledger, name, amount)
    ledger.advance(DAY)
    bodies = sweep(ledger)
    assert [body["renewed"] for body in bodies] == ["z-company", "m-team", "a-project"]
    assert [body["short"] for body in bodies] == ["0", "0", "0"]
    assert [available(ledger, name) for name in ("z-company", "m-team", "a-project")] == ["150.00", "40.00", "10.00"]
    check(ledger)


def test_missed_periods_each_have_their_record() -> None:
    """After three days without anybody: in the order of the midnights, those above first at each."""
    ledger = Ledger()
    tree(ledger, None)
    renew(ledger, "m-team", "30", carry_over="45")
    renew(ledger, "z-company", "100", carry_over="1000")
    ledger.advance(3 * DAY)
    bodies = sweep(ledger)
    assert [body["renewed"] for body in bodies] == ["z-company", "m-team"] * 3
    midnights = [body["period"]["from"] for body in bodies]
    assert midnights == sorted(midnights)
    assert [bodies[at]["period"]["to"] for at in (0, 2)] == [bodies[at]["period"]["from"] for at in (2, 4)]
    assert [int(body["carried"]) // USD for body in bodies if body["renewed"] == "m-team"] == [0, 30, 45]
    assert {body["time"] for body in bodies} == {moment_text(ledger.now)}
    assert available(ledger, "m-team") == "75.00"
    assert sweep(ledger) == []
    check(ledger)


@pytest.mark.parametrize("bound", [1, 2, 3, 100])
def test_a_backlog_is_worked_off_before_anything_else(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    """A bounded number in each batch; until then nothing else is decided; the order is that of no bound at all."""
    monkeypatch.setattr("ledger.core.renewing.RENEWALS_MAX", bound)
    world = World()
    world.renewals_max = bound
    names = [f"b-{number}" for number in range(4)]
    for name in names:
        world.budget(name, None, parent="research")
        renew(world, name, "1")
    renew(world, "research", "50")
    world.advance(3 * DAY)
    size = world.head.size
    asked = world.command(Allocate, world.admin, budget="b-0", amount="1", currency="USD")
    outcome, batches = world.decide(asked)[0], 1
    while outcome.status is Status.EXPIRY_BACKLOG:
        assert world.bodies()[-1]["kind"] == "renewal"
        outcome, batches = world.decide(asked)[0], batches + 1
    assert outcome.status is Status.DONE
    bodies = world.bodies()[size:-1]
    assert [body["renewed"] for body in bodies] == ["research", *names] * 3
    assert batches == -(-len(bodies) // bound)
    check(world)


def test_nothing_renews_while_holds_that_are_due_wait() -> None:
    """What they leave free lapses with the rest."""
    world = World(due_max=2)
    for _ in range(5):
        world.hold(world.crawler, "10", ttl_seconds=60)
    renew(world, amount="100")
    world.advance(DAY)
    kinds = [[body["kind"] for body in sweep(world)] for _ in range(4)]
    assert kinds == [["expiry"] * 2, ["expiry"] * 2, ["expiry", "renewal"], []]
    assert world.bodies()[-1]["lapsed"] == str(100 * USD)
    check(world)


def test_what_is_due_renews_before_the_decision_that_came_across_it() -> None:
    """Nobody has to sweep."""
    world = World(amount="5")
    renew(world, amount="100")
    world.advance(DAY)
    assert world.authorize(world.crawler, "90").status is Status.APPROVED
    assert [body["kind"] for body in world.bodies()[-2:]] == ["renewal", "hold"]


def test_a_setting_is_replaced_and_stopped() -> None:
    """From the next midnight on; a stopped one can be set again."""
    world = World(amount="5")
    renew(world, amount="100")
    renew(world, amount="70", every="week", carry_over="2", reason="less")
    world.advance(DAY)
    assert sweep(world) == []
    world.advance(6 * DAY)
    (body,) = sweep(world)
    assert (body["every"], body["carried"], available(world)) == ("week", str(2 * USD), "72.00")
    assert world.do(StopRenewal, world.admin, budget="research", reason="enough").status is Status.DONE
    assert world.do(StopRenewal, world.admin, budget="research").status is Status.WRONG_STATE
    world.advance(30 * DAY)
    assert sweep(world) == []
    renew(world, amount="1")
    (row,) = world.rows("renewals")
    assert (row.every, row.amount, row.carry_over) == ("day", USD, 0)
    world.advance(DAY)
    sweep(world)
    assert available(world) == "1.00"
    check(world)


def test_a_setting_after_midnight_does_not_swallow_the_old_ones_midnight() -> None:
    """What is due has renewed by the setting that was, before the new one is taken."""
    world = World(amount="5")
    renew(world, amount="100")
    world.advance(DAY)
    assert renew(world, amount="7").status is Status.DONE
    assert [body["kind"] for body in world.bodies()[-2:]] == ["renewal", "budget_renewal"]
    assert available(world) == "100.00"


def test_a_frozen_budget_renews_as_usual() -> None:
    """A freeze stops spending, not bookkeeping."""
    world = World(amount="5")
    renew(world, amount="100")
    world.do(FreezeBudget, world.admin, budget="research", frozen=True)
    world.advance(DAY)
    assert [body["kind"] for body in sweep(world)] == ["renewal"]


REFUSALS = (
    ({"amount": "0"}, Status.AMOUNT_NOT_POSITIVE),
    ({"amount": "-1"}, Status.AMOUNT_NOT_POSITIVE),
    ({"amount": "1.0000000001"}, Status.AMOUNT_TOO_PRECISE),
    ({"amount": "x"}, Status.AMOUNT_MALFORMED),
    ({"carry_over": "-1"}, Status.AMOUNT_NOT_POSITIVE),
    ({"carry_over": "99999999999"}, Status.AMOUNT_TOO_LARGE),
    ({"currency": "EUR"}, Status.CURRENCY_MISMATCH),
    ({"currency": "nothing"}, Status.UNKNOWN_CURRENCY),
    ({"budget": "none"}, Status.UNKNOWN_BUDGET),
)


@pytest.mark.parametrize(("fields", "status"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_setting_that_cannot_be(fields: dict[str, str], status: Status) -> None:
    """Refused with its status; nothing is recorded."""
    world = World()
    size = world.head.size
    assert renew(world, **({"budget": "research", "amount": "1"} | fields)).status is status
    assert world.head.size == size


def test_who_may_set_a_renewal() -> None:
    """An admin only."""
    world = World()
    for caller in (world.crawler, world.finance, world.auditor):
        asked = {"budget": "research", "every": "day", "amount": "1", "currency": "USD"}
        assert world.do(SetRenewal, caller, **asked).status is Status.ROLE_NOT_ALLOWED
        assert world.do(StopRenewal, caller, budget="research").status is Status.ROLE_NOT_ALLOWED
        assert world.do(CloseBudget, caller, budget="research").status is Status.ROLE_NOT_ALLOWED


def test_a_repeat_is_answered_as_before() -> None:
    """Also after the setting was changed."""
    world = World()
    first = renew(world, amount="10", idempotency_key="once")
    renew(world, amount="20")
    again = renew(world, amount="10", idempotency_key="once")
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert renew(world, amount="11", idempotency_key="once").status is Status.IDEMPOTENCY_MISMATCH


def test_a_renewal_never_leaves_64_bits() -> None:
    """What has no room is short, or stays where it is, and nothing fails."""
    ledger = Ledger()
    largest = "9223372036.854775807"
    ledger.budget("first", "9000000000")
    ledger.budget("second", "223372036")
    renew(ledger, "second", largest, carry_over=largest)
    ledger.advance(DAY)
    (body,) = sweep(ledger)
    # Authority had given all but 0.854775807 away.
    assert (body["lapsed"], body["allocated"]) == ("0", "854775807")
    assert ledger.balance("authority") == -ATOMS_MAX
    check(ledger)


def test_a_release_comes_before_the_midnight_it_was_made_before() -> None:
    """A hold released on the day is part of what lapses that night."""
    world = World(amount="100")
    renew(world, amount="100")
    reference = world.hold(world.crawler, "40", ttl_seconds=3 * DAY)
    world.do(Release, world.crawler, authorization=reference)
    world.advance(DAY)
    (body,) = sweep(world)
    assert body["lapsed"] == str(100 * USD)
