"""The real SDKs before a gateway and before its provider: one call by both ways, and what the client makes of each.

Owns ``Asking`` and ``answers``. Invariant: what two answers may differ in is taken out by name (ids, times), and
nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from operator import attrgetter
from pathlib import Path
from typing import Any

import anthropic
import openai
import orjson
from pydantic import BaseModel

from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY
from tests.support.gateway import GatewayWorld, gateway_world

_IDS = re.compile(rb"[0-9a-f]{12,}")
_TIMES = re.compile(rb'"(created|created_at|completed_at)":[0-9.]+')
FINALS = ("get_final_completion", "get_final_response", "get_final_message")


@dataclass(frozen=True)
class Asking:
    """A method of a client, such as ``chat.completions.create``, and its arguments.

    ``way``: ``plain`` (one answer), ``pages`` (a list that is walked), ``events`` (a stream), ``helper`` (the SDK's own
    stream, which gathers), ``raw`` (``with_raw_response``), ``bytes`` (``with_streaming_response``).
    """

    method: str
    way: str = "plain"
    arguments: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.method} {self.way}"


@contextmanager
def client_world(directory: Path, **options: Any) -> Iterator[GatewayWorld]:
    """A gateway whose agent has money for every call of a test module."""
    with gateway_world(sqlite_url(directory), directory, allocated="1000.00", **options) as world:
        yield world


def openai_client(world: GatewayWorld, **options: Any) -> openai.OpenAI:
    """OpenAI's client before the gateway."""
    return openai.OpenAI(**{"base_url": world.openai_url, "api_key": world.key, **options})


def anthropic_client(world: GatewayWorld, **options: Any) -> anthropic.Anthropic:
    """Anthropic's client before the gateway."""
    return anthropic.Anthropic(**{"base_url": world.anthropic_url, "api_key": world.key, **options})


def direct_openai(world: GatewayWorld) -> dict[str, str]:
    """What OpenAI's client needs to pass the gateway by."""
    return {"base_url": world.provider.openai_url, "api_key": KEY}


def direct_anthropic(world: GatewayWorld) -> dict[str, str]:
    """What Anthropic's client needs to pass the gateway by."""
    return {"base_url": world.provider.url, "api_key": KEY}


def comparable(answer: Any) -> Any:
    """An answer without its ids and times, as JSON values."""
    if isinstance(answer, bytes):
        return _TIMES.sub(b'"\\1":0', _IDS.sub(b"ID", answer))
    document = orjson.dumps(answer, default=_dumped)
    return orjson.loads(_TIMES.sub(b'"\\1":0', _IDS.sub(b"ID", document)))


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", warnings=False)
    raise TypeError(f"{type(value)} is not part of an answer")


def answers(client: openai.OpenAI | anthropic.Anthropic, asking: Asking) -> Any:
    """What a client that waits makes of a call."""
    called = attrgetter(asking.method)(client)(**asking.arguments)
    if asking.way == "plain":
        return called
    if asking.way == "raw":
        return called.parse()
    if asking.way == "pages":
        return list(called)
    with called as answer:
        if asking.way == "bytes":
            return answer.read()
        return [*answer, *([getattr(answer, _final(answer))()] if asking.way == "helper" else [])]


async def answers_async(client: openai.AsyncOpenAI | anthropic.AsyncAnthropic, asking: Asking) -> Any:
    """What a client that does not wait makes of a call."""
    called = attrgetter(asking.method)(client)(**asking.arguments)
    if asking.way == "pages":
        return [item async for item in called]
    if asking.way in ("plain", "raw"):
        answer = await called
        if asking.way == "raw":
            # Anthropic's has to be awaited once more, OpenAI's has not.
            answer = answer.parse()
        return await answer if isawaitable(answer) else answer
    async with called if asking.way in ("helper", "bytes") else await called as answer:
        if asking.way == "bytes":
            return await answer.read()
        events = [event async for event in answer]
        return [*events, *([await getattr(answer, _final(answer))()] if asking.way == "helper" else [])]


def _final(stream: Any) -> str:
    return next(name for name in FINALS if hasattr(stream, name))
