"""What the tests of things that go wrong share: the calls of each wire, and what became of one on both sides.

Owns ``Fate``. Invariant: the bill is the provider's own and the state is the ledger's own; nothing here computes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ledger.core.money import parse_atoms
from tests.support.clients import Answer
from tests.support.fake_provider import atoms
from tests.support.gateway import GatewayWorld, chat
from tests.support.server import wait_until

PATHS = {"chat": "/openai/v1/chat/completions", "messages": "/anthropic/v1/messages"}
FORMS = [(wire, stream) for wire in PATHS for stream in (False, True)]
IDS = [f"{wire}-{'stream' if stream else 'whole'}" for wire, stream in FORMS]
OUT = 20
"""Tokens that each call generates unless something stops it."""

USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
BODY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "usage": USAGE,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop"}],
    }
).encode()  # fmt: skip
COST = 10 * 150 + 4 * 600
"""Atoms that this usage costs."""
CHUNKS = (
    b"".join(
        b"data: %s\n\n" % json.dumps({"id": "chatcmpl-1", "model": "gpt-4o-mini"} | part).encode()
        for part in (
            {"choices": [{"index": 0, "delta": {"content": "one two"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": USAGE},
        )
    )
    + b"data: [DONE]\n\n"
)
"""Answers made by hand, not streamed and streamed."""


def call_of(wire: str, directives: str, *, stream: bool, **more: Any) -> tuple[str, dict[str, Any]]:
    """Path and body of a call that the fake provider answers as the directives say."""
    prompt = f"hello [[fake out={OUT} {directives}]]"
    if wire == "chat":
        body = chat(prompt, max_tokens=60, stream=stream)
    else:
        message = {"role": "user", "content": prompt}
        body = {"model": "claude-sonnet-4-5", "max_tokens": 60, "stream": stream, "messages": [message]}
    return PATHS[wire], body | more


@dataclass(frozen=True)
class Fate:
    """What became of one call: ``state`` is ``settled``, ``released`` or ``unknown``; amounts in atoms. ``billed`` is
    None where the provider's bill does not name it."""

    id: str
    state: str
    settled: int
    held: int
    billed: int | None
    flags: frozenset[str]


def fate(world: GatewayWorld, authorization: str) -> Fate:
    """Wait until the call has ended on record; what became of it."""

    def look() -> dict[str, Any]:
        found: dict[str, Any] = world.office.get(f"/v1/authorizations/{authorization}")
        return found

    def ended() -> bool:
        found = look()
        return found["state"] != "held" or "unknown" in found["flags"]

    wait_until(ended, seconds=30, what=f"the end of {authorization}")
    found = look()
    lines = [line for line in world.provider.bill()["lines"] if line["client_request_id"] == authorization]
    return Fate(
        id=authorization,
        state="unknown" if found["state"] == "held" else found["state"],
        settled=parse_atoms(found["settled"]["amount"], 9),
        held=parse_atoms(found["held"]["amount"], 9),
        billed=sum(atoms(line["cost"]) for line in lines) if lines else None,
        flags=frozenset(found["flags"]) - {"unknown", "gateway"},
    )


def fate_of(world: GatewayWorld, answer: Answer) -> Fate:
    """What became of the call that got this answer."""
    return fate(world, answer.headers["x-bursar-authorization"])


def insist_that_nothing_leaked(world: GatewayWorld) -> None:
    """The next call works, where no more than one may be under way, and is settled at what is billed."""
    path, body = call_of("chat", "", stream=False)
    answer = world.office.send("POST", path, body, key=world.key)
    if answer.status != 200:
        raise AssertionError(f"the next call did not work: {answer.status} {answer.body.decode()}")
    found = fate_of(world, answer)
    if found.state != "settled" or found.settled != found.billed:
        raise AssertionError(f"the next call was not settled as billed: {found}")
