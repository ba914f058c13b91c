"""Holds of calls that the gateway makes: the agent asked for them, and only the gateway, or finance, ends them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.core.authorization import ON_EXPIRY_UNKNOWN
from ledger.core.command import Authorize, Caller, Extend, MarkUnknown, Release, RevokeKey, Settle
from ledger.core.outcome import Status
from tests.support.policed import Policed

ENDINGS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "settle": (Settle, {"amount": "0", "currency": "USD"}),
    "settle in part": (Settle, {"amount": "1", "currency": "USD", "final": False}),
    "release": (Release, {}),
    "extend": (Extend, {"ttl_seconds": 60}),
    "mark unknown": (MarkUnknown, {}),
}


def gateway_of(caller: Caller) -> Caller:
    """The gateway, for whoever holds this key."""
    return replace(caller, as_gateway=True)


def call(world: Policed, amount: str = "5") -> str:
    """A call under way."""
    return world.hold(gateway_of(world.crawler), amount, on_expiry=ON_EXPIRY_UNKNOWN)


@pytest.mark.parametrize("name", ENDINGS)
def test_an_agent_cannot_end_what_the_gateway_carries_out(name: str) -> None:
    """Else it would settle at nothing what its provider bills in full."""
    world = Policed()
    kind, fields = ENDINGS[name]
    reference = call(world)
    assert world.do(kind, world.crawler, authorization=reference, **fields).status is Status.GATEWAY_ONLY
    assert world.do(kind, gateway_of(world.crawler), authorization=reference, **fields).status is not (
        Status.GATEWAY_ONLY
    )
    world.prove()


@pytest.mark.parametrize("name", ENDINGS)
def test_an_agent_ends_its_other_holds_as_ever(name: str) -> None:
    world = Policed()
    kind, fields = ENDINGS[name]
    reference = world.hold(world.crawler, "5", on_expiry=ON_EXPIRY_UNKNOWN)
    assert world.do(kind, world.crawler, authorization=reference, **fields).status in (Status.DONE, Status.APPROVED)


def test_finance_ends_what_nobody_else_knows() -> None:
    world = Policed()
    reference = call(world)
    assert world.do(MarkUnknown, gateway_of(world.crawler), authorization=reference).status is Status.DONE
    assert world.settle(world.finance, reference, "3").status is Status.DONE
    world.prove()


@pytest.mark.parametrize("name", ["settle", "release", "mark unknown"])
def test_what_the_gateway_says_is_taken_although_the_key_has_ended(name: str) -> None:
    world = Policed()
    reference = call(world)
    key = next(row for row in world.rows("api_keys") if row.digest == world.crawler.key_digest)
    assert world.do(RevokeKey, world.admin, key=key.id).status is Status.DONE
    kind, fields = ENDINGS[name]
    assert world.do(kind, world.crawler, authorization=reference, **fields).status is Status.KEY_REVOKED
    assert world.do(kind, gateway_of(world.crawler), authorization=reference, **fields).status is Status.DONE
    fresh = world.authorize(gateway_of(world.crawler))
    assert fresh.status is Status.KEY_REVOKED, "nothing new is approved for a key that has ended"
    extended = world.do(Extend, gateway_of(world.crawler), authorization=reference, ttl_seconds=60)
    assert extended.status is Status.KEY_REVOKED
    world.prove()


def test_the_record_says_who_carried_it_out() -> None:
    world = Policed()
    outcome = world.do(
        Authorize, gateway_of(world.crawler), amount="5", currency="USD", category="inference", payee="openai"
    )  # fmt: skip
    assert (outcome.body or {})["flags"] == ["gateway"]
    assert (outcome.body or {})["request"] is not None
    assert world.bodies()[-1]["request"]["operator"] == "gateway"
    world.prove()
