"""Real traffic for the gateway: the requests of a public trace, with clients that leave and a provider that fails.

The trace is Azure's of code completions in 2023 (github.com/Azure/AzurePublicDataset, CC-BY): how many tokens each
request had, and nothing else. Owns what is made of it. Invariants: with one seed the same requests fail and the same
clients leave; each prompt has the trace's number of tokens as the provider bills them.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import aiohttp

from bench.fake_provider.words import TOKENS_PER_MESSAGE, TOKENS_PER_REPLY, text_pieces
from tests.support.gateway import MODEL
from tests.support.shared_data import shared_data

TRACE = shared_data("azure_llm_2023_code.csv")
CONNECTIONS = 32
STREAMS_PERCENT = 75
DROPS_PERCENT = 5
FAILS_PERCENT = 2
ANSWER_SECONDS = 120
FRAME = TOKENS_PER_MESSAGE + TOKENS_PER_REPLY
REFUSED, BUSY, CUT = "status=500", "status=429 retry_after=1", "close_after"
_WORDS = text_pieces(8_000)
_TEXT = "".join(_WORDS)
_ENDS = [0]
for _word in _WORDS:
    _ENDS.append(_ENDS[-1] + len(_word))


@dataclass(frozen=True, slots=True)
class Planned:
    """One request. ``fault`` are directives of how the provider fails, ``drops`` says that its client leaves in
    mid-stream."""

    number: int
    input_tokens: int
    output_tokens: int
    stream: bool
    drops: bool = False
    fault: str = ""

    def body(self) -> bytes:
        """The request; its limit is twice what is generated."""
        first = self.number % 64
        prompt = _TEXT[_ENDS[first] : _ENDS[first + self.input_tokens - FRAME]]
        body: dict[str, Any] = {
            "model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 2 * self.output_tokens,
        }  # fmt: skip
        return json.dumps(body | ({"stream": True} if self.stream else {})).encode()

    def directives(self) -> str:
        """What the provider is to do. A stream whose client leaves takes time, so that there is a middle of it."""
        pace = " ttfb=2 interval=2" if self.drops else ""
        return f"out={self.output_tokens} {self.fault}{pace}".strip()

    def expected_status(self) -> int:
        """What its client is answered where there is money."""
        if self.fault == REFUSED:
            return 500
        if self.fault == BUSY:
            return 429
        return 502 if self.fault and not self.stream else 200


@dataclass(frozen=True, slots=True)
class Heard:
    """What the client of a request heard: ``authorization`` as the answer names it, ``code`` of a refusal."""

    planned: Planned
    status: int
    code: str
    authorization: str


def read_trace(count: int | None = None) -> list[Planned]:
    """The requests of the trace, or the first so many. A prompt has at least one word."""
    with TRACE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    return [
        Planned(
            number,
            max(int(row["ContextTokens"]), FRAME + 1),
            int(row["GeneratedTokens"]),
            stream=False,
        )
        for number, row in enumerate(rows)
    ]


def with_mishaps(requests: Sequence[Planned], *, seed: int) -> list[Planned]:
    """The same requests, three quarters of them streams, 5 % of which lose their client, and 2 % of all failing: in
    turn by an error before anything was generated, by a limit of rate, and by a connection that closes in the middle.
    At least one stream and one other request have each mishap."""
    chance = Random(seed)
    made = [replace(each, stream=chance.random() * 100 < STREAMS_PERCENT) for each in requests]
    streams = [each.number for each in made if each.stream]
    for number in chance.sample(streams, len(streams) * DROPS_PERCENT // 100):
        made[number] = replace(made[number], drops=True)
    faults = max(len(made) * FAILS_PERCENT // 100, 6)
    for turn, stream in enumerate((True, False)):
        candidates = [each.number for each in made if each.stream is stream and not each.drops]
        share = faults - faults // 2 if turn == 0 else faults // 2
        for place, number in enumerate(chance.sample(candidates, share)):
            kind = (REFUSED, BUSY, CUT)[place % 3]
            tokens = made[number].output_tokens
            fault = f"{CUT}={chance.randint(1, max(tokens - 1, 1))}" if kind == CUT else kind
            made[number] = replace(made[number], fault=fault)
    return made


async def send_all(url: str, key: str, requests: Sequence[Planned]) -> list[Heard]:
    """Send the requests over 32 connections in the order of the trace; ``url`` is ``…/openai/v1``."""
    waiting = deque(requests)
    heard: list[Heard] = []
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS), headers=headers,
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
    ) as session:  # fmt: skip

        async def sender() -> None:
            while waiting:
                planned = waiting.popleft()
                heard.append(await _send(session, f"{url}/chat/completions", planned))

        await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return heard


async def _send(session: aiohttp.ClientSession, url: str, planned: Planned) -> Heard:
    async with session.post(url, data=planned.body(), headers={"x-fake": planned.directives()}) as answer:
        authorization = answer.headers.get("x-bursar-authorization", "")
        if planned.drops and answer.status == 200:
            await answer.content.readany()
            # What was not read is not wanted: the connection is closed.
            answer.close()
            return Heard(planned, answer.status, "", authorization)
        content = await answer.read()
    code = ""
    if answer.status != 200:
        code = str(json.loads(content)["error"].get("code") or "")
    return Heard(planned, answer.status, code, authorization)
