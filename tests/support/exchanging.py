"""Books in which agents spend in other currencies than their budget's, and short ways to do so."""

from __future__ import annotations

from typing import Any

from ledger.core.authorization import Authorization
from ledger.core.canonical import parse
from ledger.core.command import Authorize, Refund
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.deriving import Clock, columns_of
from ledger.core.outcome import Outcome, Status
from ledger.core.projecting import Fold
from ledger.core.rate import day_of
from tests.support.memory_rows import MemoryStore
from tests.support.worlds import World

SPEND = {"category": "search", "payee": "mistral"}


def rate(world: World, base: str = "EUR", quote: str = "USD", text: str = "1.1", *, days: int = 0, age: int = 7) -> int:
    """Give a rate for the day that is so many days from now; the log index of its record."""
    day = day_of(world.book.timezone, world.now) + days
    outcome = world.do(
        GiveRates, world.finance, rates=(GivenRate(base=base, quote=quote, rate=text, day=day),), max_age_days=age
    )
    assert outcome.status is Status.DONE, outcome
    return outcome.log_index


def converting(text: str = "1.1", base: str = "EUR", **fields: Any) -> World:
    """A world with a rate into dollars."""
    world = World(**fields)
    rate(world, base, "USD", text)
    return world


def ask(world: World, amount: str, currency: str = "EUR", **fields: Any) -> Outcome:
    """Ask to spend in a currency."""
    return world.do(Authorize, world.crawler, amount=amount, currency=currency, **(SPEND | fields))


def hold(world: World, amount: str, currency: str = "EUR", **fields: Any) -> str:
    """A hold in a currency."""
    outcome = ask(world, amount, currency, **fields)
    assert outcome.status is Status.APPROVED, outcome
    return str((outcome.body or {})["authorization"])


def settle(world: World, reference: str, amount: str, currency: str = "EUR", **fields: Any) -> Outcome:
    """Settle, and nothing else."""
    outcome = world.settle(world.crawler, reference, amount, currency=currency, **fields)
    assert outcome.status is Status.DONE, outcome
    return outcome


def refund(world: World, reference: str, amount: str, currency: str = "EUR", **fields: Any) -> Outcome:
    """Refund as finance."""
    return world.do(Refund, world.finance, authorization=reference, amount=amount, currency=currency, **fields)


def said(row: Authorization) -> dict[str, Any]:
    """The asked side of a row."""
    assert row.exchange is not None
    found: dict[str, Any] = parse(row.exchange.encode())
    return found


def followed(world: World) -> World:
    """The same world, once the fold made every row again from its records alone."""
    store = MemoryStore()
    fold, clock = Fold(1, store), Clock()
    for body in world.bodies():
        fold.apply(body, columns_of(body, clock))
    assert fold.differences == []
    assert sorted(store.authorizations.rows.values(), key=lambda row: row.id) == world.rows("authorizations")
    assert [store.rates.rows[row.pair, row.day] for row in world.rows("rates")] == world.rows("rates")
    return world
