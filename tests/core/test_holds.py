"""The life of a hold: time, partial approval, overrun, late and mismatched costs, freezing, runs."""

from __future__ import annotations

import pytest

from ledger.core.authorization import SPLITS_MAX, flag_names
from ledger.core.command import (
    Allocate,
    Authorize,
    CreateAgent,
    Deallocate,
    ExpireDue,
    Extend,
    FreezeAgent,
    OpenRun,
    Refund,
    Release,
)
from ledger.core.outcome import Outcome, Status
from tests.support.ledger import SECOND
from tests.support.worlds import World


def flags(world: World, reference: str) -> list[str]:
    """The flags of an authorization, by name."""
    return flag_names(world.authorization(reference).flags)


def sums(world: World, budget: str = "research") -> list[str]:
    """What a budget has available, held and spent."""
    return [world.shown(f"budgets:{budget}:{role}") for role in ("available", "held", "spent")]


def extend(world: World, reference: str, **fields: object) -> Outcome:
    """Extend as the crawler."""
    return world.do(Extend, world.crawler, authorization=reference, **fields)


@pytest.mark.parametrize(("after", "state"), [(59.999999, "held"), (60, "expired"), (3600, "expired")])
def test_a_hold_ends_at_its_time_to_the_microsecond(after: float, state: str) -> None:
    """Decided by the next decision, whether or not anything swept before."""
    world = World()
    hold = world.hold(world.crawler, "60", ttl_seconds=60)
    assert world.authorization(hold).expires_at == world.now + 60 * SECOND
    world.advance(after)
    outcome = world.authorize(world.writer, "60")
    assert outcome.status is (Status.APPROVED if state == "expired" else Status.BUDGET_HELD)
    assert world.authorization(hold).state == state


def test_the_sweeper_ends_what_is_due_and_records_nothing_else() -> None:
    """Oldest first, at most a bounded number per batch."""
    world = World(due_max=2)
    holds = [world.hold(world.crawler, "1", ttl_seconds=60 - number) for number in range(5)]
    world.advance(60)
    for left in (3, 1, 0):
        assert world.do(ExpireDue, world.nobody, idempotency_key="").status is Status.DONE
        assert [world.authorization(one).state for one in holds].count("held") == left
    assert world.authorization(holds[0]).changed_index == world.head.size - 1, "the one due last ended last"
    size = world.head.size
    world.do(ExpireDue, world.nobody, idempotency_key="")
    assert world.head.size == size


def test_what_is_not_known_stays_held_and_is_flagged_once() -> None:
    """It may have been billed; so it is listed until somebody settles, releases or extends it."""
    world = World()
    hold = world.hold(world.crawler, "10", ttl_seconds=60, on_expiry="unknown")
    world.advance(60)
    world.authorize(world.writer, "1")
    assert (world.authorization(hold).state, flags(world, hold)) == ("held", ["unknown"])
    size = world.head.size
    world.advance(300)
    world.do(ExpireDue, world.nobody, idempotency_key="")
    assert world.head.size == size
    assert sums(world) == ["89.00", "11.00", "0.00"]
    assert extend(world, hold, ttl_seconds=60).status is Status.DONE
    assert flags(world, hold) == []
    assert world.authorization(hold).expires_at == world.now + 60 * SECOND
    world.advance(60)
    world.settle(world.crawler, hold, "3")
    assert flags(world, hold) == []
    assert sums(world)[2] == "3.00"


def test_time_never_runs_backwards() -> None:
    """A clock behind the last record is taken as the last record's time, so nothing revives."""
    world = World()
    world.advance(100)
    hold = world.hold(world.crawler, ttl_seconds=60)
    world.advance(-90)
    late = world.authorize(world.crawler)
    times = [record.recorded_at for record in world.rows("log_records")]
    assert times == sorted(times)
    assert times[late.log_index] == times[late.log_index - 1]
    assert world.authorization(hold).state == "held"


def test_money_that_only_waits_for_expiries_is_waited_for() -> None:
    """No denial for lack of money and no smaller approval, while more holds are due than one batch ends."""
    for asked, caller in (({"amount": "60"}, "crawler"), ({"amount": "60", "partial_ok": True}, "writer")):
        world = World(due_max=2)
        for _ in range(6):
            world.hold(world.crawler, "15", ttl_seconds=60)
        world.advance(60)
        who = getattr(world, caller)
        spending = {"currency": "USD", "category": "c", "payee": "p"}
        ask = world.command(Authorize, who, **asked, **spending)
        answers = [world.decide(ask)[0].status for _ in range(3)]
        assert answers == [Status.EXPIRY_BACKLOG, Status.APPROVED, Status.REPLAYED]
        assert world.authorization(ask.id).approved == 60 * 10**9
    world = World(due_max=2)
    for _ in range(6):
        world.hold(world.crawler, "15", ttl_seconds=60)
    world.advance(60)
    take = world.command(Deallocate, world.admin, budget="research", amount="100", currency="USD")
    answers = [world.decide(take)[0].status for _ in range(3)]
    assert answers == [Status.EXPIRY_BACKLOG, Status.EXPIRY_BACKLOG, Status.DONE]


@pytest.mark.parametrize(
    ("asked", "partial_ok", "status", "approved"),
    [
        ("40", False, Status.APPROVED, "40.00"),
        ("40.000000001", False, Status.BUDGET_HELD, None),
        ("90", False, Status.BUDGET_HELD, None),
        ("90.000000001", False, Status.INSUFFICIENT_BUDGET, None),
        ("40", True, Status.APPROVED, "40.00"),
        ("40.000000001", True, Status.APPROVED, "40.00"),
        ("1000", True, Status.APPROVED, "40.00"),
    ],
)
def test_three_answers_on_money(asked: str, partial_ok: bool, status: Status, approved: str | None) -> None:
    """100 in all: 10 spent, 50 held by another, 40 available."""
    world = World()
    world.settle(world.writer, world.hold(world.writer, "10"), "10")
    world.hold(world.writer, "50")
    outcome = world.authorize(world.crawler, asked, partial_ok=partial_ok)
    assert outcome.status is status
    if approved is not None:
        assert sums(world)[0] == "0.00"
        reference = str((outcome.body or {})["authorization"])
        assert flags(world, reference) == ([] if asked == approved.removesuffix(".00") else ["partial"])


def test_nothing_is_approved_in_part_when_nothing_is_there() -> None:
    """Zero is no part."""
    world = World()
    world.hold(world.writer, "100")
    assert world.authorize(world.crawler, "5", partial_ok=True).status is Status.BUDGET_HELD


def test_an_overrun_is_recorded_and_what_follows_is_denied_until_it_is_covered() -> None:
    """Real spend is never refused; the balance below zero names the record that explains it."""
    world = World(amount="10")
    hold = world.hold(world.crawler, "10")
    outcome = world.settle(world.crawler, hold, "12")
    assert outcome.status is Status.DONE
    assert flags(world, hold) == ["overrun", "mismatch"]
    assert sums(world) == ["-2.00", "0.00", "12.00"]
    account = next(row for row in world.rows("accounts") if row.name == "budgets:research:available")
    assert account.overdrawn_index == outcome.log_index
    assert world.authorize(world.crawler, "0.000000001").status is Status.INSUFFICIENT_BUDGET
    world.do(Allocate, world.admin, budget="research", amount="2", currency="USD")
    account = next(row for row in world.rows("accounts") if row.name == "budgets:research:available")
    assert account.overdrawn_index is None
    assert world.authorize(world.crawler, "0.000000001").status is Status.INSUFFICIENT_BUDGET


def test_costs_after_the_end_of_a_hold() -> None:
    """As many as come, each flagged late; the last one final."""
    world = World()
    hold = world.hold(world.crawler, "10")
    world.settle(world.crawler, hold, "4", final=False)
    world.do(Release, world.crawler, authorization=hold)
    world.settle(world.crawler, hold, "1", final=False)
    world.settle(world.crawler, hold, "2", final=False)
    row = world.authorization(hold)
    assert (row.state, row.settled, flags(world, hold)) == ("released", 7 * 10**9, ["late"])
    assert world.settle(world.crawler, hold, "3").status is Status.DONE
    assert world.settle(world.crawler, hold, "3").status is Status.WRONG_STATE
    assert sums(world) == ["90.00", "0.00", "10.00"]


@pytest.mark.parametrize(
    ("asked", "settled", "mismatch"),
    [
        ({}, {}, False),
        ({}, {"category": "search"}, True),
        ({}, {"payee": "anthropic"}, True),
        ({}, {"category": "inference", "payee": "openai"}, False),
        ({"resource": "gpt-5"}, {"resource": "gpt-5"}, False),
        ({"resource": "gpt-5"}, {"resource": "gpt-5-mini"}, True),
        ({"resource": "gpt-5"}, {}, False),
        ({}, {"resource": "gpt-5"}, False),
    ],
)
def test_the_gap_between_what_was_meant_and_what_was_done(
    asked: dict[str, str], settled: dict[str, str], mismatch: bool
) -> None:
    """A cost of another category, payee or resource is recorded where it belongs, and flagged."""
    world = World()
    hold = world.hold(world.crawler, **asked)
    assert world.settle(world.crawler, hold, "5", **settled).status is Status.DONE
    assert flags(world, hold) == (["mismatch"] if mismatch else [])
    assert world.shown(f"expenses:{settled.get('category', 'inference')}") == "5.00"
    assert world.shown(f"payables:{settled.get('payee', 'openai')}") == "-5.00"


def test_splits_are_bounded_and_add_up() -> None:
    """Sixteen pairs of category and payee, each refundable by itself; one more is refused, an old one is not."""
    world = World()
    hold = world.hold(world.crawler, "50")
    for number in range(SPLITS_MAX):
        world.settle(world.crawler, hold, "1", final=False, payee=f"p{number}")
    assert world.settle(world.crawler, hold, "1", payee="one-more").status is Status.TOO_MANY_SPLITS
    assert world.settle(world.crawler, hold, "2", payee="p3").status is Status.DONE
    back = {"authorization": hold, "currency": "USD"}
    assert world.do(Refund, world.finance, **back, amount="1").status is Status.REFUND_AMBIGUOUS
    assert world.do(Refund, world.finance, **back, amount="3.01", payee="p3").status is Status.REFUND_TOO_LARGE
    assert world.do(Refund, world.finance, **back, amount="3", payee="p3").status is Status.DONE
    assert world.do(Refund, world.finance, **back, amount="1", payee="p3").status is Status.REFUND_TOO_LARGE
    assert world.do(Refund, world.finance, **back, amount="1", payee="unseen").status is Status.REFUND_AMBIGUOUS
    assert world.shown("payables:p3") == "0.00"
    assert sums(world)[2] == "15.00"


def test_an_extension_is_decided_like_a_new_request_and_a_denial_leaves_the_hold() -> None:
    """The increase must fit; the hold's own reservation is none of the others that may come free."""
    world = World()
    hold = world.hold(world.crawler, "60")
    other = world.hold(world.writer, "30")
    before = world.authorization(hold)
    kept = (before.approved, before.held, before.expires_at, before.state)
    for amount, status in (("10.01", Status.BUDGET_HELD), ("40.01", Status.INSUFFICIENT_BUDGET)):
        assert extend(world, hold, amount=amount, currency="USD").status is status
    row = world.authorization(hold)
    assert (row.approved, row.held, row.expires_at, row.state) == kept
    assert extend(world, hold, amount="10", currency="USD").status is Status.DONE
    assert sums(world) == ["0.00", "100.00", "0.00"]
    assert extend(world, hold, ttl_seconds=60).status is Status.DONE, "time needs no money"
    world.do(FreezeAgent, world.admin, agent="research", frozen=True)
    assert extend(world, hold, ttl_seconds=60).status is Status.AGENT_FROZEN
    assert other


@pytest.mark.parametrize("frozen", ["crawler", "research", "company"])
def test_a_freeze_reaches_everything_below(frozen: str) -> None:
    """No new spend and no extension; what is in flight can still be settled and released."""
    world = World()
    world.agent("company", kind="team")
    world.do(CreateAgent, world.admin, name="unit", kind="team", parent="company")
    spawned = world.agent("spawned", {"crawler": "crawler", "research": "crawler", "company": "unit"}[frozen])
    world.budget("own", "100", "spawned")
    hold = world.hold(spawned, budget="own")
    second = world.hold(spawned, budget="own")
    world.do(FreezeAgent, world.admin, agent=frozen, frozen=True)
    denied = world.authorize(spawned, budget="own")
    assert denied.status is Status.AGENT_FROZEN
    assert frozen in (denied.body or {})["decision"]["reasons"][0]["detail"]
    assert world.settle(spawned, hold, "1").status is Status.DONE
    assert world.do(Release, spawned, authorization=second).status is Status.DONE
    world.do(FreezeAgent, world.admin, agent=frozen, frozen=False)
    assert world.authorize(spawned, budget="own").status is Status.APPROVED


def total(world: World, run: str) -> tuple[int, int, int, int]:
    """A run's approved, denied, held and spent."""
    row = world.tables["run_totals"][1, run, "USD"]
    return row.approved_count, row.denied_count, row.held, row.spent


def test_a_run_is_totalled_from_its_opening_on() -> None:
    """What named it before it was opened does not count, ever; what came after does, refunds and late costs too."""
    world = World()
    before = world.hold(world.crawler, "7", run="run-1")
    assert world.do(OpenRun, world.crawler, name="run-1").status is Status.DONE
    hold = world.hold(world.crawler, "10", run="run-1")
    world.authorize(world.crawler, "1000", run="run-1")
    assert total(world, "run-1") == (1, 1, 10 * 10**9, 0)
    world.settle(world.crawler, before, "7")
    world.settle(world.crawler, hold, "4", final=False)
    assert total(world, "run-1") == (1, 1, 6 * 10**9, 4 * 10**9)
    extend(world, hold, amount="1", currency="USD")
    world.do(Release, world.crawler, authorization=hold)
    world.settle(world.crawler, hold, "2")
    world.do(Refund, world.finance, authorization=hold, amount="1", currency="USD")
    world.do(Refund, world.finance, authorization=before, amount="1", currency="USD")
    assert total(world, "run-1") == (1, 1, 0, 5 * 10**9)


def test_a_run_belongs_to_an_agent_and_those_below_it() -> None:
    """Others are denied, on record; a name is never opened twice."""
    world = World()
    spawned = world.agent("spawned", "crawler")
    world.do(OpenRun, world.crawler, name="run-1")
    assert world.authorize(spawned, run="run-1").status is Status.APPROVED
    assert world.authorize(world.writer, run="run-1").status is Status.RUN_NOT_PERMITTED
    assert world.do(OpenRun, world.writer, name="run-1").status is Status.NAME_TAKEN
    run_id = world.tables["runs"][1, "run-1"].id
    assert world.authorize(world.crawler, run=run_id).status is Status.APPROVED
    assert total(world, "run-1")[:2] == (2, 0), "a run is named by its id too; what strangers ask does not count"
