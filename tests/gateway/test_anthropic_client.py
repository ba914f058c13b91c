"""Anthropic's own client on the gateway, with waiting and without: every answer is the one that the provider itself
gives it, and every call is in the books at what the provider bills."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from tests.support.fake_provider import atoms
from tests.support.gateway import GatewayWorld
from tests.support.sdk import (
    Asking,
    answers,
    answers_async,
    anthropic_client,
    client_world,
    comparable,
    direct_anthropic,
)
from tests.support.server import verified

CREATE = "messages.create"
CLAUDE = "claude-opus-4-8"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
TOOL: dict[str, Any] = {
    "name": "look_up",
    "description": "Looks a word up.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
KEPT = {"type": "ephemeral"}
KEPT_LONG = {"type": "ephemeral", "ttl": "1h"}


class Said(BaseModel):
    """What the model is asked to answer with."""

    text: str


def ask(way: str = "plain", prompt: str = "", *, method: str = CREATE, **more: Any) -> Asking:
    """A call of Messages."""
    if way == "events":
        more["stream"] = True
    if prompt:
        more["messages"] = [{"role": "user", "content": prompt}]
    return Asking(method, way, {"model": CLAUDE, "max_tokens": 60, "messages": HELLO, **more})


TOOL_TURN = [
    {"role": "user", "content": "look two words up"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I will."},
            {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"text": "a"}},
            {"type": "tool_use", "id": "toolu_2", "name": "look_up", "input": {"text": "b"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a letter"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "another"}]},
        ],
    },
]
LOOK = [
    {
        "role": "user",
        "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "text", "text": "what is this"},
        ],
    }
]
CACHED = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "[[fake in=40 cached=10 write5m=20]]", "cache_control": KEPT}],
    }
]
CACHED_LONG = [
    {"role": "user", "content": [{"type": "text", "text": "[[fake in=40 write1h=20]]", "cache_control": KEPT_LONG}]}
]
THINKING = {"type": "enabled", "budget_tokens": 1024}

CALLS: dict[str, Asking] = {
    "messages": ask(),
    "messages, raw": ask("raw", method="messages.with_raw_response.create"),
    "messages, streaming response": ask("bytes", method="messages.with_streaming_response.create"),
    "messages, system and knobs": ask(
        system="Be brief.",
        stop_sequences=["."],
        metadata={"user_id": "someone"},
        extra_body={"top_k": 5, "new_field": 1.50},
    ),
    "messages, cut by their limit": ask(prompt="[[fake out=200]]"),
    "messages, refusal": ask(prompt="[[fake refusal=1]]"),
    "messages, thinking": ask(prompt="[[fake reasoning=9 out=20]]", max_tokens=2048, thinking=THINKING),
    "messages, cached for five minutes": ask(
        messages=CACHED, system=[{"type": "text", "text": "Be brief.", "cache_control": KEPT}]
    ),
    "messages, cached for an hour": ask(messages=CACHED_LONG),
    "messages, an image": ask(messages=LOOK),
    "messages, tools": ask(prompt="[[fake tools=2 out=24]]", tools=[TOOL]),
    "messages, tool results": ask(messages=TOOL_TURN, tools=[TOOL], tool_choice={"type": "auto"}),
    "messages, parsed": ask(method="messages.parse", output_format=Said),
    "messages, beta": ask(method="beta.messages.create", betas=["context-management-2025-06-27"]),
    "stream": ask("events"),
    "stream, bytes": ask("bytes", method="messages.with_streaming_response.create", stream=True),
    "stream, cut by its limit": ask("events", "[[fake out=200]]"),
    "stream, thinking": ask("events", "[[fake reasoning=9 out=20]]", max_tokens=2048, thinking=THINKING),
    "stream, tools": ask("events", "[[fake tools=2 out=24]]", tools=[TOOL]),
    "stream, several counts of usage": ask("events", "[[fake deltas=3 out=12]]"),
    "stream, cached": ask("events", messages=CACHED),
    "stream helper": ask("helper", method="messages.stream"),
    "stream helper, thinking": ask(
        "helper", "[[fake reasoning=9 out=20]]", method="messages.stream", max_tokens=2048, thinking=THINKING
    ),
    "stream helper, tools": ask("helper", "[[fake tools=2 out=24]]", method="messages.stream", tools=[TOOL]),
    "stream helper, parsed": ask("helper", method="messages.stream", output_format=Said),
    "tokens counted": Asking("messages.count_tokens", "plain", {"model": CLAUDE, "messages": HELLO, "tools": [TOOL]}),
    "models": Asking("models.list", "pages"),
    "a model": Asking("models.retrieve", "plain", {"model_id": CLAUDE}),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with client_world(tmp_path_factory.mktemp("anthropic")) as made:
        yield made


def insist_on_the_same(world: GatewayWorld, asking: Asking, found: Any, direct: Any, bills: int) -> None:
    """Both ways gave one answer, from one request; what it costs stands in the books."""
    assert comparable(found) == comparable(direct)
    assert found, "an answer that says nothing compares with anything"
    first, second = world.provider.seen()[-2:]
    assert (first.path, first.body) == (second.path, second.body)
    for name in ("anthropic-version", "anthropic-beta", "user-agent"):
        assert first.header(name) == second.header(name)
    world.settled()
    lines = world.provider.bill()["lines"][bills:]
    billed = [line for line in lines if line["client_request_id"].startswith("auth_")]
    is_free = asking.method.startswith("models") or asking.method.endswith("count_tokens")
    assert len(billed) == (0 if is_free else 1)
    for line in billed:
        recorded = world.office.get(f"/v1/authorizations/{line['client_request_id']}")
        assert (recorded["state"], recorded["flags"]) == ("settled", ["gateway"])
        assert Decimal(recorded["settled"]["amount"]) == Decimal(line["cost"])


@pytest.mark.parametrize("name", CALLS)
def test_a_client_that_waits_gets_what_the_provider_gives(world: GatewayWorld, name: str) -> None:
    asking = CALLS[name]
    bills = len(world.provider.bill()["lines"])
    with anthropic_client(world) as client, anthropic.Anthropic(**direct_anthropic(world)) as past:
        found, direct = answers(client, asking), answers(past, asking)
    insist_on_the_same(world, asking, found, direct, bills)


@pytest.mark.parametrize("name", CALLS)
def test_a_client_that_does_not_wait_gets_what_the_provider_gives(world: GatewayWorld, name: str) -> None:
    asking = CALLS[name]
    bills = len(world.provider.bill()["lines"])

    async def both() -> tuple[Any, Any]:
        through = anthropic.AsyncAnthropic(base_url=world.anthropic_url, api_key=world.key)
        async with through, anthropic.AsyncAnthropic(**direct_anthropic(world)) as past:
            return await answers_async(through, asking), await answers_async(past, asking)

    found, direct = asyncio.run(both())
    insist_on_the_same(world, asking, found, direct, bills)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_says_what_it_cost(world: GatewayWorld, stream: bool) -> None:
    """On the raw response of the SDK, and on a stream as soon as it begins."""
    with anthropic_client(world) as client:
        answer = client.messages.with_raw_response.create(
            model=CLAUDE, max_tokens=60, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        headers = answer.headers
        if stream:
            assert [event.type for event in answer.parse()][-1] == "message_stop"
    world.settled()
    line = world.provider.bill()["lines"][-1]
    assert headers["x-bursar-authorization"] == line["client_request_id"]
    assert headers["x-bursar-currency"] == "USD"
    if stream:
        assert headers["x-bursar-cost-at-most"] == "true"
        assert Decimal(headers["x-bursar-cost"]) > Decimal(line["cost"])
    else:
        assert "x-bursar-cost-at-most" not in headers
        assert Decimal(headers["x-bursar-cost"]) == Decimal(line["cost"])
        left = world.office.get("/v1/budgets/research")["available"]["amount"]
        assert Decimal(headers["x-bursar-remaining"]) == Decimal(left)
    # The id that the provider's support asks for, and ours beside it.
    assert headers["request-id"].startswith("req_")
    assert headers["x-request-id"] != headers["request-id"]


def test_a_key_may_stand_where_a_token_does(world: GatewayWorld) -> None:
    """Programs that sign in put a bearer token where others put ``x-api-key``."""
    with anthropic_client(world, api_key=None, auth_token=world.key) as client:
        assert client.messages.create(model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "hi"}]).content
    seen = world.provider.seen()[-1]
    assert seen.header("authorization") is None
    assert seen.header("x-api-key") is not None


SCRIPT = """
import asyncio, anthropic
asked = dict(model="claude-opus-4-8", max_tokens=9, messages=[{"role": "user", "content": "hello"}])
answer = anthropic.Anthropic().messages.create(**asked)
async def stream():
    async with anthropic.AsyncAnthropic().messages.stream(**asked) as events:
        return "".join([piece async for piece in events.text_stream])
print(asyncio.run(stream()) == answer.content[0].text, answer.usage.output_tokens)
"""


def test_the_environment_alone_leads_a_program_here(world: GatewayWorld) -> None:
    """A program that knows nothing of Bursar: the two variables that Anthropic's client reads, and no line of code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    environment |= {"ANTHROPIC_BASE_URL": world.anthropic_url, "ANTHROPIC_API_KEY": world.key}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True 9\n"), done.stderr


def test_what_was_billed_through_here_is_what_was_spent(world: GatewayWorld) -> None:
    """All calls of this module together; those that went past the gateway carry no id of ours."""
    world.settled()
    lines = [line for line in world.provider.bill()["lines"] if line["client_request_id"].startswith("auth_")]
    assert len(lines) > 10
    assert sum(atoms(line["cost"]) for line in lines) == world.balances()["spent"]
    verified(world.book.database_url)
