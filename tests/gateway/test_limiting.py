"""The limit on the output that a provider reads is the one that is held, by whatever name the client asked for it."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from gateway.config import ANTHROPIC, OPENAI, Provider
from gateway.estimate import read_request
from gateway.limiting import limited
from gateway.wires import Wire

OLD, NEW = "max_tokens", "max_completion_tokens"
Field = Literal["max_tokens", "max_completion_tokens"]
START: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def forwarded(provider: Provider, limit: int, **named: int | None) -> dict[str, Any]:
    """The limits in the body that is forwarded, after a client named these and so much is held."""
    body = json.dumps(START | named).encode()
    document = json.loads(limited(body, read_request(Wire.CHAT, body), provider, limit))
    assert {name: document.pop(name) for name in START} == START
    return dict(document)


def reads(field: Field, fields: Literal["one", "both"] = "one") -> Provider:
    return Provider(base_url="http://127.0.0.1:1/v1", output_limit_field=field, output_limit_fields=fields)


@pytest.mark.parametrize(
    ("named", "limit", "found"),
    [
        ({}, 9, {OLD: 9}),
        ({OLD: None}, 9, {OLD: 9}),
        ({OLD: 50}, 50, {OLD: 50}),
        ({OLD: 50}, 9, {OLD: 9}),
        ({NEW: 50}, 50, {NEW: 50, OLD: 50}),
        ({NEW: 50}, 9, {NEW: 9, OLD: 9}),
        ({NEW: 50, OLD: 60}, 60, {NEW: 50, OLD: 60}),
        ({NEW: 50, OLD: 60}, 9, {NEW: 9, OLD: 9}),
    ],
)
def test_who_reads_the_older_name_alone_always_gets_it(
    named: dict[str, Any], limit: int, found: dict[str, Any]
) -> None:
    assert forwarded(reads("max_tokens"), limit, **named) == found


@pytest.mark.parametrize(
    ("named", "limit", "found"),
    [
        ({}, 9, {NEW: 9}),
        ({NEW: 50}, 50, {NEW: 50}),
        ({OLD: 50}, 50, {NEW: 50}),
        ({OLD: 50}, 9, {NEW: 9}),
        ({OLD: 50, NEW: None}, 9, {NEW: 9}),
    ],
)
def test_who_reads_the_newer_name_alone_gets_it_instead(
    named: dict[str, Any], limit: int, found: dict[str, Any]
) -> None:
    assert forwarded(reads("max_completion_tokens"), limit, **named) == found


@pytest.mark.parametrize("name", [OLD, NEW])
def test_who_reads_both_gets_what_the_client_wrote(name: str) -> None:
    """OpenAI takes either, and refuses both together."""
    assert forwarded(OPENAI, 50, **{name: 50}) == {name: 50}
    assert forwarded(OPENAI, 9, **{name: 50}) == {name: 9}
    assert forwarded(reads("max_tokens", "both"), 9, **{name: 50}) == {name: 9}
    assert forwarded(OPENAI, 9) == {NEW: 9}


def test_other_wires_have_one_name() -> None:
    body = b'{"model":"claude-opus-4-8","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}'
    request = read_request(Wire.MESSAGES, body)
    assert limited(body, request, ANTHROPIC, 50) == body
    assert json.loads(limited(body, request, ANTHROPIC, 9))["max_tokens"] == 9
    body = b'{"model":"gpt-4o","input":"hi"}'
    assert json.loads(limited(body, read_request(Wire.RESPONSES, body), OPENAI, 9))["max_output_tokens"] == 9
