"""Limits hold whatever the processes and the interleaving: recounted from the log, which no counter of ours helps with.

Two processes on SQLite and four on PostgreSQL serve one book while many clients authorize, settle, extend and release,
holds expire, an admin edits the policy, and a process is killed. The recount goes through the log from the first record
on: no approval, however it was interleaved, is above a limit that was live when it was recorded, and no denial by a
limit refuses what would have fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.core.moment import moment_of
from tests.concurrency.conftest import Arrangement
from tests.support.clients import Answer, Client, NoAnswer, Office, at_once, authorization, usd
from tests.support.databases import postgresql_database, sqlite_url
from tests.support.recorded import ATOMS_PER_USD, Recorded
from tests.support.server import ServerProcess, open_book, verified

CLIENTS = 48
SECONDS = 5.0
MINUTE = 60_000_000
TOO_MUCH = {(429, "limit_held"), (403, "limit_exceeded"), (429, "velocity")}


def capped(name: str, scope: dict[str, str], **maxima: str) -> dict[str, Any]:
    """A policy with a limit for ever of each name."""
    limits = [{"id": rule, "per": "lifetime", "max": maximum} for rule, maximum in maxima.items()]
    return {"policy": name, "applies_to": scope, "currency": "USD", "limits": limits}


def counted(answers: list[list[Answer]]) -> Counter[tuple[int, str]]:
    """How often each status and code was answered."""
    return Counter((answer.status, answer.code) for share in answers for answer in share)


def test_exactly_what_a_limit_allows_is_approved(arrangement: Arrangement) -> None:
    """48 clients ask 300 times for 1.00 where a limit allows 100: 100 get it, whichever process is asked. They settle
    at 0.40 all at once and ask again: the 60 that came back fit."""
    name, key = arrangement.agent_with("1000.00")
    arrangement.office.make("/v1/policies", capped(f"cap-{name}", {"agent": name}, all="100.00"))

    async def ask(client: Client, number: int) -> list[Answer]:
        return [await client.post("/v1/authorizations", authorization()) for _ in range(number, 300, CLIENTS)]

    first = asyncio.run(at_once(arrangement.ports, key, CLIENTS, ask))
    assert counted(first) == {(201, ""): 100, (429, "limit_held"): 200}
    held = [answer.json["id"] for share in first for answer in share if answer.status == 201]

    async def settle(client: Client, number: int) -> list[int]:
        body = {"amount": usd("0.40")}
        mine = held[number::CLIENTS]
        return [(await client.post(f"/v1/authorizations/{reference}/settle", body)).status for reference in mine]

    settled = asyncio.run(at_once(arrangement.ports, key, CLIENTS, settle))
    assert Counter(status for share in settled for status in share) == {200: 100}
    again = asyncio.run(at_once(arrangement.ports, key, CLIENTS, ask))
    assert counted(again)[201, ""] == 60
    assert set(counted(again)) <= TOO_MUCH | {(201, "")}
    arrangement.verify()


class Recount:
    """The log of one team, counted again from the first record on."""

    def __init__(self, recorded: Recorded, policy: str, agents: set[str]) -> None:
        self.policy = policy
        self.use: dict[str, dict[str, int]] = defaultdict(dict)
        self.asked_at: dict[str, list[int]] = defaultdict(list)
        self.limits: dict[str, dict[str, Any]] = {}
        self.approved = self.refused = self.edits = 0
        for record in recorded.log:
            body = record.body
            if record.kind == "policy" and body["policy"] == policy:
                self.limits = {rule["id"]: rule for rule in body["document"]["limits"]}
                self.edits += 1
            elif body.get("agent") in agents and "authorization" in body:
                self.take(record.kind, body)

    def take(self, kind: str, body: dict[str, Any]) -> None:
        """One record about an authorization."""
        agent, moment = body["agent"], moment_of(body["time"])
        if kind in ("hold", "extension"):
            more = int(body["approved"] if kind == "hold" else body["amount"])
            self.approved += 1
            for rule in self.limits.values():
                self.insist_it_fits(rule, agent, more, moment, new=kind == "hold")
        if kind == "denial":
            for one in body["decision"]["reasons"]:
                policy, _, rule = one["rule"].partition("/")
                if policy == self.policy:
                    self.refused += 1
                    self.insist_it_does_not_fit(self.limits[rule], one, agent, int(body["amount"]), moment)
            return
        held = body["approved"] if kind == "hold" else body["held"]
        self.use[agent][body["authorization"]] = int(held) + int(body.get("settled", 0))
        if kind == "hold":
            self.asked_at[agent].append(moment)

    def used(self, rule: dict[str, Any], agent: str) -> int:
        """Atoms held and spent in a limit."""
        agents = [agent] if rule.get("by") == ["agent"] else list(self.use)
        return sum(sum(self.use[one].values()) for one in agents)

    def lately(self, agent: str, since: int) -> int:
        """Requests of an agent after a moment."""
        return sum(moment > since for moment in self.asked_at[agent])

    def insist_it_fits(self, rule: dict[str, Any], agent: str, more: int, moment: int, *, new: bool) -> None:
        """What was approved is within the limit to the atom; a rolling count to the microsecond."""
        if "max" in rule and more:
            assert self.used(rule, agent) + more <= Decimal(rule["max"]) * ATOMS_PER_USD, (rule, agent)
        if "max_count" in rule and new:
            assert self.lately(agent, moment - MINUTE) + 1 <= rule["max_count"], (rule, agent)

    def insist_it_does_not_fit(
        self, rule: dict[str, Any], reason: dict[str, Any], agent: str, more: int, moment: int
    ) -> None:
        """What was refused is above the limit; a rolling count within a second, the part of a minute."""
        if reason.get("unit") == "count":
            assert self.lately(agent, moment - MINUTE - MINUTE // 60) + 1 > rule["max_count"], (rule, agent)
        else:
            assert self.used(rule, agent) + more > Decimal(rule["max"]) * ATOMS_PER_USD, (rule, agent)


class Spender:
    """One client that does everything an agent can, at random, until the time is over."""

    def __init__(self, client: Client, seed: int, until: float) -> None:
        self.client = client
        self.chance = random.Random(seed)
        self.until = until
        self.open: list[str] = []

    async def work(self) -> Counter[tuple[int, str]]:
        """How often each status and code was answered."""
        said: Counter[tuple[int, str]] = Counter()
        while time.monotonic() < self.until:
            answer = await self.step()
            said[answer.status, answer.code] += 1
        return said

    async def step(self) -> Answer:
        """One request."""
        roll, cents = self.chance.random(), self.chance.randrange(20, 300)
        amount = f"{cents // 100}.{cents % 100:02d}"
        if roll < 0.45 or not self.open:
            # Some holds are short, so that they expire between the others.
            ttl = self.chance.choice((1, 86_400))
            answer = await self.client.post("/v1/authorizations", authorization(amount) | {"ttl_seconds": ttl})
            if answer.status == 201:
                self.open.append(answer.json["id"])
            return answer
        if roll < 0.6:
            path = f"/v1/authorizations/{self.chance.choice(self.open)}/extend"
            return await self.client.post(path, {"amount": usd(amount)})
        reference = self.open.pop(self.chance.randrange(len(self.open)))
        if roll < 0.8:
            return await self.client.post(f"/v1/authorizations/{reference}/release", {})
        # Mostly less than was held; now and then more, which is recorded all the same.
        amount = amount if roll > 0.98 else f"0.{self.chance.randrange(0, 20):02d}"
        return await self.client.post(f"/v1/authorizations/{reference}/settle", {"amount": usd(amount)})


async def edit(client: Client, document: dict[str, Any], until: float) -> int:
    """Edit the policy again and again: other numbers for what counts already, and new limits that are filled."""
    chance, edits = random.Random(7), 0
    while time.monotonic() < until:
        team, each = document["limits"][:2]
        limits = [team | {"max": f"{chance.randrange(40, 90)}.00"}, each | {"max": f"{chance.randrange(15, 40)}.00"}]
        if edits % 2:
            limits.append({"id": f"new-{edits}", "per": "lifetime", "max": f"{chance.randrange(50, 90)}.00"})
        answer = await client.post("/v1/policies", document | {"limits": [*limits, *document["limits"][2:]]})
        assert answer.status == 201, answer
        edits += 1
        await asyncio.sleep(0.15)
    return edits


def test_no_interleaving_exceeds_a_limit_or_refuses_what_fits(arrangement: Arrangement) -> None:
    """Four agents of a team whose cap binds them together, with a cap and a rate for each, over all processes."""
    office, team = arrangement.office, arrangement.new_name()
    agents = [arrangement.new_name() for _ in range(4)]
    office.make("/v1/teams", {"name": team})
    for name in agents:
        office.make("/v1/agents", {"name": name, "parent": team})
    office.make("/v1/budgets", {"name": team, "currency": "USD", "agents": [team]})
    office.make(f"/v1/budgets/{team}/allocations", {"amount": usd("100000.00")})
    keys = [str(office.make("/v1/keys", {"role": "agent", "agent": name})["key"]) for name in agents]
    document = capped(f"cap-{team}", {"team": team}, together="60.00")
    document["limits"] += [
        {"id": "each", "per": "lifetime", "max": "25.00", "by": ["agent"]},
        {"id": "rate", "per": "minute", "rolling": True, "max_count": 150, "by": ["agent"]},
    ]
    office.make("/v1/policies", document)
    until = time.monotonic() + SECONDS

    async def work(client: Client, number: int) -> Counter[tuple[int, str]]:
        if number == 0:
            client.key = office.key
            return Counter({(201, "edit"): await edit(client, document, until)})
        client.key = keys[number % 4]
        return await Spender(client, number, until).work()

    said: Counter[tuple[int, str]] = Counter()
    for one in asyncio.run(at_once(arrangement.ports, keys[0], 24, work)):
        said += one
    recount = Recount(arrangement.recorded(), f"cap-{team}", set(agents))
    assert recount.edits == said[201, "edit"] + 1
    assert min(recount.approved, recount.refused) > 100, said
    assert recount.edits > 3
    assert set(said) <= TOO_MUCH | {(201, ""), (200, ""), (201, "edit"), (409, "wrong_state")}
    arrangement.verify()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_server_forgets_no_use(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Two servers, one of them killed while both approve, and started again: what was acknowledged is counted, nothing
    is counted that is not on record, and in the end exactly what the limit allows was approved."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            url = sqlite_url(tmp_path)
        else:
            url = stack.enter_context(postgresql_database(request.getfixturevalue("postgres_server")))
        book = open_book(url)
        doomed, steady = (stack.enter_context(ServerProcess(url, directory=tmp_path)) for _ in range(2))
        office = Office(steady.port, book.admin_key)
        key = office.make_agent("spender", budget="money", allocated="100000.00")
        office.make("/v1/policies", capped("cap", {"agent": "spender"}, all="400.00"))
        acknowledged: list[str] = []

        async def ask(client: Client, number: int) -> None:
            for _ in range(40):
                with contextlib.suppress(NoAnswer):
                    answer = await client.post("/v1/authorizations", authorization())
                    if answer.status == 201:
                        acknowledged.append(answer.json["id"])
                if len(acknowledged) > 150:
                    doomed.strike()
                    client.port = steady.port

        asyncio.run(at_once([doomed.port, steady.port], key, 16, ask))
        assert doomed.process.wait(30) < 0, "it was killed while it approved"
        doomed.kill()
        doomed.start()

        async def finish(client: Client, number: int) -> list[Answer]:
            return [await client.post("/v1/authorizations", authorization()) for _ in range(20)]

        answers = asyncio.run(at_once([doomed.port, steady.port], key, 16, finish))
        assert set(counted(answers)) <= {(201, ""), (429, "limit_held")}
        recorded = Recorded(url, book.book_id)
        holds = {record.body["authorization"] for record in recorded.of("hold")}
        assert set(acknowledged) <= holds
        assert len(holds) == 400
        for server in (doomed, steady):
            server.stop()
        verified(url)
