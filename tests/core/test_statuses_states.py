"""docs/statuses.md, cell by cell: what each command does in each state."""

from __future__ import annotations

import pytest

from ledger.core.authorization import flag_names
from ledger.core.command import Extend, FreezeAgent, MarkUnknown, Refund, Release, Reprice
from ledger.core.money import format_atoms
from ledger.core.outcome import Outcome, Status
from tests.support.approving import Office, rule
from tests.support.documents import table_under
from tests.support.worlds import World

GRID = table_under("statuses.md", "command")
WORDS = {row["words"]: row for row in table_under("statuses.md", "words")}
STATES = [name for name in GRID[0] if name != "command"]
CELLS = [(row["command"], state, row[state]) for row in GRID for state in STATES]
KEY = "the request's key"
MISSING = "auth_00000000000000000000000000"


def arrange(world: Office, state: str) -> str:
    """Bring an authorization of 10.00 into a state; returns its id (one that does not exist for ``none``)."""
    if state == "none":
        return MISSING
    asked = {"idempotency_key": KEY, "ttl_seconds": 60}
    if state == "denied":
        world.do(FreezeAgent, world.admin, agent="crawler", frozen=True)
        body = world.authorize(world.crawler, "10", **asked).body
        world.do(FreezeAgent, world.admin, agent="crawler", frozen=False)
        return str((body or {})["authorization"])
    if state in ("pending", "refused"):
        world.asks(rule(above="5.00"))
        reference = world.ask("10", **asked)
        if state == "refused":
            world.turn_down(world.pat, reference)
        return reference
    on_expiry = "unknown" if state in ("unknown", "held, kept at expiry") else "release"
    reference = world.hold(world.crawler, "10", on_expiry=on_expiry, **asked)
    if state in ("past its time", "unknown", "expired"):
        world.advance(60)
    if state in ("unknown", "expired"):
        # Any decision has the book look at what is due.
        world.authorize(world.writer, "1000")
        assert flag_names(world.authorization(reference).flags) == (["unknown"] if state == "unknown" else [])
    if state == "settled":
        world.settle(world.crawler, reference, "4")
    if state == "released":
        world.do(Release, world.crawler, authorization=reference)
    return reference


def act(world: Office, command: str, reference: str, *, accept_pending: bool) -> Outcome:
    """Give the command that a row of the table names."""
    agent = world.crawler
    if command == "settle, final":
        return world.settle(agent, reference, "4")
    if command == "settle, partial":
        return world.settle(agent, reference, "4", final=False)
    if command == "settle above the hold":
        return world.settle(agent, reference, "12")
    if command == "settle in another currency":
        return world.settle(agent, reference, "4", currency="EUR")
    if command == "extend the amount":
        return world.do(Extend, agent, authorization=reference, amount="2", currency="USD")
    if command == "extend the time":
        return world.do(Extend, agent, authorization=reference, ttl_seconds=600)
    if command == "release":
        return world.do(Release, agent, authorization=reference)
    if command == "refund":
        return world.do(Refund, world.finance, authorization=reference, amount="2", currency="USD")
    if command == "reprice":
        return reprice(world, reference, "4", "5")
    if command == "mark as unknown":
        return world.do(MarkUnknown, agent, authorization=reference)
    assert command == "repeat the key of the request", f"no such command: {command}"
    on_expiry = "release" if reference == MISSING else world.authorization(reference).on_expiry
    waits = {"accept_pending": True} if accept_pending else {}
    return world.authorize(agent, "10", idempotency_key=KEY, ttl_seconds=60, on_expiry=on_expiry, **waits)


def reprice(world: World, reference: str, settled: str, amount: str) -> Outcome:
    """Correct what was settled, as finance."""
    prices = {"old_price": (("output", "4"),), "new_price": (("output", "5"),)}
    said = {"authorization": reference, "settled": settled, "amount": amount, "currency": "USD"}
    return world.do(Reprice, world.finance, **said, **prices, reason="a mistyped price")


def state_of(world: World, reference: str) -> str:
    """The state of an authorization, ``none`` when it does not exist."""
    return world.authorization(reference).state if reference != MISSING else "none"


@pytest.mark.parametrize(("command", "state", "words"), CELLS, ids=[f"{one[0]} | {one[1]}" for one in CELLS])
def test_cell(command: str, state: str, words: str) -> None:
    """The table says in words what becomes of the authorization and of the budget; the core does that."""
    world = Office(rule(above="1000.00"))
    reference = arrange(world, state)
    stored = {"past its time": "held", "held, kept at expiry": "held", "unknown": "held", "pending": "pending_approval"}
    assert state_of(world, reference) == stored.get(state, state)
    before, size = dict(world.balances()), world.head.size
    outcome = act(world, command, reference, accept_pending=state in ("pending", "refused"))
    expected = WORDS[words]
    assert outcome.status is Status(expected["status"])
    if outcome.status is Status.APPROVED:
        reference = str((outcome.body or {})["authorization"])
    if expected["available"]:
        shown = [format_atoms(world.balance(f"budgets:research:{role}"), 9) for role in ("available", "held", "spent")]
        assert shown == [expected["available"], expected["held"], expected["spent"]]
        assert state_of(world, reference) == expected["state afterwards"]
        assert flag_names(world.authorization(reference).flags) == expected["flags"].split()
        assert world.head.size == size + (2 if state == "past its time" else 1)
    elif state == "past its time":
        assert world.bodies()[-1]["kind"] == "expiry"
        assert (world.head.size, state_of(world, reference)) == (size + 1, "expired")
    else:
        assert (world.balances(), world.head.size) == (before, size)
    if outcome.status is Status.REPLAYED:
        assert (outcome.body or {})["authorization"] == reference
        assert outcome.replayed
    if outcome.status in (Status.WRONG_STATE, Status.REPLAY_CLOSED):
        assert outcome.facts["state"] == state_of(world, reference), "a refusal says the state as it is now"


def test_the_table_is_whole() -> None:
    """Every state and command of the page, every word used and explained."""
    assert STATES == [
        "none", "denied", "held", "held, kept at expiry", "past its time", "unknown", "settled", "released",
        "expired", "pending", "refused",
    ]  # fmt: skip
    assert len(CELLS) == 121
    assert {words for _, _, words in CELLS} == set(WORDS)


@pytest.mark.parametrize("state", ["held", "unknown", "released", "expired", "settled"])
def test_what_was_settled_in_part_can_be_refunded_in_every_state(state: str) -> None:
    """The page says so below the table."""
    world = World()
    reference = world.hold(
        world.crawler, "10", ttl_seconds=60, on_expiry="unknown" if state == "unknown" else "release"
    )
    world.settle(world.crawler, reference, "3", final=False)
    if state == "released":
        world.do(Release, world.crawler, authorization=reference)
    if state == "settled":
        world.settle(world.crawler, reference, "0")
    if state in ("unknown", "expired"):
        world.advance(60)
        world.authorize(world.writer, "1000")
    outcome = world.do(Refund, world.finance, authorization=reference, amount="3", currency="USD")
    assert outcome.status is Status.DONE
    assert world.shown("budgets:research:spent") == "0.00"
    again = world.do(Refund, world.finance, authorization=reference, amount="0.000000001", currency="USD")
    assert again.status is Status.REFUND_TOO_LARGE


@pytest.mark.parametrize("state", ["held", "unknown", "released", "expired", "settled"])
def test_what_was_settled_in_part_can_be_repriced_in_every_state(state: str) -> None:
    """And the page says so too: up, down, and back to nothing; what is held stays held."""
    world = World()
    kept = "unknown" if state == "unknown" else "release"
    reference = world.hold(world.crawler, "10", ttl_seconds=60, on_expiry=kept)
    world.settle(world.crawler, reference, "3", final=False)
    if state == "released":
        world.do(Release, world.crawler, authorization=reference)
    if state == "settled":
        world.settle(world.crawler, reference, "0")
    if state in ("unknown", "expired"):
        world.advance(60)
        world.authorize(world.writer, "1000")
    held = world.shown("budgets:research:held")
    for before, after in (("3", "5"), ("5", "1"), ("1", "0")):
        assert reprice(world, reference, before, after).status is Status.DONE
        assert world.shown("budgets:research:spent") == f"{after}.00"
        assert (state_of(world, reference), world.shown("budgets:research:held")) == (
            "held" if state == "unknown" else state,
            held,
        )


@pytest.mark.parametrize("state", ["held", "unknown"])
def test_what_cannot_be_kept_says_what_to_do(state: str) -> None:
    """A hold that gives its money back, and one that is flagged already: the answer has the state and the way out."""
    world = Office(rule(above="1000.00"))
    outcome = act(world, "mark as unknown", arrange(world, state), accept_pending=False)
    assert (outcome.status, outcome.facts["state"]) == (Status.WRONG_STATE, "held")
    assert "settle what it cost" in outcome.detail
    assert "release it" in outcome.detail


def test_a_final_settlement_of_zero_frees_the_hold() -> None:
    """No cost came of it, and the page says what that does."""
    world = World()
    reference = world.hold(world.crawler, "10")
    assert world.settle(world.crawler, reference, "0").status is Status.DONE
    assert state_of(world, reference) == "settled"
    assert (world.shown("budgets:research:available"), world.shown("budgets:research:held")) == ("100.00", "0.00")
