"""The bound is never below what OpenAI's published recipe says a request is billed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.estimate import Counts, RequestInvalid, bound, read_request
from gateway.tokens import TokenCounter, load_encoding
from gateway.wires import Wire

# gpt-4o and gpt-4 in the recipe "How to count tokens with tiktoken" of the OpenAI cookbook.
RECIPES = {"gpt-4o": ("o200k_base", 7), "gpt-4": ("cl100k_base", 10)}

words = st.text(max_size=30) | st.sampled_from(
    ["weather", "the place", "漢字", "a_b-c", "1234567", "\n\n", "🙂", '"{}"']
)
slugs = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,20}", fullmatch=True)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": words}, optional={"name": slugs}
)
properties = st.dictionaries(
    slugs,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "boolean"]), "description": words},
        optional={"enum": st.lists(words, min_size=1, max_size=4)},
    ),
    max_size=4,
)
tools = st.lists(st.tuples(slugs, words, properties), max_size=3)


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    """A counter with its encodings loaded."""
    made = TokenCounter(threads=1)
    made.load()
    return made


@pytest.fixture(scope="module")
def encodings() -> dict[str, tiktoken.Encoding]:
    """The oracle's encodings."""
    return {name: load_encoding(name) for name, _ in RECIPES.values()}


def recipe_for_messages(messages: list[dict[str, str]], encoding: tiktoken.Encoding) -> int:
    """3 for each message, every value of it, 1 for a name, and 3 that prime the reply."""
    each = [
        3 + sum(len(encoding.encode_ordinary(value)) for value in message.values()) + ("name" in message)
        for message in messages
    ]
    return sum(each) + 3


def recipe_for_tools(given_: list[tuple[str, str, dict[str, Any]]], encoding: tiktoken.Encoding, opening: int) -> int:
    """Each function's name and description, each property's name, type and description, each value of an enum."""
    total = 0
    for name, description, members in given_:
        total += opening + len(encoding.encode_ordinary(f"{name}:{description.removesuffix('.')}"))
        total += 3 if members else 0
        for key, schema in members.items():
            line = f"{key}:{schema['type']}:{schema['description'].removesuffix('.')}"
            total += 3 + len(encoding.encode_ordinary(line))
            if "enum" in schema:
                total += -3 + sum(3 + len(encoding.encode_ordinary(value)) for value in schema["enum"])
    return total + 12 if given_ else 0


def as_tools(given_: list[tuple[str, str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The tools as a request has them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": description,
                "parameters": {"type": "object", "properties": members, "required": list(members)},
            },
        }
        for name, description, members in given_
    ]


def bounded(counter: TokenCounter, wire: Wire, document: dict[str, Any]) -> int:
    """The bound on the input of a request, through the whole path."""
    request = read_request(wire, json.dumps(document).encode())
    counts = Counts(counter.count_now(request.texts, request.encoding))
    return bound(request, counts, default_output_tokens=1).input_tokens


@pytest.mark.parametrize("model", sorted(RECIPES))
@settings(deadline=None, max_examples=60)
@given(messages=st.lists(turns, max_size=6), given_tools=tools)
def test_a_conversation_is_billed_no_more_than_its_bound(
    counter: TokenCounter,
    encodings: dict[str, tiktoken.Encoding],
    model: str,
    messages: list[dict[str, str]],
    given_tools: list[tuple[str, str, dict[str, Any]]],
) -> None:
    """On both OpenAI wires; and not absurdly more: a message costs a few tokens beyond the recipe, a tool its JSON."""
    name, opening = RECIPES[model]
    exact = recipe_for_messages(messages, encodings[name])
    with_tools = exact + recipe_for_tools(given_tools, encodings[name], opening)
    members = {"tools": as_tools(given_tools)} if given_tools else {}
    found = bounded(counter, Wire.CHAT, {"model": model, "messages": messages, **members})
    assert found >= with_tools
    flat = {"tools": [{"type": "function", **tool["function"]} for tool in members["tools"]]} if members else {}
    assert bounded(counter, Wire.RESPONSES, {"model": model, "input": messages, **flat}) >= with_tools
    if not given_tools:
        assert found <= exact + 16 + 16 * len(messages)


@settings(deadline=None, max_examples=60)
@given(messages=st.lists(turns, max_size=6), model=st.sampled_from(["claude-sonnet-4-5", "llama-3.3-70b"]))
def test_without_an_encoding_bytes_bound_any_byte_level_tokenizer(
    counter: TokenCounter, encodings: dict[str, tiktoken.Encoding], messages: list[dict[str, str]], model: str
) -> None:
    """Checked with the two that are public, and with one token for each byte."""
    wire = Wire.MESSAGES if "claude" in model else Wire.CHAT
    found = bounded(counter, wire, {"model": model, "max_tokens": 1, "messages": messages})
    assert found >= sum(len(message["content"].encode()) for message in messages) + 4 * len(messages)
    assert found >= max(recipe_for_messages(messages, encoding) for encoding in encodings.values())


@settings(deadline=None, max_examples=60)
@given(inputs=st.lists(words, max_size=6))
def test_embeddings_are_billed_no_more_than_their_bound(
    counter: TokenCounter, encodings: dict[str, tiktoken.Encoding], inputs: list[str]
) -> None:
    """OpenAI bills the tokens of the texts, and the same tokens when they are sent as such."""
    encoding = encodings["cl100k_base"]
    encoded = [encoding.encode_ordinary(text) for text in inputs]
    exact = sum(map(len, encoded))
    document = {"model": "text-embedding-3-small", "input": inputs}
    assert exact <= bounded(counter, Wire.EMBEDDINGS, document) <= exact + 16
    assert exact <= bounded(counter, Wire.EMBEDDINGS, {**document, "input": encoded}) <= exact + 16


FIELDS = "messages input tools system n prediction text response_format other modalities thinking prompt stream_options"
NAMES = "type role content text source image_url output data input tools ttl name cache_control encrypted_content url"
KINDS = "text image image_url message document input_text input_image input_audio reasoning tool_result namespace"
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(KINDS.split())
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=400)
@given(wire=st.sampled_from(list(Wire)), extra=st.dictionaries(st.sampled_from(FIELDS.split()), documents, max_size=4))
def test_any_document_is_read_or_refused(wire: Wire, extra: dict[str, Any]) -> None:
    """Whatever a client sends: a request, or RequestInvalid, and nothing else."""
    body = json.dumps({"model": "gpt-4o", "max_tokens": 9, "messages": [], "input": "x", **extra}).encode()
    try:
        request = read_request(wire, body)
    except RequestInvalid:
        return
    assert request.fixed_tokens > 0
    assert request.choices >= 1
    assert sum(map(len, request.texts)) <= 2 * len(body)
