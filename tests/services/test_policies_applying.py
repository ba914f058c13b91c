"""Applying policies through the real path: filled from history, caught up, and the same as ``verify`` makes anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.core.canonical import parse
from ledger.core.command import Authorize, Caller, Extend, Refund, Release, Settle
from ledger.core.outcome import Outcome
from ledger.services.policies import applying
from ledger.services.policies.applying import apply_policy
from ledger.storage.engine import create_engine
from tests.services.live_world import LiveWorld

OWNER = Caller(None, as_owner=True)


def _policy(maximum: str = "10", **fields: Any) -> dict[str, Any]:
    limit = {"id": "day", "per": "day", "max": maximum} | fields
    return {"policy": "caps", "applies_to": {"book": True}, "currency": "USD", "limits": [limit]}


class Policies:
    """Applies policies to a live world."""

    def __init__(self, world: LiveWorld) -> None:
        self.world = world
        self.engine = create_engine(world.url)

    def apply(self, document: dict[str, Any], **fields: Any) -> Outcome:
        """Apply a document as the owner of the database."""
        return apply_policy(
            self.world.authorizer, self.engine, self.world.book_id, caller=OWNER, document=document, **fields
        )


@pytest.fixture
def policies(world: LiveWorld) -> Iterator[Policies]:
    made = Policies(world)
    yield made
    made.engine.dispose()


def _status(outcome: Outcome) -> str:
    return outcome.status.value


def _use(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(limit, limit in atoms, used before) as the decision says it."""
    decision = parse(_body(outcome))["decision"] if outcome.body is None else outcome.body["decision"]
    return [(item[1], item[4], item[5]) for item in decision["limits"]]


def _body(outcome: Outcome) -> bytes:
    raise AssertionError(f"there is no body: {outcome}")


def test_a_limit_counts_what_was_spent_before_it_was_made(world: LiveWorld, policies: Policies) -> None:
    held = world.do(Authorize, world.crawler, amount="3", currency="USD", category="a", payee="b")
    spent = world.do(Authorize, world.crawler, amount="4", currency="USD", category="a", payee="b")
    gone = world.do(Authorize, world.crawler, amount="50", currency="USD", category="a", payee="b")
    world.do(Settle, world.crawler, authorization=spent.body["authorization"], amount="2.5", currency="USD")
    world.do(Release, world.crawler, authorization=gone.body["authorization"])
    assert _status(policies.apply(_policy())) == "done"
    assert held.body is not None
    fits = world.do(Authorize, world.crawler, amount="4.5", currency="USD", category="a", payee="b")
    assert _status(fits) == "approved"
    assert _use(fits) == [("day", "10000000000", "5500000000")]
    over = world.do(Authorize, world.crawler, amount="0.000000001", currency="USD", category="a", payee="b")
    assert _status(over) == "limit_held"


def test_an_edit_keeps_the_use_and_a_changed_limit_is_filled(world: LiveWorld, policies: Policies) -> None:
    policies.apply(_policy("10"))
    first = world.do(Authorize, world.crawler, amount="6", currency="USD", category="a", payee="b")
    world.do(Settle, world.crawler, authorization=first.body["authorization"], amount="6", currency="USD")
    assert _status(world.do(Authorize, world.crawler, amount="5", currency="USD", category="a", payee="b")) == (
        "limit_exceeded"
    )
    assert _status(policies.apply(_policy("12"))) == "done"
    second = world.do(Authorize, world.crawler, amount="5", currency="USD", category="a", payee="b")
    assert (_status(second), _use(second)) == ("approved", [("day", "12000000000", "6000000000")])
    assert _status(policies.apply(_policy("12", by=["payee"]))) == "done"
    third = world.do(Authorize, world.crawler, amount="1", currency="USD", category="a", payee="b")
    assert _use(third) == [("day", "12000000000", "11000000000")]
    assert _status(policies.apply(_policy("12", by=["payee"]))) == "policy_unchanged"
    assert _status(policies.apply(_policy("13", by=["payee"]), after_version=2)) == "policy_changed"


def test_extensions_and_refunds_before_a_limit_was_made(world: LiveWorld, policies: Policies) -> None:
    asked = world.do(Authorize, world.crawler, amount="3", currency="USD", category="a", payee="b")
    reference = asked.body["authorization"]
    world.do(Extend, world.crawler, authorization=reference, amount="2", currency="USD")
    world.do(Settle, world.crawler, authorization=reference, amount="4", currency="USD")
    finance = world.key("finance", "fred")
    world.do(Refund, finance, authorization=reference, amount="1", currency="USD")
    policies.apply(_policy("4"))
    fits = world.do(Authorize, world.crawler, amount="1", currency="USD", category="a", payee="b")
    assert (_status(fits), _use(fits)) == ("approved", [("day", "4000000000", "3000000000")])


def test_a_limit_is_filled_while_the_book_is_in_use(
    world: LiveWorld, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a few records and a tail of a few, with an agent that never stops: verify makes the same counters."""
    monkeypatch.setattr(applying, "PAGE_RECORDS", 7)
    monkeypatch.setattr(applying, "TAIL_ENOUGH", 30)
    done = threading.Event()

    def spend() -> None:
        open_holds: list[str] = []
        for number in range(100_000):
            if done.is_set():
                return
            asked = world.do(
                Authorize, world.crawler, amount="0.01", currency="USD", category="a", payee=f"p{number % 3}"
            )
            open_holds.append(asked.body["authorization"])
            if number % 2:
                reference = open_holds.pop(len(open_holds) // 2)
                world.do(Settle, world.crawler, authorization=reference, amount="0.02", currency="USD")
            if number % 5 == 0:
                world.do(Extend, world.crawler, authorization=open_holds[0], amount="0.01", currency="USD")
            if number % 7 == 0:
                world.do(Release, world.crawler, authorization=open_holds.pop(0))

    spender = threading.Thread(target=spend)
    spender.start()
    try:
        for version in range(6):
            document = _policy("1000", by=["payee"] if version % 2 else ["agent", "category"])
            document["limits"].append({"id": f"hour-{version}", "per": "hour", "rolling": True, "max": "900"})
            document["limits"].append({"id": f"ever-{version}", "per": "lifetime", "max": "900", "max_count": 9_999})
            assert _status(policies.apply(document)) == "done"
    finally:
        done.set()
        spender.join()
