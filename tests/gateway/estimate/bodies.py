"""Short ways to read a request in a test."""

from __future__ import annotations

import json
from typing import Any

from gateway.estimate import Request, read_request
from gateway.wires import Wire

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PNG = "data:image/png;base64," + PIXEL


def chat(**members: Any) -> Request:
    """A chat request with one short message, unless others are given."""
    return read(Wire.CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], **members})


def said(*parts: Any, model: str = "gpt-4o") -> Request:
    """A chat request whose message has these parts."""
    return read(Wire.CHAT, {"model": model, "messages": [{"role": "user", "content": list(parts)}]})


def responses(**members: Any) -> Request:
    """A Responses request with a short input, unless another is given."""
    return read(Wire.RESPONSES, {"model": "gpt-4o", "input": "Hi", **members})


def messages(**members: Any) -> Request:
    """A Messages request with one short message, unless others are given."""
    turns = [{"role": "user", "content": "Hi"}]
    return read(Wire.MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": turns, **members})


def blocks(*content: Any) -> Request:
    """A Messages request whose message has these blocks."""
    return messages(messages=[{"role": "user", "content": list(content)}])


def read(wire: Wire, document: dict[str, Any]) -> Request:
    """What is read from this document, written as JSON."""
    return read_request(wire, json.dumps(document).encode())
