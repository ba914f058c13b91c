"""Many clients on one budget: exactly what the budget has room for is approved, whichever process is asked."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.concurrency.conftest import Arrangement
from tests.support.clients import Answer, Client, at_once, authorization, usd
from tests.support.recorded import ATOMS_PER_USD

CLIENTS = 64
ROOM = 200
ASKED_TIMES = 3
RACERS = 16
REFUSALS = {(429, "budget_held"), (403, "insufficient_budget")}


async def ask_for(client: Client, number: int, *, resource: str) -> list[Answer]:
    """One client's share of three times as many requests as there is room for, one after the other."""
    share = range(number, ROOM * ASKED_TIMES, CLIENTS)
    return [await client.post("/v1/authorizations", authorization(resource=f"{resource}-{at}")) for at in share]


def counted(answers: list[list[Answer]]) -> Counter[tuple[int, str]]:
    """How often each status and code was answered."""
    return Counter((answer.status, answer.code) for share in answers for answer in share)


def test_exactly_what_fits_is_approved(arrangement: Arrangement) -> None:
    """64 clients ask 600 times for 1.00 of 200.00: 200 get it. They settle at 0.40 all at once, and ask again: 120
    fit in what came back. Available never was below zero after any record."""
    name, key = arrangement.agent_with(f"{ROOM}.00")
    first = asyncio.run(
        at_once(arrangement.ports, key, CLIENTS, lambda client, n: ask_for(client, n, resource="first"))
    )
    assert counted(first)[201, ""] == ROOM
    assert set(counted(first)) <= REFUSALS | {(201, "")}
    held = [answer.json["id"] for share in first for answer in share if answer.status == 201]
    assert len(set(held)) == ROOM

    async def settle(client: Client, number: int) -> list[int]:
        body = {"amount": usd("0.40")}
        mine = held[number::CLIENTS]
        return [(await client.post(f"/v1/authorizations/{reference}/settle", body)).status for reference in mine]

    settled = asyncio.run(at_once(arrangement.ports, key, CLIENTS, settle))
    assert Counter(status for share in settled for status in share) == {200: ROOM}
    again = asyncio.run(
        at_once(arrangement.ports, key, CLIENTS, lambda client, n: ask_for(client, n, resource="again"))
    )
    assert counted(again)[201, ""] == ROOM * 6 // 10
    assert set(counted(again)) <= REFUSALS | {(201, "")}

    recorded = arrangement.recorded()
    mine = [record for record in recorded.of("hold") if record.body["agent"] == name]
    assert len(mine) == ROOM + ROOM * 6 // 10
    assert recorded.lowest(f"budgets:{name}:available") == 0
    assert recorded.lowest(f"budgets:{name}:held") >= 0
    assert recorded.balance(f"budgets:{name}:spent") == ROOM * ATOMS_PER_USD * 4 // 10
    assert recorded.balance(f"budgets:{name}:held") == ROOM * ATOMS_PER_USD * 6 // 10
    arrangement.verify()


def test_a_child_and_its_parent_share_no_money(arrangement: Arrangement) -> None:
    """What was given to a child is the child's, while both are asked at once: each approves what it has."""
    parent, child = arrangement.new_name(), arrangement.new_name()
    office = arrangement.office
    keys = [office.make_agent(parent, budget=parent, allocated="60.00"), office.make_agent(child)]
    office.make("/v1/budgets", {"name": child, "currency": "USD", "parent": parent, "agents": [child]})
    office.make(f"/v1/budgets/{child}/allocations", {"amount": usd("20.00")})

    async def ask(client: Client, number: int) -> tuple[int, list[int]]:
        client.key = keys[number % 2]
        return number % 2, [(await client.post("/v1/authorizations", authorization())).status for _ in range(5)]

    answers = asyncio.run(at_once(arrangement.ports, "", 32, ask))
    approved = Counter(who for who, statuses in answers for status in statuses if status == 201)
    assert approved == {0: 40, 1: 20}
    recorded = arrangement.recorded()
    assert recorded.lowest(f"budgets:{parent}:available") == 0
    assert recorded.lowest(f"budgets:{child}:available") == 0


def test_one_idempotency_key_makes_one_hold(arrangement: Arrangement) -> None:
    """16 clients send the same request with the same key at once: one hold, told to all of them."""
    name, key = arrangement.agent_with("100.00")

    async def ask(client: Client, number: int) -> Answer:
        return await client.post("/v1/authorizations", authorization("10.00"), idempotency_key="the-same")

    answers = asyncio.run(at_once(arrangement.ports, key, RACERS, ask))
    assert [answer.status for answer in answers] == [201] * RACERS
    assert len({answer.json["id"] for answer in answers}) == 1
    assert Counter(answer.replayed for answer in answers) == {True: RACERS - 1, False: 1}
    assert arrangement.recorded().balance(f"budgets:{name}:held") == 10 * ATOMS_PER_USD


def test_one_idempotency_key_for_different_requests(arrangement: Arrangement) -> None:
    """16 clients send different amounts with one key at once: one is carried out, the others are told of it."""
    name, key = arrangement.agent_with("1000.00")

    async def ask(client: Client, number: int) -> Answer:
        return await client.post("/v1/authorizations", authorization(f"{number + 1}.00"), idempotency_key="differs")

    answers = asyncio.run(at_once(arrangement.ports, key, RACERS, ask))
    assert counted([answers]) == {(201, ""): 1, (422, "idempotency_mismatch"): RACERS - 1}
    (won,) = (number for number, answer in enumerate(answers) if answer.status == 201)
    assert arrangement.recorded().balance(f"budgets:{name}:held") == (won + 1) * ATOMS_PER_USD


def test_a_hold_is_settled_once(arrangement: Arrangement) -> None:
    """16 clients settle one hold at once with keys of their own: one does, the others are told that it is done."""
    name, key = arrangement.agent_with("100.00")
    reference = arrangement.office.make("/v1/authorizations", authorization("10.00"), key=key)["id"]

    async def settle(client: Client, number: int) -> Answer:
        return await client.post(f"/v1/authorizations/{reference}/settle", {"amount": usd("4.00")})

    answers = asyncio.run(at_once(arrangement.ports, key, RACERS, settle))
    assert counted([answers]) == {(200, ""): 1, (409, "wrong_state"): RACERS - 1}
    assert {answer.json["state"] for answer in answers} == {"settled"}
    recorded = arrangement.recorded()
    assert recorded.balance(f"budgets:{name}:spent") == 4 * ATOMS_PER_USD
    assert recorded.balance(f"budgets:{name}:available") == 96 * ATOMS_PER_USD


def test_settle_against_release(arrangement: Arrangement) -> None:
    """Settling and releasing the same holds at once: no money is made or lost, and real spend is never refused."""
    name, key = arrangement.agent_with("20.00")
    held = [arrangement.office.make("/v1/authorizations", authorization(), key=key)["id"] for _ in range(20)]

    async def end(client: Client, number: int) -> Answer:
        reference = held[number // 2]
        if number % 2:
            return await client.post(f"/v1/authorizations/{reference}/release", {})
        return await client.post(f"/v1/authorizations/{reference}/settle", {"amount": usd("0.25")})

    answers = asyncio.run(at_once(arrangement.ports, key, 40, end))
    assert {answer.status for answer in answers[0::2]} == {200}
    assert {(answer.status, answer.code) for answer in answers[1::2]} <= {(200, ""), (409, "wrong_state")}
    recorded = arrangement.recorded()
    assert recorded.balance(f"budgets:{name}:spent") == 5 * ATOMS_PER_USD
    assert recorded.balance(f"budgets:{name}:available") == 15 * ATOMS_PER_USD
    assert recorded.balance(f"budgets:{name}:held") == 0
    arrangement.verify()
