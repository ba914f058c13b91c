"""Caps hold, and can be used to their last call: where other gateways overshoot, or refuse what there is money for.

Calls at once over 100 connections, then one by one until refused, against budgets and against runs, through one gateway
and through two. Each arrangement says of itself what it costs; the provider's bill says what it did cost. The many
small calls are a quarter of their number against a quarter of the cap, unless BURSAR_LONG=1 asks for all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.caps import ARRANGEMENTS, Arrangement, Tally, spend_up
from ledger.core.money import parse_atoms
from tests.support.clients import usd
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.fake_provider import KEY, FakeProvider, atoms
from tests.support.gateway import KEY_VARIABLE, GatewayWorld, gateway_world
from tests.support.server import ServerProcess, verified

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Purse:
    """What is capped: a budget, or a run below a large budget. ``key`` spends from it."""

    key: str
    budget: str
    run: str | None

    def spent(self, world: GatewayWorld) -> dict[str, int]:
        """``held`` and ``spent`` of what is capped, in atoms."""
        if self.run is None:
            return world.balances(self.budget)
        (total,) = world.office.get(f"/v1/runs/{self.run}")["totals"]
        return {name: parse_atoms(total[name]["amount"], 9) for name in ("held", "spent")}


def _purse(world: GatewayWorld, kind: str, cap: str) -> Purse:
    number = next(_numbers)
    agent, budget, run = f"agent-{number}", f"budget-{number}", f"run-{number}"
    key = world.office.make_agent(agent, budget=budget, allocated=cap if kind == "budget" else "5000.00")
    if kind == "budget":
        return Purse(key, budget, None)
    world.office.make("/v1/runs", {"name": run, "agent": agent, "cap": usd(cap)})
    made = world.office.make("/v1/keys", {"role": "agent", "agent": agent, "run": run})
    return Purse(str(made["key"]), budget, run)


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("caps")
    with FakeProvider(process=True, keep=1) as provider:
        if request.param == "sqlite":
            with gateway_world(sqlite_url(directory), directory, provider=provider) as made:
                yield made
                verified(made.book.database_url)
        else:
            with (
                postgresql_database(request.getfixturevalue("postgres_server")) as url,
                gateway_world(url, directory, provider=provider) as made,
            ):
                yield made
                verified(made.book.database_url)


PARTS = {"large": 1, "unlimited": 1, "small": 4, "streams": 4}
SHAPES = [
    *[(name, PARTS[name]) for name in ARRANGEMENTS],
    *[pytest.param(name, 1, marks=pytest.mark.slow) for name in ARRANGEMENTS if PARTS[name] > 1],
]


def _insist(world: GatewayWorld, purse: Purse, arrangement: Arrangement, tally: Tally, billed: int) -> None:
    """Everything that must hold at the end, whatever happened on the way."""
    cap = parse_atoms(str(arrangement.cap), 9)
    assert not tally.server_errors(), tally
    assert (200, "half an answer") not in tally.all
    assert tally.last == ("insufficient_budget" if purse.run is None else "run_cap_exceeded"), tally
    assert cap * arrangement.least <= billed * 100 <= cap * 100, f"{billed / cap:.4%} of the cap: {tally}"
    found = purse.spent(world)
    assert (found["held"], found["spent"]) == (0, billed)
    assert world.balances(purse.budget)["spent"] == billed


def _run(world: GatewayWorld, kind: str, arrangement: Arrangement, *urls: str) -> None:
    """Spend up a purse, and insist."""
    purse = _purse(world, kind, str(arrangement.cap))
    before = len(world.provider.bill()["lines"])
    tally = asyncio.run(spend_up(urls or [world.openai_url], purse.key, arrangement))
    lines = world.provider.bill()["lines"][before:]
    billed = sum(atoms(line["cost"]) for line in lines)
    _insist(world, purse, arrangement, tally, billed)
    # The calls cost what their arrangement says of them; those that were lowered cost what was left.
    whole = [line for line in lines if line["output_tokens"] == arrangement.output_tokens]
    assert {atoms(line["cost"]) for line in whole} == {parse_atoms(str(arrangement.cost), 9)}


@pytest.mark.parametrize("kind", ["budget", "run"])
@pytest.mark.parametrize(("name", "divisor"), SHAPES)
def test_a_cap_holds_and_can_be_used_up(world: GatewayWorld, name: str, divisor: int, kind: str) -> None:
    _run(world, kind, ARRANGEMENTS[name].part(divisor))


@pytest.fixture(scope="module")
def two_gateways(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayWorld, ServerProcess]]:
    """Two processes that know nothing of each other but the database."""
    directory = tmp_path_factory.mktemp("caps-of-two")
    with (
        FakeProvider(process=True, keep=1) as provider,
        postgresql_database(request.getfixturevalue("postgres_server")) as url,
        gateway_world(url, directory, provider=provider) as made,
        ServerProcess(
            url, "--gateway-file", str(directory / "gateway.yaml"), directory=directory,
            environment={KEY_VARIABLE: KEY},
        ) as second,
    ):  # fmt: skip
        yield made, second
        verified(url)


@pytest.mark.parametrize("kind", ["budget", "run"])
@pytest.mark.parametrize(("name", "divisor"), SHAPES)
def test_two_gateways_share_one_cap(
    two_gateways: tuple[GatewayWorld, ServerProcess], name: str, divisor: int, kind: str
) -> None:
    world, second = two_gateways
    _run(world, kind, ARRANGEMENTS[name].part(divisor), world.openai_url, f"{second.url}/openai/v1")
