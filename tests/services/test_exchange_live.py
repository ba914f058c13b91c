"""Conversion on a database of each kind: rates that another process gives, a midnight, statements, and the proof."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ledger.core.command import Charge, Refund
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.rate import day_of
from ledger.core.statement import parse_scope
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import Statements
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.live_world import Desk, LiveWorld, codes

DAY = 86_400
YEARS = "2020-01-01..2090-12-31"
EURO: dict[str, Any] = {"currency": "EUR", "category": "search", "payee": "mistral"}


@pytest.fixture
def world(database_url: str) -> Iterator[LiveWorld]:
    """A book with a budget in dollars, on either database; it must verify at the end."""
    upgrade(database_url)
    made = LiveWorld(database_url, "acme")
    yield made
    made.prove()
    made.close()


def giving(world: LiveWorld, text: str, *, age: int = 7) -> GiveRates:
    """A command that gives a rate of the euro, for today."""
    day = day_of(world.book.timezone, world.sources.now)
    rates = (GivenRate(base="EUR", quote="USD", rate=text, day=day),)
    command: GiveRates = world.command(GiveRates, world.admin, rates=rates, max_age_days=age)
    return command


def test_two_processes_and_a_midnight(world: LiveWorld) -> None:
    """What one gives, the other uses at once; what both know from yesterday is too old for both the day after."""
    with Desk(world) as here, Desk(world) as there:
        assert codes(here.submit(world.ask(**EURO)).wait()) == ["no_rate"]
        assert codes(there.submit(giving(world, "1.1", age=0)).wait()) == ["done"]
        for desk in (here, there, here):
            assert codes(desk.submit(world.ask(**EURO)).wait()) == ["approved"]
        world.advance(DAY)
        for desk in (here, there):
            assert codes(desk.submit(world.ask(**EURO), world.ask()).wait()) == ["no_rate", "approved"]
        assert codes(here.submit(giving(world, "1.2"), world.ask(**EURO)).wait()) == ["done", "approved"]
        assert codes(there.submit(giving(world, "1.3"), world.ask(**EURO)).wait()) == ["done", "approved"]
        assert codes(here.submit(world.ask("74", **EURO)).wait()) == ["budget_held"]
    held = world.dollars("budgets:research:held")
    assert held == 2 + 1.2 + 1.3


def test_the_same_authorization_beside_one_that_is_not_converted(world: LiveWorld) -> None:
    """Settlements of both, of the same sort, are decided in one batch and in separate ones."""
    world.decide(giving(world, "2"))
    names = {"category": "search", "payee": "mistral"}
    for _ in range(2):
        plain = world.hold(world.crawler, "3", **names)
        euro = world.hold(world.crawler, "3", **EURO)
        world.settle(world.crawler, plain, "1", final=False)
        assert world.settle(world.crawler, euro, "1", currency="EUR", final=False).status.value == "done"
        assert world.settle(world.crawler, euro, "2", currency="EUR").status.value == "done"
        world.settle(world.crawler, plain, "2")
    assert world.dollars("budgets:research:spent") == 2 * (3 + 6)


def statement(world: LiveWorld, scope: str) -> dict[str, Any]:
    """A statement as JSON says it."""
    engine, side = create_engine(world.url), SideWriter(world.url)
    try:
        made = Statements(engine, side).make(world.book_id, parse_scope(scope), YEARS)
        found: dict[str, Any] = orjson.loads(b"".join(write_json(made)))
        return found
    finally:
        side.close()
        engine.dispose()


def amounts(found: dict[str, Any], part: str) -> dict[str, str]:
    """Balances by currency."""
    return {one["currency"]: one["amount"] for one in found[part]}


def test_what_statements_say_of_it(world: LiveWorld) -> None:
    """The budget, the agent and the book spend dollars; the payee is owed euros, and what it was owed in dollars
    stands beside them. A line is on no statement twice."""
    world.decide(giving(world, "2"))
    finance = world.key("finance", "fred")
    names = {"category": "search", "payee": "mistral"}
    euro = world.hold(world.crawler, "10", **EURO)
    world.settle(world.crawler, euro, "4", currency="EUR")
    world.settle(world.crawler, world.hold(world.crawler, "3", **names), "3")
    world.do(Refund, finance, authorization=euro, amount="1", currency="EUR")
    world.do(Charge, finance, budget="research", agent="crawler", amount="0.5", **EURO)
    spent = {"USD": "10.00"}
    for scope in ("agent:crawler", "book"):
        found = statement(world, scope)
        assert amounts(found, "closing") == spent, scope
        assert [line["kind"] for line in found["lines"]] == ["settlement", "settlement", "refund", "charge"]
    budget = statement(world, "budget:research")
    assert amounts(budget, "closing") == {"USD": "90.00"}
    assert {line["amount"]["currency"] for line in budget["lines"]} == {"USD"}
    payee = statement(world, "payee:mistral")
    assert amounts(payee, "closing") == {"EUR": "3.50", "USD": "3.00"}
    owed = [(line["kind"], line["amount"]["currency"], Decimal(line["amount"]["amount"])) for line in payee["lines"]]
    assert owed == [
        ("settlement", "EUR", Decimal(4)),
        ("settlement", "USD", Decimal(3)),
        ("refund", "EUR", Decimal(-1)),
        ("charge", "EUR", Decimal("0.5")),
    ]
    assert {line["agent"] for line in payee["lines"]} == {"crawler"}
    between = statement(world, "account:equity:exchange")
    assert amounts(between, "closing") == {"EUR": "3.50", "USD": "-7.00"}
