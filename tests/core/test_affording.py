"""Less only where there is less in all: what others hold for a moment makes a request wait and never makes it less."""

from __future__ import annotations

import pytest

from ledger.core.command import Extend, OpenRun, Release
from ledger.core.outcome import Outcome
from tests.support.policed import USD, Policed, decision, limit, reason, status


def ask(world: Policed, amount: str, **fields: object) -> Outcome:
    """Ask as the crawler for as much as there is in all."""
    return world.authorize(world.crawler, amount, **({"afford": True} | fields))


def got(outcome: Outcome) -> str:
    """What was approved in dollars, or the code of the refusal."""
    if status(outcome) not in ("approved", "pending_approval"):
        return status(outcome)
    approved = int((outcome.body or {})["approved"])
    return f"{approved / USD:g}"


def world_with(budget: str = "100", **rules: object) -> Policed:
    """A budget of this much, and a policy where there are rules."""
    world = Policed(amount=budget)
    if rules:
        world.policy(**rules)
    return world


# What is held and settled before, what is asked, what comes of it.
DAY = [limit(maximum="10")]
TABLE = (
    ("all of it is free", "100", {}, "0", "0", "60", "60"),
    ("less in all", "100", {}, "0", "70", "60", "30"),
    ("others hold", "100", {}, "50", "0", "60", "budget_held"),
    ("others hold, and less in all", "100", {}, "20", "70", "60", "budget_held"),
    ("nothing in all", "100", {}, "0", "100", "60", "insufficient_budget"),
    ("a limit has less in all", "100", {"limits": DAY}, "0", "4", "60", "6"),
    ("a limit's holds are in the way", "100", {"limits": DAY}, "4", "0", "60", "limit_held"),
    ("a limit is used up", "100", {"limits": DAY}, "0", "10", "60", "limit_exceeded"),
    ("a limit that allows nothing", "100", {"limits": [limit(maximum="0")]}, "0", "0", "60", "limit_too_small"),
    ("one authorization's limit", "100", {"limits": [limit("each", "authorization", "8")]}, "7", "0", "60", "8"),
    ("a shadow bounds nothing", "100", {"limits": DAY, "shadow": True}, "0", "4", "60", "60"),
    ("the smallest of several", "5", {"limits": DAY}, "0", "2", "60", "3"),
)


@pytest.mark.parametrize(("name", "budget", "rules", "held", "settled", "asked", "expected"), TABLE)
def test_table(
    name: str, budget: str, rules: dict[str, object], held: str, settled: str, asked: str, expected: str
) -> None:
    """One budget, one policy; the writer holds and has settled before."""
    world = world_with(budget, **rules)
    if settled != "0":
        world.settle(world.writer, world.hold(world.writer, settled), settled)
    if held != "0":
        world.hold(world.writer, held)
    outcome = ask(world, asked)
    assert got(outcome) == expected, name
    if expected == "6":
        assert (outcome.body or {})["flags"] == ["partial"]
        assert world.bodies()[-1]["request"]["afford"] is True
    world.prove()


LEAST = (
    ("all of it is free", "100", {}, "0", "0", "60", "20", "60"),
    ("less in all, and enough", "100", {}, "0", "70", "60", "30", "30"),
    ("less in all than is of use", "100", {}, "0", "71", "60", "30", "insufficient_budget"),
    ("others hold what would be enough", "100", {}, "25", "50", "60", "50", "budget_held"),
    ("others hold, and in all it is too little", "100", {}, "25", "51", "60", "50", "insufficient_budget"),
    ("a limit has too little in all", "100", {"limits": DAY}, "0", "4", "60", "7", "limit_exceeded"),
    ("a limit is smaller than what is of use", "100", {"limits": DAY}, "0", "0", "60", "11", "limit_too_small"),
    ("a limit's holds are in the way", "100", {"limits": DAY}, "4", "0", "60", "7", "limit_held"),
    ("more than was asked for", "100", {}, "0", "70", "30", "40", "30"),
)


@pytest.mark.parametrize(("name", "budget", "rules", "held", "settled", "asked", "least", "expected"), LEAST)
def test_less_than_is_of_use_is_denied(
    name: str, budget: str, rules: dict[str, object], held: str, settled: str, asked: str, least: str, expected: str
) -> None:
    """Who says how little is of use gets that, or more, or an ordinary denial; and the record can be replayed."""
    world = world_with(budget, **rules)
    if settled != "0":
        world.settle(world.writer, world.hold(world.writer, settled), settled)
    if held != "0":
        world.hold(world.writer, held)
    assert got(ask(world, asked, least=least)) == expected, name
    assert world.bodies()[-1]["request"]["least"] == str(int(least) * USD)
    world.prove()


def test_the_run_bounds_it_too() -> None:
    """The cap less what is spent is what there is in all; its own holds make it wait."""
    world = Policed()
    fields = {"name": "run-1", "cap_amount": "10", "cap_currency": "USD"}
    assert status(world.do(OpenRun, world.crawler, **fields)) == "done"
    first = ask(world, "60", run="run-1")
    assert got(first) == "10"
    assert got(ask(world, "60", run="run-1")) == "run_held"
    world.settle(world.crawler, (first.body or {})["authorization"], "7.5")
    last = ask(world, "60", run="run-1")
    assert got(last) == "2.5"
    world.settle(world.crawler, (last.body or {})["authorization"], "2.5")
    refused = ask(world, "60", run="run-1")
    assert got(refused) == "run_cap_exceeded"
    assert reason(refused)["remaining"] == "0"
    world.prove()


def test_the_cap_is_used_to_its_last_atom() -> None:
    """Worst-case holds twenty times what is spent, one after the other: all of it is spent, and not an atom more."""
    world = Policed()
    fields = {"name": "run-1", "cap_amount": "1", "cap_currency": "USD"}
    assert status(world.do(OpenRun, world.crawler, **fields)) == "done"
    spent = 0
    while True:
        outcome = ask(world, "0.50", run="run-1")
        if status(outcome) != "approved":
            break
        body = outcome.body or {}
        cost = min(int(body["approved"]), USD // 40)
        spent += cost
        world.settle(world.crawler, body["authorization"], f"0.{cost:09d}")
    assert (spent, status(outcome)) == (USD, "run_cap_exceeded")
    world.prove()


def test_when_a_used_up_limit_has_room_again() -> None:
    """The amount alone is above the limit, and yet it is told when there is room, because less is of use."""
    world = world_with(limits=[limit("hour", "hour", "10")])
    world.settle(world.crawler, world.hold(world.crawler, "10"), "10")
    refused = ask(world, "60")
    assert status(refused) == "limit_exceeded"
    assert "never_fits" not in reason(refused)
    assert reason(refused)["fits_at"] == "2026-11-02T10:00:00.000000Z"
    world.advance(3600)
    assert got(ask(world, "60")) == "10"
    world.prove()


def test_thresholds_see_what_is_left_of_the_amount() -> None:
    """Persons are asked about what would be held, and a condition too looks at that."""
    rule = {"id": "any", "above": "5", "per": "authorization", "approvers": ["approver"], "quorum": 1}
    world = world_with("6", approval=[rule | {"expires_after": 60}])
    assert status(ask(world, "60")) == "approval_required"
    pending = ask(world, "60", accept_pending=True)
    assert (status(pending), got(pending)) == ("pending_approval", "6")
    world = world_with("4", approval=[rule | {"expires_after": 60}])
    assert got(ask(world, "60")) == "4"
    world.prove()


def test_it_goes_before_partial() -> None:
    """Both in one command: what is free now is not taken where more will be."""
    world = world_with()
    world.hold(world.writer, "50")
    assert got(ask(world, "60", partial_ok=True)) == "budget_held"
    assert got(ask(world, "60", partial_ok=True, afford=False)) == "50"
    world.prove()


def test_an_overdrawn_budget_affords_nothing() -> None:
    """What is held comes free into a hole first."""
    world = world_with("10")
    kept = world.hold(world.writer, "4")
    world.settle(world.writer, world.hold(world.writer, "6"), "9")
    assert got(ask(world, "60")) == "budget_held"
    world.do(Release, world.writer, authorization=kept)
    assert got(ask(world, "60")) == "1"
    world.prove()


def test_extensions_are_all_or_nothing() -> None:
    """The rest of a smaller hold is asked for in full."""
    world = world_with("10")
    held = (ask(world, "60").body or {})["authorization"]
    more = world.do(Extend, world.crawler, authorization=held, amount="1", currency="USD")
    assert status(more) == "insufficient_budget"
    assert decision(more)["outcome"] == "denied"
    world.prove()
