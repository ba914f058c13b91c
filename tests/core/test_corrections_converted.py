"""Corrections of what was converted: a second person is asked by the rules of both currencies."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.command import Charge, Command, Refund, Reprice
from ledger.core.command_corrections import Reverse
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.deriving import Clock, columns_of
from ledger.core.outcome import Status
from ledger.core.projecting import Fold
from ledger.core.rate import day_of
from tests.core.test_corrections import Office, waiting
from tests.support.memory_rows import MemoryStore
from tests.support.policed import USD
from tests.support.worlds import World


def followed(world: World) -> None:
    """The fold finds nothing, and makes the same sums and requests."""
    store = MemoryStore()
    fold, clock = Fold(1, store), Clock()
    for body in world.bodies():
        fold.apply(body, columns_of(body, clock))
    assert fold.differences == []
    assert [store.corrections.rows[row.id] for row in world.rows("corrections")] == world.rows("corrections")
    assert list(store.correction_sums.rows.values()) == world.rows("correction_sums")


def test_what_was_converted_is_measured_in_the_currency_it_was_asked_in_too() -> None:
    """A cost in euros on a budget in dollars: charged, repriced, refunded and reversed, alone and by two."""
    world = Office(above=None)
    today = day_of(world.book.timezone, world.now)
    rates = (GivenRate(base="EUR", quote="USD", rate="2", day=today),)
    assert world.do(GiveRates, world.finance, rates=rates).status is Status.DONE
    for currency, above in (("EUR", "5"), ("USD", "1000")):
        assert world.rule(above, currency=currency).status is Status.DONE
    spend = {"budget": "research", "currency": "EUR", "category": "inference", "payee": "mistral"}
    alone = world.do(Charge, world.finance, amount="3", **spend)
    assert alone.status is Status.DONE
    charged = world.approve(waiting(world.do(Charge, world.finance, amount="3", **spend)), world.gus)
    reference = str((charged.body or {})["authorization"])
    prices: dict[str, Any] = {"old_price": (), "new_price": (("output", "1"),), "reason": "cheaper"}
    told = {"authorization": reference, "currency": "EUR"}
    assert world.do(Reprice, world.finance, settled="3", amount="4", **told, **prices).status is Status.DONE
    priced = waiting(world.do(Reprice, world.finance, settled="4", amount="8", **told, **prices))
    assert world.approve(priced, world.gus).status is Status.DONE
    assert world.do(Refund, world.finance, amount="1", **told).status is Status.DONE
    undone = world.do(Reverse, world.finance, record=charged.log_index, reason="twice")
    assert world.bodies()[undone.log_index]["amounts"] == [["EUR", str(7 * USD)], ["USD", str(14 * USD)]]
    assert world.approve(waiting(undone), world.gus).status is Status.DONE
    assert world.do(Reverse, world.gus, record=alone.log_index, reason="twice").status is Status.DONE
    assert world.balance("payables:mistral", "EUR") == 0
    followed(world)


@pytest.mark.parametrize("operation", ["charge", "refund", "reprice", "reverse"])
def test_another_currency_is_no_way_around_the_rule_of_the_budgets(operation: str) -> None:
    """Nor is a rate that the asker gave for it: what is converted counts in both, alone and when it waits."""
    world = Office(above=None)
    day = day_of(world.book.timezone, world.now)
    rates = (GivenRate(base="EUR", quote="USD", rate="4", day=day),)
    assert world.do(GiveRates, world.finance, rates=rates).status is Status.DONE
    charge = {"budget": "research", "currency": "EUR", "category": "inference", "payee": "openai"}
    spent = world.do(Charge, world.gus, amount="2", **charge)
    reference = str((spent.body or {})["authorization"])
    assert world.rule("7").status is Status.DONE
    prices: dict[str, Any] = {"old_price": (), "new_price": (("output", "1"),), "reason": "dearer"}
    commands: dict[str, tuple[type[Command], dict[str, Any]]] = {
        "charge": (Charge, {"amount": "2", **charge}),
        "refund": (Refund, {"authorization": reference, "amount": "2", "currency": "EUR"}),
        "reprice": (Reprice, {"authorization": reference, "settled": "2", "amount": "4", "currency": "EUR", **prices}),
        "reverse": (Reverse, {"record": spent.log_index, "reason": "twice"}),
    }
    kind, fields = commands[operation]
    requested = world.do(kind, world.finance, **fields)
    waiting(requested)
    assert (requested.body or {})["amounts"] == [["EUR", str(2 * USD)], ["USD", str(8 * USD)]]
    small = world.do(Charge, world.finance, amount="1.5", **charge)
    assert small.status is Status.DONE
    waiting(world.do(Charge, world.finance, amount="0.5", **charge))
    assert {(row.person, row.currency, row.amount) for row in world.rows("correction_sums")} == {
        ("fred", "USD", 6 * USD)
    }
    followed(world)
