"""Every fault of the fake provider is what it says on the wire, and costs what its rule says."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import pytest

from bench.fake_provider.words import text_pieces
from tests.bench.fake_calls import (
    BODIES,
    CHAT,
    EMBEDDINGS,
    GENERATING,
    MESSAGES,
    PRICE,
    RESPONSES,
    ask,
    billed,
    events,
    raw_request,
    read_until,
)
from tests.support.fake_provider import KEY, FakeProvider


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(prices=[PRICE], defaults="in=10 out=20") as provider:
        yield provider


@pytest.mark.parametrize("path", [*GENERATING, EMBEDDINGS])
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503, 529])
def test_an_error_before_generation_has_the_provider_s_shape_and_costs_nothing(
    fake: FakeProvider, path: str, status: int
) -> None:
    response = ask(fake, path, f"status={status} retry_after=7")
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    error = response.json()["error"]
    assert error["message"]
    assert ("type" in response.json()) == (path == MESSAGES)
    assert billed(fake) == []


def test_clients_raise_what_the_real_provider_would_cause(fake: FakeProvider) -> None:
    with openai.OpenAI(base_url=fake.openai_url, api_key=KEY, max_retries=0) as client:
        for status, error in ((429, openai.RateLimitError), (500, openai.InternalServerError)):
            fake.defaults(f"status={status}")
            with pytest.raises(error):
                client.responses.create(model="m", input="hi")
        fake.defaults("status=0 error_after=3")
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))
    with anthropic.Anthropic(base_url=fake.url, api_key=KEY, max_retries=0) as other:
        message: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            list(other.messages.create(stream=True, **message))
        fake.defaults("status=529 error_after=")
        with pytest.raises(anthropic.InternalServerError, match="overloaded_error"):
            other.messages.create(**message)
    assert billed(fake) == [(3, "cut"), (3, "cut")]


@pytest.mark.parametrize("key", ["", "bk_agent_x", "other"])
def test_another_key_is_refused(fake: FakeProvider, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {"authorization": ""}
    response = ask(fake, CHAT, "", **headers)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    refused = ask(fake, MESSAGES, "", **headers).json()
    assert refused["error"]["type"] == "authentication_error"
    assert billed(fake) == []


def test_keys_that_were_given_out_and_the_header_of_anthropic() -> None:
    with FakeProvider(keys=["secret-a", "secret-b"], prices=[PRICE]) as fake:
        for key in ("secret-a", "secret-b", "secret-a"):
            headers = {"x-api-key": key, "x-client-request-id": f"auth_{key}"}
            assert httpx.post(fake.url + MESSAGES, json=BODIES[MESSAGES], headers=headers).status_code == 200
        assert ask(fake, CHAT, "").status_code == 401
        assert [len(fake.bill(key)["lines"]) for key in ("secret-a", "secret-b", "secret-c", None)] == [2, 1, 0, 3]
        without = fake.ask("GET", "/_fake/bill?lines=0&key=secret-a")
        assert without == {"total": fake.bill("secret-a")["total"], "unpriced": 0}
        assert fake.ask("GET", "/readyz") == {"ready": True}
        assert fake.bill("secret-b")["lines"][0]["client_request_id"] == "auth_secret-b"
        assert fake.billed_atoms("secret-a") == 2 * fake.billed_atoms("secret-b")


@pytest.mark.parametrize("path", [*GENERATING, EMBEDDINGS])
@pytest.mark.parametrize("fault", ["close", "close reset", "hang=yes", "hang=billed"])
def test_no_answer_at_all(fake: FakeProvider, path: str, fault: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(
            fake.url + path,
            json=BODIES[path],
            headers={"x-fake": fault, "authorization": f"Bearer {KEY}"},
            timeout=httpx.Timeout(30, read=0.3 if "hang" in fault else 30),
        )
    output = 0 if path == EMBEDDINGS else 20
    fake.await_bill(1 if fault == "hang=billed" else 0)
    assert billed(fake) == ([(output, "complete")] if fault == "hang=billed" else [])


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("after", [0, 1, 7, 20, 50])
def test_a_stream_that_breaks_off(fake: FakeProvider, path: str, after: int) -> None:
    generated = min(after, 20)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(fake, path, f"close_after={after}", stream=True)
    text = fake.seen()[-1].answer.decode()
    assert text.count(text_pieces(7)[6]) == (1 if generated >= 7 else 0)
    assert not any(end in text for end in ("[DONE]", "message_stop", "response.completed"))
    assert billed(fake) == ([(generated, "cut")] if generated else [])


@pytest.mark.parametrize("path", GENERATING)
def test_a_whole_answer_that_breaks_off(fake: FakeProvider, path: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        ask(fake, path, "close_after=5")
    assert billed(fake) == [(5, "cut")]


@pytest.mark.parametrize("path", GENERATING)
def test_a_stream_that_just_ends(fake: FakeProvider, path: str) -> None:
    response = ask(fake, path, "end_after=6", stream=True)
    assert response.status_code == 200
    assert text_pieces(6)[5] in response.text
    assert text_pieces(7)[6] not in response.text
    assert not any(end in response.text for end in ("[DONE]", "message_stop", "completed"))
    with pytest.raises(json.JSONDecodeError):
        ask(fake, path, "end_after=6").json()
    assert billed(fake) == [(6, "cut"), (6, "cut")]


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("fault", ["error_after", "fail_after"])
@pytest.mark.parametrize("after", [0, 4])
def test_an_error_after_200(fake: FakeProvider, path: str, fault: str, after: int) -> None:
    told = events(ask(fake, path, f"{fault}={after}", stream=True))
    last = told[-1]
    if path == RESPONSES and fault == "fail_after":
        assert last["type"] == "response.failed"
        assert last["response"]["usage"]["output_tokens"] == after
    elif path == CHAT:
        assert last["error"]["type"] == "server_error"
    else:
        assert last["type"] == "error"
    whole = ask(fake, path, f"{fault}={after}")
    if path == RESPONSES and fault == "fail_after":
        assert whole.json()["status"] == "failed"
    else:
        assert whole.status_code == 500
    assert billed(fake) == ([(4, "cut")] * 2 if after else [])


@pytest.mark.parametrize("path", GENERATING)
def test_a_stream_that_stalls(fake: FakeProvider, path: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            fake.url + path,
            json=BODIES[path] | {"stream": True},
            headers={"x-fake": "hang_after=3", "authorization": f"Bearer {KEY}"},
            timeout=httpx.Timeout(30, read=0.3),
        )
    fake.await_bill(1)
    assert text_pieces(3)[2] in fake.seen()[-1].answer.decode()
    assert billed(fake) == [(3, "cut")]


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("usage", ["none", "null", "malformed"])
def test_answers_without_a_usage_that_can_be_read_are_billed_all_the_same(
    fake: FakeProvider, path: str, usage: str
) -> None:
    body = ask(fake, path, f"usage={usage}").json()
    stream = ask(fake, path, f"usage={usage}", stream=True, usage=True).text
    if usage == "malformed":
        assert "many" in body["usage"].values()
        assert '"many"' in stream
    else:
        assert body.get("usage", "missing") == {"none": "missing", "null": None}[usage]
        assert '"output_tokens":' not in stream
        assert '"completion_tokens":' not in stream
    assert billed(fake) == [(20, "complete"), (20, "complete")]


def test_the_ways_in_which_compatible_providers_tell_usage(fake: FakeProvider) -> None:
    every = events(ask(fake, CHAT, "usage=every out=3", stream=True))[:-1]
    assert [chunk["usage"]["completion_tokens"] for chunk in every] == [0, 1, 2, 3, 3]
    groq = events(ask(fake, CHAT, "usage=groq out=3", stream=True))
    assert groq[-2]["x_groq"]["usage"]["completion_tokens"] == 3
    deepseek = ask(fake, CHAT, "usage=deepseek cached=4").json()["usage"]
    assert (deepseek["prompt_cache_hit_tokens"], deepseek["prompt_cache_miss_tokens"]) == (4, 6)
    assert "cost" in ask(fake, CHAT, "usage=openrouter").json()["usage"]


@pytest.mark.parametrize("path", GENERATING)
def test_usage_that_nobody_knows(fake: FakeProvider, path: str) -> None:
    usage = ask(fake, path, "unknown=7 unknown_detail=8").json()["usage"]
    assert usage["quantum_tokens"] == 7
    assert [part.get("holographic_tokens") for part in usage.values() if isinstance(part, dict)].count(8) == 1


def test_tiers_speeds_and_what_stands_outside_the_totals(fake: FakeProvider) -> None:
    assert ask(fake, CHAT, "tier=priority").json()["service_tier"] == "priority"
    assert "service_tier" not in ask(fake, CHAT, "tier=none").json()
    usage = ask(fake, MESSAGES, "tier=batch speed=fast geo=us searches=2 compaction_in=90 compaction_out=5").json()[
        "usage"
    ]
    assert (usage["service_tier"], usage["speed"], usage["inference_geo"]) == ("batch", "fast", "us")
    assert usage["server_tool_use"]["web_search_requests"] == 2
    assert [part["input_tokens"] for part in usage["iterations"]] == [90, 10]
    # A hundred tokens in and twenty-five out: compaction is billed beside the totals.
    assert Decimal(fake.bill()["lines"][-1]["cost"]) == Decimal("0.35")


def test_the_tier_that_served_sets_the_price() -> None:
    with FakeProvider(defaults="in=1000 out=100") as fake:
        body = BODIES[CHAT] | {"model": "gpt-5-mini"}
        for tier in ("default", "flex", "priority", "batch"):
            headers = {"x-fake": f"tier={tier}", "authorization": f"Bearer {KEY}"}
            assert httpx.post(fake.url + CHAT, json=body, headers=headers).json()["service_tier"] == tier
        costs = [Decimal(line["cost"]) for line in fake.bill()["lines"]]
        assert costs[0] == Decimal("0.00045")
        assert costs[1] == costs[3] == costs[0] / 2
        assert costs[2] > costs[0]


def test_a_model_without_a_price_has_no_cost_rather_than_a_cost_of_nothing() -> None:
    with FakeProvider() as fake:
        assert ask(fake, CHAT, "model=nobody-sells-this").status_code == 200
        bill = fake.bill()
        assert (bill["lines"][0]["cost"], bill["total"], bill["unpriced"]) == (None, "0", 1)


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("whole", [False, True], ids=["at its pace", "the whole"])
def test_a_client_that_leaves_pays_for_what_was_generated(fake: FakeProvider, path: str, *, whole: bool) -> None:
    directives = "out=5000 interval=10" + (" drop=whole" if whole else "")
    with socket.create_connection(("127.0.0.1", int(fake.url.rpartition(":")[2]))) as client:
        client.sendall(raw_request(path, directives))
        read_until(client, text_pieces(5)[4].encode())
    fake.await_bill(1)
    ((output, outcome),) = billed(fake)
    assert outcome == "disconnected"
    # Five tokens had come; more may have been generated before the end of the connection was noticed.
    assert output == 5000 if whole else 5 <= output < 5000


@pytest.mark.parametrize("path", GENERATING)
def test_a_client_that_leaves_a_whole_answer_pays_for_what_was_generated(fake: FakeProvider, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(fake.url.rpartition(":")[2]))) as client:
        client.sendall(raw_request(path, "out=5000 interval=10", stream=False))
        while fake.marks()["calls"]["now"] == 0:
            time.sleep(0.005)
        time.sleep(0.05)
    fake.await_bill(1)
    ((output, outcome),) = billed(fake)
    assert outcome == "disconnected"
    assert 1 <= output < 5000


def test_a_client_that_leaves_before_the_first_token_pays_for_the_input(fake: FakeProvider) -> None:
    with socket.create_connection(("127.0.0.1", int(fake.url.rpartition(":")[2]))) as client:
        client.sendall(raw_request(CHAT, "ttfb=60000"))
        while fake.marks()["calls"]["now"] == 0:
            time.sleep(0.005)
    fake.await_bill(1)
    assert billed(fake) == [(0, "disconnected")]


def test_tokens_take_their_time(fake: FakeProvider) -> None:
    """A lower bound only: a busy machine makes everything slower, and nothing faster."""
    started = time.monotonic()
    ask(fake, CHAT, "out=11 ttfb=50 interval=10", stream=True)
    assert time.monotonic() - started >= 0.15
    assert billed(fake) == [(11, "complete")]


def test_faults_by_chance_are_the_same_for_the_same_seed() -> None:
    def statuses(seed: int) -> list[int]:
        with FakeProvider(defaults="fail_percent=30 fail_with=status|overloaded out=2", seed=seed) as fake:
            found = [ask(fake, CHAT, "").status_code for _ in range(60)]
            assert len(fake.bill()["lines"]) == found.count(200)
            fake.reset()
            assert [ask(fake, CHAT, "").status_code for _ in range(60)] == found
            return found

    first = statuses(7)
    assert 5 <= 60 - first.count(200) <= 35
    assert first == statuses(7)
    assert first != statuses(8)


@pytest.mark.parametrize("fault", ["close", "error", "cut"])
def test_faults_by_chance_of_other_kinds(fake: FakeProvider, fault: str) -> None:
    fake.defaults(f"fail_percent=100 fail_with={fault}")
    if fault == "error":
        assert events(ask(fake, CHAT, "", stream=True))[-1]["error"]["type"] == "server_error"
    else:
        with pytest.raises(httpx.TransportError):
            ask(fake, CHAT, "", stream=True)
    lines = billed(fake)
    assert lines == [] if fault == "close" else 1 <= lines[0][0] < 20
