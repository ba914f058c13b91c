"""Closing a budget, and stopping: a budget, a team, the whole book; what still goes on, and what does not."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.command import (
    Adjust,
    AdjustmentTransfer,
    Allocate,
    AssignBudget,
    Authorize,
    Caller,
    Charge,
    Command,
    CreateBudget,
    Deallocate,
    Extend,
    FreezeAgent,
    OpenRun,
    Refund,
    Release,
    Settle,
)
from ledger.core.command_budgets import CloseBudget, FreezeBook, FreezeBudget, SetRenewal, StopRenewal
from ledger.core.deriving import Clock, columns_of
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.projecting import Fold
from tests.core.test_renewals import DAY, USD, check, renew, sweep
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

SPENT = {"category": "inference", "payee": "openai", "currency": "USD"}


def close(world: World, budget: str = "research", **fields: str) -> Outcome:
    """Close as the admin."""
    return world.do(CloseBudget, world.admin, budget=budget, **fields)


def freeze(world: World, budget: str = "research", *, frozen: bool = True) -> Outcome:
    """Freeze a budget, or with ``frozen`` False unfreeze it."""
    return world.do(FreezeBudget, world.admin, budget=budget, frozen=frozen, reason="seen enough")


def freeze_book(world: World, *, frozen: bool = True) -> Outcome:
    """Freeze the book, or with ``frozen`` False unfreeze it."""
    return world.do(FreezeBook, world.admin, frozen=frozen, reason="seen enough")


def test_closing_gives_back_what_is_available() -> None:
    """To authority, or to the parent; what was spent stays spent."""
    world = World()
    world.settle(world.crawler, world.hold(world.crawler, "10"), "4")
    world.budget("below", "20", parent="research")
    body = close(world, "below", reason="done").body or {}
    assert body["transfers"] == [["budgets:research:available", "budgets:below:available", str(20 * USD), "USD"]]
    assert (body["budget"]["available"], body["parent"]["available"]) == ("0", str(96 * USD))
    assert len(world.bodies()[-1]["request"]["reason"]) == 64
    body = close(world).body or {}
    assert body["transfers"] == [["authority", "budgets:research:available", str(96 * USD), "USD"]]
    assert world.balances() == {
        ("authority", "USD"): -4 * USD,
        ("budgets:research:spent", "USD"): 4 * USD,
        ("expenses:inference", "USD"): 4 * USD,
        ("payables:openai", "USD"): -4 * USD,
    }
    row = next(row for row in world.rows("budgets") if row.name == "research")
    assert (row.closed_at, row.changed_index) == (world.now, world.head.size - 1)
    check(world)


def test_closing_an_empty_budget_moves_nothing() -> None:
    """A record without transfers."""
    world = World()
    world.budget("empty")
    body = close(world, "empty").body or {}
    assert ("transfers" in body, body["amount"]) == (False, "0")
    check(world)


def test_what_is_held_must_end_first() -> None:
    """The refusal says how much is held; what expires meanwhile is no reason."""
    world = World()
    world.hold(world.crawler, "12.5", ttl_seconds=60)
    size = world.head.size
    refused = close(world)
    assert (refused.status, refused.facts["held"]) == (Status.BUDGET_IN_USE, str(12_500_000_000))
    assert "12.50 USD" in refused.detail
    assert world.head.size == size
    world.advance(60)
    assert close(world).status is Status.DONE
    check(world)


def test_open_children_must_be_closed_first() -> None:
    """The refusal names them; those that are closed do not count, also not in the same batch."""
    world = World()
    for number in range(7):
        world.budget(f"child-{number}", None, parent="research")
    refused = close(world)
    assert (refused.status, len(refused.facts["budgets"])) == (Status.BUDGET_IN_USE, 5)
    assert "child-0, child-1, child-2, child-3, child-4 and 2 more" in refused.detail
    closing = [world.command(CloseBudget, world.admin, budget=f"child-{number}") for number in range(7)]
    last = world.command(CloseBudget, world.admin, budget="research")
    assert [one.status for one in world.decide(*closing[:6], last)] == [Status.DONE] * 6 + [Status.BUDGET_IN_USE]
    again = world.command(CloseBudget, world.admin, budget="research")
    assert [one.status for one in world.decide(closing[6], again)] == [Status.DONE, Status.DONE]
    check(world)


def test_a_child_made_in_the_same_batch_counts() -> None:
    """Nothing open is ever left below what is closed."""
    world = World()
    made = world.command(CreateBudget, world.admin, name="late", currency="USD", parent="research")
    closing = world.command(CloseBudget, world.admin, budget="research")
    assert [one.status for one in world.decide(made, closing)] == [Status.DONE, Status.BUDGET_IN_USE]


def test_what_stands_below_zero_must_be_covered_first() -> None:
    """Otherwise the overspending would be hidden."""
    world = World()
    world.do(Charge, world.finance, budget="research", amount="130", **SPENT)
    refused = close(world)
    assert (refused.status, refused.facts["available"]) == (Status.INSUFFICIENT_AVAILABLE, str(-30 * USD))
    world.do(Allocate, world.admin, budget="research", amount="30", currency="USD")
    assert close(world).status is Status.DONE
    check(world)


def closed(world: World) -> World:
    """The same world, its budget closed after a settlement of 10 and an expired hold of 20."""
    world.settle(world.crawler, world.hold(world.crawler, "10", id=SETTLED), "10")
    world.hold(world.crawler, "20", ttl_seconds=60, id=EXPIRED)
    world.advance(60)
    assert close(world).status is Status.DONE
    return world


SETTLED = "auth_0000000000000000000000000A"
EXPIRED = "auth_0000000000000000000000000B"
MONEY = {"amount": "1", "currency": "USD"}
# Command, who gives it, its fields, and what a closed budget answers.
AFTERWARDS = (
    (Allocate, "admin", {"budget": "research", **MONEY}, Status.WRONG_STATE),
    (Deallocate, "admin", {"budget": "research", **MONEY}, Status.INSUFFICIENT_AVAILABLE),
    (AssignBudget, "admin", {"budget": "research", "agents": ("writer",)}, Status.WRONG_STATE),
    (CreateBudget, "admin", {"name": "new", "currency": "USD", "parent": "research"}, Status.WRONG_STATE),
    (SetRenewal, "admin", {"budget": "research", "every": "day", **MONEY}, Status.WRONG_STATE),
    (StopRenewal, "admin", {"budget": "research"}, Status.WRONG_STATE),
    (CloseBudget, "admin", {"budget": "research"}, Status.WRONG_STATE),
    (FreezeBudget, "admin", {"budget": "research", "frozen": True}, Status.WRONG_STATE),
    (FreezeBudget, "admin", {"budget": "research", "frozen": False}, Status.WRONG_STATE),
    (Charge, "finance", {"budget": "research", "amount": "1", **SPENT}, Status.DONE),
    (Refund, "finance", {"authorization": SETTLED, **MONEY}, Status.DONE),
    (Settle, "crawler", {"authorization": EXPIRED, **MONEY}, Status.DONE),
    (Settle, "finance", {"authorization": EXPIRED, **MONEY, "final": False}, Status.DONE),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "who", "fields", "status"), AFTERWARDS, ids=lambda value: str(value)[:60])
def test_what_a_closed_budget_answers(kind: type[Command], who: str, fields: dict[str, object], status: Status) -> None:
    """Nothing is put in any more; spend that did happen is recorded."""
    world = closed(World())
    size = world.head.size
    outcome = world.do(kind, getattr(world, who), **fields)
    assert outcome.status is status, outcome
    assert world.head.size == size + (status is Status.DONE)
    if status is Status.WRONG_STATE and kind is not StopRenewal:
        assert outcome.facts["state"] == "closed"
    check(world)


def test_nothing_is_spent_from_a_closed_budget() -> None:
    """Denied on record, named or as the agent's only one."""
    world = closed(World())
    for fields in ({"budget": "research"}, {}):
        assert world.authorize(world.crawler, "1", **fields).status is Status.BUDGET_CLOSED
    assert [body["kind"] for body in world.bodies()[-2:]] == ["denial"] * 2


def test_a_closed_budget_is_no_choice_beside_others() -> None:
    """An agent with one budget left need not name it."""
    world = World()
    world.budget("other", "5", "research")
    assert world.authorize(world.crawler, "1").status is Status.BUDGET_AMBIGUOUS
    close(world)
    outcome = world.authorize(world.crawler, "1")
    assert (outcome.status, (outcome.body or {})["budget"]["name"]) == (Status.APPROVED, "other")


def test_what_a_refund_leaves_in_a_closed_budget_can_be_taken_out() -> None:
    """And what a late cost took is put right by an adjustment."""
    world = closed(World())
    world.budget("other", "50")
    world.do(Refund, world.finance, authorization=SETTLED, amount="4", currency="USD")
    assert world.do(Deallocate, world.admin, budget="research", amount="4", currency="USD").status is Status.DONE
    world.settle(world.crawler, EXPIRED, "7")
    assert world.shown("budgets:research:available") == "-7.00"
    moved = (AdjustmentTransfer("budgets:research:available", "budgets:other:available", "7", "USD"),)
    assert world.do(Adjust, world.finance, transfers=moved, reason="late cost of a closed budget").body
    assert world.shown("budgets:research:available") == "0.00"
    check(world)


def test_closing_stops_the_renewal() -> None:
    """For good; what was due at closing has renewed before."""
    world = World()
    renew(world, amount="7")
    world.advance(DAY)
    assert close(world).status is Status.DONE
    assert [body["kind"] for body in world.bodies()[-2:]] == ["renewal", "budget_closure"]
    assert [row.next_at for row in world.rows("renewals")] == [None]
    world.advance(30 * DAY)
    assert sweep(world) == []
    assert world.balance("budgets:research:available") == 0
    check(world)


def test_a_frozen_budget_can_be_closed() -> None:
    """And what is asked of it afterwards is denied either way."""
    world = World()
    freeze(world)
    assert close(world).status is Status.DONE
    assert world.authorize(world.crawler).status in (Status.BUDGET_FROZEN, Status.BUDGET_CLOSED)
    check(world)


def body_of(world: World, kind: str, **fields: object) -> dict[str, Any]:
    """The last body of a kind, with some members changed."""
    return next(body for body in reversed(world.bodies()) if body["kind"] == kind) | fields


FORGED: tuple[tuple[str, dict[str, object], str], ...] = (
    ("budget", {"budget": "late", "id": "bud_0000000000000000000000000X", "parent": "research"}, "which is closed"),
    ("budget_agents", {"agents": ["stranger"]}, "which is closed"),
    ("allocation", {}, "which is closed"),
    ("budget_closure", {}, "was closed before"),
    ("budget_freeze", {}, "was closed before"),
    ("budget_renewal", {}, "a closed budget is set to renew"),
)


@pytest.mark.parametrize(("kind", "fields", "said"), FORGED, ids=[kind for kind, _, _ in FORGED])
def test_the_fold_knows_what_closed_means(kind: str, fields: dict[str, object], said: str) -> None:
    """A record that no honest writer could have appended is noted, although it has everything else that it needs."""
    world = World()
    world.do(AssignBudget, world.admin, budget="research", agents=("writer",))
    world.agent("stranger")
    freeze(world)
    renew(world)
    close(world)
    assert any(said in what for what in told(world, body_of(world, kind, **fields)))


def test_the_fold_knows_that_children_close_first() -> None:
    """Also where the parent has nothing to give back."""
    world = World()
    world.budget("empty")
    close(world, "empty")
    closure = body_of(world, "budget_closure")
    world.budget("above")
    world.budget("child", None, parent="above")
    made = next(row.id for row in world.rows("budgets") if row.name == "above")
    closure |= {"closed": "above", "budget": closure["budget"] | {"id": made, "name": "above"}}
    closure["request"] = closure["request"] | {"budget": "above"}
    assert told(world, closure) == ["above is closed while budgets below it are open"]
    close(world, "child")
    assert told(world, closure) == []


def told(world: World, forged: dict[str, Any]) -> list[str]:
    """What the fold notes about a record that is put behind the log of a world."""
    fold, clock = Fold(1, MemoryStore()), Clock()
    forged = {**forged, "index": world.head.size, "time": moment_text(world.now)}
    if "idempotency" in forged:
        forged["idempotency"] = ["0" * 32, sha256(canonical_bytes(forged["request"])).hexdigest()]
    for body in (*world.bodies(), forged):
        assert not fold.differences
        fold.apply(body, columns_of(body, clock))
    return [difference.what for difference in fold.differences]


# Freezing.


@pytest.mark.parametrize("what", ["budget", "above", "team", "book"])
def test_a_freeze_stops_what_is_new_and_lets_the_rest_end(what: str) -> None:
    """Also in the same batch, also from above."""
    world = World()
    world.budget("below", "20", "research", parent="research")
    named = {"budget": "research" if what == "budget" else "below"}
    holds = [world.hold(world.crawler, "5", **named) for _ in range(3)]
    done = world.settle(world.crawler, world.hold(world.crawler, "5", **named), "5").body or {}
    ask = world.command(Authorize, world.crawler, amount="1", **SPENT, **named)
    stop = {
        "budget": world.command(FreezeBudget, world.admin, budget="research", frozen=True),
        "above": world.command(FreezeBudget, world.admin, budget="research", frozen=True),
        "team": world.command(FreezeAgent, world.admin, agent="research", frozen=True),
        "book": world.command(FreezeBook, world.admin, frozen=True),
    }[what]
    status = {
        "budget": Status.BUDGET_FROZEN,
        "above": Status.BUDGET_FROZEN,
        "team": Status.AGENT_FROZEN,
        "book": Status.BOOK_FROZEN,
    }[what]
    assert [one.status for one in world.decide(stop, ask)] == [Status.DONE, status]
    assert world.authorize(world.crawler, "1", **named).status is status
    extend = {"authorization": holds[0], "amount": "1", "currency": "USD"}
    assert world.do(Extend, world.crawler, **extend).status is status
    assert world.do(Extend, world.crawler, authorization=holds[0], ttl_seconds=5).status is status
    assert world.settle(world.crawler, holds[0], "6").status is Status.DONE
    assert world.do(Release, world.crawler, authorization=holds[1]).status is Status.DONE
    assert world.do(Charge, world.finance, budget="below", amount="1", **SPENT).status is Status.DONE
    refund = {"authorization": done["authorization"], "amount": "1", "currency": "USD"}
    assert world.do(Refund, world.finance, **refund).status is Status.DONE
    for kind in (Allocate, Deallocate):
        assert world.do(kind, world.admin, budget="below", amount="1", currency="USD").status is Status.DONE
    assert world.do(OpenRun, world.crawler, name="run-1").status is Status.DONE
    world.advance(3600)
    assert [body["kind"] for body in sweep(world)] == ["expiry"]
    check(world)


def test_a_freeze_of_a_budget_does_not_reach_its_neighbours() -> None:
    """Nor those above it."""
    world = World()
    world.budget("below", "20", "research", parent="research")
    freeze(world, "below")
    assert world.authorize(world.crawler, "1", budget="research").status is Status.APPROVED
    denied = world.authorize(world.crawler, "1", budget="below")
    assert (denied.body or {})["decision"]["reasons"][0]["detail"] == "budget below is frozen"
    freeze(world)
    freeze(world, "below", frozen=False)
    denied = world.authorize(world.crawler, "1", budget="below")
    assert (denied.body or {})["decision"]["reasons"][0]["detail"] == "budget research is frozen"
    freeze(world, frozen=False)
    assert world.authorize(world.crawler, "1", budget="below").status is Status.APPROVED
    check(world)


def test_the_freeze_of_the_book_stands_in_its_head() -> None:
    """Which every decision in every process locks and reads; and it ends with an unfreeze."""
    world = World()
    assert not world.head.frozen
    assert freeze_book(world).status is Status.DONE
    assert world.head.frozen is True
    assert world.authorize(world.crawler).status is Status.BOOK_FROZEN
    check(world)
    assert freeze_book(world, frozen=False).status is Status.DONE
    assert world.head.frozen is False
    assert world.authorize(world.crawler).status is Status.APPROVED
    check(world)


def test_nothing_is_frozen_or_unfrozen_twice() -> None:
    """The answer says which state it is in."""
    world = World()
    for act in (freeze, freeze_book):
        for frozen, state in ((False, "active"), (True, "frozen")):
            if frozen:
                assert act(world, frozen=True).status is Status.DONE
            refused = act(world, frozen=frozen)
            assert (refused.status, refused.facts["state"]) == (Status.WRONG_STATE, state)


def test_who_may_freeze() -> None:
    """An admin, and whoever owns the database, who is named so on record."""
    world = World()
    for caller in (world.crawler, world.finance, world.auditor):
        assert world.do(FreezeBudget, caller, budget="research", frozen=True).status is Status.ROLE_NOT_ALLOWED
        assert world.do(FreezeBook, caller, frozen=True).status is Status.ROLE_NOT_ALLOWED
    owner = Caller(None, as_owner=True)
    for kind, fields in ((FreezeBudget, {"budget": "research"}), (FreezeBook, {})):
        outcome = world.do(kind, owner, frozen=True, reason="from the command line", idempotency_key="", **fields)
        assert outcome.status is Status.DONE
        assert (outcome.body or {})["by"] == {"principal": "system:database-owner"}
    check(world)


def test_what_is_not_there_cannot_be_stopped() -> None:
    """By name or by id."""
    world = World()
    for budget in ("none", "bud_00000000000000000000000000"):
        assert freeze(world, budget).status is Status.UNKNOWN_BUDGET
        assert close(world, budget).status is Status.UNKNOWN_BUDGET
        assert world.do(StopRenewal, world.admin, budget=budget).status is Status.UNKNOWN_BUDGET
