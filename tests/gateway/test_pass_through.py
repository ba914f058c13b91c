"""What passes the gateway passes byte for byte, both ways, but for what the design names: the limit on output where a
client names none, and the usage of a chat stream that its client did not ask for."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator

import pytest

from tests.support.fake_provider import KEY
from tests.support.gateway import GatewayWorld
from tests.support.scripted_provider import Asked, ScriptedProvider, Writer
from tests.support.sdk import client_world, comparable

CHAT = "/openai/v1/chat/completions"
RESPONSES = "/openai/v1/responses"
EMBEDDINGS = "/openai/v1/embeddings"
MESSAGES = "/anthropic/v1/messages"
ODD = "/providers/odd/v1/chat/completions"
TURN = b'"messages":[{"role":"user","content":"hello"}]'
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
    }
).encode()  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, odd: ScriptedProvider) -> Iterator[GatewayWorld]:
    directory = tmp_path_factory.mktemp("through")
    provider = {"base_url": odd.url, "prices": "openai"}
    with client_world(directory, more_providers={"odd": provider}) as made:
        yield made


def send(
    world: GatewayWorld, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """One request with exactly this body; (status, headers with names in lower case, the exact body)."""
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=60)
    try:
        given = {"authorization": f"Bearer {world.key}", "content-type": "application/json"}
        connection.request("POST", path, body, given | (headers or {}))
        response = connection.getresponse()
        return response.status, [(name.lower(), value) for name, value in response.getheaders()], response.read()
    finally:
        connection.close()


UNTOUCHED: dict[str, tuple[str, bytes]] = {
    "plain": (CHAT, b'{"model":"gpt-4o-mini",%s,"max_tokens":20}' % TURN),
    "spacing": (CHAT, b' \r\n{ "model" :\t"gpt-4o-mini" ,\n  %s , "max_tokens" : 20 }\n\n' % TURN),
    "order": (CHAT, b'{"zebra":1,"max_completion_tokens":20,%s,"alpha":2,"model":"gpt-4o-mini"}' % TURN),
    "escapes": (
        CHAT,
        rb'{"model":"gpt\u002d4o-mini","messages":[{"role":"user","content":"\u00e9\ud83d\ude00\/\u0041\t caf\u00E9"}],'
        rb'"max_tokens":20}',
    ),
    "UTF-8": (
        CHAT, '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"é😀\u2028"}],"max_tokens":20}'.encode(),
    ),
    "numbers": (
        CHAT,
        b'{"model":"gpt-4o-mini",%s,"max_tokens":20,"seed":12345678901234567890123,"temperature":0.70000000000000001,'
        b'"top_p":1e0,"presence_penalty":-0.0,"logit_bias":{"50256":-1.0E2}}' % TURN,
    ),
    "unknown fields": (
        CHAT,
        b'{"model":"gpt-4o-mini",%s,"max_tokens":20,"from_next_year":{"deep":[[],{},null,true,[{"a":"}]\\""}]]},"":0}'
        % TURN,
    ),
    "a stream that asks for its usage": (
        CHAT,
        b'{"model":"gpt-4o-mini",%s,"max_tokens":20,"stream":true,"stream_options": {"include_usage" :true}}' % TURN,
    ),
    "responses": (RESPONSES, b'{"model" : "gpt-4o-mini","input": "hello", "max_output_tokens":20, "top_p":1.00}'),
    "responses stream": (RESPONSES, b'{"model":"gpt-4o-mini","input":"hello","max_output_tokens":20,"stream": true }'),
    "embeddings": (EMBEDDINGS, b'{ "input":["a", "b"],  "model":"text-embedding-3-small","x":1.10}'),
    "messages": (MESSAGES, b'{"max_tokens":20,"model":"claude-opus-4-8",%s,"metadata":{"user_id":"\\u0061"}}' % TURN),
    "messages stream": (MESSAGES, b'{"stream":true, "max_tokens":20,"model":"claude-opus-4-8",%s}' % TURN),
}  # fmt: skip


@pytest.mark.parametrize("name", UNTOUCHED)
def test_a_body_arrives_as_it_was_sent_and_its_answer_too(world: GatewayWorld, name: str) -> None:
    path, body = UNTOUCHED[name]
    status, _, answer = send(world, path, body)
    seen = world.provider.seen()[-1]
    assert status == 200, answer
    assert seen.body == body
    assert answer == seen.answer


ADDED: dict[str, tuple[str, bytes, bytes]] = {
    "a limit": (CHAT, b'{ "model":"gpt-4o-mini",%s,"top_p": 1.0}' % TURN, b'{"max_completion_tokens":16384, '),
    "a limit, by its older name": (
        "/providers/local/v1/chat/completions", b'{ "model":"gpt-4o-mini",%s}' % TURN, b'{"max_tokens":16384, ',
    ),
    "a limit where there is null": (
        CHAT, b'{"max_tokens" : null , "model":"gpt-4o-mini",%s}' % TURN,
        b'{"max_completion_tokens":16384,"max_tokens" : null , ',
    ),
    "a limit of Responses": (RESPONSES, b'{ "model":"gpt-4o-mini","input":"hello"}', b'{"max_output_tokens":16384, '),
    "usage": (
        CHAT, b'{ "stream":true,"max_tokens":20,"model":"gpt-4o-mini",%s}' % TURN,
        b'{"stream_options":{"include_usage":true}, ',
    ),
    "usage beside another option": (
        CHAT,
        b'{"stream_options":{ "include_obfuscation": false},"stream":true,"max_tokens":20,"model":"gpt-4o-mini",'
        b"%s}" % TURN,
        b'{"stream_options":{"include_usage":true, "include_obfuscation": false},',
    ),
    "usage that was declined": (
        CHAT,
        b'{"stream_options":{"include_usage" : false },"stream":true,"max_tokens":20,"model":"gpt-4o-mini",%s}' % TURN,
        b'{"stream_options":{"include_usage" : true },',
    ),
    "usage and a limit": (
        CHAT, b'{ "stream":true,"model":"gpt-4o-mini",%s}' % TURN,
        b'{"stream_options":{"include_usage":true},"max_completion_tokens":16384, ',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_is_all_that_differs(world: GatewayWorld, name: str) -> None:
    path, body, front = ADDED[name]
    status, _, answer = send(world, path, body)
    arrived = world.provider.seen()[-1].body
    assert status == 200, answer
    assert arrived.startswith(front)
    assert body.endswith(arrived.removeprefix(front)), "what follows the edit is the client's own"
    replaced = body.removesuffix(arrived.removeprefix(front))
    allowed = {b"max_tokens", b"null", b"stream_options", b"include_usage", b"false", b"include_obfuscation"}
    assert set(re.findall(rb"[a-z_]+", replaced)) <= allowed


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize(
    "directives", ["out=9", "out=9 split=5", "tools=1 out=9", "usage=every out=5", "usage=groq out=5"]
)
def test_usage_that_was_not_asked_for_does_not_come_down(world: GatewayWorld, directives: str, choices: int) -> None:
    """The provider answers another question than the client asked; the client sees the answer to its own."""
    body = b'{"model":"gpt-4o-mini",%s,"max_tokens":20,"stream":true,"n":%d}' % (TURN, choices)
    _, _, through = send(world, CHAT, body, {"x-fake": directives})
    assert b'"include_usage":true' in world.provider.seen()[-1].body
    connection = http.client.HTTPConnection(world.provider.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}", "x-fake": directives})
    direct = connection.getresponse().read()
    connection.close()
    assert comparable(through) == comparable(direct)
    assert through.endswith(b"data: [DONE]\n\n")


STREAMS: dict[str, tuple[str, bytes]] = {
    "chat": (
        CHAT,
        b'{"model":"gpt-4o-mini",%s,"max_tokens":90,"stream":true,"stream_options":{"include_usage":true}}' % TURN,
    ),
    "responses": (RESPONSES, b'{"model":"gpt-4o-mini","input":"hello","max_output_tokens":90,"stream":true}'),
    "messages": (MESSAGES, b'{"model":"claude-opus-4-8",%s,"max_tokens":90,"stream":true}' % TURN),
}
WAYS = [
    "split=1",
    "split=7",
    "split=400",
    "gzip=1",
    "gzip=1 split=3",
    "out=80",
    "tools=2 out=40",
    "error_after=4",
    "group=3",
]


@pytest.mark.parametrize("directives", WAYS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_comes_down_as_it_was_sent(world: GatewayWorld, name: str, directives: str) -> None:
    """However its bytes are cut, and also where the provider reports a failure after its 200."""
    path, body = STREAMS[name]
    status, headers, answer = send(world, path, body, {"x-fake": directives, "accept-encoding": "gzip"})
    assert status == 200
    assert dict(headers)["content-type"] == "text/event-stream; charset=utf-8"
    seen = world.provider.seen()[-1]
    assert len(answer) > 300
    assert answer == seen.answer


@pytest.mark.parametrize("status", [400, 403, 404, 413, 429, 500, 503, 529])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_providers_error_comes_down_as_it_was_sent(world: GatewayWorld, path: str, status: int) -> None:
    model = b"gpt-4o-mini" if path == CHAT else b"claude-opus-4-8"
    body = b'{"model":"%s",%s,"max_tokens":20}' % (model, TURN)
    found, headers, answer = send(world, path, body, {"x-fake": f"status={status} retry_after=7"})
    assert found == status
    assert answer == world.provider.seen()[-1].answer
    assert dict(headers)["retry-after"] == "7"
    assert "x-bursar-code" not in dict(headers), "it is not one of ours"


def test_the_providers_headers_come_down(world: GatewayWorld) -> None:
    """All of them but those of one hop; ours stand beside them."""
    body = UNTOUCHED["plain"][1]
    status, headers, _ = send(world, CHAT, body, {"accept-encoding": "gzip"})
    assert status == 200
    names = sorted(name for name, _ in headers)
    assert names == [
        "content-length", "content-type", "date", "x-bursar-authorization", "x-bursar-cost", "x-bursar-currency",
        "x-bursar-remaining", "x-bursar-request-id", "x-request-id",
    ]  # fmt: skip


def test_headers_of_all_kinds_pass_or_end_here(world: GatewayWorld, odd: ScriptedProvider) -> None:
    def script(asked: Asked, writer: Writer) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nOpenAI-Processing-Ms: 42\r\n"
            b"X-RateLimit-Remaining-Tokens: 149984\r\nX-Request-Id: req_odd\r\nCF-Ray: 1-FRA\r\nX-Twice: 1\r\n"
            b"X-Twice: 2\r\nSet-Cookie: __cf_bm=secret\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nAlt-Svc: h3\r\n"
            b"X-Bursar-Cost: 0\r\nRetry-After-Ms: 20\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
        )

    odd.script = script
    up = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
        "OpenAI-Beta": "assistants=v2", "User-Agent": "OpenAI/Python 3", "Accept": "application/json",
        "X-Stainless-Retry-Count": "1", "Idempotency-Key": "abc", "OpenAI-Organization": "org-mine",
        "OpenAI-Project": "proj-mine", "Cookie": "a=b", "Connection": "keep-alive, X-Hop-Up", "X-Hop-Up": "1",
        "X-Bursar-Intent": "a secret plan", "Accept-Encoding": "br",
    }  # fmt: skip
    status, headers, answer = send(world, ODD, UNTOUCHED["plain"][1], up)
    assert (status, answer) == (200, ANSWER)
    down = [(name, value) for name, value in headers if not name.startswith("x-bursar-")]
    assert [pair for pair in down if pair[0] not in ("date", "server")] == [
        ("content-type", "application/json; charset=utf-8"), ("openai-processing-ms", "42"),
        ("x-ratelimit-remaining-tokens", "149984"), ("x-request-id", "req_odd"), ("cf-ray", "1-FRA"), ("x-twice", "1"),
        ("x-twice", "2"), ("retry-after-ms", "20"), ("content-length", str(len(ANSWER))),
    ]  # fmt: skip
    assert dict(headers)["x-bursar-cost"] != "0", "a provider does not say what a call did cost here"
    asked = odd.asked[-1]
    names = {name for name, _ in asked.headers}
    assert {"traceparent", "tracestate", "openai-beta", "user-agent", "accept", "x-stainless-retry-count"} <= names
    assert names.isdisjoint({"openai-organization", "openai-project", "cookie", "x-hop-up", "x-bursar-intent"})
    assert dict(asked.headers)["accept-encoding"] == "identity"
    assert dict(asked.headers)["x-client-request-id"] == dict(headers)["x-bursar-authorization"]
    assert world.key not in str(asked.headers)


def chunk_of(text: str, finish: str | None = None) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode()


def test_a_stream_arrives_as_it_is_sent(world: GatewayWorld, odd: ScriptedProvider) -> None:
    """The provider writes an event only once the one before it has come through: no clock can make this pass."""

    def script(asked: Asked, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            writer.chunk(chunk_of(f"word {number} ") + b"\n\n")
            writer.wait()
        writer.chunk(b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":10}}\n\ndata: [DONE]\n\n')
        writer.chunk(b"")

    odd.script = script
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=60)
    body = b'{"model":"gpt-4o-mini",%s,"max_tokens":90,"stream":true}' % TURN
    connection.request("POST", ODD, body, {"authorization": f"Bearer {world.key}"})
    response = connection.getresponse()
    for number in range(5):
        assert response.readline() == chunk_of(f"word {number} ") + b"\n"
        assert response.readline() == b"\n"
        odd.go_on()
    assert response.read() == b"data: [DONE]\n\n"
    connection.close()


ODD_STREAMS: dict[str, bytes] = {
    "CRLF": chunk_of("a") + b"\r\n\r\n" + chunk_of("b", "stop") + b"\r\n\r\ndata: [DONE]\r\n\r\n",
    "comments": b": keep-alive\n\n" + chunk_of("a") + b"\n\n:\n\n" + chunk_of("b", "stop") + b"\n\ndata: [DONE]\n\n",
    "fields nobody knows": b"id: 7\nretry: 100\nevent: message\n" + chunk_of("b", "stop") + b"\n\ndata: [DONE]\n\n",
    "no last blank line": chunk_of("a") + b"\n\n" + chunk_of("b", "stop") + b"\n\ndata: [DONE]",
    "no end mark": chunk_of("a") + b"\n\n" + chunk_of("b", "stop") + b"\n\n",
    "no space": (chunk_of("b", "stop") + b"\n\ndata: [DONE]\n\n").replace(b"data: ", b"data:"),
    "no JSON": b"data: hello\n\n" + chunk_of("b", "stop") + b"\n\ndata: [DONE]\n\n",
}


@pytest.mark.parametrize("name", ODD_STREAMS)
def test_a_stream_of_an_odd_form_keeps_it(world: GatewayWorld, odd: ScriptedProvider, name: str) -> None:
    """Other servers write events in other ways that the standard allows."""
    content = ODD_STREAMS[name]

    def script(asked: Asked, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(content), 11):
            writer.chunk(content[start : start + 11])
        writer.chunk(b"")

    odd.script = script
    status, _, answer = send(world, ODD, b'{"model":"gpt-4o-mini",%s,"max_tokens":90,"stream":true}' % TURN)
    assert (status, answer) == (200, content)
