"""Agents, keys, budgets, runs and names: made once, never reused, and valid or not at the commit."""

from __future__ import annotations

import pytest

from ledger.core.command import (
    AddName,
    Adjust,
    AdjustmentTransfer,
    AssignBudget,
    Caller,
    Charge,
    CreateAgent,
    CreateBudget,
    CreateKey,
    DefineUnit,
    FreezeAgent,
    OpenRun,
    RevokeKey,
    RotateKey,
)
from ledger.core.outcome import Status
from tests.support.worlds import World

NEW = b"\x77" * 32


def key_id(world: World, caller: Caller) -> str:
    """The id of a caller's key."""
    return str(world.tables["api_keys"][1, caller.key_digest].id)


def test_a_key_is_valid_until_its_time_is_over() -> None:
    """To the microsecond, at the commit."""
    world = World()
    caller = world.key("agent", "crawler", ttl_seconds=60)
    world.advance(59.999999)
    assert world.authorize(caller).status is Status.APPROVED
    world.advance(0.000001)
    assert world.authorize(caller).status is Status.KEY_EXPIRED


def test_a_revocation_holds_from_the_next_command_on_also_in_the_same_batch() -> None:
    """And a key is revoked once."""
    world = World()
    caller = world.key("finance", "rita")
    revoke = world.command(RevokeKey, world.admin, key=key_id(world, caller))
    spend = {"budget": "research", "amount": "1", "currency": "USD", "category": "c", "payee": "p"}
    before, revoked, after = world.decide(
        world.command(Charge, caller, **spend), revoke, world.command(Charge, caller, **spend)
    )
    assert [before.status, revoked.status, after.status] == [Status.DONE, Status.DONE, Status.KEY_REVOKED]
    assert world.do(RevokeKey, world.admin, key=key_id(world, caller)).status is Status.WRONG_STATE
    assert world.do(RevokeKey, world.admin, key="key_00000000000000000000000000").status is Status.NOT_FOUND


@pytest.mark.parametrize(("overlap", "still"), [(0, Status.KEY_EXPIRED), (600, Status.APPROVED)])
def test_a_key_is_rotated_with_overlap(overlap: int, still: Status) -> None:
    """Two are valid for a while; both are the same principal."""
    world = World()
    old = world.key("agent", "crawler")
    rotate = {"key": key_id(world, old), "digest": NEW, "overlap_seconds": overlap}
    assert world.do(RotateKey, world.admin, **rotate).status is Status.DONE
    assert world.authorize(Caller(NEW), idempotency_key="k").status is Status.APPROVED
    assert world.authorize(old).status is still
    world.advance(600)
    assert world.authorize(old).status is Status.KEY_EXPIRED
    assert world.authorize(Caller(NEW), "6", idempotency_key="k").status is Status.IDEMPOTENCY_MISMATCH
    again = world.do(RotateKey, world.admin, **(rotate | {"digest": b"\x78" * 32}))
    assert again.status is Status.WRONG_STATE, "an expired key has no successor"


def test_rotation_never_prolongs_a_key() -> None:
    """It ends after the overlap, or sooner if it was to expire before."""
    world = World()
    old = world.key("agent", "crawler", ttl_seconds=60)
    world.do(RotateKey, world.admin, key=key_id(world, old), digest=NEW, overlap_seconds=600)
    world.advance(60)
    assert world.authorize(old).status is Status.KEY_EXPIRED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"role": "agent", "agent": "crawler"}, Status.DONE),
        ({"role": "finance", "person": "new"}, Status.DONE),
        ({"role": "finance", "person": "fred"}, Status.DONE),
        ({"role": "agent", "person": "fred"}, Status.ROLE_PRINCIPAL_MISMATCH),
        ({"role": "finance", "agent": "crawler"}, Status.ROLE_PRINCIPAL_MISMATCH),
        ({"role": "agent"}, Status.ROLE_PRINCIPAL_MISMATCH),
        ({"role": "finance"}, Status.ROLE_PRINCIPAL_MISMATCH),
        ({"role": "agent", "agent": "crawler", "person": "fred"}, Status.ROLE_PRINCIPAL_MISMATCH),
        ({"role": "agent", "agent": "nobody"}, Status.UNKNOWN_AGENT),
        ({"role": "agent", "agent": "research"}, Status.UNKNOWN_AGENT),
    ],
)
def test_making_keys(fields: dict[str, str], status: Status) -> None:
    """An agent's for an agent, never for a team; any other role's for a person. The log has the digest, no secret."""
    world = World()
    outcome = world.do(CreateKey, world.admin, digest=NEW, **fields)
    assert outcome.status is status
    if status is Status.DONE:
        assert (outcome.body or {})["digest"] == NEW.hex()
        assert (outcome.body or {})["made_by"] == "person:owner"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (CreateAgent, {"name": "n", "kind": "agent"}),
        (CreateAgent, {"name": "n", "kind": "team"}),
        (CreateBudget, {"name": "n", "currency": "USD"}),
        (OpenRun, {"name": "n", "agent": "crawler"}),
        (DefineUnit, {"name": "n", "digits": 0}),
        (AddName, {"kind": "category", "name": "n"}),
        (AddName, {"kind": "payee", "name": "n"}),
    ],
)
def test_a_name_is_never_used_again(kind: type, fields: dict[str, object]) -> None:
    """Within its kind, in the same batch too; agents and teams share one kind of name."""
    world = World()
    first, second = world.decide(world.command(kind, world.admin, **fields), world.command(kind, world.admin, **fields))
    assert (first.status, second.status) == (Status.DONE, Status.NAME_TAKEN)
    assert world.do(kind, world.admin, **fields).status is Status.NAME_TAKEN
    if kind is CreateAgent:
        other = {"agent": "team", "team": "agent"}[str(fields["kind"])]
        assert world.do(kind, world.admin, name="n", kind=other).status is Status.NAME_TAKEN


@pytest.mark.parametrize(
    ("kind", "parent", "status"),
    [
        ("agent", None, Status.DONE),
        ("agent", "research", Status.DONE),
        ("agent", "crawler", Status.DONE),
        ("team", "research", Status.DONE),
        ("team", "crawler", Status.UNKNOWN_AGENT),
        ("agent", "nobody", Status.UNKNOWN_AGENT),
    ],
)
def test_the_tree_of_agents(kind: str, parent: str | None, status: Status) -> None:
    """Agents stand under teams and agents, teams under teams."""
    world = World()
    assert world.do(CreateAgent, world.admin, name="new", kind=kind, parent=parent).status is status


@pytest.mark.parametrize("by_id", [False, True])
def test_a_thing_is_named_by_its_name_or_its_id(by_id: bool) -> None:
    """Wherever an id is taken, the name is too; names may have underscores."""
    world = World()
    world.agent("my_agent")
    world.budget("my_budget", "10")
    agent, budget = world.tables["agents"][1, "my_agent"], world.tables["budgets"][1, "my_budget"]
    agent_ref, budget_ref = (agent.id, budget.id) if by_id else ("my_agent", "my_budget")
    assert world.do(AssignBudget, world.admin, budget=budget_ref, agents=(agent_ref,)).status is Status.DONE
    caller = world.key("agent", agent_ref)
    assert world.authorize(caller, "1").status is Status.APPROVED
    assert world.authorize(caller, "1", budget=budget_ref).status is Status.APPROVED
    assert world.do(FreezeAgent, world.admin, agent=agent_ref, frozen=True).status is Status.DONE
    assert world.authorize(caller, "1").status is Status.AGENT_FROZEN


def test_a_budget_serves_the_agents_it_lists_and_those_below_them() -> None:
    """By listing a team, or the agent that spawned another; assigning twice is once."""
    world = World()
    spawned, loner = world.agent("spawned", "crawler"), world.agent("loner")
    world.budget("own", "10", "crawler")
    assert world.authorize(spawned, budget="own").status is Status.APPROVED
    assert world.authorize(spawned, budget="research").status is Status.APPROVED
    assert world.authorize(loner, budget="own").status is Status.BUDGET_NOT_PERMITTED
    assert world.authorize(loner).status is Status.NO_BUDGET
    for _ in range(2):
        assert world.do(AssignBudget, world.admin, budget="own", agents=("loner", "loner")).status is Status.DONE
    assert world.authorize(loner).status is Status.APPROVED
    ambiguous = world.authorize(spawned)
    assert (ambiguous.status, ambiguous.facts) == (Status.BUDGET_AMBIGUOUS, {"budgets": ["own", "research"]})


def test_names_are_made_on_first_use_or_by_an_admin() -> None:
    """By a setting of the book; a denial makes none known."""
    world = World()
    known = lambda: {(row.kind, row.name) for row in world.rows("names")}  # noqa: E731
    world.authorize(world.crawler, "1000", category="denied", payee="denied")
    assert not known()
    world.hold(world.crawler)
    assert known() == {("category", "inference"), ("payee", "openai")}
    assert world.do(AddName, world.admin, kind="payee", name="openai").status is Status.NAME_TAKEN
    strict = World(strict_names=True)
    hold = strict.hold(strict.crawler)
    moved = {"transfers": (AdjustmentTransfer("payables:new", "assets:bank", "1", "USD"),), "reason": "r"}
    assert strict.authorize(strict.crawler, category="new").status is Status.UNKNOWN_CATEGORY
    assert strict.do(Adjust, strict.finance, **moved).status is Status.UNKNOWN_PAYEE
    strict.do(AddName, strict.admin, kind="payee", name="new")
    assert strict.do(Adjust, strict.finance, **moved).status is Status.DONE
    settled = strict.settle(strict.crawler, hold, "1", payee="elsewhere")
    assert settled.status is Status.DONE, "real spend is never refused for its name"
    assert (settled.body or {})["flags"] == ["mismatch"]
