"""One call of each wire from the client to the books: what it holds, what it settles, what its answer says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import DATABASE_KINDS, postgresql_database, sqlite_url
from tests.support.fake_provider import KEY
from tests.support.gateway import GatewayWorld, chat, error_of, gateway_world
from tests.support.server import verified, wait_until


@pytest.fixture(scope="module", params=DATABASE_KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("gateway")
    if request.param == "sqlite":
        with gateway_world(sqlite_url(directory), directory) as made:
            yield made
    else:
        with (
            postgresql_database(request.getfixturevalue("postgres_server")) as url,
            gateway_world(url, directory) as made,
        ):
            yield made


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/openai/v1/chat/completions", chat("hello [[fake out=20]]", max_tokens=50)),
    "chat stream": ("/openai/v1/chat/completions", chat("hello [[fake out=20]]", max_tokens=50, stream=True)),
    "chat without a limit": ("/openai/v1/chat/completions", chat("hello [[fake out=20]]")),
    "responses": ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 40}),
    "responses stream": ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello", "stream": True}),
    "embeddings": ("/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": ["hello", "world"]}),
    "by name": ("/providers/local/v1/chat/completions", chat("hello", max_tokens=9)),
    "messages": (
        "/anthropic/v1/messages",
        {"model": "claude-sonnet-4-5", "max_tokens": 40, "messages": [{"role": "user", "content": "hello"}]},
    ),
    "messages stream": (
        "/anthropic/v1/messages",
        {
            "model": "claude-sonnet-4-5", "max_tokens": 40, "stream": True,
            "messages": [{"role": "user", "content": "hello"}],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_settled_at_what_the_provider_bills(world: GatewayWorld, name: str) -> None:
    path, body = CALLS[name]
    world.settled()
    before = len(world.provider.bill()["lines"])
    answer = world.office.send("POST", path, body, key=world.key)
    assert answer.status == 200, answer.body
    world.settled()
    (line,) = world.provider.bill()["lines"][before:]
    found = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    assert line["client_request_id"] == found["id"]
    assert found["state"] == "settled"
    assert Decimal(found["settled"]["amount"]) == Decimal(line["cost"])
    assert (found["category"], found["resource"], found["flags"]) == ("inference", body["model"], ["gateway"])
    assert int(found["metering"]["input_tokens"]) == line["input_tokens"]
    assert int(found["metering"].get("output_tokens", "0")) == line["output_tokens"]
    # An answer to an embedding has no id.
    assert found["metering"].get("response_id") == (None if name == "embeddings" else line["id"])
    assert found["metering"]["price.source"].startswith("genai-prices")
    budget = world.office.get("/v1/budgets/research")
    if body.get("stream"):
        assert answer.headers["x-bursar-cost-at-most"] == "true"
        assert Decimal(answer.headers["x-bursar-cost"]) >= Decimal(line["cost"])
    else:
        assert Decimal(answer.headers["x-bursar-cost"]) == Decimal(line["cost"])
        assert Decimal(answer.headers["x-bursar-remaining"]) == Decimal(budget["available"]["amount"])
    assert answer.headers["x-bursar-currency"] == "USD"


def test_everything_that_was_billed_is_in_the_books(world: GatewayWorld) -> None:
    assert world.insist_that_the_bill_is_spent() > 0


def test_free_questions_cost_nothing_and_need_a_valid_key(world: GatewayWorld) -> None:
    before = len(world.authorizations())
    assert world.office.send("GET", "/openai/v1/models", key=world.key).status == 200
    counted = world.office.send(
        "POST", "/anthropic/v1/messages/count_tokens",
        {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hello"}]}, key=world.key,
    )  # fmt: skip
    assert counted.json["input_tokens"] > 0
    assert world.office.send("GET", "/openai/v1/models", key="bk_agent_nonsense").status == 401
    assert len(world.authorizations()) == before


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/openai/v1/images/generations", {"prompt": "a cat"}, 404, "not_served"),
        ("/openai/v1/chat/completions", {"model": "gpt-4o-mini"}, 400, "invalid_request"),
        ("/openai/v1/chat/completions", chat(max_tokens=-1), 400, "invalid_request"),
        ("/openai/v1/chat/completions", chat(model="no-such-model"), 403, "price_unknown"),
        ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "x", "background": True}, 403, "cannot_bound"),
        ("/openai/v1/chat/completions", chat(n=1_000_000, max_tokens=50), 403, "insufficient_budget"),
        ("/providers/nobody/v1/chat/completions", chat(), 404, "unknown_provider"),
    ],
)
def test_what_is_refused_reaches_no_provider(
    world: GatewayWorld, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    before = len(world.provider.seen())
    answer = world.office.send("POST", path, body, key=world.key)
    assert (answer.status, error_of(answer.body)["code"]) == (status, code)
    assert len(world.provider.seen()) == before


def test_denials_of_the_gateway_are_on_record(world: GatewayWorld) -> None:
    body = {"model": "gpt-4o-mini", "input": "x", "previous_response_id": "resp_1"}
    answer = world.office.send("POST", "/openai/v1/responses", body, key=world.key)
    found = world.office.get(f"/v1/authorizations/{answer.headers['x-bursar-authorization']}")
    assert (found["state"], found["reason"]) == ("denied", "cannot_bound")
    assert "previous_response" in error_of(answer.body)["message"]
    verified(world.book.database_url)


def test_no_provider_key_is_ever_shown(world: GatewayWorld, tmp_path: Path) -> None:
    world.office.send("POST", "/openai/v1/chat/completions", chat("[[fake status=401]]"), key=world.key)
    world.office.send("POST", "/openai/v1/chat/completions", chat("[[fake status=500]]"), key=world.key)
    assert KEY not in world.server.log_text()
    records = world.office.get("/v1/log?limit=200")
    assert KEY not in json.dumps(records)
    assert world.key not in world.server.log_text()


def test_what_remains_is_what_the_runs_cap_leaves(world: GatewayWorld) -> None:
    cap = {"amount": "0.01", "currency": "USD"}
    world.office.make("/v1/runs", {"name": "capped", "cap": cap}, key=world.key)
    spent = Decimal(0)
    for _ in range(2):
        answer = world.office.send(
            "POST", "/openai/v1/chat/completions", chat("hello", max_tokens=9), key=world.key,
            headers={"x-bursar-run": "capped"},
        )  # fmt: skip
        spent += Decimal(answer.headers["x-bursar-cost"])
        assert Decimal(answer.headers["x-bursar-remaining"]) == Decimal("0.01") - spent
    too_much = chat("hello", model="gpt-4o", max_tokens=100_000, n=3)
    lowered = world.office.send(
        "POST", "/openai/v1/chat/completions", too_much, key=world.key, headers={"x-bursar-run": "capped"}
    )
    assert lowered.status == 200
    assert json.loads(world.provider.seen()[-1].body)["max_tokens"] < 1000


@pytest.mark.parametrize("verb", ["settle", "release", "unknown"])
def test_an_agent_cannot_end_its_own_call_for_less(world: GatewayWorld, verb: str) -> None:
    """While the provider works, the id of the authorization is there for everybody to see."""
    seen = len(world.provider.seen())
    with ThreadPoolExecutor(1) as pool:
        body = chat("slow [[fake out=30 ttfb=4000]]", max_tokens=50)
        calling = pool.submit(world.office.send, "POST", "/openai/v1/chat/completions", body, key=world.key)
        wait_until(lambda: len(world.authorizations(state="held", flag="gateway")) > 0, seconds=30, what="a hold")
        for held in world.authorizations(state="held", flag="gateway"):
            said = {"amount": {"amount": "0", "currency": "USD"}} if verb == "settle" else {}
            answer = world.office.send("POST", f"/v1/authorizations/{held['id']}/{verb}", said, key=world.key)
            assert (answer.status, answer.code) == (403, "gateway_only")
        done = calling.result(60)
    assert done.status == 200
    assert len(world.provider.seen()) == seen + 1
    assert Decimal(done.headers["x-bursar-cost"]) == Decimal(world.provider.bill()["lines"][-1]["cost"])
