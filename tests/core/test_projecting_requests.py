"""The fold over requests: a record that did something else than was asked, with the digest of the request right."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.deriving import Clock, columns_of
from ledger.core.projecting import Fold
from tests.support.every_kind import play
from tests.support.ledger import Ledger
from tests.support.memory_rows import MemoryStore

Bodies = list[dict[str, Any]]


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    """Those of a book with a record of every kind."""
    made = Ledger()
    play(made)
    return made.bodies()


def noted(bodies: Bodies, at: int, made: dict[str, Any]) -> list[str]:
    """What the fold notes at a record in whose place another is put."""
    fold = Fold(1, MemoryStore())
    for body in bodies[:at]:
        fold.apply(body, columns_of(body, Clock()))
    assert fold.differences == []
    fold.apply(made, columns_of(made, Clock()))
    return [difference.what for difference in fold.differences]


def place_of(bodies: Bodies, kind: str, operation: str = "", field: str = "operation") -> int:
    """The last record of a kind whose request has a field."""
    return max(
        at
        for at, body in enumerate(bodies)
        if body["kind"] == kind and field in body.get("request", {}) and operation in ("", body["request"]["operation"])
    )


CHANGES = (
    ("allocation", "allocate", "amount", "1"),
    ("allocation", "allocate", "budget", "another"),
    ("allocation", "allocate", "currency", "EUR"),
    ("deallocation", "deallocate", "amount", "1"),
    ("hold", "authorize", "budget", "another"),
    ("hold", "authorize", "run", "another"),
    ("hold", "authorize", "on_expiry", "keep"),
    ("denial", "authorize", "budget", "another"),
    ("settlement", "settle", "authorization", "auth_another"),
    ("settlement", "settle", "currency", "EUR"),
    ("release", "release", "authorization", "auth_another"),
    ("extension", "extend", "authorization", "auth_another"),
    ("refund", "refund", "authorization", "auth_another"),
    ("adjustment", "reprice", "authorization", "auth_another"),
    ("freeze", "freeze_agent", "frozen", False),
    ("freeze", "freeze_agent", "agent", "another"),
    ("agent", "create_agent", "name", "another"),
    ("key", "create_key", "role", "auditor"),
    ("key", "create_key", "ttl_seconds", 5),
    ("key_rotation", "rotate_key", "overlap_seconds", 5),
    ("key_revocation", "revoke_key", "key", "key_another"),
    ("budget", "create_budget", "agents", ["another"]),
    ("budget_agents", "assign_budget", "agents", ["another"]),
    ("budget_renewal", "set_renewal", "amount", "1"),
    ("budget_closure", "close_budget", "budget", "another"),
    ("run", "open_run", "name", "another"),
    ("outcome", "report_outcome", "run", "another"),
    ("outcome", "report_outcome", "success", False),
    ("outcome", "report_outcome", "score_millionths", 5),
    ("name", "add_name", "name", "another"),
    ("policy", "apply_policy", "digest", "0" * 64),
    ("policy_retirement", "retire_policy", "policy", "another"),
    ("webhook", "register_webhook", "url", "https://another.example.com/"),
    ("webhook_rotation", "rotate_webhook", "overlap_seconds", 5),
    ("approval_granted", "grant_approval", "approval", "apr_another"),
    ("approval_granted", "force_approval", "approval", "apr_another"),
    ("delegation", "delegate", "receiver", "another"),
    ("delegation", "delegate", "ttl_seconds", 5),
    ("delegation_revocation", "revoke_delegation", "delegation", "dlg_another"),
)


@pytest.mark.parametrize(("kind", "operation", "field", "value"), CHANGES)
def test_what_was_done_is_what_was_asked(bodies: Bodies, kind: str, operation: str, field: str, value: Any) -> None:
    """Anybody can make the digest of a request, so that it is not what tells."""
    at = place_of(bodies, kind, operation, field if field != "ttl_seconds" or kind != "key" else "operation")
    made = copy.deepcopy(bodies[at])
    assert made["request"].get(field) != value
    made["request"][field] = value
    if "idempotency" in made:
        made["idempotency"][1] = sha256(canonical_bytes(made["request"])).hexdigest()
    assert any(one for one in noted(bodies, at, made) if "digest bound" not in one)


def test_an_agent_speaks_of_its_own_runs_only(bodies: Bodies) -> None:
    """With a good key of its own, on a run of an agent above it."""
    at = max(at for at, body in enumerate(bodies) if body["kind"] == "outcome" and body["agent"] == "crawler")
    other = next(
        body for body in bodies if body["kind"] == "key" and body["principal"] == "agent:reader" and body["index"] < at
    )
    made = copy.deepcopy(bodies[at])
    made["by"] = {"key": other["key"], "principal": other["principal"]}
    assert "an agent acts on what is another's" in noted(bodies, at, made)


def test_an_agent_acts_on_its_own_only(bodies: Bodies) -> None:
    """With a good key of its own, on what another agent was granted."""
    keys = {body["key"]: body for body in bodies if body["kind"] == "key" and body["role"] == "agent"}
    for kind in ("settlement", "release", "extension"):
        at = place_of(bodies, kind)
        made = copy.deepcopy(bodies[at])
        other = next(
            key
            for key in keys.values()
            if key["principal"] != made["by"]["principal"] and "run" not in key and key["index"] < at
        )
        made["by"] = {"key": other["key"], "principal": other["principal"]}
        assert "an agent acts on what is another's" in noted(bodies, at, made), kind
