"""Bodies that are refused because two parsers may read them differently, or because they are none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate import RequestInvalid, read_request
from gateway.estimate.document import shape_of
from gateway.wires import Wire

START = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"\xef\xbb\xbf" + START + b"}", "not valid JSON"),
        (START + b',"user":"\xff"}', "not valid JSON"),
        (START + b',"user":"\\ud800"}', "not valid JSON"),
        (START + b',"temperature":NaN}', "not valid JSON"),
        (START + b',"temperature":Infinity}', "not valid JSON"),
        (START + b',"temperature":1e999}', "not valid JSON"),
        (START + b',"temperature":' + b"9" * 400 + b"}", "not valid JSON"),
        (START + b"}{}", "not valid JSON"),
        (START + b',"n":1,"n":128}', "The name 'n' stands twice"),
        (START + b',"n":1,"\\u006e":128}', "The name 'n' stands twice"),
        (START + b',"tools":[{"a":{"b":1,"b":2}}]}', "The name 'b' stands twice"),
        (START.replace(b'"Hi"', b'"Hi","content":"a longer text"') + b"}", "The name 'content' stands twice"),
        (START + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "not valid JSON"),
        (START + b',"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}", "nested too deeply"),
        (START + b',"tools":[{"a":' + b"[" * 400 + b"]" * 400 + b"}]}", "nested too deeply"),
    ],
)
def test_refused_bodies(body: bytes, message: str) -> None:
    """Each with the reason; never another exception."""
    with pytest.raises(RequestInvalid, match=message):
        read_request(Wire.CHAT, body)


@pytest.mark.parametrize("wire", list(Wire))
@pytest.mark.parametrize("depth", [10, 100, 200, 240, 300, 900, 5_000])
def test_nesting_is_read_or_refused(wire: Wire, depth: int) -> None:
    """At no depth does a reader end in an exception of another kind."""
    deep = b"[" * depth + b"]" * depth
    objects = b'{"content":' * depth + b"0" + b"}" * depth
    for name in (b"messages", b"input", b"tools", b"system", b"tool_choice", b"metadata", b"unknown"):
        for value in (deep, objects, b"[" + objects + b"]", b'[{"role":"user","content":[' + objects + b"]}]"):
            try:
                read_request(wire, b'{"model":"m","max_tokens":1,"' + name + b'":' + value + b"}")
            except RequestInvalid:
                continue


@pytest.mark.parametrize(
    ("wire", "body", "message", "param"),
    [
        (Wire.CHAT, b"{}", "Missing required parameter: 'model'.", "model"),
        (
            Wire.CHAT,
            b'{"model":7}',
            "Invalid type for 'model': expected a string, but got an integer instead.",
            "model",
        ),
        (Wire.CHAT, b'{"model":""}', "model: must have from 1 to 256 characters", "model"),
        (Wire.MESSAGES, b'{"model":"' + b"m" * 257 + b'"}', "model: must have from 1 to 256 characters", "model"),
        (Wire.CHAT, b'{"model":"m"}', "Missing required parameter: 'messages'.", "messages"),
        (Wire.CHAT, b'{"model":"m","messages":{}}', "expected an array, but got an object instead", "messages"),
        (Wire.CHAT, b'{"model":"m","messages":["x"]}', "expected an object, but got a string", "messages[0]"),
        (Wire.CHAT, b'{"model":"m","messages":[{"role":1,"content":""}]}', "expected a string", "messages[0].role"),
        (Wire.CHAT, b'{"model":"m","messages":[{"content":7}]}', "array of content parts", "messages[0].content"),
        (Wire.CHAT, START + b',"n":0}', "Invalid 'n': expected a value from 1", "n"),
        (Wire.CHAT, START + b',"n":"2"}', "Invalid type for 'n': expected an integer, but got a string", "n"),
        (Wire.CHAT, START + b',"n":true}', "expected an integer, but got a boolean instead", "n"),
        (Wire.CHAT, START + b',"max_tokens":10.5}', "expected an integer, but got a decimal number", "max_tokens"),
        (Wire.CHAT, START + b',"max_tokens":-1}', "Invalid 'max_tokens'", "max_tokens"),
        (Wire.CHAT, START + b',"max_tokens":99999999999}', "Invalid 'max_tokens'", "max_tokens"),
        (Wire.CHAT, START + b',"stream":"yes"}', "expected a boolean", "stream"),
        (Wire.CHAT, START + b',"stream":true,"stream_options":[]}', "expected an object", "stream_options"),
        (
            Wire.CHAT,
            START + b',"stream":true,"stream_options":{"include_usage":1}}',
            "expected a boolean",
            "stream_options.include_usage",
        ),
        (Wire.CHAT, START + b',"tools":[7]}', "expected an object", "tools[0]"),
        (Wire.CHAT, START + b',"tools":{}}', "expected an array", "tools"),
        (Wire.CHAT, START + b',"service_tier":1}', "expected a string", "service_tier"),
        (Wire.CHAT, START + b',"prediction":{"content":7}}', "expected a string", "prediction.content"),
        (Wire.RESPONSES, b'{"model":"m","input":7}', "expected a string", "input"),
        (Wire.RESPONSES, b'{"model":"m","input":[7]}', "expected an object", "input[0]"),
        (Wire.RESPONSES, b'{"model":"m","instructions":[]}', "expected a string", "instructions"),
        (Wire.EMBEDDINGS, b'{"model":"m"}', "Missing required parameter: 'input'.", "input"),
        (Wire.EMBEDDINGS, b'{"model":"m","input":7}', "expected a string", "input"),
        (Wire.EMBEDDINGS, b'{"model":"m","input":[[1,"x"]]}', "expected an integer, but got an array", "input[0]"),
        (Wire.EMBEDDINGS, b'{"model":"m","input":["x",null]}', "but got null", "input[1]"),
        (Wire.MESSAGES, b'{"model":"m","messages":[]}', "max_tokens: Field required", "max_tokens"),
        (Wire.MESSAGES, b'{"model":"m","max_tokens":"9"}', "max_tokens: Input should be a valid integer", "max_tokens"),
        (Wire.MESSAGES, b'{"model":"m","max_tokens":-1}', "max_tokens: must be from 0", "max_tokens"),
        (
            Wire.MESSAGES,
            b'{"model":"m","max_tokens":1,"messages":[{}]}',
            "messages.0.content: Field required",
            "messages.0.content",
        ),
        (
            Wire.MESSAGES,
            b'{"model":"m","max_tokens":1,"messages":[{"content":7}]}',
            "valid string",
            "messages.0.content",
        ),
        (
            Wire.MESSAGES,
            b'{"model":"m","max_tokens":1,"messages":[{"content":[7]}]}',
            "dictionary",
            "messages.0.content",
        ),
        (Wire.MESSAGES, b'{"model":"m","max_tokens":1,"messages":[],"system":7}', "system: Input should be", "system"),
        (Wire.MESSAGES, b'{"model":"m","max_tokens":1,"messages":[],"tools":[7]}', "tools.0: Input", "tools.0"),
        (Wire.MESSAGES, b'{"model":"m","max_tokens":1,"messages":[],"thinking":{}}', "required", "thinking.type"),
    ],
)
def test_wrong_types_are_refused_as_the_provider_would(wire: Wire, body: bytes, message: str, param: str) -> None:
    """Message and field, in the words of OpenAI and of Anthropic."""
    with pytest.raises(RequestInvalid) as refused:
        read_request(wire, body)
    assert message in refused.value.message
    assert refused.value.param == param


MANY = b",".join([b'{"role":"user","content":""}'] * 49_000)


@pytest.mark.parametrize(
    "body",
    [
        START.replace(b'"Hi"', b"[" + b",".join([b"{}"] * 50_001) + b"]") + b"}",
        START + b',"x":[' + b",".join([b"[]"] * 50_001) + b"]}",
        START + b',"x":[' + b",".join([b"1"] * 500_002) + b"]}",
        START + b',"x":[' + b",".join([b'""'] * 500_002) + b"]}",
        b'"' * 3_000_000,
    ],
)
def test_bodies_of_too_many_parts_are_refused(body: bytes) -> None:
    with pytest.raises(RequestInvalid, match="too many parts"):
        read_request(Wire.CHAT, body)


@pytest.mark.parametrize(
    "text",
    ["{" * 60_000, '[\\"{' * 60_000, "\\\\", '\\\\\\"{[,:', "\\\\" * 9 + '\\"' + "[" * 60_000, "é\\u0022{,:" * 60_000],
)
def test_what_stands_in_a_string_is_no_part(text: str) -> None:
    """Nor are names that look like names: only what stands outside of strings counts."""
    body = START.replace(b'"Hi"', f'"{text}"'.encode()) + b"}"
    assert read_request(Wire.CHAT, body).texts == (json.loads(f'"{text}"'),)


def test_as_many_parts_as_may_be() -> None:
    body = b'{"model":"gpt-4o","messages":[' + MANY + b"]}"
    assert len(read_request(Wire.CHAT, body).texts) == 49_000


JSON = st.recursive(
    st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON)
def test_the_shape_is_what_the_document_has(document: object) -> None:
    """Whatever stands in strings and names, escaped or not."""

    def names(node: object) -> int:
        if isinstance(node, dict):
            return len(node) + sum(map(names, node.values()))
        return sum(map(names, node)) if isinstance(node, list) else 0

    for ascii_only in (True, False):
        written = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert shape_of(written).names == names(document)
