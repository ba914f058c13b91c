"""A public trace of real requests through the gateway, with clients that leave and a provider that fails: after
`bursar gateway reconcile` the books have what the provider billed, and nothing was refused that there was money for.

A few hundred requests of it by default; all of them, which take some minutes, with BURSAR_LONG=1.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bursar import name_in_environment
from gateway.cli.group import command as gateway_group
from ledger.core.money import format_atoms, parse_atoms
from tests.support.azure_trace import BUSY, CUT, REFUSED, TRACE, Heard, Planned, read_trace, send_all, with_mishaps
from tests.support.fake_provider import FakeProvider, atoms
from tests.support.gateway import GatewayWorld, gateway_world
from tests.support.recorded import Recorded
from tests.support.server import wait_until
from tests.support.shared_data import needs

pytestmark = needs(TRACE)
FEW = 300
FUTURE = "2100-01-01"
# gpt-4o-mini: 0.15 USD for a million tokens in, 0.60 out; in atoms a token.
ATOMS_IN, ATOMS_OUT = 150, 600
FLOOR_TOKENS = 16
"""The smallest limit that a call is lowered to."""
FRAME_TOKENS = 100
"""More than a bound has above the tokens that are billed for such a request."""
COUNTS = [FEW, pytest.param(None, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]
name_in_environment(gateway_group)


class TraceWorld:
    """A gateway with room for a trace, and the bill of its provider as a file."""

    def __init__(self, world: GatewayWorld, bill: Path) -> None:
        self.world = world
        self.bill_path = bill
        self._finance = world.office.make_person("finance", "fred")

    def send(self, requests: list[Planned]) -> list[Heard]:
        """Send them all, and wait until each has ended or is listed as unknown."""
        heard = asyncio.run(send_all(self.world.openai_url, self.world.key, requests))
        assert len(heard) == len(requests)
        wait_until(self._ended, seconds=60, what="the end or the listing of every call")
        return heard

    def _ended(self) -> bool:
        held = self.world.authorizations(state="held")
        return all("unknown" in found["flags"] for found in held)

    def reconcile(self) -> dict[str, Any]:
        """Type `bursar gateway reconcile` with the whole bill: what is not on it was not billed."""
        words = ["reconcile", "--bill", str(self.bill_path), "--bill-until", FUTURE, "--absent", "release"]
        done = CliRunner().invoke(
            gateway_group, [*words, "--yes", "--json"],
            env={"BURSAR_URL": self.world.server.url, "BURSAR_API_KEY": self._finance},
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.output)
        return found

    def lines(self) -> dict[str, dict[str, Any]]:
        """The bill's lines by authorization; no authorization is billed twice."""
        found = [json.loads(text) for text in self.bill_path.read_text(encoding="utf-8").splitlines()]
        made = {line["client_request_id"]: line for line in found}
        assert len(made) == len(found)
        return made

    def insist(self) -> None:
        """Bill equals books, for each call and in all; nothing is held; the books verify."""
        lines = self.lines()
        for found in self.world.authorizations():
            billed = atoms(lines[found["id"]]["cost"]) if found["id"] in lines else 0
            assert parse_atoms(found["settled"]["amount"], 9) == billed, (found, lines.get(found["id"]))
            assert found["state"] in ("settled", "released", "denied")
        assert self.world.insist_that_the_bill_is_spent() == sum(atoms(line["cost"]) for line in lines.values())


@pytest.fixture
def worlds(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """Makes the world of a test, which says how much money there is."""
    opened: list[Any] = []

    def make(allocated: str, **config: Any) -> TraceWorld:
        bill = tmp_path / "bill.jsonl"
        provider = FakeProvider(process=True, keep=1, bill_path=bill)
        opened.append(provider.__enter__())
        manager = gateway_world(database_url, tmp_path, allocated=allocated, provider=provider, config=config)
        opened.append(manager)
        return TraceWorld(manager.__enter__(), bill)

    yield make
    for each in reversed(opened):
        each.__exit__(None, None, None)


@pytest.mark.parametrize("count", COUNTS)
def test_the_bill_of_a_real_trace_is_in_the_books(worlds: Any, count: int | None) -> None:
    requests = with_mishaps(read_trace(count), seed=4)
    trace = worlds("100.00")
    heard = trace.send(requests)
    # There is money for all: whatever was not answered, the provider did not answer.
    assert {each.planned.number: each.status for each in heard} == {
        each.number: each.expected_status() for each in requests
    }
    lost = [each for each in heard if each.planned.fault == REFUSED or each.planned.fault.startswith(CUT)]
    reconciled = trace.reconcile()
    assert {item["authorization"] for item in reconciled["calls"]} == {each.authorization for each in lost}
    trace.insist()
    lines = trace.lines()
    for each in heard:
        line = lines.get(each.authorization)
        if each.planned.fault in (REFUSED, BUSY):
            assert line is None
        else:
            assert line is not None
            assert line["input_tokens"] == each.planned.input_tokens
            generated = each.planned.output_tokens
            if each.planned.fault:
                generated = min(int(each.planned.fault.partition("=")[2]), generated)
            assert line["output_tokens"] == generated


@pytest.mark.parametrize("count", COUNTS)
def test_a_cap_in_the_middle_of_a_trace_refuses_only_once_it_is_reached(worlds: Any, count: int | None) -> None:
    requests = with_mishaps(read_trace(count), seed=5)
    cap = sum(each.input_tokens * ATOMS_IN + each.output_tokens * ATOMS_OUT for each in requests) // 2
    # What calls of unknown outcome hold may come free only when they are reconciled: waiting for it is in vain.
    trace = worlds(format_atoms(cap, 9), wait_seconds=1)
    heard = trace.send(requests)
    refused = [each for each in heard if each.code in ("insufficient_budget", "budget_held")]
    assert refused
    for each in heard:
        if each not in refused:
            assert each.status == each.planned.expected_status(), each
    # What is neither spent nor held by calls of unknown outcome is too little for a call.
    assert trace.world.balances()["available"] < max(_needed(each) for each in refused)
    trace.reconcile()
    trace.insist()
    _insist_that_nothing_was_refused_too_early(trace.world, refused)


def _needed(each: Heard) -> int:
    """What a call needs that was refused, in atoms, at most: with the smallest limit where that is final (403), with
    its own where it may be repeated (429), because what others hold may come free."""
    output_tokens = FLOOR_TOKENS if each.status == 403 else 2 * each.planned.output_tokens
    return (each.planned.input_tokens + FRAME_TOKENS) * ATOMS_IN + output_tokens * ATOMS_OUT


def _insist_that_nothing_was_refused_too_early(world: GatewayWorld, refused: list[Heard]) -> None:
    """At the moment of each refusal there was less than the call needs, as the transfers until then add up: less left
    unspent where it is final, less free where it may be repeated."""
    recorded = Recorded(world.book.database_url, world.book.book_id)
    history = recorded.balances_by_index()
    denials = {record.body["authorization"]: record for record in recorded.of("denial")}

    def balance(name: str, index: int) -> int:
        rows = history[f"budgets:{world.budget}:{name}"]
        place = bisect.bisect_right(rows, (index, 1 << 62))
        return rows[place - 1][1] if place else 0

    for each in refused:
        record = denials[each.authorization]
        index = record.index
        left = balance("available", index) + (balance("held", index) if each.status == 403 else 0)
        assert 0 <= left < _needed(each), (each, left, record.body["amount"])
