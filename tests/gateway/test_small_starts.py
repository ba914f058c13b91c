"""Streams that start on a small hold, before providers that are faster than any extension: what was used is recorded to
the last token that can be known of, whatever was held, and what follows is denied by it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking_agents import Agent, Agents
from tests.support.clients import Answer
from tests.support.gateway import KEY_VARIABLE, GatewayWorld, chat
from tests.support.scripted_provider import Asked, ScriptedProvider, Writer
from tests.support.sdk import client_world
from tests.support.server import verified, wait_until

GROW = {"stream": {"start_tokens": 20, "lookahead_tokens": 20}}
PATH = "/providers/scripted/v1/chat/completions"
IN, OUT = 150, 600
"""Atoms for a token of input and of output."""
ROOM = "0.001"
"""For some 1,650 tokens of output."""
MANY = 4000
OVER = {"gateway", "overrun", "mismatch"}
"""Flags of a settlement above what was approved."""


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedProvider) -> Iterator[GatewayWorld]:
    more = {"scripted": {"base_url": scripted.url, "prices": "openai", "key": {"env": KEY_VARIABLE}}}
    config = {"idle_seconds": 20, "wait_seconds": 0}
    with client_world(tmp_path_factory.mktemp("starts"), config=config, more_providers=more) as made:
        yield made


@pytest.fixture(scope="module")
def agents(world: GatewayWorld) -> Agents:
    return Agents(world)


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    """One event of a chat stream."""
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    return b"data: %s\n\n" % json.dumps(head | {"choices": [choice]} | more).encode()


def end(output_tokens: int) -> bytes:
    """The usage, and the end."""
    usage = {"prompt_tokens": 10, "completion_tokens": output_tokens, "total_tokens": 10 + output_tokens}
    return (
        b"data: %s\n\ndata: [DONE]\n\n" % json.dumps({"choices": [], "usage": usage, "model": "gpt-4o-mini"}).encode()
    )


def head(content_type: str = "text/event-stream", length: int | None = None) -> bytes:
    lines = [f"content-type: {content_type}", "connection: close"]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


def at_once(scripted: ScriptedProvider, body: bytes, content_type: str = "text/event-stream") -> None:
    """Have every answer sent in one go."""

    def script(_: Asked, writer: Writer) -> None:
        writer.write(head(content_type) + body)

    scripted.script = script


def ask(world: GatewayWorld, agent: Agent, **more: Any) -> Answer:
    body = chat("hi", **{"stream": True, "max_tokens": MANY} | more)
    return world.office.send("POST", PATH, body, key=agent.key)


def ended(agent: Agent) -> dict[str, Any]:
    wait_until(lambda: agent.balances()["held"] == 0, seconds=30, what="the end of the hold")
    return agent.newest()


def test_what_a_fast_provider_sent_before_the_cut_is_settled_by_its_usage(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    """All of it is here when the extension is denied, so what it did cost is known, and denies the next call. Where
    all is read at once, nothing is left to cut."""
    agent = agents.make(ROOM, inference=GROW)
    at_once(scripted, chunk("hello ") * MANY + chunk(finish="stop") + end(MANY))
    ask(world, agent)
    found = ended(agent)
    assert (found["state"], set(found["flags"])) == ("settled", OVER)
    assert agent.balances()["spent"] == 10 * IN + MANY * OUT
    before = len(scripted.asked)
    assert ask(world, agent).status == 403
    assert len(scripted.asked) == before


def test_a_cut_stream_is_settled_at_what_was_seen_whatever_was_held(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    """The provider says nothing of usage, and goes on: what was seen costs more than the budget has."""
    agent = agents.make("0.0001", inference=GROW)

    def script(_: Asked, writer: Writer) -> None:
        writer.write(head() + chunk("hello " * 1000))
        time.sleep(5)

    scripted.script = script
    answer = ask(world, agent)
    found = ended(agent)
    assert b"cut_at_cap" in answer.body
    assert answer.body.count(b"hello ") == 1000, "what is paid for is passed on"
    assert set(found["flags"]) == OVER | {"estimated"}
    assert 1000 * OUT <= agent.balances()["spent"] < 1100 * OUT + 100 * IN


def test_a_client_that_does_not_read_does_not_delay_the_cut(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    """Each event is padded, so the client's buffers are full long before the money ends."""
    agent = agents.make(ROOM, inference=GROW)
    generated = []

    def script(_: Asked, writer: Writer) -> None:
        generated.clear()
        writer.write(head())
        event = chunk("hello ", obfuscation="x" * 4000)
        try:
            for _ in range(2 * MANY):
                writer.write(event)
                generated.append(1)
                time.sleep(0.0005)
        except OSError:
            pass

    scripted.script = script
    body = json.dumps(chat("hi", stream=True, max_tokens=2 * MANY)).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", world.server.port))
        lines = (
            f"POST {PATH} HTTP/1.1", "host: x", f"authorization: Bearer {agent.key}",
            "content-type: application/json", f"content-length: {len(body)}", "", "",
        )  # fmt: skip
        began = time.monotonic()
        connection.sendall("\r\n".join(lines).encode() + body)
        wait_until(lambda: agent.asked() == 1, seconds=10, what="the hold")
        found = ended(agent)
    assert time.monotonic() - began < 15, "nobody waited for the client, whose time is 20 seconds"
    assert "estimated" in found["flags"]
    assert agent.balances()["spent"] > 1500 * OUT
    assert len(generated) < 1.5 * MANY


@pytest.mark.parametrize("begun", [0, 1], ids=["before the other began", "after the other began"])
def test_a_choice_that_ends_early_ends_no_metering(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider, begun: int
) -> None:
    agent = agents.make(ROOM, inference=GROW)

    def script(_: Asked, writer: Writer) -> None:
        writer.write(head() + chunk("hi") + chunk("hi", index=1) * begun + chunk(finish="stop"))
        try:
            for _ in range(MANY):
                writer.write(chunk("hello ", index=1))
                time.sleep(0.0005)
            writer.write(chunk(index=1, finish="stop") + end(MANY))
        except OSError:
            pass

    scripted.script = script
    answer = ask(world, agent, n=2)
    assert b"cut_at_cap" in answer.body
    assert "estimated" in ended(agent)["flags"]


def test_a_stream_that_closes_before_its_other_choice_is_not_whole(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    agent = agents.make("1.00")
    at_once(scripted, chunk("hi") + chunk(finish="stop"))
    answer = ask(world, agent, n=2)
    assert b"upstream_broken" in answer.body
    wait_until(lambda: "unknown" in agent.newest()["flags"], seconds=30, what="the mark")


def test_a_stream_under_another_name_is_settled_by_its_usage(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    agent = agents.make("1.00", inference=GROW)
    stream = chunk("hello ") * MANY + chunk(finish="stop") + end(MANY)
    at_once(scripted, stream, "text/plain")
    answer = ask(world, agent)
    assert answer.body == stream
    assert ended(agent)["flags"] == ["gateway"]
    assert agent.balances()["spent"] == 10 * IN + MANY * OUT


@pytest.mark.parametrize("usage", [True, False], ids=["with usage", "without"])
def test_a_stream_that_is_answered_whole_is_settled_at_all_it_did_cost(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider, usage: bool
) -> None:
    """What was held for its beginning is no bound of that."""
    agent = agents.make(ROOM, inference=GROW)
    message = {"role": "assistant", "content": "hello " * MANY}
    said: dict[str, Any] = {"model": "gpt-4o-mini", "choices": [{"index": 0, "message": message}]}
    if usage:
        said["usage"] = {"prompt_tokens": 10, "completion_tokens": MANY, "total_tokens": MANY + 10}
    at_once(scripted, json.dumps(said).encode(), "application/json")
    assert ask(world, agent).status == 200
    found = ended(agent)
    assert set(found["flags"]) == OVER | (set() if usage else {"estimated"})
    spent = agent.balances()["spent"]
    assert spent == 10 * IN + MANY * OUT if usage else MANY * OUT < spent < 1.1 * MANY * OUT


def test_a_stream_that_cannot_start_in_full_is_lowered(
    world: GatewayWorld, agents: Agents, scripted: ScriptedProvider
) -> None:
    """A policy that lets streams start small refuses none that it would otherwise lower."""
    agent = agents.make("0.0005", inference={"stream": {"start_tokens": 500, "lookahead_tokens": 1000}})
    at_once(scripted, chunk("hello ") + chunk(finish="stop") + end(1))
    answer = ask(world, agent)
    assert answer.status == 200, answer.body
    forwarded = json.loads(scripted.asked[-1].body)["max_tokens"]
    assert 700 < forwarded < 500_000 / OUT
    assert set(ended(agent)["flags"]) == {"gateway", "partial"}
    assert agent.balances()["spent"] == 10 * IN + OUT


def test_all_of_it_is_in_the_books(world: GatewayWorld) -> None:
    verified(world.book.database_url)
