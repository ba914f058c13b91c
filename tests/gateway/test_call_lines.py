"""Log lines and metrics of calls: what they say, that they agree with the books, and that they never tell a secret."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import sqlite_url
from tests.support.fake_provider import KEY, FakeProvider
from tests.support.gateway import GatewayWorld, chat, gateway_world
from tests.support.server import wait_until

CHAT = "/openai/v1/chat/completions"
SECRET = "a-prompt-nobody-may-see"
INTENT = "an-intent-nobody-may-see"
LABEL = "a-label-nobody-may-see"
SAID = {"x-bursar-intent": INTENT, "x-bursar-labels": f"customer={LABEL}"}


def lines_of(world: GatewayWorld) -> list[dict[str, Any]]:
    """The access lines of the gateway in a log of JSON lines."""
    found = [json.loads(line) for line in world.server.log_text().splitlines() if line.startswith("{")]
    return [line for line in found if line["logger"] == "bursar.access" and "outcome" in line]


@pytest.fixture(scope="module", params=["json", "text"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("lines")
    flags = ("--access-log", "--log-format", request.param, "--log-level", "debug")
    with gateway_world(sqlite_url(directory), directory, flags=flags) as made:
        yield made


def test_a_line_a_call_with_what_the_books_say(world: GatewayWorld) -> None:
    """The authorization's id leads from the line to the record, and tokens and cost are the record's."""
    answer = world.office.send("POST", CHAT, chat(f"{SECRET} [[fake in=40 out=20]]", max_tokens=50), key=world.key)
    assert answer.status == 200
    authorization = answer.headers["x-bursar-authorization"]
    wait_until(lambda: authorization in world.server.log_text(), seconds=30, what="the line")
    found = world.office.get(f"/v1/authorizations/{authorization}")
    wanted = {
        "authorization": authorization,
        "method": "POST",
        "path": CHAT,
        "status": 200,
        "provider": "openai",
        "model": "gpt-4o-mini",
        "agent": "crawler",
        "outcome": "settled",
        "input_tokens": 40,
        "output_tokens": 20,
        "cost": answer.headers["x-bursar-cost"],
        "currency": "USD",
    }
    assert Decimal(found["settled"]["amount"]) == Decimal(str(wanted["cost"]))
    if "json" not in world.server.flags:
        # Asking for the record has left a line too, with its id in the path.
        said = f" authorization={authorization} "
        (text,) = [line for line in world.server.log_text().splitlines() if said in line]
        assert {f"{name}={value}" for name, value in wanted.items()} <= set(text.split())
        assert re.search(r" request_id=req_\S+ ", text)
        assert re.search(r" milliseconds=\d+\.\d+ ", text)
        return
    (line,) = [line for line in lines_of(world) if line.get("authorization") == authorization]
    assert {name: line.get(name) for name in wanted} == wanted
    assert line["request_id"] in (answer.headers["x-request-id"], answer.headers.get("x-bursar-request-id"))
    assert line["milliseconds"] > 0


@pytest.mark.parametrize(
    ("directive", "outcome", "code"),
    [
        ("status=400", "released", None),
        ("status=500", "unknown", None),
        ("close=1", "unknown", "upstream_broken"),
        ("usage=none", "settled", None),
    ],
)
def test_a_line_says_how_the_call_ended(world: GatewayWorld, directive: str, outcome: str, code: str | None) -> None:
    answer = world.office.send("POST", CHAT, chat(f"{SECRET} [[fake {directive}]]", max_tokens=9), key=world.key)
    authorization = answer.headers["x-bursar-authorization"]
    wait_until(lambda: authorization in world.server.log_text(), seconds=30, what="the line")
    if "text" in world.server.flags:
        (text,) = [line for line in world.server.log_text().splitlines() if f"authorization={authorization}" in line]
        assert f" outcome={outcome} " in text + " "
    else:
        (line,) = [line for line in lines_of(world) if line.get("authorization") == authorization]
        assert (line["outcome"], line.get("code"), line["status"]) == (outcome, code, answer.status)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "directive", ["out=5", "status=401", "status=500", "close=1", "close_after=2", "error_after=2", "usage=malformed"]
)
def test_no_line_tells_a_prompt_an_answer_or_a_key(world: GatewayWorld, directive: str, stream: bool) -> None:
    """At the most talkative level, whatever goes wrong, in both formats."""
    before = len(world.server.log_text())
    prompt = f"{SECRET} [[fake {directive}]]"
    world.office.send("POST", CHAT, chat(prompt, max_tokens=9, stream=stream), key=world.key, headers=SAID)
    for model in (KEY, world.key):
        world.office.send("POST", CHAT, chat(SECRET, model=model), key=world.key, headers=SAID)
    world.office.send("POST", CHAT, chat(SECRET, max_tokens="many"), key=world.key, headers=SAID)
    world.office.send("POST", CHAT, chat(SECRET), key="bk_agent_notakeyatall", headers=SAID)
    world.office.send("POST", f"{CHAT}?key={KEY}", chat(SECRET), key=world.key, headers={"x-bursar-nothing": SECRET})
    wait_until(lambda: world.server.log_text()[before:].count("outcome") >= 6, seconds=30, what="six lines")
    log = world.server.log_text()
    answered = [seen.answer.decode() for seen in world.provider.seen() if seen.status == 200]
    words = {word for answer in answered for word in re.findall(r'"content":\s*"([^"]{12,})"', answer)}
    for secret in (SECRET, INTENT, LABEL, KEY, world.key, "bk_agent_notakeyatall", *words):
        assert secret not in log


def metrics_of(world: GatewayWorld) -> dict[str, float]:
    """Every sample of the gateway, by its name with its labels."""
    text = world.office.send("GET", "/metrics", None, key=world.key).body.decode()
    found = re.findall(r"^(bursar_gateway_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.mark.parametrize("workers", [1, 3])
def test_metrics_agree_with_the_bill_over_all_workers(tmp_path: Path, workers: int) -> None:
    """Tokens and cost are the provider's, calls are those that were made, and every worker answers for all."""
    with gateway_world(sqlite_url(tmp_path), tmp_path, flags=("--workers", str(workers))) as world:
        send = world.office.send
        for out in (10, 20, 30):
            assert send("POST", CHAT, chat(f"[[fake in=50 out={out}]]", max_tokens=40), key=world.key).status == 200
        by_name = "/providers/local/v1/chat/completions"
        assert (
            send("POST", by_name, chat("[[fake in=7 out=3]]", max_tokens=9, stream=True), key=world.key).status == 200
        )
        send("POST", CHAT, chat("[[fake status=400]]", max_tokens=9), key=world.key)
        send("POST", CHAT, chat("[[fake status=500]]", max_tokens=9), key=world.key)
        send("POST", CHAT, chat(model="no-such-model"), key=world.key)
        send("POST", CHAT, {"model": "gpt-4o-mini"}, key=world.key)
        send("POST", CHAT, chat(max_tokens=9), key="bk_agent_nonsense")
        send("GET", "/openai/v1/models", None, key=world.key)
        calls = 'bursar_gateway_calls_total{outcome="%s",wire="openai-chat"}'
        wanted = Counter({"settled": 4, "released": 1, "unknown": 1, "denied": 1, "refused": 2})

        def is_counted() -> bool:
            found = metrics_of(world)
            return all(found.get(calls % outcome) == number for outcome, number in wanted.items())

        wait_until(is_counted, seconds=30, what="the count of all calls")
        found = metrics_of(world)
        costs = sum(value for name, value in found.items() if name.startswith("bursar_gateway_cost_atoms_total"))
        assert costs == world.provider.billed_atoms()
        assert found['bursar_gateway_tokens_total{direction="input",provider="openai"}'] == 150
        assert found['bursar_gateway_tokens_total{direction="output",provider="openai"}'] == 60
        assert found['bursar_gateway_tokens_total{direction="input",provider="local"}'] == 7
        assert found['bursar_gateway_unknown_total{provider="openai"}'] == 1
        assert found['bursar_gateway_first_byte_seconds_count{wire="openai-chat"}'] == 6
        assert found["bursar_gateway_calls_under_way"] == 0
        assert sum(value for name, value in found.items() if name.startswith("bursar_gateway_calls_total")) == 9


def test_estimates_and_calls_under_way_are_counted(tmp_path: Path) -> None:
    with FakeProvider() as fake, gateway_world(sqlite_url(tmp_path), tmp_path, provider=fake) as world:
        world.office.send("POST", CHAT, chat("[[fake usage=none]]", max_tokens=9), key=world.key)
        assert metrics_of(world)['bursar_gateway_estimates_total{provider="openai"}'] == 1
        assert metrics_of(world)["bursar_gateway_calls_under_way"] == 0
        body = chat("[[fake hang=yes]]", max_tokens=9)
        threading.Thread(target=send_and_forget, args=(world, body), daemon=True).start()
        wait_until(
            lambda: metrics_of(world)["bursar_gateway_calls_under_way"] == 1, seconds=30, what="a call under way"
        )


def send_and_forget(world: GatewayWorld, body: dict[str, Any]) -> None:
    """A call whose answer does not come before the server is gone."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        world.office.send("POST", CHAT, body, key=world.key)
