"""Agents of a gateway's world, each with money and a policy of its own, and both SDKs asking in their names.

Owns ``Agents`` and ``Wires``. Invariant: what one test makes an agent's rules stands in no other test's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import anthropic
import httpx
import openai

from tests.support.gateway import GatewayWorld

CLAUDE = "claude-opus-4-8"
CHATTER = "gpt-4o-mini"


@dataclass
class Agent:
    """An agent with a budget of its name."""

    world: GatewayWorld
    name: str
    key: str

    def balances(self) -> dict[str, int]:
        """Of its budget, in atoms."""
        return self.world.balances(self.name)

    def newest(self) -> dict[str, Any]:
        """Its last authorization, denials included."""
        return self.world.authorizations(agent=self.name)[0]

    def asked(self) -> int:
        """How many decisions about it are on record."""
        return len(self.world.authorizations(agent=self.name))


class Agents:
    """Makes agents."""

    def __init__(self, world: GatewayWorld) -> None:
        self._world = world
        self._numbers = count(1)

    def make(self, allocated: str = "10.00", **policy: Any) -> Agent:
        """A new agent whose budget has ``allocated`` USD; the fields of a policy, where there are any, apply to it."""
        name = f"agent-{next(self._numbers)}"
        office = self._world.office
        key = office.make_agent(name, budget=name, allocated=allocated)
        if policy:
            document = {"policy": f"of-{name}", "applies_to": {"agent": name}, "currency": "USD", **policy}
            office.make("/v1/policies", document)
        return Agent(self._world, name, key)


@dataclass(frozen=True)
class Spoken:
    """One SDK: how it asks, and the exceptions that its users catch."""

    name: str
    errors: Any
    ask: Callable[..., Any]
    ask_async: Callable[..., Any]
    stream: Callable[..., Any]


class Sent:
    """How many requests an SDK sent, its own repetitions among them."""

    def __init__(self) -> None:
        self.count = 0

    def client(self) -> httpx.Client:
        """What OpenAI's client is to send with."""
        return openai.DefaultHttpxClient(event_hooks={"request": [self._note]})

    def other_client(self) -> Any:
        """What Anthropic's client is to send with."""
        return anthropic.DefaultHttpxClient(event_hooks={"request": [self._note]})

    def _note(self, request: httpx.Request) -> None:
        self.count += 1


def _chat(prompt: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"model": CHATTER, "max_tokens": 60, "messages": [{"role": "user", "content": prompt}], **more}


def _message(prompt: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"model": CLAUDE, "max_tokens": 60, "messages": [{"role": "user", "content": prompt}], **more}


def _ask_openai(agent: Agent, prompt: str = "hello", *, sent: Sent | None = None, retries: int = 2, **more: Any) -> Any:
    http = sent.client() if sent is not None else None
    url = agent.world.openai_url
    with openai.OpenAI(base_url=url, api_key=agent.key, http_client=http, max_retries=retries) as client:
        return client.chat.completions.create(**_chat(prompt, more))


async def _ask_openai_async(agent: Agent, prompt: str = "hello", **more: Any) -> Any:
    async with openai.AsyncOpenAI(base_url=agent.world.openai_url, api_key=agent.key) as client:
        return await client.chat.completions.create(**_chat(prompt, more))


def _stream_openai(agent: Agent, prompt: str = "hello", **more: Any) -> tuple[str, str]:
    """The text, and why it ended."""
    with (
        openai.OpenAI(base_url=agent.world.openai_url, api_key=agent.key) as client,
        client.chat.completions.stream(**_chat(prompt, more)) as stream,
    ):
        for _ in stream:
            pass
        # To ask for the final completion raises wherever an answer came to its limit.
        found = stream.current_completion_snapshot
    return found.choices[0].message.content or "", str(found.choices[0].finish_reason)


def _ask_anthropic(
    agent: Agent, prompt: str = "hello", *, sent: Sent | None = None, retries: int = 2, **more: Any
) -> Any:
    http = sent.other_client() if sent is not None else None
    url = agent.world.anthropic_url
    with anthropic.Anthropic(base_url=url, api_key=agent.key, http_client=http, max_retries=retries) as client:
        return client.messages.create(**_message(prompt, more))


async def _ask_anthropic_async(agent: Agent, prompt: str = "hello", **more: Any) -> Any:
    async with anthropic.AsyncAnthropic(base_url=agent.world.anthropic_url, api_key=agent.key) as client:
        return await client.messages.create(**_message(prompt, more))


def _stream_anthropic(agent: Agent, prompt: str = "hello", **more: Any) -> tuple[str, str]:
    """The text, and why it ended."""
    with (
        anthropic.Anthropic(base_url=agent.world.anthropic_url, api_key=agent.key) as client,
        client.messages.stream(**_message(prompt, more)) as stream,
    ):
        found = stream.get_final_message()
    return "".join(block.text for block in found.content if block.type == "text"), str(found.stop_reason)


def _answer_openai(agent: Agent, prompt: str = "hello", *, max_tokens: int = 60, **more: Any) -> Any:
    with openai.OpenAI(base_url=agent.world.openai_url, api_key=agent.key) as client:
        return client.responses.create(model=CHATTER, input=prompt, max_output_tokens=max_tokens, **more)


def _stream_responses(agent: Agent, prompt: str = "hello", *, max_tokens: int = 60, **more: Any) -> tuple[str, str]:
    """The text, and why it ended."""
    with openai.OpenAI(base_url=agent.world.openai_url, api_key=agent.key) as client:
        asked = {"model": CHATTER, "input": prompt, "max_output_tokens": max_tokens, **more}
        text, last = "", None
        with client.responses.create(**asked, stream=True) as events:
            for event in events:
                last = event
                if event.type == "response.output_text.delta":
                    text += event.delta
        if last is None or last.type not in ("response.completed", "response.incomplete"):
            raise AssertionError(f"the stream ended with {last}")
        return text, str(last.response.status)


OPENAI = Spoken("openai", openai, _ask_openai, _ask_openai_async, _stream_openai)
ANTHROPIC = Spoken("anthropic", anthropic, _ask_anthropic, _ask_anthropic_async, _stream_anthropic)
BOTH = (OPENAI, ANTHROPIC)
stream_responses = _stream_responses
answer_openai = _answer_openai
