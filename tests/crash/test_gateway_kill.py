"""SIGKILL of a gateway in mid-stream, again and again: every cent on the provider's bill is explained in the end.

After each restart the holds that the crash left are open still (with BURSAR_LONG=1 the books are verified now and
then). When all is over `bursar gateway reconcile --bill` resolves what the crashes left, and then each line of the bill
is one call's settlement, and nothing is held.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bursar import name_in_environment
from gateway.cli.group import command as gateway_group
from tests.support.fake_provider import FakeProvider, atoms
from tests.support.gateway import GatewayWorld, chat, gateway_world
from tests.support.server import verified, wait_until

SEED = int(os.environ.get("BURSAR_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
LONG = os.environ.get("BURSAR_LONG") == "1"
CRASHES = 20 if LONG else 3
CALLERS = 8
CONFIG = {"wait_seconds": 5, "idle_seconds": 10, "total_seconds": 60}
name_in_environment(gateway_group)


def call_of(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A call of any wire, mostly streamed, some of them slow."""
    out = chance.randrange(5, 40)
    prompt = f"hello [[fake out={out} interval={chance.choice((0, 2, 10))} ttfb={chance.choice((0, 5, 20))}]]"
    stream = chance.random() < 0.8
    wire = chance.randrange(3)
    if wire == 0:
        return "/openai/v1/chat/completions", chat(prompt, max_tokens=60, stream=stream)
    if wire == 1:
        body = {"model": "gpt-4o-mini", "input": prompt, "max_output_tokens": 60, "stream": stream}
        return "/openai/v1/responses", body
    message = {"role": "user", "content": prompt}
    return "/anthropic/v1/messages", {
        "model": "claude-sonnet-4-5", "max_tokens": 60, "messages": [message], "stream": stream
    }  # fmt: skip


async def load(world: GatewayWorld, chance: random.Random, blow_after: int) -> None:
    """Callers at work until so many streams have begun to arrive in this round; then the blow, in their middle."""
    struck = asyncio.Event()
    begun = 0

    async def caller() -> None:
        nonlocal begun
        while not struck.is_set():
            writer = None
            path, body = call_of(chance)
            content = json.dumps(body).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.key}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
            )
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
                writer.write(head.encode() + content)
                seen = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " in seen.partition(b"\r\n")[0]:
                    begun += 1
                    if begun >= blow_after and not struck.is_set():
                        struck.set()
                        world.server.strike()
                while await reader.read(65_536):
                    pass
            except (OSError, EOFError):
                pass
            finally:
                if writer is not None:
                    writer.close()

    await asyncio.wait_for(asyncio.gather(*(caller() for _ in range(CALLERS))), 120)


def reconcile(world: GatewayWorld, bill: Path, *more: str) -> dict[str, Any]:
    """Type `bursar gateway reconcile`, as finance."""
    finance = world.office.make_person("finance", f"fred-{len(world.office.get('/v1/keys?limit=200')['items'])}")
    words = [
        "reconcile", "--include-open", "--older-than", "0s", "--bill", str(bill), "--bill-until", "2100-01-01",
        "--absent", "release", "--yes", "--json", *more,
    ]  # fmt: skip
    environment = {"BURSAR_URL": world.server.url, "BURSAR_API_KEY": finance}
    done = CliRunner().invoke(gateway_group, words, env=environment)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(3600 if LONG else 300)
def test_a_gateway_that_is_killed_in_mid_stream_leaves_books_that_explain_the_bill(
    database_url: str, tmp_path: Path
) -> None:
    sys.stderr.write(f"BURSAR_CRASH_SEED={SEED} repeats this\n")
    chance = random.Random(SEED)
    bill = tmp_path / "bill.jsonl"
    with (
        FakeProvider(bill_path=bill, keep=10) as provider,
        gateway_world(database_url, tmp_path, allocated="100.00", provider=provider, config=CONFIG) as world,
    ):
        left = 0
        for number in range(CRASHES):
            asyncio.run(load(world, chance, chance.randrange(5, 60)))
            world.server.kill()
            world.server.start()
            if LONG and number % 5 == 0:
                verified(world.book.database_url)
            open_now = len(world.authorizations(state="held"))
            assert open_now >= left
            left = open_now
        assert left, "every blow fell when no call was under way"
        wait_for_the_provider(provider)
        reconcile(world, bill)
        insist_that_the_bill_is_explained(world, provider)
        verified(world.book.database_url)


def wait_for_the_provider(provider: FakeProvider) -> None:
    """Wait until it has noticed that its clients are gone, and billed them."""
    wait_until(lambda: provider.marks()["calls"]["now"] == 0, seconds=60, what="the end of the provider's calls")


def insist_that_the_bill_is_explained(world: GatewayWorld, provider: FakeProvider) -> None:
    """Each line of the bill is one authorization's, settled at it; no hold is open; nothing else is spent."""
    lines = provider.bill()["lines"]
    billed: Counter[str] = Counter()
    for line in lines:
        billed[line["client_request_id"]] += atoms(line["cost"])
    calls = {call["id"]: call for call in world.authorizations()}
    assert billed.keys() <= calls.keys()
    assert {call["state"] for call in calls.values()} <= {"settled", "released", "denied"}
    settled = {name: atoms(call["settled"]["amount"]) for name, call in calls.items() if call["state"] == "settled"}
    assert settled == dict(billed)
    balances = world.balances()
    assert balances["held"] == 0
    assert balances["spent"] == provider.billed_atoms()
