"""How far a cap holds, and how far it can be used: calls at once through a gateway, then one by one until refused.

Owns the arrangements and the load; `bench/scenarios/caps.py` measures with them, and `tests/gateway/test_caps.py`
insists on what they must show. Invariants: prices are the public ones, and each call costs to the cent what its
arrangement says; no call is repeated but after a 429, as its client would.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import aiohttp

CAP = Decimal("1.00")
CONNECTIONS = 100
ANSWER_SECONDS = 120
ALONE_MAX = 2_000
"""Calls one by one, at most: a gateway that never refuses must not keep the bench for ever."""
_WORDS_OF_FRAME = 6
"""Tokens that the provider bills for one message beside its words."""


class CapBroken(Exception):
    """More was billed than the cap allows, a call was answered with a server error, or the books do not agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """`calls` of `cost` USD each, `input_tokens` and `output_tokens` long, against a `cap` in USD. `limit` is the
    `max_tokens` of each call, None where the client names none; `least` the part of the cap, in percent, that has to be
    used."""

    name: str
    what: str
    model: str
    calls: int
    cost: Decimal
    input_tokens: int
    output_tokens: int
    limit: int | None
    least: int
    stream: bool = False
    cap: Decimal = CAP

    def part(self, divisor: int) -> Arrangement:
        """A smaller one of the same proportions: fewer calls against a smaller cap."""
        return replace(self, calls=self.calls // divisor, cap=self.cap / divisor)

    def body(self) -> bytes:
        """The request of each call."""
        prompt = " ".join(["budget"] * (self.input_tokens - _WORDS_OF_FRAME))
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        if self.limit is not None:
            body["max_tokens"] = self.limit
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body).encode()


# USD for a million tokens: gpt-4 30 in and 60 out, gpt-4o 2.50 in and 10 out.
_LARGE = Arrangement(
    name="large",
    what="100 calls at 0.18 USD",
    model="gpt-4",
    calls=100,
    cost=Decimal("0.18"),
    input_tokens=20,
    output_tokens=2_990,
    limit=2_990,
    least=90,
)
_SMALL = Arrangement(
    name="small",
    what="600 calls at 0.0025 USD, max_tokens 20 times what is used",
    model="gpt-4o",
    calls=600,
    cost=Decimal("0.0025"),
    input_tokens=20,
    output_tokens=245,
    limit=20 * 245,
    least=99,
)
ARRANGEMENTS = {
    each.name: each
    for each in (
        _LARGE,
        replace(_LARGE, name="unlimited", what="100 calls at 0.18 USD, max_tokens left out", limit=None),
        _SMALL,
        replace(_SMALL, name="streams", what=f"{_SMALL.what}, streams", stream=True),
    )
}


@dataclass(slots=True)
class Tally:
    """What the clients were answered: how often each status came with each code, at once and one by one; `last` is the
    code that ended the calls one by one."""

    at_once: Counter[tuple[int, str]] = field(default_factory=Counter)
    alone: Counter[tuple[int, str]] = field(default_factory=Counter)
    last: str = ""

    @property
    def all(self) -> Counter[tuple[int, str]]:
        """Both together."""
        return self.at_once + self.alone

    def server_errors(self) -> dict[tuple[int, str], int]:
        """The answers that are no answer: 5xx, and 0 for a connection that broke."""
        return {pair: count for pair, count in self.all.items() if pair[0] >= 500 or pair[0] == 0}


async def spend_up(urls: Sequence[str], key: str, arrangement: Arrangement, *, ttfb: int = 20) -> Tally:
    """Make the calls of an arrangement at once, dealt out over the gateways at `urls` (`…/openai/v1`), then one by one
    until one is refused for good. The fake provider answers after `ttfb` milliseconds."""
    tally = Tally()
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "x-fake": f"out={arrangement.output_tokens} ttfb={ttfb}",
    }
    body = arrangement.body()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    ) as session:
        numbers = iter(range(arrangement.calls))

        async def caller(url: str, turns: Iterator[int]) -> None:
            for _ in turns:
                tally.at_once[await _call(session, url, body)] += 1

        callers = min(CONNECTIONS, arrangement.calls)
        await asyncio.gather(*(caller(urls[number % len(urls)], numbers) for number in range(callers)))
        for number in range(ALONE_MAX):
            status, code = await _call(session, urls[number % len(urls)], body)
            tally.alone[status, code] += 1
            if status == 429:
                await asyncio.sleep(1)
            elif status != 200:
                tally.last = code
                break
    return tally


async def _call(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, str]:
    """One call, read to its end: its status, and the code of a refusal."""
    try:
        async with session.post(f"{url}/chat/completions", data=body) as answer:
            content = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return 0, type(error).__name__
    if answer.status == 200:
        return 200, "" if content.rstrip().endswith((b"}", b"[DONE]")) else "half an answer"
    try:
        return answer.status, str(json.loads(content)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return answer.status, content[:80].decode("utf-8", "replace")
