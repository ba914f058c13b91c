"""Calls to a fake provider with round prices, over plain HTTP and over a bare socket, and what they were billed."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from typing import Any

import httpx

from tests.support.fake_provider import KEY, FakeProvider

CHAT, RESPONSES, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"
# Round prices: a token in costs a thousandth of a dollar, a token out a hundredth.
PRICE = "*=1000,10000"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    RESPONSES: {"model": "m", "input": "hi"},
    MESSAGES: {"model": "m", "max_tokens": 10_000, "messages": [{"role": "user", "content": "hi"}]},
    EMBEDDINGS: {"model": "m", "input": "hi"},
}
GENERATING = (CHAT, RESPONSES, MESSAGES)


def ask(
    fake: FakeProvider, path: str, directives: str, *, stream: bool = False, usage: bool = False, **headers: str
) -> httpx.Response:
    """One call with `x-fake`; raises httpx's error where the answer breaks off. `usage`: ask a stream for usage."""
    body = BODIES[path] | ({"stream": True} if stream else {})
    body |= {"stream_options": {"include_usage": True}} if usage and path == CHAT else {}
    return httpx.post(
        fake.url + path,
        json=body,
        headers={"x-fake": directives, "authorization": f"Bearer {KEY}"} | headers,
        timeout=20,
    )


def cost_of(output: int) -> Decimal:
    """What the fixture's prices make of ten tokens in and so many out."""
    return Decimal("0.01") + output * Decimal("0.01")


def billed(fake: FakeProvider) -> list[tuple[int, str]]:
    """Output tokens and outcome of each line; every line's cost is checked."""
    bill = fake.bill()
    for line in bill["lines"]:
        assert Decimal(line["cost"]) == cost_of(line["output_tokens"])
    assert Decimal(bill["total"]) == sum((Decimal(line["cost"]) for line in bill["lines"]), Decimal(0))
    return [(line["output_tokens"], line["outcome"]) for line in bill["lines"]]


def events(response: httpx.Response) -> list[Any]:
    """The data of each event; [DONE] as it stands."""
    found = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(data) if data.startswith("{") else data for data in found]


def raw_request(path: str, directives: str, *, stream: bool = True) -> bytes:
    body = json.dumps(BODIES[path] | {"stream": stream}).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nx-fake: {directives}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def read_until(client: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        part = client.recv(65536)
        assert part
        data += part
    return data
