"""Calls whose outcome nobody knows: kept, unless a policy says to settle them once their time has run out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from ledger.core.authorization import ON_EXPIRY_UNKNOWN
from ledger.core.canonical import canonical_bytes
from ledger.core.command import Caller, ExpireDue, MarkUnknown, Settle
from ledger.core.command_policies import ApplyPolicy
from ledger.core.outcome import Status
from ledger.services import unknown_calls
from ledger.services.unknown_calls import settlements_by_policy
from ledger.storage import queries_unknown
from ledger.storage.engine import create_engine
from tests.services.live_world import LiveWorld

CALL = {"on_expiry": ON_EXPIRY_UNKNOWN, "ttl_seconds": 600, "resource": "gpt-5-mini"}


@pytest.fixture
def engine(world: LiveWorld) -> Iterator[Engine]:
    made = create_engine(world.url)
    yield made
    made.dispose()


def apply(world: LiveWorld, section: dict[str, Any], *, team: str = "crawler") -> None:
    document = {"policy": "calls", "applies_to": {"agent": team}, "currency": "USD", "inference": section}
    text = canonical_bytes(document).decode()
    assert world.do(ApplyPolicy, world.admin, id=world.new_id("pol"), document=text).status is Status.DONE


def held(world: LiveWorld, amount: str = "2", **fields: Any) -> str:
    asked = world.ask(amount, **CALL | fields)
    assert world.decide(asked)[0].status is Status.APPROVED
    return asked.id


def due(world: LiveWorld, engine: Engine) -> list[Settle]:
    found = settlements_by_policy(engine, world.sources.now, category="inference")
    return [settlement for book_id, settlement in found if book_id == world.book_id]


def expire(world: LiveWorld) -> None:
    world.advance(601)
    world.decide(ExpireDue(caller=Caller(None)))


def test_by_default_they_are_kept(world: LiveWorld, engine: Engine) -> None:
    held(world)
    expire(world)
    assert due(world, engine) == []
    assert world.dollars("budgets:research:held") == 2


def test_a_policy_settles_them_at_what_they_hold_once_their_time_has_run_out(world: LiveWorld, engine: Engine) -> None:
    apply(world, {"unknown": "settle"})
    first = held(world)
    marked = world.do(MarkUnknown, world.crawler, authorization=first)
    assert marked.status is Status.DONE
    assert due(world, engine) == [], "somebody may still find out what it did cost"
    second = held(world, "3")
    expire(world)
    found = due(world, engine)
    assert [(one.authorization, one.amount) for one in found] == [(first, "2.00"), (second, "3.00")]
    assert [outcome.status for outcome in world.decide(*found)] == [Status.DONE, Status.DONE]
    assert world.dollars("budgets:research:held") == 0
    assert world.dollars("budgets:research:spent") == 5
    assert due(world, engine) == []
    # Another process that had found them too changes nothing.
    assert [outcome.status for outcome in world.decide(*found)] == [Status.WRONG_STATE, Status.WRONG_STATE]


def test_other_holds_are_left_alone(world: LiveWorld, engine: Engine) -> None:
    apply(world, {"unknown": "settle"})
    held(world, category="search")
    held(world, on_expiry="release")
    expire(world)
    assert due(world, engine) == []


def test_every_page_is_looked_through(world: LiveWorld, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_unknown, "PAGE_ROWS", 2)
    monkeypatch.setattr(unknown_calls, "PAGE_ROWS", 2)
    apply(world, {"unknown": "settle"})
    made = [held(world, "1") for _ in range(5)]
    expire(world)
    assert [one.authorization for one in due(world, engine)] == made
