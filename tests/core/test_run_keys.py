"""Keys that are for one run only: what they can do, who makes them, and who stands behind them."""

from __future__ import annotations

import pytest

from ledger.core.command import (
    Authorize,
    Caller,
    Command,
    CreateKey,
    Extend,
    MarkUnknown,
    OpenRun,
    Release,
    RevokeKey,
    RotateKey,
)
from ledger.core.command_approvals import GrantApproval
from ledger.core.outcome import Outcome
from ledger.core.principal import Key
from tests.support.policed import Policed, status

DAY = 24 * 3600
SECOND = 1_000_000


class Runs(Policed):
    """A world with a run of the crawler's, another of the writer's, and an agent below the crawler."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned = self.agent("spawned", "crawler")
        for caller, name in ((self.crawler, "run-c"), (self.writer, "run-w"), (self.spawned, "run-s")):
            assert status(self.do(OpenRun, caller, name=name)) == "done"

    def make(self, maker: Caller, **fields: object) -> tuple[Outcome, Caller]:
        """Ask for a key with role agent."""
        digest = self._digest()
        return self.do(CreateKey, maker, digest=digest, **({"role": "agent"} | fields)), Caller(digest)

    def scoped(self, run: str = "run-c", maker: Caller | None = None, **fields: object) -> Caller:
        """A key for one run, which must be made."""
        outcome, caller = self.make(maker or self.crawler, run=run, **fields)
        assert status(outcome) == "done", outcome
        return caller

    def row(self, caller: Caller) -> Key:
        """The key's row."""
        (found,) = (row for row in self.rows("api_keys") if row.digest == caller.key_digest)
        return found


def test_what_it_asks_for_is_its_runs() -> None:
    """Named or not; by name or by id; another run is refused and leaves no record."""
    world = Runs()
    key = world.scoped()
    run_id = next(row.id for row in world.rows("runs") if row.name == "run-c")
    for named in (None, "run-c", run_id):
        assert status(world.authorize(key, run=named)) == "approved"
        body = world.bodies()[-1]
        assert (body["run"], body["request"]["run"], body["agent"]) == ("run-c", "run-c", "crawler")
    size = world.head.size
    for named in ("run-w", "made-up", "run_00000000000000000000000000"):
        assert status(world.authorize(key, run=named)) == "key_run_only"
    assert world.head.size == size
    assert [row.approved_count for row in world.rows("run_totals")] == [3]
    world.prove()


def test_it_acts_on_its_runs_authorizations_only() -> None:
    """The same agent's others are not there for it."""
    world = Runs()
    key = world.scoped()
    inside, outside = world.hold(world.crawler, run="run-c"), world.hold(world.crawler)
    for kind, fields in ((Extend, {"ttl_seconds": 5}), (Release, {})):
        assert status(world.do(kind, key, authorization=outside, **fields)) == "not_yours"
    assert status(world.settle(key, outside, "1")) == "not_yours"
    assert status(world.do(Extend, key, authorization=inside, ttl_seconds=5)) == "done"
    assert status(world.settle(key, inside, "1")) == "done"
    assert status(world.do(Release, key, authorization=world.hold(key))) == "done"
    unknown = world.hold(key, on_expiry="unknown")
    assert status(world.do(MarkUnknown, key, authorization=unknown)) == "done"
    outside = world.hold(world.crawler, on_expiry="unknown")
    assert status(world.do(MarkUnknown, key, authorization=outside)) == "not_yours"
    world.prove()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (OpenRun, {"name": "run-2"}),
        (CreateKey, {"digest": b"\x77" * 32, "role": "agent", "run": "run-c"}),
        (RevokeKey, {"key": "key_00000000000000000000000000"}),
    ],
)
def test_it_opens_no_runs_and_makes_no_keys(kind: type[Command], fields: dict[str, object]) -> None:
    """What else an agent may do is not for it."""
    world = Runs()
    assert status(world.do(kind, world.scoped(), **fields)) == "key_run_only"


def test_the_same_idempotency_key_in_another_run_is_another_request() -> None:
    """Two runs of one agent that count their requests alike never share a hold; the same run's other keys do repeat."""
    world = Runs()
    assert status(world.do(OpenRun, world.crawler, name="run-d")) == "done"
    first, second, again = world.scoped(), world.scoped("run-d"), world.scoped()
    asked = world.command(
        Authorize, first, amount="1", currency="USD", category="inference", payee="openai", idempotency_key="1"
    )
    assert status(world.decide(asked)[0]) == "approved"
    for caller, expected in ((second, "idempotency_mismatch"), (again, "replayed")):
        repeated = {"amount": "1", "currency": "USD", "category": "inference", "payee": "openai"}
        assert status(world.do(Authorize, caller, idempotency_key="1", **repeated)) == expected
    named = world.authorize(world.crawler, "1", run="run-c", idempotency_key="1")
    assert status(named) == "replayed"
    world.prove()


def test_an_agent_makes_them_for_itself() -> None:
    """For runs of its own, of those above it and of those below it; in them it may spend with that key."""
    world = Runs()
    for maker, run, expected in (
        (world.crawler, "run-c", "done"),
        (world.crawler, "run-s", "done"),
        (world.spawned, "run-c", "done"),
        (world.crawler, "run-w", "unknown_run"),
        (world.crawler, "nowhere", "unknown_run"),
        (world.crawler, "run_00000000000000000000000000", "unknown_run"),
    ):
        outcome, caller = world.make(maker, run=run)
        assert (run, status(outcome)) == (run, expected)
        if expected == "done":
            assert (outcome.body or {})["principal"] == world.row(maker).principal
            assert status(world.authorize(caller, "1")) == "approved"
    world.prove()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "role_not_allowed"),
        ({"agent": "crawler"}, "role_not_allowed"),
        ({"role": "finance", "person": "eve"}, "role_not_allowed"),
        ({"role": "admin", "person": "eve", "run": "run-c"}, "role_not_allowed"),
        ({"run": "run-c", "agent": "writer"}, "not_yours"),
        ({"run": "run-s", "agent": "spawned"}, "not_yours"),
        ({"run": "run-c", "agent": "nobody"}, "unknown_agent"),
        ({"run": "run-c", "person": "eve"}, "role_principal_mismatch"),
        ({"run": "run-c", "ttl_seconds": 7 * DAY + 1}, "ttl_too_long"),
        ({"run": "run-c", "agent": "crawler", "ttl_seconds": 7 * DAY}, "done"),
    ],
)
def test_an_agent_makes_nothing_more(fields: dict[str, object], expected: str) -> None:
    """No key that can do more, for nobody else, for no longer."""
    assert status(Runs().make(Runs().crawler, **fields)[0]) == expected


def test_an_admin_makes_them_for_any_agent() -> None:
    """The run's own where none is named; not where run and agent have nothing to do with each other."""
    world = Runs()
    for fields, expected, principal in (
        ({"run": "run-w"}, "done", "agent:writer"),
        ({"run": "run-w", "agent": "writer"}, "done", "agent:writer"),
        ({"run": "run-c", "agent": "spawned"}, "done", "agent:spawned"),
        ({"run": "run-w", "agent": "crawler"}, "unknown_run", ""),
        ({"run": "nowhere"}, "unknown_run", ""),
        ({"run": "run-w", "role": "finance", "person": "eve"}, "role_principal_mismatch", ""),
    ):
        outcome, _ = world.make(world.admin, **fields)
        assert (fields, status(outcome)) == (fields, expected)
        if principal:
            assert (outcome.body or {})["principal"] == principal
            assert "expires_at" not in (outcome.body or {})
    world.prove()


def test_how_long_they_last() -> None:
    """A day unless told otherwise, and never beyond the key that they were made with."""
    world = Runs()
    assert world.row(world.scoped()).expires_at == world.now + DAY * SECOND
    short = world.key("agent", "crawler", ttl_seconds=3600)
    key = world.scoped(maker=short, ttl_seconds=2 * DAY)
    assert world.row(key).expires_at == world.now + 3600 * SECOND
    world.advance(3600)
    assert status(world.authorize(key)) == "key_expired"
    world.prove()


def test_an_agent_ends_those_that_it_made() -> None:
    """And no others: not the key that an admin made for it."""
    world = Runs()
    own, others = world.scoped(), world.scoped(maker=world.admin)
    for caller, key, expected in (
        (world.writer, own, "not_yours"),
        (world.crawler, others, "not_yours"),
        (world.crawler, world.crawler, "not_yours"),
        (world.crawler, own, "done"),
        (world.crawler, own, "wrong_state"),
    ):
        assert status(world.do(RevokeKey, caller, key=world.row(key).id)) == expected
    assert status(world.authorize(own)) == "key_revoked"
    world.prove()


def test_a_successor_is_for_the_same_run() -> None:
    """Rotation makes no key that can do more."""
    world = Runs()
    digest = b"\x78" * 32
    rotated = world.do(RotateKey, world.admin, key=world.row(world.scoped()).id, digest=digest)
    assert status(rotated) == "done"
    assert world.row(Caller(digest)).run == "run-c"
    assert status(world.authorize(Caller(digest), run="run-w")) == "key_run_only"
    world.prove()


def test_whoever_stands_behind_the_key_does_not_approve() -> None:
    """Four eyes are those of two persons: the one who made the key that the agent made this one with is out."""
    world = Runs()
    boss = world.key("admin", "boss")
    digest = world._digest()
    assert status(world.do(CreateKey, boss, digest=digest, role="agent", agent="crawler")) == "done"
    rule = {"id": "any", "above": "2", "per": "authorization", "approvers": ["admin"], "quorum": 1}
    world.policy(approval=[rule | {"expires_after": 60}])
    key = world.scoped(maker=Caller(digest))
    assert (world.row(key).made_by, world.row(key).vouched_by) == ("agent:crawler", "person:boss")
    asked = world.authorize(key, accept_pending=True)
    (approval,) = (asked.body or {})["approvals"]
    assert approval["key_made_by"] == "person:boss"
    assert status(world.do(GrantApproval, boss, approval=approval["id"])) == "not_an_approver"
    assert status(world.do(GrantApproval, world.admin, approval=approval["id"])) == "done"
    world.prove()


def test_nothing_is_made_with_a_key_that_is_made() -> None:
    """A key for a run can be made and used in one batch, and makes none itself."""
    world = Runs()
    digest = world._digest()
    made = world.command(CreateKey, world.crawler, digest=digest, role="agent", run="run-c")
    more = world.command(CreateKey, Caller(digest), digest=b"\x79" * 32, role="agent", run="run-c")
    assert [status(one) for one in world.decide(made)] == ["done"]
    assert [status(one) for one in world.decide(more)] == ["key_run_only"]
