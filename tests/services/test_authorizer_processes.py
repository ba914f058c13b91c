"""Two authorizers on one database, as two processes: each decides on what the other has committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger.core.command import (
    Allocate,
    AssignBudget,
    Caller,
    Command,
    CreateAgent,
    CreateBudget,
    CreateKey,
    DefineUnit,
    FreezeAgent,
    OpenRun,
    Release,
    RevokeKey,
    RotateKey,
    Settle,
)
from tests.services.live_world import Desk, LiveWorld

Pair = tuple[Desk, Desk]


@pytest.fixture
def pair(world: LiveWorld) -> Iterator[Pair]:
    """Two authorizers whose snapshots are warm."""
    with Desk(world) as here, Desk(world) as there:
        for desk in (here, there, here):
            assert desk.say(world.ask("0.5")) == ["approved"]
        yield here, there


def test_money_spent_there_is_not_spent_here(world: LiveWorld, pair: Pair) -> None:
    """Turn and turn about, to the last of it, in batches of different sizes."""
    said = []
    for turn in range(30):
        said += pair[turn % 2].say(*[world.ask("2.5") for _ in range(1 + turn % 3)])
    assert said == ["approved"] * 39 + ["budget_held"] * 21
    assert world.recorded().lowest("budgets:research:available") == 10**9


def test_a_hold_made_there_is_settled_here_once(world: LiveWorld, pair: Pair) -> None:
    """And released there no more."""
    here, there = pair
    asked = world.ask("10")

    def settle() -> Command:
        made: Settle = world.command(Settle, world.crawler, authorization=asked.id, amount="4", currency="USD")
        return made

    assert here.say(settle()) == ["not_found"]
    assert there.say(asked) == ["approved"]
    assert here.say(settle()) == ["done"]
    assert there.say(settle(), world.command(Release, world.crawler, authorization=asked.id)) == ["wrong_state"] * 2
    assert world.dollars("budgets:research:spent") == 4


def test_a_key_revoked_there_is_of_no_use_here(world: LiveWorld, pair: Pair) -> None:
    """At the very next decision; a rotated one likewise, once its overlap has passed."""
    here, there = pair
    first, second = Caller(b"\1" * 32), Caller(b"\2" * 32)
    asked = world.command(CreateKey, world.admin, digest=first.key_digest, role="agent", agent="crawler")
    assert here.say(world.ask(caller=first)) == ["key_unknown"]
    assert there.say(asked) == ["done"]
    assert here.say(world.ask(caller=first)) == ["approved"]
    rotate = world.command(RotateKey, world.admin, key=asked.id, digest=second.key_digest, overlap_seconds=60)
    assert here.say(world.ask(caller=second)) == ["key_unknown"]
    assert there.say(rotate) == ["done"]
    assert here.say(world.ask(caller=first), world.ask(caller=second)) == ["approved", "approved"]
    world.advance(61)
    assert here.say(world.ask(caller=first), world.ask(caller=second)) == ["key_expired", "approved"]
    assert there.say(world.command(RevokeKey, world.admin, key=rotate.id)) == ["done"]
    assert here.say(world.ask(caller=second)) == ["key_revoked"]


def test_an_agent_frozen_there_is_frozen_here(world: LiveWorld, pair: Pair) -> None:
    """And unfrozen, again and again."""
    for turn in range(4):
        here, there = pair[turn % 2], pair[1 - turn % 2]
        assert there.say(world.command(FreezeAgent, world.admin, agent="crawler", frozen=True)) == ["done"]
        assert here.say(world.ask("0.5"), world.ask("0.5")) == ["agent_frozen"] * 2
        assert there.say(world.command(FreezeAgent, world.admin, agent="crawler", frozen=False)) == ["done"]
        assert here.say(world.ask("0.5")) == ["approved"]


def test_what_was_not_there_does_not_stay_away(world: LiveWorld, pair: Pair) -> None:
    """Whatever one process looked for in vain, another makes, and the first one finds: by name and by id."""
    here, there = pair
    admin = world.admin
    digest = b"\3" * 32
    reader = Caller(digest)
    agent = world.command(CreateAgent, admin, name="reader", kind="agent")
    budget = world.command(CreateBudget, admin, name="spare", currency="USD")
    key = world.command(CreateKey, admin, digest=digest, role="agent", agent="reader")
    run = world.command(OpenRun, admin, name="run-9", agent="crawler")

    def by(reference: str) -> Command:
        made: Command = world.command(FreezeAgent, admin, agent=reference, frozen=False)
        return made

    def given(reference: str, currency: str = "USD") -> Command:
        made: Command = world.command(Allocate, admin, budget=reference, amount="5", currency=currency)
        return made

    def assigned() -> Command:
        made: Command = world.command(AssignBudget, admin, budget="spare", agents=("reader",))
        return made

    assert here.say(by("reader"), by(agent.id)) == ["not_found"] * 2
    assert here.say(given("spare"), given(budget.id)) == ["unknown_budget"] * 2
    assert here.say(assigned()) == ["unknown_agent"]
    assert here.say(given("research", "tokens")) == ["unknown_currency"]
    assert here.say(world.ask(caller=reader, budget="spare")) == ["key_unknown"]
    assert here.say(world.ask("0.5", run="run-9")) == ["approved"]
    assert there.say(agent, budget, key, run) == ["done"] * 4
    assert there.say(world.command(DefineUnit, admin, name="tokens", digits=0)) == ["done"]
    assert here.say(by("reader"), by(agent.id)) == ["wrong_state"] * 2
    assert here.say(given("spare"), given(budget.id)) == ["done"] * 2
    assert here.say(given("research", "tokens")) == ["currency_mismatch"]
    assert here.say(world.ask(caller=reader, budget="spare")) == ["budget_not_permitted"]
    assert there.say(assigned()) == ["done"]
    assert here.say(world.ask(caller=reader, budget="spare"), world.ask(caller=reader)) == ["approved"] * 2
    assert here.say(world.command(OpenRun, admin, name="run-9", agent="crawler")) == ["name_taken"]


def test_an_idempotency_key_answered_there_is_known_here(world: LiveWorld, pair: Pair) -> None:
    """Although it was looked for here before and was not there: evaluated, denied without binding it, or refused."""
    here, there = pair
    asked = world.ask("99")
    assert here.say(asked) == ["budget_held"]
    assert there.say(world.command(Allocate, world.admin, budget="research", amount="50", currency="USD")) == ["done"]
    # A client that repeats sends the same key; each request gets an id of its own.
    once, twice = (replace(asked, id=world.new_id("auth")) for _ in range(2))
    first, again = there.decide(once)[0], here.decide(twice)[0]
    assert (first.status.value, again.status.value) == ("approved", "replayed")  # type: ignore[union-attr]
    assert first.leaf_hash == again.leaf_hash  # type: ignore[union-attr]
    other = world.ask("1", idempotency_key=asked.idempotency_key)
    assert here.say(other) == ["idempotency_mismatch"]
    assert there.say(world.command(Release, world.crawler, authorization=once.id)) == ["done"]
    assert here.say(asked) == ["replay_closed"]
