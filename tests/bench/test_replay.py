"""A replay agrees with an honest ledger, again and again, and notices one that is not."""

import asyncio
import io
from collections.abc import Iterator
from decimal import Decimal

import pytest
from rich.console import Console

from bench.http_client import HttpClient, RequestFailed, pause_seconds
from bench.replay import Replay, run
from bench.replay_money import Call, price_calls
from tests.bench.fake_bursar import FakeBursar

PRICED = price_calls(
    [Call(100 + 37 * number, 13 + number) for number in range(40)],
    model="gpt-5-mini",
    provider="openai",
    worst_output_tokens=2000,
    digits=9,
)


@pytest.fixture
def ledgers() -> Iterator[list[FakeBursar]]:
    opened: list[FakeBursar] = []
    yield opened
    for ledger in opened:
        ledger.close()


def replay_against(ledger: FakeBursar, *, shared_budget: bool = False) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=200)
    replay = Replay(
        admin_key="bk_admin_x",
        model="gpt-5-mini",
        category="inference",
        payee="openai",
        currency="USD",
        shared_budget=shared_budget,
        calls_per_second=0.0,
    )
    agreed = asyncio.run(run(ledger.url, replay, PRICED, agents=7, connections=4, console=console))
    return agreed, console.file.getvalue()  # type: ignore[attr-defined]


def test_an_honest_ledger_agrees_twice_in_a_row(ledgers: list[FakeBursar]) -> None:
    ledgers.append(ledger := FakeBursar())
    agreed, text = replay_against(ledger)
    assert agreed, text
    total = sum((call.cost for call in PRICED), Decimal(0))
    assert ledger.balances["expenses:inference"] == total
    assert f"{total:f}" in text
    again, text = replay_against(ledger, shared_budget=True)
    assert again, text
    assert ledger.balances["expenses:inference"] == 2 * total


def test_one_lost_atom_is_found_and_its_budget_named(ledgers: list[FakeBursar]) -> None:
    ledgers.append(ledger := FakeBursar(lost_atoms=1))
    agreed, text = replay_against(ledger)
    assert not agreed
    assert "-0.000000001" in text
    assert text.count("budgets:replay-") == 2  # read as a balance and in the trial balance


def test_a_refusal_is_reported(ledgers: list[FakeBursar]) -> None:
    ledgers.append(ledger := FakeBursar(refuse_after=20))
    agreed, text = replay_against(ledger)
    assert not agreed
    assert "403" in text
    assert "budget_exceeded" in text


def test_a_busy_server_is_asked_again_with_the_same_key(ledgers: list[FakeBursar]) -> None:
    ledgers.append(ledger := FakeBursar(busy_answers=15))
    agreed, text = replay_against(ledger)
    assert agreed, text
    assert "15 requests repeated" in text
    assert len(ledger.holds) == len(PRICED)


@pytest.mark.parametrize(
    ("headers", "attempt", "seconds"),
    [
        ({"retry-after": "2"}, 0, 2.0),
        ({"retry-after": "0"}, 0, 0.01),
        ({"retry-after": "86400"}, 0, 30.0),
        ({}, 0, 0.05),
        ({}, 2, 0.2),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1, 0.1),
    ],
)
def test_pauses_are_what_the_server_asks_within_bounds(headers: dict[str, str], attempt: int, seconds: float) -> None:
    assert pause_seconds(headers, attempt=attempt) == pytest.approx(seconds)


def test_a_server_that_is_not_there_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.http_client.MAXIMUM_ATTEMPTS", 2)

    async def ask() -> None:
        async with HttpClient("http://127.0.0.1:9") as client:
            await client.get("/readyz", key="k")

    with pytest.raises(RequestFailed, match="2 attempts"):
        asyncio.run(ask())
