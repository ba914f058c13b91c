"""OpenAI's own client on the gateway, with waiting and without: every answer is the one that the provider itself gives
it, and every call is in the books at what the provider bills."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from tests.support.fake_provider import atoms
from tests.support.gateway import MODEL, GatewayWorld
from tests.support.sdk import (
    Asking,
    answers,
    answers_async,
    client_world,
    comparable,
    direct_openai,
    openai_client,
)
from tests.support.server import verified

CHAT = "chat.completions.create"
RESPONSES = "responses.create"
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
LOOK_UP: dict[str, Any] = {
    "name": "look_up",
    "description": "Looks a word up.",
    "parameters": {
        "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"],
        "additionalProperties": False,
    },
    "strict": True,
}  # fmt: skip
CHAT_TOOLS = [{"type": "function", "function": LOOK_UP}]
RESPONSE_TOOLS = [{"type": "function", **LOOK_UP}]


class Said(BaseModel):
    """What the model is asked to answer with."""

    text: str


def chat(way: str = "plain", prompt: str = "hello", *, method: str = CHAT, **more: Any) -> Asking:
    """A chat call. Streams of ``create`` have to be asked for, those of the helper must not."""
    if way == "events":
        more["stream"] = True
    messages = more.pop("messages", None) or [{"role": "user", "content": prompt}]
    return Asking(method, way, {"model": MODEL, "max_completion_tokens": 60, "messages": messages, **more})


def respond(way: str = "plain", prompt: Any = "hello", *, method: str = RESPONSES, **more: Any) -> Asking:
    """A call of Responses."""
    if way == "events":
        more["stream"] = True
    return Asking(method, way, {"model": MODEL, "max_output_tokens": 60, "input": prompt, **more})


def embed(**more: Any) -> Asking:
    """A call of Embeddings."""
    return Asking("embeddings.create", "plain", {"model": "text-embedding-3-small", **more})


TOOL_TURN = [
    {"role": "system", "content": "You look words up."},
    {"role": "user", "content": "look two words up"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"call_{n}", "type": "function", "function": {"name": "look_up", "arguments": '{"text":"a"}'}}
            for n in (1, 2)
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "a letter"},
    {"role": "tool", "tool_call_id": "call_2", "content": "a letter too"},
]
LOOK = [
    {"type": "text", "text": "what is this"},
    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
]
LOOK_RESPONSES = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "what is this"},
            {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        ],
    }
]
RESPONSE_TURN = [
    {"role": "user", "content": "look a word up"},
    {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"text":"a"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "a letter"},
]

CALLS: dict[str, Asking] = {
    "chat": chat(),
    "chat, raw": chat("raw", method="chat.completions.with_raw_response.create"),
    "chat, streaming response": chat("bytes", method="chat.completions.with_streaming_response.create"),
    "chat, three messages and knobs": chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "and now?"},
        ],
        temperature=0.2, top_p=0.9, seed=7, stop=["\n\n"], user="someone", metadata={"a": "b"},
    ),
    "chat, max_tokens": Asking(
        CHAT, "plain", {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    ),
    "chat, two choices": chat(n=2),
    "chat, no limit": Asking(CHAT, "plain", {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}),
    "chat, cut by its limit": chat(prompt="[[fake out=200]]"),
    "chat, refusal": chat(prompt="[[fake refusal=1]]"),
    "chat, reasoning": chat(prompt="[[fake reasoning=9 out=20]]", model="gpt-5-mini"),
    "chat, cached input": chat(prompt="[[fake cached=5 in=12]]"),
    "chat, served by another tier": chat(prompt="[[fake tier=default]]", service_tier="auto"),
    "chat stream": chat("events"),
    "chat stream with usage": chat("events", stream_options={"include_usage": True}),
    "chat stream without usage": chat("events", stream_options={"include_usage": False}),
    "chat stream, bytes": chat("bytes", method="chat.completions.with_streaming_response.create", stream=True),
    "chat stream helper": chat("helper", method="chat.completions.stream"),
    "chat stream helper with usage": chat(
        "helper", method="chat.completions.stream", stream_options={"include_usage": True}
    ),
    "chat stream, two choices": chat("events", n=2),
    "chat stream, tools": chat("events", "[[fake tools=2 out=24]]", tools=CHAT_TOOLS, parallel_tool_calls=True),
    "chat stream helper, tools": chat(
        "helper", "[[fake tools=1 out=12]]", method="chat.completions.stream", tools=CHAT_TOOLS
    ),
    "chat, one tool": chat(prompt="[[fake tools=1]]", tools=CHAT_TOOLS, tool_choice="auto"),
    "chat, parallel tools": chat(prompt="[[fake tools=3 out=40]]", tools=CHAT_TOOLS, parallel_tool_calls=True),
    "chat, tool results": chat(messages=TOOL_TURN, tools=CHAT_TOOLS),
    "chat, an image": chat(messages=[{"role": "user", "content": LOOK}]),
    "chat, JSON": chat(response_format={"type": "json_object"}),
    "chat, JSON by a schema": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "said", "schema": LOOK_UP["parameters"]}}
    ),
    "chat, parsed": chat(method="chat.completions.parse", response_format=Said),
    "chat stream helper, parsed": chat("helper", method="chat.completions.stream", response_format=Said),
    "chat, parsed tool": chat(
        prompt="[[fake tools=1]]", method="chat.completions.parse", tools=[openai.pydantic_function_tool(Said)]
    ),
    "responses": respond(),
    "responses, raw": respond("raw", method="responses.with_raw_response.create"),
    "responses, streaming response": respond("bytes", method="responses.with_streaming_response.create"),
    "responses, instructions and items": respond(
        prompt=[{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}], instructions="Be brief.",
        store=False, metadata={"a": "b"}, include=["reasoning.encrypted_content"],
    ),
    "responses, cut by its limit": respond(prompt="[[fake out=200]]"),
    "responses, reasoning": respond(
        prompt="[[fake reasoning=9 out=20]]", model="gpt-5-mini", reasoning={"effort": "low"}
    ),
    "responses, tools": respond(prompt="[[fake tools=2 out=24]]", tools=RESPONSE_TOOLS),
    "responses, tool results": respond(prompt=RESPONSE_TURN, tools=RESPONSE_TOOLS),
    "responses, an image": respond(prompt=LOOK_RESPONSES),
    "responses, parsed": respond(method="responses.parse", text_format=Said),
    "responses stream": respond("events"),
    "responses stream, tools": respond("events", "[[fake tools=2 out=24]]", tools=RESPONSE_TOOLS),
    "responses stream, reasoning": respond("events", "[[fake reasoning=9 out=20]]", model="gpt-5-mini"),
    "responses stream, incomplete": respond("events", "[[fake out=200]]"),
    "responses stream helper": respond("helper", method="responses.stream"),
    "responses stream helper, parsed": respond("helper", method="responses.stream", text_format=Said),
    "embeddings, as the client asks by default": embed(input=["hello", "world"]),
    "embeddings, floats": embed(input="hello", encoding_format="float"),
    "embeddings, base64": embed(input="hello", encoding_format="base64"),
    "embeddings, tokens": embed(input=[[1, 2, 3], [4]], dimensions=8),
    "models": Asking("models.list", "pages"),
    "a model": Asking("models.retrieve", "plain", {"model": MODEL}),
}  # fmt: skip
OURS = ("max_tokens", "max_completion_tokens", "stream_options")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with client_world(tmp_path_factory.mktemp("openai")) as made:
        yield made


def insist_on_the_same(world: GatewayWorld, asking: Asking, found: Any, direct: Any, bills: int) -> None:
    """Both ways gave one answer, from one request; what it costs stands in the books."""
    assert comparable(found) == comparable(direct)
    assert found, "an answer that says nothing compares with anything"
    first, second = world.provider.seen()[-2:]
    assert first.path == second.path
    if asking.arguments and first.method == "POST":
        sent, wanted = orjson.loads(first.body), orjson.loads(second.body)
        assert {name: sent[name] for name in sent if name not in OURS} == {
            name: wanted[name] for name in wanted if name not in OURS
        }
        limit = asking.arguments.get("max_completion_tokens") or asking.arguments.get("max_tokens")
        if limit is not None:
            assert limit == (sent.get("max_completion_tokens") or sent.get("max_tokens"))
    world.settled()
    lines = world.provider.bill()["lines"][bills:]
    billed = [line for line in lines if line["client_request_id"].startswith("auth_")]
    assert len(billed) == (0 if asking.method.startswith("models") else 1)
    for line in billed:
        found = world.office.get(f"/v1/authorizations/{line['client_request_id']}")
        assert (found["state"], found["flags"]) == ("settled", ["gateway"])
        assert Decimal(found["settled"]["amount"]) == Decimal(line["cost"])


@pytest.mark.parametrize("name", CALLS)
def test_a_client_that_waits_gets_what_the_provider_gives(world: GatewayWorld, name: str) -> None:
    asking = CALLS[name]
    bills = len(world.provider.bill()["lines"])
    with openai_client(world) as client, openai.OpenAI(**direct_openai(world)) as past:
        found, direct = answers(client, asking), answers(past, asking)
    insist_on_the_same(world, asking, found, direct, bills)


@pytest.mark.parametrize("name", CALLS)
def test_a_client_that_does_not_wait_gets_what_the_provider_gives(world: GatewayWorld, name: str) -> None:
    asking = CALLS[name]
    bills = len(world.provider.bill()["lines"])

    async def both() -> tuple[Any, Any]:
        through = openai.AsyncOpenAI(base_url=world.openai_url, api_key=world.key)
        async with through, openai.AsyncOpenAI(**direct_openai(world)) as past:
            return await answers_async(through, asking), await answers_async(past, asking)

    found, direct = asyncio.run(both())
    insist_on_the_same(world, asking, found, direct, bills)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_says_what_it_cost(world: GatewayWorld, stream: bool) -> None:
    """On the raw response of the SDK, and on a stream as soon as it begins."""
    asking: dict[str, Any] = {
        "model": MODEL,
        "max_completion_tokens": 60,
        "messages": [{"role": "user", "content": "hi"}],
    }
    with openai_client(world) as client:
        answer = client.chat.completions.with_raw_response.create(**asking, stream=stream)
        headers = answer.headers
        if stream:
            assert "".join(event.choices[0].delta.content or "" for event in answer.parse())
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
    assert answer.request_id == headers["x-request-id"]
    assert answer.request_id.startswith("req_")
    assert headers["x-bursar-request-id"] != answer.request_id


def test_what_a_client_says_beside_its_calls_is_on_record(world: GatewayWorld) -> None:
    """The client's own options for headers carry the intent and the labels; the provider sees none of it."""
    said = {"x-bursar-intent": "summarize ticket 4711", "x-bursar-labels": "prompt=v7&customer=acme"}
    with openai_client(world, default_headers=said) as client:
        client.chat.completions.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        seen = world.provider.seen()[-1]
    found = world.office.get(f"/v1/authorizations/{seen.header('x-client-request-id')}")
    assert found["intent"] == "summarize ticket 4711"
    assert found["labels"] == {"prompt": "v7", "customer": "acme"}
    assert [name for name, _ in seen.headers if name.startswith("x-bursar")] == []


def test_any_provider_is_reached_by_its_name(world: GatewayWorld) -> None:
    url = f"{world.server.url}/providers/local/v1"
    with openai_client(world, base_url=url) as client:
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
        assert [model.id for model in client.models.list()]
    assert answer.choices[0].message.content
    line = world.provider.bill()["lines"][-1]
    assert world.office.get(f"/v1/authorizations/{line['client_request_id']}")["payee"] == "local"


SCRIPT = """
import asyncio, openai
asked = dict(model="gpt-4o-mini", max_tokens=9, messages=[{"role": "user", "content": "hello"}])
answer = openai.OpenAI().chat.completions.create(**asked)
async def stream():
    events = await openai.AsyncOpenAI().chat.completions.create(**asked, stream=True)
    return [event.choices[0].delta.content async for event in events]
pieces = asyncio.run(stream())
print("".join(piece or "" for piece in pieces) == answer.choices[0].message.content, answer.usage.completion_tokens)
"""


def test_the_environment_alone_leads_a_program_here(world: GatewayWorld) -> None:
    """A program that knows nothing of Bursar: the two variables that OpenAI's client reads, and no line of code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment |= {"OPENAI_BASE_URL": world.openai_url, "OPENAI_API_KEY": world.key}
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
