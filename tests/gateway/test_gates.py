"""What one process takes on at once: calls in all, of one agent, and bytes of bodies; the rest is to come later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.gates import Gates
from gateway.refusals import Refusal
from tests.support.asking_agents import Agents
from tests.support.gateway import GatewayWorld, chat, error_of
from tests.support.scripted_provider import Asked, ScriptedProvider, Writer
from tests.support.sdk import client_world
from tests.support.server import wait_until

SLOW = "/providers/slow/v1/chat/completions"
MUTE = "/providers/mute/v1/chat/completions"
FAST = "/providers/fast/v1/chat/completions"
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
    }
).encode()  # fmt: skip
CHUNK = {"index": 0, "delta": {"content": "hello"}, "finish_reason": "stop"}
STREAM = b"data: " + json.dumps({"id": "c", "choices": [CHUNK]}).encode() + b"\n\ndata: [DONE]\n\n"


@pytest.fixture(scope="module")
def slow() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, slow: ScriptedProvider) -> Iterator[GatewayWorld]:
    directory: Path = tmp_path_factory.mktemp("gates")
    provider = {"base_url": slow.url, "prices": "openai"}
    more = {
        "slow": provider,
        "mute": provider | {"stream_usage": False},
        "fast": provider | {"highest_service_tier": "priority"},
    }
    bounds = {"calls_max": 3, "calls_per_agent_max": 2, "body_bytes_max": 100_000, "bodies_bytes_max": 150_000}
    with client_world(directory, config=bounds, more_providers=more) as made:
        yield made


@pytest.fixture(scope="module")
def agents(world: GatewayWorld) -> Agents:
    return Agents(world)


def whole(asked: Asked, writer: Writer) -> None:
    """An answer at once."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(ANSWER) + ANSWER)


def later(asked: Asked, writer: Writer) -> None:
    """An answer once the test says so."""
    writer.wait()
    whole(asked, writer)


def test_calls_under_way_are_bounded_in_all_and_of_one_agent(
    world: GatewayWorld, slow: ScriptedProvider, agents: Agents
) -> None:
    """What comes too early is told so, without a record, and passes once another has ended."""
    slow.script = later
    one, two = agents.make(), agents.make()
    before = len(slow.asked)

    def ask(key: str, prompt: str = "hello") -> int:
        return world.office.send("POST", SLOW, chat(prompt, max_tokens=9), key=key).status

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, key) for key in (one.key, one.key)]
        wait_until(lambda: len(slow.asked) == before + 2, seconds=30, what="two calls under way")
        answer = world.office.send("POST", SLOW, chat("hello", max_tokens=9), key=one.key)
        assert (answer.status, error_of(answer.body)["code"]) == (429, "too_many_calls")
        assert f"agent {one.name} has 2 calls under way" in error_of(answer.body)["message"]
        assert answer.headers["retry-after"] == "1"
        assert one.asked() == 2
        asking.append(pool.submit(ask, two.key, "x" * 80_000))
        wait_until(lambda: len(slow.asked) == before + 3, seconds=30, what="three calls under way")
        answer = world.office.send("POST", SLOW, chat("hello", max_tokens=9), key=two.key)
        assert (answer.status, error_of(answer.body)["code"]) == (429, "too_many_calls")
        assert "3 calls are under way" in error_of(answer.body)["message"]
        for _ in range(3):
            slow.go_on()
        assert [asked.result(30) for asked in asking] == [200, 200, 200]
    slow.script = whole
    wait_until(lambda: ask(one.key) == 200, seconds=30, what="a place for another call")


def test_bytes_of_bodies_under_way_are_bounded(world: GatewayWorld, slow: ScriptedProvider, agents: Agents) -> None:
    slow.script = later
    agent = agents.make()
    before = len(slow.asked)
    long = chat("x" * 80_000, max_tokens=9)
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(world.office.send("POST", SLOW, long, key=agent.key).status)
    )
    asking.start()
    wait_until(lambda: len(slow.asked) == before + 1, seconds=30, what="a call under way")
    answer = world.office.send("POST", SLOW, long, key=agent.key)
    assert (answer.status, error_of(answer.body)["code"]) == (429, "too_many_calls")
    assert "does not fit beside them" in error_of(answer.body)["message"]
    assert len(slow.asked) == before + 1
    slow.go_on()
    asking.join(30)
    assert answers == [200]
    slow.script = whole
    assert world.office.send("POST", SLOW, long, key=agent.key).status == 200


def test_a_body_that_grows_counts_as_it_is() -> None:
    """Where no length was declared, it counts once it is there, and all of it leaves with its call."""
    gates = Gates(calls_max=9, calls_per_agent_max=9, bodies_bytes_max=100)
    with gates.passing(1, "a") as first:
        first.carry(0)
        first.carry(70)
        with pytest.raises(Refusal, match="70 bytes"), gates.passing(1, "b") as second:
            second.carry(31)
        assert (gates.under_way, gates.body_bytes) == (1, 70)
        first.carry(20)
        assert gates.body_bytes == 20
    assert (gates.under_way, gates.body_bytes) == (0, 0)


def test_a_provider_that_serves_a_dearer_tier_is_held_at_its_price(
    world: GatewayWorld, slow: ScriptedProvider, agents: Agents
) -> None:
    """GPT-4o mini costs 0.15 and 0.60 in the standard tier, 0.25 and 1.00 in the priority tier."""
    slow.script = whole
    held = {}
    for path in (SLOW, FAST):
        agent = agents.make()
        assert world.office.send("POST", path, chat("hello", max_tokens=90_000), key=agent.key).status == 200
        held[path] = Decimal(agent.newest()["approved"]["amount"])
    assert abs(held[FAST] * 6 / 10 - held[SLOW]) <= Decimal("0.000000001")


@pytest.mark.parametrize("path", [SLOW, MUTE])
def test_a_stream_is_asked_for_its_usage_where_its_provider_knows_how(
    world: GatewayWorld, slow: ScriptedProvider, agents: Agents, path: str
) -> None:
    """Without ``stream_usage`` the body stays as it came, and the call is settled at an estimate."""

    def script(asked: Asked, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + STREAM)

    slow.script = script
    agent = agents.make()
    answer = world.office.send("POST", path, chat("hello", max_tokens=9, stream=True), key=agent.key)
    assert answer.status == 200
    forwarded = json.loads(slow.asked[-1].body)
    assert forwarded.get("stream_options") == (None if path == MUTE else {"include_usage": True})
    wait_until(lambda: agent.newest()["state"] == "settled", seconds=30, what="the settlement")
    assert "estimated" in agent.newest()["flags"]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({"max_completion_tokens": 50}, {"max_completion_tokens": 50, "max_tokens": 50}),
        ({"max_tokens": 50}, {"max_tokens": 50}),
        ({}, {"max_tokens": 16_384}),
    ],
)
def test_the_limit_that_is_held_reaches_the_provider_by_its_own_name(
    world: GatewayWorld, slow: ScriptedProvider, agents: Agents, named: dict[str, int], found: dict[str, int]
) -> None:
    slow.script = whole
    assert world.office.send("POST", SLOW, chat("hello", **named), key=agents.make().key).status == 200
    forwarded = json.loads(slow.asked[-1].body)
    assert {name: value for name, value in forwarded.items() if name.startswith("max_")} == found
