"""The fold over who asked: what a record says of its own request decides nothing about what its key may do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ledger.core.deriving import Clock, columns_of
from ledger.core.journal import KINDS
from ledger.core.projecting import Fold
from ledger.core.projecting_asking import OPERATIONS, OWNER, OWNERS, UNASKED, check_asking
from ledger.core.projecting_record import Record
from ledger.core.roles import PERMISSIONS
from tests.support.every_kind import play
from tests.support.ledger import Ledger
from tests.support.memory_rows import MemoryStore

Bodies = list[dict[str, Any]]
NOBODY: dict[str, Any] = {"by": None, "idempotency": None, "request": None}
"""Fields that are taken away."""


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    """Those of a book with a record of every kind."""
    made = Ledger()
    play(made)
    return made.bodies()


@pytest.fixture(scope="module")
def fold(bodies: Bodies) -> Fold:
    """The fold over the whole book; nothing here changes its rows."""
    made, clock = Fold(1, MemoryStore()), Clock()
    for body in bodies:
        made.apply(body, columns_of(body, clock))
    assert made.differences == []
    return made


def last(bodies: Bodies, kind: str) -> dict[str, Any]:
    """The last record of a kind."""
    return next(body for body in reversed(bodies) if body["kind"] == kind)


def key_of(fold: Fold, role: str, *, ended: bool = False) -> dict[str, str]:
    """Who asks with a key of a role that is good for every run, and is still valid or has been revoked."""
    key = next(
        key
        for key in fold.store.api_keys.rows.values()  # type: ignore[attr-defined]
        if key.role == role and key.run is None and (key.revoked_at is not None) == ended
        and (ended or key.expires_at is None)
    )  # fmt: skip
    return {"key": key.id, "principal": key.principal}


def said(bodies: Bodies, fold: Fold, kind: str, **changes: Any) -> list[str]:
    """What is noted about the last record of a kind, asked for otherwise at the end of the book."""
    made = copy.deepcopy(last(bodies, kind)) | {"index": len(bodies), "time": bodies[-1]["time"]}
    for name, value in changes.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, dict) and name == "request":
            made[name] = made.get(name, {}) | value
        else:
            made[name] = value
    fold.differences.clear()
    check_asking(Record(fold, len(bodies), made, columns_of(made, Clock())))
    return [difference.what for difference in fold.differences]


def test_every_kind_has_its_operations() -> None:
    """And every operation that the table of roles knows leads to a record, or to none at all."""
    assert set(OPERATIONS) == set(KINDS)
    recorded = {operation for operations in OPERATIONS.values() for operation in operations}
    # What a second person approves is a record of whoever asked for it.
    silent = {"evaluate", "prove", "make_checkpoint", "cosign_checkpoint", "approve_correction"}
    assert recorded == {one for one in PERMISSIONS if not one.startswith("read_")} - silent


@pytest.mark.parametrize("kind", sorted(kind for kind in KINDS if OPERATIONS[kind] and kind != "settlement"))
def test_no_record_says_itself_what_its_key_must_be_allowed(bodies: Bodies, fold: Fold, kind: str) -> None:
    """An operation that any agent may do, and of which the gateway reports, opens nothing to an agent's key."""
    asked = {"by": key_of(fold, "agent"), "request": {"operation": "settle"}, "idempotency": ["0" * 32, "0" * 64]}
    assert "this kind of record is not what was asked for" in said(bodies, fold, kind, **asked)


@pytest.mark.parametrize(
    ("kind", "role", "words"),
    [
        ("allocation", "agent", "its role may not"),
        ("allocation", "finance", "its role may not"),
        ("redaction", "agent", "its role may not"),
        ("settlement", "approver", "its role may not"),
        ("settlement", "admin", "its role may not"),
        ("release", "approver", "its role may not"),
        ("key", "approver", "its role may not"),
    ],
)
def test_a_role_that_may_not(bodies: Bodies, fold: Fold, kind: str, role: str, words: str) -> None:
    """Also where the operation is one that the gateway reports of."""
    asked = {"by": key_of(fold, role), "idempotency": ["0" * 32, "0" * 64]}
    noted = said(bodies, fold, kind, request={"operation": min(OPERATIONS[kind])}, **asked)
    assert any(words in what for what in noted)


def test_a_key_that_ended_asks_for_nothing_but_reports(bodies: Bodies, fold: Fold) -> None:
    """Real spend is recorded whatever became of the key, and nothing else is."""
    by = key_of(fold, "agent", ended=True)
    assert said(bodies, fold, "settlement", by=by) == []
    assert said(bodies, fold, "release", by=by) == []
    assert said(bodies, fold, "hold", by=by) == ["a key is used that was valid no more"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - UNASKED))
def test_somebody_asked(bodies: Bodies, fold: Fold, kind: str) -> None:
    """Only what time brings has nobody behind it."""
    assert "nobody is named who asked for it" in said(bodies, fold, kind, **NOBODY)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nobody_else_asks(bodies: Bodies, fold: Fold, kind: str) -> None:
    """Neither some part of the system that there is not, nor a policy that there is not."""
    for principal in ("system:nobody-at-all", "policy:no-such-policy", "mallory"):
        noted = said(bodies, fold, kind, **NOBODY | {"by": {"principal": principal}})
        assert noted in (["who asked is nobody who could"], ["a policy did this that is not there"])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - OWNERS))
def test_what_the_owner_of_the_database_does_not_do(bodies: Bodies, fold: Fold, kind: str) -> None:
    """The program gives them no way to."""
    noted = said(bodies, fold, kind, by={"principal": OWNER})
    assert noted == ["this is not done without a key"]


def test_what_the_owner_of_the_database_does(bodies: Bodies, fold: Fold) -> None:
    """With a request that fits; only the book and its first key have none."""
    by = {"principal": OWNER}
    for kind in sorted(OWNERS - {"book"}):
        asked = {"operation": min(OPERATIONS[kind])}
        assert said(bodies, fold, kind, by=by, request=asked, idempotency=None) == [], kind
        wrong = said(bodies, fold, kind, by=by, request={"operation": "authorize"}, idempotency=None)
        assert wrong == ["this kind of record is not what was asked for"], kind


def test_a_key_comes_with_an_idempotency_key(bodies: Bodies, fold: Fold) -> None:
    """Otherwise the request's digest would be bound to nothing."""
    assert said(bodies, fold, "allocation", idempotency=None) == [
        "what is asked for with a key has an idempotency key"
    ]  # fmt: skip


def test_a_removal_by_http_delete_comes_without(bodies: Bodies, fold: Fold) -> None:
    """`DELETE /v1/webhooks/{webhook}` takes no idempotency key, and what it did is right all the same."""
    assert said(bodies, fold, "webhook_removal", idempotency=None) == []


def test_what_time_brings_has_no_request(bodies: Bodies, fold: Fold) -> None:
    """A record that nobody asked for answers nobody."""
    by_time = [body for body in bodies if body["kind"] in UNASKED and "by" not in body]
    assert {body["kind"] for body in by_time} == UNASKED
    noted = said(bodies, fold, "renewal", request={"operation": "allocate"})
    assert noted == ["request is not what the records before it give"]
