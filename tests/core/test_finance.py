"""Charges, refunds, adjustments, allocations along the tree, units, and the bounds of 64 bits."""

from __future__ import annotations

import pytest

from ledger.core.command import (
    Adjust,
    AdjustmentTransfer,
    Allocate,
    Authorize,
    Charge,
    CreateBudget,
    Deallocate,
    DefineUnit,
    ExpireDue,
    Extend,
    OpenRun,
    Refund,
    Release,
)
from ledger.core.money import ATOMS_MAX
from ledger.core.outcome import Outcome, Status
from ledger.core.run import RunTotal
from tests.support.ledger import OPENED_AT, SECOND
from tests.support.worlds import World

DAY = 24 * 3600
LARGEST = "9223372036.854775807"


def charge(world: World, amount: str = "5", **fields: object) -> Outcome:
    """Charge the research budget, unless told otherwise."""
    usual = {"budget": "research", "currency": "USD", "category": "inference", "payee": "openai"}
    return world.do(Charge, world.finance, amount=amount, **(usual | fields))


def adjust(world: World, *transfers: tuple[str, str, str], currency: str = "USD", **fields: object) -> Outcome:
    """Adjust by (debit, credit, amount)."""
    moved = tuple(AdjustmentTransfer(*one, currency) for one in transfers)
    return world.do(Adjust, world.finance, transfers=moved, reason="because", **fields)


def move(world: World, kind: type, budget: str, amount: str, currency: str = "USD") -> Status:
    """Allocate or deallocate."""
    return world.do(kind, world.admin, budget=budget, amount=amount, currency=currency).status


def test_a_charge_is_an_authorization_that_was_never_asked_for() -> None:
    """Flagged, never refused for lack of money, refundable, and nothing that can be settled or released."""
    world = World(amount="3")
    world.do(OpenRun, world.crawler, name="run-1")
    outcome = charge(world, "5", agent="crawler", run="run-1", resource="gpt-5", reason="invoice 7", evidence="{}")
    reference = str((outcome.body or {})["authorization"])
    row = world.authorization(reference)
    assert ((outcome.body or {})["flags"], row.state, row.agent) == (["unauthorized"], "settled", "crawler")
    assert world.shown("budgets:research:available") == "-2.00"
    assert world.tables["run_totals"][1, "run-1", "USD"].spent == 5 * 10**9
    assert world.settle(world.finance, reference, "1").status is Status.NOT_FOUND
    assert world.do(Release, world.finance, authorization=reference).status is Status.NOT_FOUND
    back = {"authorization": reference, "currency": "USD"}
    assert world.do(Refund, world.finance, amount="5", **back).status is Status.DONE
    assert world.do(Refund, world.finance, amount="1", **back).status is Status.REFUND_TOO_LARGE
    assert {row.field: row.content for row in world.rows("texts")} == {"reason": "invoice 7", "evidence": "{}"}


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (OPENED_AT - 366 * DAY * SECOND - 1, Status.EFFECTIVE_AT_INVALID),
        (OPENED_AT - 366 * DAY * SECOND, Status.DONE),
        (OPENED_AT, Status.DONE),
        (OPENED_AT + 5 * DAY * SECOND, Status.DONE),
        (OPENED_AT + 10 * DAY * SECOND, Status.DONE),
        (OPENED_AT + 10 * DAY * SECOND + 1, Status.EFFECTIVE_AT_INVALID),
    ],
)
def test_backdating(at: int, status: Status) -> None:
    """A charge, refund or adjustment may count for any moment since a year before the opening; it is recorded now."""
    world = World()
    world.settle(world.crawler, hold := world.hold(world.crawler), "5")
    world.now = OPENED_AT + 10 * DAY * SECOND
    entries = (
        charge(world, effective_at=at),
        world.do(Refund, world.finance, authorization=hold, amount="1", currency="USD", effective_at=at),
        adjust(world, ("payables:openai", "assets:bank", "1"), effective_at=at),
    )
    for outcome in entries:
        assert outcome.status is status
        if status is Status.DONE:
            record = world.rows("log_records")[outcome.log_index]
            assert (record.effective_at, record.recorded_at) == (at, world.now)
            moved = [row for row in world.rows("transfers") if row.log_index == outcome.log_index]
            assert moved
            assert {(row.effective_at, row.recorded_at) for row in moved} == {(at, world.now)}


@pytest.mark.parametrize(
    ("transfers", "status"),
    [
        ([("payables:openai", "assets:bank", "5")], Status.DONE),
        ([("expenses:search", "expenses:inference", "5")], Status.DONE),
        ([("budgets:other:spent", "budgets:research:spent", "5")], Status.DONE),
        ([("budgets:research:available", "authority", "5")], Status.DONE),
        ([("authority", "budgets:research:available", "85")], Status.DONE),
        ([("authority", "budgets:research:available", "85.000000001")], Status.INSUFFICIENT_AVAILABLE),
        ([("authority", "budgets:research:spent", "5.000000001")], Status.INSUFFICIENT_AVAILABLE),
        ([("authority", "budgets:research:available", "90"), ("budgets:research:available", "authority", "5")],
         Status.DONE),
        ([("budgets:research:held", "authority", "1")], Status.HELD_UNTOUCHABLE),
        ([("authority", "budgets:research:held", "1")], Status.HELD_UNTOUCHABLE),
        ([("authority", "assets:bank", "1")], Status.SORTS_MIXED),
        ([("expenses:search", "budgets:research:spent", "1")], Status.SORTS_MIXED),
        ([("assets:bank", "assets:bank", "1")], Status.ACCOUNT_INVALID),
        ([("assets:Bank", "payables:openai", "1")], Status.ACCOUNT_INVALID),
        ([("budgets:nowhere:spent", "authority", "1")], Status.UNKNOWN_BUDGET),
        ([("payables:openai", "assets:bank", "0")], Status.AMOUNT_NOT_POSITIVE),
        ([("payables:openai", "assets:bank", "-1")], Status.AMOUNT_NOT_POSITIVE),
        ([("payables:openai", "assets:bank", "5"), ("authority", "assets:bank", "1")], Status.SORTS_MIXED),
    ],
)  # fmt: skip
def test_adjustments(transfers: list[tuple[str, str, str]], status: Status) -> None:
    """100 allocated, 5 spent, 10 held: all of an adjustment is done, or nothing."""
    world = World()
    world.budget("other", None)
    world.settle(world.crawler, world.hold(world.crawler), "5")
    world.hold(world.crawler, "10")
    before = world.balances()
    outcome = adjust(world, *transfers)
    assert outcome.status is status
    after = dict(before)
    if status is Status.DONE:
        for debit, credit, amount in transfers:
            for name, sign in ((debit, 1), (credit, -1)):
                after[name, "USD"] = after.get((name, "USD"), 0) + sign * int(amount) * 10**9
    assert world.balances() == {key: atoms for key, atoms in after.items() if atoms}


def test_an_adjustment_may_lift_what_stands_below_zero() -> None:
    """But never push it further down."""
    world = World(amount="1")
    charge(world, "5")
    assert adjust(world, ("authority", "budgets:research:available", "1")).status is Status.INSUFFICIENT_AVAILABLE
    assert adjust(world, ("budgets:research:available", "authority", "1")).status is Status.DONE
    assert world.shown("budgets:research:available") == "-3.00"


def test_a_tree_of_budgets() -> None:
    """Authority comes from the parent's available and goes back there; the sum over the tree never changes."""
    world = World()
    world.budget("team", "60", parent="research")
    world.budget("project", "20", "crawler", parent="team")
    assert move(world, Allocate, "project", "40.01") is Status.INSUFFICIENT_AVAILABLE
    assert move(world, Allocate, "team", "40.01") is Status.INSUFFICIENT_AVAILABLE
    world.hold(world.crawler, "15", budget="project")
    assert move(world, Deallocate, "project", "5.01") is Status.INSUFFICIENT_AVAILABLE
    assert move(world, Deallocate, "project", "5") is Status.DONE
    assert world.shown("budgets:team:available") == "45.00"
    assert world.shown("authority") == "-100.00"
    assert world.authorize(world.crawler, "45.01", budget="research").status is Status.INSUFFICIENT_BUDGET
    made = {"name": "euros", "currency": "EUR", "parent": "team"}
    assert world.do(CreateBudget, world.admin, **made).status is Status.CURRENCY_MISMATCH
    made = {"name": "lost", "currency": "USD", "parent": "nowhere"}
    assert world.do(CreateBudget, world.admin, **made).status is Status.UNKNOWN_BUDGET


def test_trees_have_a_greatest_depth() -> None:
    """Sixteen above, and no more."""
    world = World()
    for level in range(17):
        world.budget(f"b{level}", None, parent=f"b{level - 1}" if level else None)
    made = world.do(CreateBudget, world.admin, name="b17", currency="USD", parent="b16")
    assert made.status is Status.TREE_TOO_DEEP


def test_a_unit_that_is_not_money() -> None:
    """It has budgets and holds, its own digits, and posts to budgetary accounts only."""
    world = World()
    world.do(DefineUnit, world.admin, name="credits", digits=2)
    world.budget("pool", "50", "crawler", currency="credits")
    spend = {"budget": "pool", "currency": "credits"}
    assert world.authorize(world.crawler, "0.001", **spend).status is Status.AMOUNT_TOO_PRECISE
    hold = world.hold(world.crawler, "10", **spend)
    world.settle(world.crawler, hold, "4", currency="credits")
    charge(world, "1", **spend)
    world.do(Refund, world.finance, authorization=hold, amount="1", currency="credits")
    assert world.shown("budgets:pool:available", "credits") == "46.00"
    assert world.shown("budgets:pool:spent", "credits") == "4.00"
    assert {name for name, currency in world.balances() if currency == "credits"} == {
        "authority",
        "budgets:pool:available",
        "budgets:pool:spent",
    }
    refused = adjust(world, ("payables:openai", "assets:bank", "1"), currency="credits")
    assert refused.status is Status.SORTS_MIXED


@pytest.mark.parametrize(
    ("name", "digits", "status"),
    [
        ("tokens", 0, Status.DONE),
        ("fine", 9, Status.DONE),
        ("too-fine", 10, Status.UNKNOWN_CURRENCY),
        ("below", -1, Status.UNKNOWN_CURRENCY),
        ("USD", 2, Status.UNKNOWN_CURRENCY),
        ("known", 0, Status.NAME_TAKEN),
    ],
)
def test_defining_units(name: str, digits: int, status: Status) -> None:
    """A unit's scale is fixed for good, and no currency is a unit."""
    world = World()
    world.do(DefineUnit, world.admin, name="known", digits=3)
    assert world.do(DefineUnit, world.admin, name=name, digits=digits).status is status


# 64 bits: an amount or balance that would not fit is a clear error, and nothing that must happen is ever kept from it.


def test_a_balance_that_would_not_fit() -> None:
    """An allocation, a charge and an extension are refused; the balances stay."""
    world = World(amount=LARGEST)
    assert world.balance("authority") == -ATOMS_MAX
    assert move(world, Allocate, "research", "0.000000001") is Status.BALANCE_OVERFLOW
    hold = world.hold(world.crawler, "1")
    more = world.do(Extend, world.crawler, authorization=hold, amount=LARGEST, currency="USD")
    assert more.status is Status.BALANCE_OVERFLOW
    world.settle(world.crawler, world.hold(world.crawler, "1"), "1")
    assert charge(world, LARGEST).status is Status.BALANCE_OVERFLOW
    assert world.settle(world.crawler, hold, LARGEST).status is Status.BALANCE_OVERFLOW


def test_transfers_of_one_entry_are_added_up() -> None:
    """Each would fit by itself; together they do not."""
    world = World()
    half = "5000000000"
    lines = ("payables:a", "assets:bank", half), ("payables:b", "assets:bank", half)
    assert adjust(world, lines[0]).status is Status.DONE
    assert adjust(world, lines[1]).status is Status.BALANCE_OVERFLOW
    world = World()
    assert adjust(world, *lines).status is Status.BALANCE_OVERFLOW
    assert not [name for name, _ in world.balances() if name.startswith("payables")]


def test_a_hold_can_always_end() -> None:
    """What is available and what is held fit 64 bits together, so that an expiry can never fail."""
    world = World(amount="9000000000")
    world.budget("other", None)
    hold = world.hold(world.crawler, "9000000000", ttl_seconds=60)
    assert charge(world, "9000000000", budget="other").status is Status.DONE
    shifted = adjust(world, ("budgets:research:available", "budgets:other:spent", "9000000000"))
    assert shifted.status is Status.BALANCE_OVERFLOW
    world.advance(60)
    assert world.do(ExpireDue, world.nobody, idempotency_key="").status is Status.DONE
    assert world.authorization(hold).state == "expired"


def test_what_a_run_spent_fits() -> None:
    """Also where its costs are of several budgets, categories and payees."""
    world = World()
    world.budget("other", None)
    world.do(OpenRun, world.crawler, name="run-1")
    assert charge(world, "9000000000", run="run-1").status is Status.DONE
    second = charge(world, "9000000000", run="run-1", budget="other", category="search", payee="serp")
    assert second.status is Status.BALANCE_OVERFLOW
    world.budget("third", "9000000000", "crawler")
    hold = world.hold(world.crawler, "1000000000", run="run-1", budget="third")
    assert world.settle(world.crawler, hold, "1000000000", category="c", payee="p").status is Status.BALANCE_OVERFLOW
    assert world.settle(world.crawler, hold, "200000000", category="c", payee="p").status is Status.DONE


def test_what_an_amount_may_be() -> None:
    """At the commit, where the book knows the scale of its units."""
    world = World()
    spend = {"category": "c", "payee": "p", "budget": "research"}
    for amount, currency, status in (
        ("1", "usd", Status.UNKNOWN_CURRENCY),
        ("1", "tokens", Status.UNKNOWN_CURRENCY),
        ("", "USD", Status.AMOUNT_MALFORMED),
        ("1.0000000001", "USD", Status.AMOUNT_TOO_PRECISE),
        ("1.0000001", "JPY", Status.AMOUNT_TOO_PRECISE),
        ("9223372037", "USD", Status.AMOUNT_TOO_LARGE),
        ("-1", "USD", Status.AMOUNT_NOT_POSITIVE),
        ("0.00", "USD", Status.AMOUNT_NOT_POSITIVE),
        ("1", "JPY", Status.NO_RATE),
    ):
        assert world.do(Authorize, world.crawler, amount=amount, currency=currency, **spend).status is status, amount


def test_what_a_run_holds_fits() -> None:
    """Judged before it is held or extended, like what it has spent."""
    world = World()
    world.do(OpenRun, world.crawler, name="run-1")
    # No allocation reaches this far; adjustments that give spent authority back do.
    world.tables["run_totals"][1, "run-1", "USD"] = RunTotal(1, "run-1", "USD", 0, 0, ATOMS_MAX - 3 * 10**9, 0, 0)
    small = world.hold(world.crawler, "1", run="run-1")
    assert world.authorize(world.crawler, "3", run="run-1").status is Status.BALANCE_OVERFLOW
    more = {"authorization": small, "currency": "USD"}
    assert world.do(Extend, world.crawler, amount="3", **more).status is Status.BALANCE_OVERFLOW
    assert world.do(Extend, world.crawler, amount="1", **more).status is Status.DONE


def test_a_category_and_a_payee_are_one_name_each() -> None:
    """An adjustment makes no account that nothing else could post to."""
    world = World()
    for name in ("expenses:a:b", "payables:a:b", "expenses:", "assets"):
        moved = {"transfers": (AdjustmentTransfer(name, "assets:bank:main", "1", "USD"),), "reason": "r"}
        assert world.do(Adjust, world.finance, **moved).status is Status.ACCOUNT_INVALID
