"""Reversals: the exact opposite of an adjustment, and the refund of what is left of a charge."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.command import Adjust, AdjustmentTransfer, Charge, OpenRun, Refund, Reprice
from ledger.core.command_corrections import Reverse
from ledger.core.outcome import Outcome, Status
from tests.support.ledger import OPENED_AT, SECOND
from tests.support.policed import USD, Policed, limit
from tests.support.worlds import World

MOVED = (
    AdjustmentTransfer("expenses:hosting", "expenses:inference", "3", "USD"),
    AdjustmentTransfer("budgets:research:spent", "budgets:research:available", "2", "USD"),
)


def adjusted(world: World, *transfers: AdjustmentTransfer, **fields: Any) -> int:
    """Where an adjustment stands in the log."""
    done = world.do(Adjust, world.finance, transfers=transfers or MOVED, reason="moved", **fields)
    assert done.status is Status.DONE, done
    return done.log_index


def charged(world: World, amount: str = "5", **fields: Any) -> Outcome:
    """A charge of the crawler's."""
    usual = {"budget": "research", "currency": "USD", "category": "inference", "payee": "openai", "agent": "crawler"}
    done = world.do(Charge, world.finance, amount=amount, **(usual | fields))
    assert done.status is Status.DONE, done
    return done


def reverse(world: World, record: int, **fields: Any) -> Outcome:
    """Reverse a record as finance."""
    return world.do(Reverse, world.finance, record=record, **({"reason": "a mistake"} | fields))


def test_the_opposite_of_an_adjustment_leaves_every_balance_as_it_was() -> None:
    """The reversal is an adjustment of its own, and both records say so."""
    world = World()
    before = world.balances()
    index = adjusted(world)
    assert world.balances() != before
    done = reverse(world, index)
    assert done.status is Status.DONE
    body = world.bodies()[done.log_index]
    assert (body["kind"], body["reverses"], body["request"]["record"]) == ("adjustment", index, index)
    assert body["adjustment"].startswith("adj_")
    assert body["transfers"] == [
        ["expenses:inference", "expenses:hosting", "3000000000", "USD"],
        ["budgets:research:available", "budgets:research:spent", "2000000000", "USD"],
    ]
    assert world.balances() == before
    (row,) = world.rows("reversals")
    assert (row.log_index, row.created_index) == (index, done.log_index)


def test_a_record_is_reversed_once_and_its_reversal_can_be() -> None:
    """Two in one batch as well; a reversal of the reversal stands for the first again."""
    world = World()
    index = adjusted(world)
    after = world.balances()
    one, two = world.decide(
        world.command(Reverse, world.finance, record=index, reason="once"),
        world.command(Reverse, world.finance, record=index, reason="twice"),
    )
    assert one.status is Status.DONE
    assert (two.status, two.facts) == (Status.WRONG_STATE, {"state": "reversed", "reversed_by": one.log_index})
    assert reverse(world, one.log_index).status is Status.DONE
    assert world.balances() == after
    assert reverse(world, index).status is Status.WRONG_STATE


def test_a_charge_is_reversed_by_a_refund_of_what_is_left_of_it() -> None:
    """Budget, expense, payable, the run's total and the limits get back what a refund would give back."""
    world = Policed()
    world.policy(limits=[limit(maximum="50")])
    assert world.do(OpenRun, world.crawler, name="run-1").status is Status.DONE
    before = world.balances()
    done = charged(world, "5", run="run-1")
    reference = str((done.body or {})["authorization"])
    assert world.do(
        Reprice, world.finance, authorization=reference, settled="5", amount="8", currency="USD", old_price=(),
        new_price=(("output", "8"),), reason="dearer",
    ).status is Status.DONE  # fmt: skip
    assert world.do(Refund, world.finance, authorization=reference, amount="1", currency="USD").status is Status.DONE
    reversed_ = reverse(world, done.log_index)
    assert reversed_.status is Status.DONE
    body = world.bodies()[reversed_.log_index]
    assert (body["kind"], body["reverses"], body["amount"]) == ("refund", done.log_index, str(7 * USD))
    assert (body["category"], body["payee"], body["refunded"]) == ("inference", "openai", str(8 * USD))
    assert world.balances() == before
    row = world.authorization(reference)
    assert (row.cost, row.refunded, row.state) == (8 * USD, 8 * USD, "settled")
    assert [total.spent for total in world.rows("run_totals")] == [0]
    assert {counter.settled for counter in world.rows("counters")} == {0}


def test_of_a_charge_that_was_refunded_nothing_is_left_to_reverse() -> None:
    """Nor of one that was reversed."""
    world = World()
    done = charged(world)
    reference = str((done.body or {})["authorization"])
    assert world.do(Refund, world.finance, authorization=reference, amount="5", currency="USD").status is Status.DONE
    refused = reverse(world, done.log_index)
    assert (refused.status, refused.facts["state"]) == (Status.WRONG_STATE, "refunded")
    other = charged(world)
    assert reverse(world, other.log_index).status is Status.DONE
    assert reverse(world, other.log_index).facts["state"] == "reversed"


def test_what_is_reversed_by_something_else_says_by_what() -> None:
    """A hold, a settlement, a refund, a reprice, an allocation; and what is no record."""
    world = World()
    reference = world.hold(world.crawler, "5")
    held = world.head.size - 1
    settled = world.settle(world.crawler, reference, "5").log_index
    refunded = world.do(Refund, world.finance, authorization=reference, amount="1", currency="USD").log_index
    prices = {"old_price": (), "new_price": (("output", "6"),), "reason": "dearer"}
    repriced = world.do(
        Reprice, world.finance, authorization=reference, settled="5", amount="6", currency="USD", **prices
    ).log_index
    allocated = next(at for at, body in enumerate(world.bodies()) if body["kind"] == "allocation")
    size, balances = world.head.size, world.balances()
    for index, words in (
        (held, "is a hold"),
        (settled, "refund it"),
        (refunded, "by a reprice"),
        (repriced, "reprice it again"),
        (allocated, "by a deallocation"),
    ):
        refused = reverse(world, index)
        assert (refused.status, words in refused.detail) == (Status.RECORD_NOT_CORRECTABLE, True), refused
    for index in (size, size + 7, 2**52):
        assert reverse(world, index).status is Status.NOT_FOUND
    assert (world.head.size, world.balances()) == (size, balances)


def test_a_reversal_may_take_no_balance_below_zero() -> None:
    """What an adjustment gave and was spent since cannot be taken away."""
    world = World(amount="1")
    index = adjusted(world, AdjustmentTransfer("budgets:research:available", "authority", "4", "USD"))
    world.settle(world.crawler, world.hold(world.crawler, "3"), "3")
    refused = reverse(world, index)
    assert refused.status is Status.INSUFFICIENT_AVAILABLE
    assert world.rows("reversals") == []


def test_a_reversal_counts_for_the_day_it_says_and_is_answered_again() -> None:
    """The same key gives the same record, and another request under it nothing."""
    world = World()
    index = adjusted(world)
    world.advance(3600)
    done = reverse(world, index, effective_at=OPENED_AT + SECOND, idempotency_key="k")
    assert world.rows("log_records")[done.log_index].effective_at == OPENED_AT + SECOND
    again = reverse(world, index, effective_at=OPENED_AT + SECOND, idempotency_key="k")
    assert (again.status, again.log_index, again.replayed) == (Status.REPLAYED, done.log_index, True)
    assert reverse(world, index, idempotency_key="k").status is Status.IDEMPOTENCY_MISMATCH


def test_an_archived_record_cannot_be_looked_at() -> None:
    """So it is not reversed."""
    world = World()
    index = adjusted(world)
    del world.tables["log_records"][1, index]
    world._warm = None
    assert reverse(world, index).status is Status.RECORD_ARCHIVED


@pytest.mark.parametrize("kind", ["charge", "settlement", "adjustment", "allocation"])
def test_an_adjustment_says_what_it_corrects(kind: str) -> None:
    """A record that has a line on statements."""
    world = World()
    charged(world)
    world.settle(world.crawler, world.hold(world.crawler, "5"), "5")
    adjusted(world)
    index = next(at for at, body in enumerate(world.bodies()) if body["kind"] == kind)
    made = adjusted(world, corrects=index)
    assert world.bodies()[made]["corrects"] == index


def test_what_has_no_line_is_not_corrected() -> None:
    """Nor what is not there yet."""
    world = World()
    for index, status in ((0, Status.RECORD_NOT_CORRECTABLE), (world.head.size, Status.NOT_FOUND)):
        refused = world.do(Adjust, world.finance, transfers=MOVED, reason="moved", corrects=index)
        assert refused.status is status
