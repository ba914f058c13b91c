"""The answer of a handler before it is sent: status, headers, bytes.

Invariant: ``content-length`` and ``x-request-id`` are added by the edge when it sends, never here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

JSON_HEADER: Final = (b"content-type", b"application/json")
PROBLEM_HEADER: Final = (b"content-type", b"application/problem+json")
REPLAYED_HEADER: Final = (b"idempotency-replayed", b"true")


class Reply(NamedTuple):
    """One HTTP answer. Header names in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def json_reply(status: int, content: Any, *extra: tuple[bytes, bytes]) -> Reply:
    """An answer with ``content`` as JSON."""
    return Reply(status, (JSON_HEADER, *extra), orjson.dumps(content))
