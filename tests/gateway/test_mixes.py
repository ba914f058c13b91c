"""Random mixes of calls: whatever agents ask for at the same time, no limit is ever passed, nothing stays held, and the
ledger has spent what the provider billed.

Each example has a team of its own on a server that all examples share. The limits are kept by the ledger; here they are
added up again from the provider's bill.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from ledger.core.money import format_atoms, parse_atoms
from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.fake_provider import FakeProvider, atoms
from tests.support.gateway import GatewayWorld, gateway_world
from tests.support.server import verified, wait_until

EXAMPLES = 100 if os.environ.get("BURSAR_LONG") == "1" else 8
CONNECTIONS = 16
REFUSALS = {
    "insufficient_budget",
    "budget_held",
    "limit_exceeded",
    "limit_held",
    "limit_too_small",
    "run_cap_exceeded",
    "run_held",
    "run_required",
}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call of agent number ``agent``, in its run where ``in_run``. ``room`` is the limit that it names, in percent
    of what is generated; None where it names none. ``cached`` and ``reasoning`` are percent of what is read and
    generated."""

    agent: int
    wire: str
    in_run: bool
    stream: bool
    words: int
    output_tokens: int
    room: int | None
    choices: int
    tools: int
    cached: int
    reasoning: int

    def request(self) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        prompt = " ".join(["ledger"] * self.words)
        limit = None if self.room is None else max(self.output_tokens * self.room // 100, 16)
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        body: dict[str, Any] = {"stream": True} if self.stream else {}
        if self.wire == "responses":
            tools = [
                {"type": "function", "name": f"look_{number}", "parameters": schema} for number in range(self.tools)
            ]
            body |= {"model": "gpt-4o-mini", "input": prompt, "tools": tools}
            return "/openai/v1/responses", body | ({} if limit is None else {"max_output_tokens": limit})
        messages = [{"role": "user", "content": prompt}]
        if self.wire == "messages":
            tools = [{"name": f"look_{number}", "input_schema": schema} for number in range(self.tools)]
            body |= {"model": "claude-haiku-4-5", "messages": messages, "max_tokens": limit or 2 * self.output_tokens}
            return "/anthropic/v1/messages", body | ({"tools": tools} if tools else {})
        functions = [
            {"type": "function", "function": {"name": f"look_{number}", "parameters": schema}}
            for number in range(self.tools)
        ]
        body |= {"model": "gpt-4o-mini", "messages": messages, "n": self.choices}
        body |= {"tools": functions} if functions else {}
        return "/openai/v1/chat/completions", body | ({} if limit is None else {"max_tokens": limit})

    def directives(self) -> str:
        """What the provider generates, and of what it says it had it in its cache or thought."""
        cached, reasoning = self.words * self.cached // 100, self.output_tokens * self.reasoning // 100
        return f"out={self.output_tokens} cached={cached} reasoning={reasoning} tools={self.tools} ttfb=5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Calls of several agents of one team on one budget. Amounts in atoms; None: there is no such limit."""

    agents: int
    budget: int
    run_cap: int | None
    per_call: int | None
    per_run: int | None
    per_day: int | None
    per_agent_day: int | None
    calls: list[Asked]

    def limits(self) -> list[dict[str, Any]]:
        """The limits of the team's policy."""
        said = {
            "each": ("authorization", self.per_call, {}),
            "run": ("run", self.per_run, {}),
            "day": ("day", self.per_day, {}),
            "mine": ("day", self.per_agent_day, {"by": "agent"}),
        }
        return [
            {"id": name, "per": per, "max": format_atoms(maximum, 9), **more}
            for name, (per, maximum, more) in said.items()
            if maximum is not None
        ]


def asked(agents: int) -> st.SearchStrategy[Asked]:
    """Calls that cost from a few thousand to a few million atoms."""
    return st.builds(
        Asked,
        agent=st.integers(0, agents - 1),
        wire=st.sampled_from(["chat", "responses", "messages"]),
        in_run=st.booleans(),
        stream=st.booleans(),
        words=st.integers(1, 300),
        output_tokens=st.integers(1, 400),
        room=st.sampled_from([None, 50, 100, 100, 500, 2_000]),
        choices=st.integers(1, 4),
        tools=st.sampled_from([0, 0, 1, 3]),
        cached=st.sampled_from([0, 0, 50, 100]),
        reasoning=st.sampled_from([0, 0, 30, 100]),
    )


@st.composite
def mixes(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Mix:
    """Small budgets, so that most mixes run into one limit or another."""
    agents = draw(st.integers(1, 3))
    maximum = st.none() | st.integers(200_000, 5_000_000)
    return Mix(
        agents=agents,
        budget=draw(st.integers(500_000, 20_000_000)),
        run_cap=draw(maximum),
        per_call=draw(st.none() | st.integers(1_000_000, 10_000_000)),
        per_run=draw(maximum),
        per_day=draw(maximum),
        per_agent_day=draw(maximum),
        calls=draw(st.lists(asked(agents), min_size=8, max_size=48)),
    )


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("mixes")
    # Nobody waits long for what a limit has left: the calls of a mix are over soon.
    config = {"wait_seconds": 2}
    with FakeProvider(process=True, keep=1) as provider:
        if request.param == "sqlite":
            with gateway_world(sqlite_url(directory), directory, provider=provider, config=config) as made:
                yield made
                verified(made.book.database_url)
        else:
            with (
                postgresql_database(request.getfixturevalue("postgres_server")) as url,
                gateway_world(url, directory, provider=provider, config=config) as made,
            ):
                yield made
                verified(url)


class Team:
    """The team of one mix, its budget, its agents with their keys, and a run of each."""

    def __init__(self, world: GatewayWorld, mix: Mix) -> None:
        number = next(_numbers)
        office = world.office
        self.mix, self.budget = mix, f"budget-{number}"
        self.agents = [f"agent-{number}-{place}" for place in range(mix.agents)]
        office.make("/v1/teams", {"name": f"team-{number}"})
        for agent in self.agents:
            office.make("/v1/agents", {"name": agent, "parent": f"team-{number}"})
        office.make("/v1/budgets", {"name": self.budget, "currency": "USD", "agents": self.agents})
        amount = {"amount": format_atoms(mix.budget, 9), "currency": "USD"}
        office.make(f"/v1/budgets/{self.budget}/allocations", {"amount": amount})
        self.keys, self.runs = [], []
        for agent in self.agents:
            key = str(office.make("/v1/keys", {"role": "agent", "agent": agent})["key"])
            cap = {"amount": format_atoms(mix.run_cap, 9), "currency": "USD"} if mix.run_cap is not None else None
            office.make("/v1/runs", {"name": f"run-{agent}"} | ({"cap": cap} if cap else {}), key=key)
            self.keys.append(key)
            self.runs.append(f"run-{agent}")
        limits = mix.limits()
        if limits:
            document = {"policy": f"policy-{number}", "applies_to": {"team": f"team-{number}"}, "currency": "USD"}
            office.make("/v1/policies", document | {"limits": limits})

    async def ask(self, url: str) -> list[tuple[Asked, int, str, str]]:
        """Make the calls: (call, status, code of a refusal, authorization) of each."""
        calls = iter(self.mix.calls)
        heard: list[tuple[Asked, int, str, str]] = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:

            async def caller() -> None:
                for call in calls:
                    path, body = call.request()
                    headers = {"Authorization": f"Bearer {self.keys[call.agent]}", "x-fake": call.directives()}
                    if call.in_run:
                        headers["x-bursar-run"] = self.runs[call.agent]
                    async with session.post(url + path, json=body, headers=headers) as answer:
                        content = await answer.read()
                        code = answer.headers.get("x-bursar-code", "" if answer.status == 200 else content.decode())
                        heard.append((call, answer.status, code, answer.headers.get("x-bursar-authorization", "")))

            await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
        return heard


def _try(world: GatewayWorld, mix: Mix) -> Counter[str]:
    """Make the calls of a mix and insist on every limit; how often each was answered or refused with each code."""
    team = Team(world, mix)
    before = len(world.provider.bill()["lines"])
    heard = asyncio.run(team.ask(world.server.url))
    note(json.dumps(Counter(f"{status} {code}" for _, status, code, _ in heard)))
    assert {status for _, status, _, _ in heard} <= {200, 403, 429}
    assert {code for _, status, code, _ in heard if status != 200} <= REFUSALS
    wait_until(lambda: world.balances(team.budget)["held"] == 0, seconds=60, what="the end of every hold")

    billed = {line["client_request_id"]: atoms(line["cost"]) for line in world.provider.bill()["lines"][before:]}
    assert set(billed) == {reference for _, status, _, reference in heard if status == 200}
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for call, status, _, reference in heard:
        if status != 200:
            continue
        found = world.office.get(f"/v1/authorizations/{reference}")
        cost = billed[reference]
        assert (found["state"], parse_atoms(found["settled"]["amount"], 9)) == ("settled", cost)
        assert cost <= parse_atoms(found["approved"]["amount"], 9)
        assert mix.per_call is None or cost <= mix.per_call
        # An example may run over midnight, and then has two days' money.
        day = found["created_at"][:10]
        sums["day", day] += cost
        sums["agent's day", f"{day} {call.agent}"] += cost
        if call.in_run:
            sums["run", team.runs[call.agent]] += cost
    spent = world.balances(team.budget)["spent"]
    assert spent == sum(billed.values()) <= mix.budget
    bounds = {"day": [mix.per_day], "agent's day": [mix.per_agent_day], "run": [mix.per_run, mix.run_cap]}
    for (kind, name), total in sums.items():
        for bound in bounds[kind]:
            assert bound is None or total <= bound, (kind, name)
    return Counter(code or "answered" for _, _, code, _ in heard)


@pytest.mark.timeout(1_800)
def test_no_mix_of_calls_passes_a_limit(world: GatewayWorld) -> None:
    seen: Counter[str] = Counter()

    # A failure is not made smaller: each try costs seconds, and how calls meet each other differs every time.
    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    @given(mix=mixes())
    def check(mix: Mix) -> None:
        seen.update(_try(world, mix))

    check()
    # Mixes that are all answered, or all refused, would show nothing.
    assert seen["answered"]
    assert sum(count for code, count in seen.items() if code in REFUSALS)
