"""`bursar run -- python agent.py` with agents that use the real SDKs and know nothing of Bursar: the cap holds, the
agent sees the exception that it expects, and the receipt says what happened. And keys that are good for one run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.asking_agents import CHATTER, CLAUDE, Agents
from tests.support.gateway import GatewayWorld
from tests.support.sdk import client_world
from tests.support.server import BURSAR, verified

OPENAI_AGENT = f"""
import sys, openai
client, calls = openai.OpenAI(), 0
try:
    while calls < 50:
        asked = dict(model="{CHATTER}", max_tokens=100, n=1,
                     messages=[{{"role": "user", "content": f"step {{calls}} [[fake out=100]] " + "word " * 900}}])
        if calls % 2:
            events = client.chat.completions.create(**asked, stream=True)
            said = "".join(event.choices[0].delta.content or "" for event in events)
        else:
            said = client.chat.completions.create(**asked).choices[0].message.content
        assert said
        calls += 1
except openai.PermissionDeniedError as error:
    print(calls, error.code)
    sys.exit(3)
"""
ANTHROPIC_AGENT = f"""
import asyncio, sys, anthropic
async def main():
    client, calls = anthropic.AsyncAnthropic(), 0
    try:
        while calls < 50:
            asked = dict(model="{CLAUDE}", max_tokens=100,
                         messages=[{{"role": "user", "content": f"step {{calls}} [[fake out=100]] " + "word " * 900}}])
            if calls % 2:
                async with client.messages.stream(**asked) as events:
                    said = await events.get_final_text()
            else:
                said = (await client.messages.create(**asked)).content[0].text
            assert said
            calls += 1
    except anthropic.PermissionDeniedError as error:
        print(calls, error.response.headers["x-bursar-code"])
        return 3
sys.exit(asyncio.run(main()))
"""
AGENTS = {"openai": (OPENAI_AGENT, CHATTER, "0.001"), "anthropic": (ANTHROPIC_AGENT, CLAUDE, "0.04")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with client_world(tmp_path_factory.mktemp("runs")) as made:
        yield made


def run(
    world: GatewayWorld, folder: Path, key: str, *options: str, script: str
) -> tuple[int, str, str, dict[str, Any]]:
    """Run a script under a cap: its status, its output, the receipt for people and the one for programs."""
    (folder / "agent.py").write_text(script, encoding="utf-8")
    receipt = folder / "receipt.json"
    command = [BURSAR, "run", "--url", world.server.url, "--key", key, "--json-receipt", str(receipt), *options]
    done = subprocess.run(
        [*command, "--", sys.executable, "agent.py"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr, json.loads(receipt.read_text()) if receipt.exists() else {}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_under_a_cap(world: GatewayWorld, tmp_path: Path, name: str) -> None:
    """It calls until its cap is reached, learns that by its SDK's exception, and the receipt is the provider's bill."""
    script, model, cap = AGENTS[name]
    agent = Agents(world).make() if name == "openai" else None
    key = agent.key if agent is not None else world.key
    before = len(world.provider.bill()["lines"])
    status, said, shown, receipt = run(world, tmp_path, key, "--budget", cap, script=script)
    assert status == 3, shown
    calls, code = said.split()
    assert code == "run_cap_exceeded"
    lines = world.provider.bill()["lines"][before:]
    cost = sum(Decimal(line["cost"]) for line in lines)
    assert len(lines) == int(calls) > 1
    # Less is left than the cheapest further call would have needed, and nothing was spent above the cap.
    assert Decimal(cap) * Decimal("0.5") < cost <= Decimal(cap)
    assert receipt["calls"]["settled"] == len(lines)
    assert receipt["calls"]["refused"] == 1
    assert [Decimal(spent["amount"]) for spent in receipt["spent"]] == [cost]
    assert [Decimal(held["amount"]) for held in receipt["held"]] == [0]
    assert Decimal(receipt["remaining"]["amount"]) == Decimal(cap) - cost
    assert [(one["model"], Decimal(one["cost"]["amount"])) for one in receipt["models"]] == [(model, cost)]
    assert receipt["tokens"]["input_tokens"] == sum(line["input_tokens"] for line in lines)
    assert receipt["tokens"]["output_tokens"] == sum(line["output_tokens"] for line in lines)
    assert f"{len(lines)} settled, 1 refused" in shown
    assert "run_cap_exceeded" in shown


def test_a_key_for_one_run_spends_on_that_run_only(world: GatewayWorld) -> None:
    office = world.office
    opened = office.make("/v1/runs", {"name": "task-1", "cap": {"amount": "1.00", "currency": "USD"}}, key=world.key)
    key = office.make("/v1/keys", {"role": "agent", "agent": "crawler", "run": opened["name"]}, key=world.key)["key"]
    asked: dict[str, Any] = {"model": CHATTER, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
    with openai.OpenAI(base_url=world.openai_url, api_key=key) as client:
        client.chat.completions.create(**asked)
        office.make("/v1/runs", {"name": "task-2"}, key=world.key)
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(**asked, extra_headers={"x-bursar-run": "task-2"})
    assert caught.value.code == "key_run_only"
    world.settled()
    settled = world.authorizations(run="task-1")
    assert [one["state"] for one in settled] == ["settled"]


def test_a_run_is_named_in_a_header(world: GatewayWorld) -> None:
    """With an ordinary key the client says which run a call belongs to."""
    world.office.make("/v1/runs", {"name": "task-3", "cap": {"amount": "0.00001", "currency": "USD"}}, key=world.key)
    asked: dict[str, Any] = {"model": CHATTER, "messages": [{"role": "user", "content": "hello"}]}
    with openai.OpenAI(
        base_url=world.openai_url, api_key=world.key, default_headers={"x-bursar-run": "task-3"}
    ) as client:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(**asked, n=20, max_tokens=100)
        answer = client.chat.completions.create(**asked, max_tokens=10)
    assert caught.value.code == "run_cap_exceeded"
    assert answer.usage is not None
    world.settled()
    assert [one["state"] for one in world.authorizations(run="task-3")] == ["settled", "denied"]


def test_all_of_it_is_in_the_books(world: GatewayWorld) -> None:
    verified(world.book.database_url)
