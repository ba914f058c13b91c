"""What a forger changes about rates and conversion, who makes every hash again."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.command import Charge, Extend, Reprice
from tests.core.test_projecting import folded
from tests.support.exchanging import SPEND, ask, converting, hold, refund, settle
from tests.support.worlds import World


def _forgeries() -> World:
    """A rate, a hold, an extension, a settlement, a refund, a reprice, a charge and a denial, the last of each kind
    converted."""
    world = converting("1.0842")
    ask(world, "1", "GBP")
    reference = hold(world, "10")
    world.do(Extend, world.crawler, authorization=reference, amount="1", currency="EUR")
    settle(world, reference, "5")
    refund(world, reference, "1")
    world.do(Charge, world.finance, budget="research", amount="1", currency="EUR", **SPEND)
    prices: dict[str, Any] = {"old_price": (), "new_price": (("output", "6"),), "reason": "mistyped"}
    world.do(
        Reprice, world.finance, authorization=reference, currency="EUR", settled="5", amount="6", **prices
    )  # fmt: skip
    return world


FORGED: list[tuple[str, tuple[Any, ...], Any]] = [
    ("rate", ("rates", 0, 2), "1.1"),
    ("rate", ("rates", 0, 3), "2026-11-01"),
    ("rate", ("source",), "ecb"),
    ("rate", ("max_age_days",), 8),
    ("rate", ("request", "rates", 0, 2), "1.1"),
    ("denial", ("amount",), "1"),
    ("denial", ("currency",), "USD"),
    ("denial", ("budget", "available"), "1"),
    ("denial", ("decision", "reasons", 0, "detail"), "none"),
    ("hold", ("amount",), "10000000000"),
    ("hold", ("currency",), "EUR"),
    ("hold", ("exchange", "per", 0), "1"),
    ("hold", ("exchange", "currency"), "GBP"),
    ("hold", ("exchange", "rates", 0, 0), 1),
    ("hold", ("exchange", "rates", 0, 3), "1.1"),
    ("hold", ("exchange", "rates", 0, 5), "ecb"),
    ("hold", ("exchange", "amount"), "1"),
    ("hold", ("exchange", "approved"), "1"),
    ("hold", ("approved",), "10842000001"),
    ("hold", ("request", "currency"), "USD"),
    ("extension", ("amount",), "1000000000"),
    ("extension", ("exchange", "approved"), "1"),
    ("settlement", ("amount",), "5000000000"),
    ("settlement", ("exchange", "settled"), "1"),
    ("settlement", ("exchange", "per", 1), "1"),
    ("settlement", ("transfers", 3, 2), "1"),
    ("settlement", ("transfers", 3, 3), "USD"),
    ("settlement", ("request", "currency"), "USD"),
    ("refund", ("amount",), "1"),
    ("refund", ("exchange", "refunded"), "1"),
    ("refund", ("transfers", 2, 2), "1"),
    ("charge", ("amount",), "1"),
    ("charge", ("exchange", "settled"), "1"),
    ("charge", ("exchange", "rates", 0, 4), "2026-11-01"),
    ("charge", ("currency",), "EUR"),
    ("adjustment", ("repriced",), "1"),
    ("adjustment", ("exchange", "repriced"), "1"),
    ("adjustment", ("transfers", 1, 1), "payables:mistral"),
]


@pytest.fixture(scope="module")
def honest() -> list[dict[str, Any]]:
    """The bodies of the story."""
    return _forgeries().bodies()


@pytest.mark.parametrize(("kind", "path", "value"), FORGED, ids=lambda value: str(value)[:40])
def test_a_forged_conversion_is_found(
    honest: list[dict[str, Any]], kind: str, path: tuple[Any, ...], value: Any
) -> None:
    """Also where every hash was made again: the records before it do not give it. It is noted at the record or at one
    that was converted by it, or it cannot be followed at all."""
    bodies = copy.deepcopy(honest)
    (at,) = (index for index, body in enumerate(bodies) if body["kind"] == kind)
    place = bodies[at]
    for step in path[:-1]:
        place = place[step]
    assert (place.get(path[-1]) if isinstance(place, dict) else place[path[-1]]) != value
    place[path[-1]] = value
    try:
        fold, _, _ = folded(bodies)
    except (KeyError, TypeError, ValueError, LookupError):
        return
    assert fold.differences
    assert min(difference.log_index or 0 for difference in fold.differences) >= at


def test_the_story_of_the_forger_is_honest(honest: list[dict[str, Any]]) -> None:
    """Otherwise anything would be found."""
    fold, _, _ = folded(honest)
    assert fold.differences == []


@pytest.mark.parametrize("field", ["rate", "day"])
def test_a_rate_changed_with_its_request_is_found(honest: list[dict[str, Any]], field: str) -> None:
    """By what was converted by it, although the record itself agrees with what was asked."""
    bodies = copy.deepcopy(honest)
    (at,) = (index for index, body in enumerate(bodies) if body["kind"] == "rate")
    for said_rates in (bodies[at]["rates"], bodies[at]["request"]["rates"]):
        said_rates[0][2 if field == "rate" else 3] = "1.2" if field == "rate" else "2026-11-01"
    packed = canonical_bytes(bodies[at]["request"])
    bodies[at]["idempotency"][1] = sha256(packed).hexdigest()
    fold, _, _ = folded(bodies)
    (hold_at,) = (index for index, body in enumerate(bodies) if body["kind"] == "hold")
    assert min(difference.log_index or 0 for difference in fold.differences) == hold_at
