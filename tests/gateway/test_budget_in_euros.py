"""A budget in euros pays for calls priced in dollars: held, cut to what it affords, settled, and on the bill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest

from tests.support.databases import sqlite_url
from tests.support.gateway import GatewayWorld, chat, error_of, gateway_world

CHAT = "/openai/v1/chat/completions"
RATE = Decimal("1.0842")
ATOM = Decimal("0.000000001")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("euros")
    with gateway_world(sqlite_url(directory), directory) as made:
        yield made


def euro_key(world: GatewayWorld, name: str, amount: str) -> str:
    """The key of a new agent with a budget of its own in euros."""
    office = world.office
    office.make("/v1/agents", {"name": name})
    office.make("/v1/budgets", {"name": name, "currency": "EUR", "agents": [name]})
    office.make(f"/v1/budgets/{name}/allocations", {"amount": {"amount": amount, "currency": "EUR"}})
    return str(office.make("/v1/keys", {"role": "agent", "agent": name})["key"])


def give_rate(world: GatewayWorld) -> None:
    """From yesterday on, so that it holds whatever day the book's time zone has."""
    day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    world.office.make("/v1/rates", {"base": "EUR", "quote": "USD", "rate": str(RATE), "valid_from": day})


def test_a_call_needs_a_rate_and_is_spent_in_euros(world: GatewayWorld) -> None:
    """Denied before, in the provider's form; afterwards the bill in dollars is what the euros were converted to."""
    key = euro_key(world, "paris", "5.00")
    body = chat("hello [[fake out=20]]", max_tokens=50)
    denied = world.office.send("POST", CHAT, body, key=key)
    assert (denied.status, error_of(denied.body)["code"]) == (403, "no_rate")
    give_rate(world)
    before = len(world.provider.bill()["lines"])
    answer = world.office.send("POST", CHAT, body, key=key)
    assert answer.status == 200, answer.body
    world.settled()
    (line,) = world.provider.bill()["lines"][before:]
    cost = Decimal(line["cost"])
    found: dict[str, Any] = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    assert (found["state"], found["flags"]) == ("settled", ["gateway"])
    assert Decimal(found["exchange"]["settled"]["amount"]) == cost
    assert found["exchange"]["settled"]["currency"] == "USD"
    assert found["exchange"]["rates"][0]["inverse"] is True
    spent = (cost / RATE).quantize(ATOM, ROUND_HALF_EVEN)
    assert found["settled"] == {"amount": f"{spent:f}".rstrip("0"), "currency": "EUR"}
    left = Decimal(world.office.get("/v1/budgets/paris")["available"]["amount"])
    assert left == Decimal(5) - spent
    assert (answer.headers["x-bursar-currency"], Decimal(answer.headers["x-bursar-cost"])) == ("USD", cost)
    remaining = (left * RATE).quantize(ATOM, ROUND_FLOOR)
    assert Decimal(answer.headers["x-bursar-remaining"]) == remaining


def test_the_output_is_cut_to_what_the_euros_afford(world: GatewayWorld) -> None:
    """And never above them: what is asked of the provider costs at most what is held."""
    give_rate(world)
    key = euro_key(world, "nantes", "0.0001")
    answer = world.office.send("POST", CHAT, chat("hello [[fake out=9000]]", max_tokens=9000), key=key)
    assert answer.status == 200, answer.body
    world.settled()
    found = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    assert found["flags"] == ["partial", "gateway"]
    assert Decimal(found["exchange"]["approved"]["amount"]) <= Decimal("0.0001") * RATE
    assert 0 < Decimal(found["settled"]["amount"]) <= Decimal("0.0001")
    assert Decimal(world.office.get("/v1/budgets/nantes")["available"]["amount"]) >= 0
