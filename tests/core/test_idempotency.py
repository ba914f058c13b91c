"""Idempotency keys: what a repeat is answered, and that it never revives or changes anything."""

from __future__ import annotations

import pytest

from ledger.core.canonical import parse
from ledger.core.command import Allocate, Authorize, Charge, CreateAgent, Extend, Refund, Release, RevokeKey, Settle
from ledger.core.outcome import Status
from tests.support.worlds import World

ASKED = {"amount": "5", "currency": "USD", "category": "inference", "payee": "openai"}


def test_a_repeat_gets_the_recorded_answer_and_changes_nothing() -> None:
    """The same record, marked as a repeat, while the hold is open."""
    world = World()
    first = world.authorize(world.crawler, idempotency_key="k")
    size, balances = world.head.size, world.balances()
    again = world.authorize(world.crawler, idempotency_key="k")
    assert (again.status, again.replayed) == (Status.REPLAYED, True)
    assert (again.log_index, again.leaf_hash) == (first.log_index, first.leaf_hash)
    assert again.body == parse(world.rows("log_records")[first.log_index].body)
    assert (world.head.size, world.balances()) == (size, balances)


@pytest.mark.parametrize("amount", ["5.0", "5.000000000", "05"])
def test_another_way_of_writing_the_amount_is_the_same_request(amount: str) -> None:
    """What is compared is what was asked, not how."""
    world = World()
    world.authorize(world.crawler, "5", idempotency_key="k")
    assert world.authorize(world.crawler, amount, idempotency_key="k").status is Status.REPLAYED


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "5.01"},
        {"category": "search"},
        {"payee": "anthropic"},
        {"resource": "gpt"},
        {"budget": "research"},
        {"run": "r"},
        {"intent": "another"},
        {"ttl_seconds": 601},
        {"accept_pending": True},
        {"partial_ok": True},
        {"on_expiry": "unknown"},
        {"labels": (("a", "b"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_field_makes_another_request(change: dict[str, object]) -> None:
    """A changed body under the same key is refused, and never replayed in silence."""
    world = World()
    world.do(Authorize, world.crawler, idempotency_key="k", **ASKED)
    other = world.do(Authorize, world.crawler, idempotency_key="k", **(ASKED | change))
    assert other.status is Status.IDEMPOTENCY_MISMATCH
    assert world.do(Authorize, world.crawler, idempotency_key="k", **ASKED).status is Status.REPLAYED


@pytest.mark.parametrize("text", ["intent", "reason", "evidence"])
def test_free_text_is_part_of_the_request(text: str) -> None:
    """It stands in the log as a digest, and a retry makes the same digest."""
    world = World()
    hold = world.hold(world.crawler)
    kind, caller, fields = {
        "intent": (Authorize, world.crawler, ASKED),
        "reason": (Release, world.crawler, {"authorization": hold}),
        "evidence": (Settle, world.crawler, {"authorization": hold, "amount": "1", "currency": "USD"}),
    }[text]
    said = {"idempotency_key": "t", **fields}
    first = world.do(kind, caller, **said, **{text: "one"})
    assert first.status in (Status.DONE, Status.APPROVED)
    assert world.do(kind, caller, **said, **{text: "one"}).status is Status.REPLAYED
    assert world.do(kind, caller, **said, **{text: "two"}).status is Status.IDEMPOTENCY_MISMATCH
    assert [row.content for row in world.rows("texts")] == ["one"]
    assert b"one" not in world.rows("log_records")[first.log_index].body.replace(b"none", b"")


@pytest.mark.parametrize("kind", [Settle, Release, Extend, Charge, Refund, Allocate, CreateAgent])
def test_every_command_is_done_once(kind: type) -> None:
    """A settlement, release, extension, charge, refund, allocation or creation repeated is done once."""
    world = World()
    hold = world.hold(world.crawler)
    settled = world.hold(world.crawler)
    world.settle(world.crawler, settled, "5")
    money = {"amount": "1", "currency": "USD"}
    caller, fields = {
        Settle: (world.crawler, {"authorization": hold, **money}),
        Release: (world.crawler, {"authorization": hold}),
        Extend: (world.crawler, {"authorization": hold, **money}),
        Charge: (world.finance, {"budget": "research", "category": "c", "payee": "p", **money}),
        Refund: (world.finance, {"authorization": settled, **money}),
        Allocate: (world.admin, {"budget": "research", **money}),
        CreateAgent: (world.admin, {"name": "new", "kind": "agent"}),
    }[kind]
    assert world.do(kind, caller, idempotency_key="once", **fields).status is Status.DONE
    size, balances = world.head.size, world.balances()
    assert world.do(kind, caller, idempotency_key="once", **fields).status is Status.REPLAYED
    assert (world.head.size, world.balances()) == (size, balances)


def test_a_repeat_never_revives_spent_authority() -> None:
    """Once the hold has ended, the repeat is refused with the state as it is now."""
    world = World()
    hold = world.hold(world.crawler, idempotency_key="k")
    world.do(Extend, world.crawler, authorization=hold, amount="1", currency="USD", idempotency_key="e")
    world.settle(world.crawler, hold, "5")
    for outcome in (
        world.authorize(world.crawler, idempotency_key="k"),
        world.do(Extend, world.crawler, authorization=hold, amount="1", currency="USD", idempotency_key="e"),
    ):
        assert outcome.status is Status.REPLAY_CLOSED
        assert outcome.facts == {"state": "settled", "authorization": hold}


def test_a_repeat_of_a_hold_whose_time_came_is_closed_even_in_a_backlog() -> None:
    """Many others are due before it, so this batch does not end it; still its authority is over."""
    world = World(due_max=1)
    world.hold(world.writer, ttl_seconds=59)
    hold = world.hold(world.crawler, idempotency_key="k", ttl_seconds=60)
    world.advance(60)
    outcome = world.authorize(world.crawler, idempotency_key="k", ttl_seconds=60)
    assert outcome.status is Status.REPLAY_CLOSED
    assert outcome.facts["state"] == "expired"
    assert world.authorization(hold).state == "held", "it ends in a later batch"


def test_a_denial_binds_its_key() -> None:
    """Also once the reason for it is gone: a retry gets the answer of the first."""
    world = World()
    first = world.authorize(world.crawler, "101", idempotency_key="k")
    assert first.status is Status.INSUFFICIENT_BUDGET
    world.do(Allocate, world.admin, budget="research", amount="100", currency="USD")
    again = world.authorize(world.crawler, "101", idempotency_key="k")
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert (again.body or {})["state"] == "denied"


def test_a_denial_that_may_soon_be_otherwise_binds_no_key() -> None:
    """``budget_held``: the same key is decided again, and any request may use it."""
    world = World()
    other = world.hold(world.writer, "60")
    assert world.authorize(world.crawler, "50", idempotency_key="k").status is Status.BUDGET_HELD
    assert world.authorize(world.crawler, "50", idempotency_key="k").status is Status.BUDGET_HELD
    world.do(Release, world.writer, authorization=other)
    assert world.authorize(world.crawler, "50", idempotency_key="k").status is Status.APPROVED
    assert world.authorize(world.crawler, "50", idempotency_key="k").status is Status.REPLAYED


def test_twice_in_one_batch() -> None:
    """The later gets the first's answer; with another body it is refused."""
    world = World()
    ask = [
        world.command(Authorize, world.crawler, idempotency_key="k", **(ASKED | {"amount": amount}))
        for amount in ("5", "5", "6")
    ]
    first, again, other = world.decide(*ask)
    assert [one.status for one in (first, again, other)] == [
        Status.APPROVED,
        Status.REPLAYED,
        Status.IDEMPOTENCY_MISMATCH,
    ]
    assert again.log_index == first.log_index
    assert (again.body or {})["authorization"] == ask[0].id
    assert world.shown("budgets:research:held") == "5.00"


def test_a_refusal_without_a_record_binds_nothing() -> None:
    """A mistyped request can be sent again with the same key, once it is right."""
    world = World()
    assert world.authorize(world.crawler, "five", idempotency_key="k").status is Status.AMOUNT_MALFORMED
    assert world.authorize(world.crawler, budget="nowhere", idempotency_key="k").status is Status.UNKNOWN_BUDGET
    assert world.authorize(world.crawler, idempotency_key="k").status is Status.APPROVED


def test_the_scope_is_the_principal() -> None:
    """Two agents may use the same key for different things; two keys of one agent share it."""
    world = World()
    first = world.authorize(world.crawler, "5", idempotency_key="k")
    assert world.authorize(world.writer, "6", idempotency_key="k").status is Status.APPROVED
    second_key = world.key("agent", "crawler")
    again = world.authorize(second_key, "5", idempotency_key="k")
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert world.authorize(second_key, "7", idempotency_key="k").status is Status.IDEMPOTENCY_MISMATCH
    assert world.do(Charge, world.finance, idempotency_key="k", budget="research", **ASKED).status is Status.DONE


def test_a_revoked_key_is_told_nothing() -> None:
    """Not even its own earlier answer; another key of the same agent is."""
    world = World()
    lost = world.key("agent", "crawler")
    world.authorize(lost, idempotency_key="k")
    key_id = next(row.id for row in world.rows("api_keys") if row.digest == lost.key_digest)
    world.do(RevokeKey, world.admin, key=key_id)
    assert world.authorize(lost, idempotency_key="k").status is Status.KEY_REVOKED
    assert world.authorize(world.crawler, idempotency_key="k").status is Status.REPLAYED
