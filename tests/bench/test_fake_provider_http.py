"""What the fake provider sends is whole and in order; its directives and its bill are as documented."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.fake_provider.directives import NAMES, Behaviour, UnknownDirective, parse
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
from tests.support.fake_provider import KEY, ROOT, FakeProvider, atoms


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(prices=[PRICE], defaults="in=10 out=20") as provider:
        yield provider


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", GENERATING)
def test_the_same_bytes_come_in_any_pieces_and_compressed(fake: FakeProvider, path: str, *, stream: bool) -> None:
    for directives in ("out=9", "out=9 group=4", "out=9 split=11", "out=9 gzip", "out=9 gzip split=5 group=2"):
        response = ask(fake, path, directives, stream=stream)
        assert response.content == fake.seen()[-1].answer
        assert (response.headers.get("content-encoding") == "gzip") == ("gzip" in directives)
        assert ask(fake, path, directives, stream=stream, **{"accept-encoding": "identity"}).status_code == 200
    assert billed(fake) == [(9, "complete")] * 10


def test_events_in_one_write_and_an_event_in_many(fake: FakeProvider) -> None:
    def writes(directives: str) -> list[bytes]:
        headers = {"x-fake": directives, "authorization": f"Bearer {KEY}"}
        body = BODIES[CHAT] | {"stream": True}
        with httpx.stream("POST", fake.url + CHAT, json=body, headers=headers) as response:
            return list(response.iter_raw())

    assert [piece.count(b"data: ") for piece in writes("out=6 group=3 interval=15")] == [4, 3, 2]
    assert max(map(len, writes("out=6 split=10 split_ms=1"))) < 40
    assert len(writes("out=6")) <= 2


@pytest.mark.parametrize("lie", [25, -25])
def test_a_content_length_that_lies(fake: FakeProvider, lie: int) -> None:
    if lie > 0:
        with pytest.raises(httpx.RemoteProtocolError):
            ask(fake, CHAT, f"length={lie}")
    else:
        with pytest.raises((json.JSONDecodeError, httpx.RemoteProtocolError)):
            ask(fake, CHAT, f"length={lie}").json()
    assert billed(fake) == [(20, "complete")]


@pytest.mark.parametrize(
    "word",
    ["outt=3", "out=x", "out=-1", "usage=odd", "close=2", "hang=maybe", "fail_with=status|flood", "interval=x", "out="],
)
def test_a_misspelt_fault_is_refused(fake: FakeProvider, word: str) -> None:
    with pytest.raises(UnknownDirective):
        parse(word)
    assert ask(fake, CHAT, word).status_code == 400
    assert ask(fake, CHAT, "").status_code == 200
    with pytest.raises(Exception, match="400"):
        fake.defaults(word)


def test_header_over_prompt_over_defaults(fake: FakeProvider) -> None:
    def outputs(prompt: str, header: str) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        headers = {"authorization": f"Bearer {KEY}"} | ({"x-fake": header} if header else {})
        answer = httpx.post(fake.url + CHAT, json=body, headers=headers).json()
        return int(answer["usage"]["completion_tokens"])

    assert outputs("hi", "") == 20
    assert outputs("hi [[fake out=3]]", "") == 3
    assert outputs("hi [[fake out=3]] and then [[fake out=4]]", "") == 4
    assert outputs("hi [[fake out=3]]", "out=5") == 5
    fake.defaults("out=6")
    assert outputs("hi", "") == 6
    fake.reset()
    assert outputs("hi", "") == 20


@pytest.mark.parametrize(
    ("path", "change", "status"),
    [
        (CHAT, {"model": None}, 400),
        (CHAT, {"messages": []}, 400),
        (CHAT, {"max_tokens": 0}, 400),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 5}, 400),
        (CHAT, {"n": 0.5}, 400),
        (RESPONSES, {"max_output_tokens": "5"}, 400),
        (MESSAGES, {"max_tokens": None}, 400),
        (EMBEDDINGS, {"input": None}, 400),
        ("/v1/completions", {}, 404),
    ],
)
def test_what_a_provider_would_refuse(fake: FakeProvider, path: str, change: dict[str, Any], status: int) -> None:
    body = BODIES.get(path, {}) | change
    response = httpx.post(fake.url + path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert billed(fake) == []


def test_what_was_seen_is_byte_for_byte_what_was_sent(fake: FakeProvider) -> None:
    body = b'{ "model":"m" ,\n "messages":[{"role":"user","content":"\\u00e9 1.0"}], "temperature":1.0 }'
    headers = {"Authorization": f"Bearer {KEY}", "X-Odd-Header": "Kept", "Content-Encoding": "identity"}
    answer = httpx.post(fake.url + CHAT + "?q=1", content=body, headers=headers)
    seen = fake.seen()[-1]
    assert (seen.method, seen.path, seen.status) == ("POST", CHAT + "?q=1", 200)
    assert seen.body == body
    assert seen.header("X-Odd-Header") == "Kept"
    assert seen.answer == answer.content
    chunked = httpx.post(fake.url + CHAT, content=iter([body[:9], body[9:]]), headers=headers)
    assert chunked.status_code == 200
    assert fake.seen()[-1].body == body


def test_calls_at_once_leave_their_high_water_mark(fake: FakeProvider) -> None:
    port = int(fake.url.rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    try:
        for client in clients:
            client.sendall(raw_request(CHAT, "hang=yes"))
        while fake.marks()["calls"]["now"] < 5:
            time.sleep(0.005)
    finally:
        for client in clients:
            client.close()
    while fake.marks()["calls"]["now"]:
        time.sleep(0.005)
    assert fake.marks()["calls"] == {"now": 0, "most": 5, "total": 5}
    assert fake.marks()["connections"]["most"] >= 5
    assert billed(fake) == []


def test_requests_on_one_connection_are_answered_in_order(fake: FakeProvider) -> None:
    port = int(fake.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        slow, fast = (
            raw_request(CHAT, "out=3 interval=5 model=slow"),
            raw_request(CHAT, "out=2 model=fast", stream=False),
        )
        client.sendall(slow + fast + slow)
        data = read_until(client, b'"total_tokens":12')
        while data.count(b"[DONE]") < 2:
            data += client.recv(65536)
    assert data.index(b'"slow"') < data.index(b'"fast"') < data.rindex(b'"slow"')
    assert billed(fake) == [(3, "complete"), (2, "complete"), (3, "complete")]


def test_the_bill_outlives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "bill.jsonl"
    fake = FakeProvider(process=True, bill_path=path, prices=[PRICE], defaults="in=10 out=20")
    with fake:
        for _ in range(3):
            assert ask(fake, CHAT, "").status_code == 200
        assert len(events(ask(fake, MESSAGES, "", stream=True))) > 20
        lines = fake.bill()["lines"]
        fake.kill()
        assert [json.loads(line) for line in path.read_text().splitlines()] == lines
        fake.start()
        assert ask(fake, CHAT, "").status_code == 200
        assert len(path.read_text().splitlines()) == 5
        assert len({json.loads(line)["id"] for line in path.read_text().splitlines()}) == 5


def test_a_wrong_option_is_said_at_the_start() -> None:
    for wrong in ({"defaults": "outt=1"}, {"prices": ["gpt=1"]}):
        with pytest.raises(ValueError, match=r"outt|gpt"):
            FakeProvider(**wrong).start()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cost", "expected"), [("0.0000000005", 0), ("0.0000000015", 2), ("0.25", 250_000_000), ("0", 0)]
)
def test_a_bill_in_atoms_rounds_as_the_books_do(cost: str, expected: int) -> None:
    assert atoms(cost) == expected


def test_the_page_names_every_directive() -> None:
    page = (ROOT / "docs" / "fake-provider.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}" not in page] == []
    assert Behaviour().cut is None


def test_gzip_is_what_it_says(fake: FakeProvider) -> None:
    headers = {"x-fake": "gzip out=5", "authorization": f"Bearer {KEY}"}
    with httpx.stream("POST", fake.url + CHAT, json=BODIES[CHAT] | {"stream": True}, headers=headers) as response:
        assert gzip.decompress(b"".join(response.iter_raw())) == fake.seen()[-1].answer
