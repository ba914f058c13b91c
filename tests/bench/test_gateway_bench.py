"""The gateway's bench: what it compares with does nothing but pass on, and peers are read as they were named."""

import os
from pathlib import Path

import click
import httpx
import pytest

from bench.peers import DEFAULT_KEY, DEFAULT_MODEL, read_peer
from bench.scenarios.gateway import PATH, PROVIDER_KEY, call_body
from bench.servers import fake_provider, module_server


def test_the_floor_passes_calls_and_streams_on(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with (
        fake_provider(port=0, core=core, directory=tmp_path) as provider,
        module_server("bench.gateway_floor", provider.url, core=core, directory=tmp_path) as floor,
    ):
        headers = {"authorization": f"Bearer {PROVIDER_KEY}"}
        whole = httpx.post(floor.url + PATH, json=call_body(model="gpt-4o-mini", stream=False), headers=headers)
        assert whole.status_code == 200
        usage = whole.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (100, 100)
        stream = httpx.post(floor.url + PATH, json=call_body(model="gpt-4o-mini", stream=True), headers=headers)
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.text.count("data: ") > 100
        assert stream.text.endswith("data: [DONE]\n\n")
        refused = httpx.post(floor.url + PATH, json={}, headers={"authorization": "Bearer none"})
        assert refused.status_code == 401
        assert len(httpx.get(f"{provider.url}/_fake/bill").json()["lines"]) == 2


def test_peers_take_what_was_said_of_them_before_what_was_said_of_all() -> None:
    keys, models = ("sk-all", "a=sk-a"), ("b=openai/m",)
    first = read_peer("a=http://127.0.0.1:4000/v1/", keys=keys, models=models)
    assert (first.name, first.url, first.key, first.model) == ("a", "http://127.0.0.1:4000/v1", "sk-a", DEFAULT_MODEL)
    second = read_peer("b=http://127.0.0.1:4001", keys=keys, models=models)
    assert (second.key, second.model) == ("sk-all", "openai/m")
    assert read_peer("c=http://h", keys=(), models=()).key == DEFAULT_KEY


@pytest.mark.parametrize("text", ["a", "=http://h", "a=ftp://h", "http://h"])
def test_a_peer_without_a_name_or_an_address_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="NAME=http://"):
        read_peer(text, keys=(), models=())
