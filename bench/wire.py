"""HTTP/1.1 as bytes: request templates and the smallest response parser that a measurement can trust.

Owns what the load generator puts on the wire. Invariant: every request to a ledger carries an `Idempotency-Key` that no
other request of any run carries, and every template of a kind keeps its length when the key changes, so that
`content-length` is computed once.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

KEY_COUNTER_DIGITS = 12
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_CHUNKED_END = b"\r\n0\r\n\r\n"
_AUTHORIZATION_ID = re.compile(rb'"id":\s*"([A-Za-z0-9_.-]+)"')


class UnreadableResponse(Exception):
    """The server answered with something this parser does not read: no length, or not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Principal:
    """One API key and the budgets (names, at least one) that its requests name in turn."""

    key: str
    budgets: tuple[str, ...]


@dataclass(slots=True)
class ResponseParser:
    """Cuts a byte stream into responses; pipelined and split arrivals are both read.

    `feed` takes what arrived and returns complete responses as (status, body) pairs, oldest first. Raises
    UnreadableResponse for a response without `content-length` (chunked included): a closed loop would hang.
    With `streams`, chunked responses are read too, and their bodies returned with the chunks' own lines in them: an
    event stream never holds the bytes that end it, and taking it apart would cost more than it tells.
    """

    streams: bool = False
    _buffer: bytes = field(default=b"")
    _looked_at: int = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Add arrived bytes; return the responses that are now whole."""
        buffer = self._buffer + data if self._buffer else data
        responses: list[tuple[int, bytes]] = []
        position = 0
        while True:
            head_end = buffer.find(b"\r\n\r\n", position)
            if head_end < 0:
                break
            body_start = head_end + 4
            match = _CONTENT_LENGTH.search(buffer, position, head_end)
            if self.streams and match is None and _CHUNKED.search(buffer, position, head_end) is not None:
                found = buffer.find(_CHUNKED_END, max(head_end + 2, self._looked_at))
                if found < 0:
                    self._looked_at = len(buffer) - len(_CHUNKED_END) - position
                    break
                body_end, self._looked_at = found + len(_CHUNKED_END), 0
                responses.append((int(buffer[position + 9 : position + 12]), buffer[body_start:body_end]))
                position = body_end
                continue
            if match is None or _CHUNKED.search(buffer, position, head_end) is not None:
                raise UnreadableResponse(buffer[position:head_end][:300].decode("latin-1"))
            body_end = body_start + int(match.group(1))
            if len(buffer) < body_end:
                break
            if not buffer.startswith(b"HTTP/1.1 ", position):
                raise UnreadableResponse(buffer[position:head_end][:300].decode("latin-1"))
            responses.append((int(buffer[position + 9 : position + 12]), buffer[body_start:body_end]))
            position = body_end
        self._buffer = buffer[position:] if position else buffer
        return responses


def authorization_id(body: bytes) -> bytes:
    """The id of the authorization in a response body. Raises UnreadableResponse when there is none."""
    match = _AUTHORIZATION_ID.search(body)
    if match is None:
        raise UnreadableResponse(f"no authorization id in {body[:300].decode('latin-1')}")
    return match.group(1)


@dataclass(slots=True)
class KeySource:
    """Idempotency keys: a random token for the run, then a counter of fixed width."""

    token: bytes = field(default_factory=lambda: secrets.token_hex(8).encode())
    count: int = 0

    def next(self) -> bytes:
        """A key that was never given before."""
        self.count += 1
        return b"%s-%0*d" % (self.token, KEY_COUNTER_DIGITS, self.count)

    @property
    def length_bytes(self) -> int:
        """The length of every key of this source."""
        return len(self.token) + 1 + KEY_COUNTER_DIGITS


def request_head(*, path: str, key: str, host: str, content_length: int) -> bytes:
    """A POST's head up to and including `Idempotency-Key: `; the key and an empty line are to follow."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {content_length}\r\nIdempotency-Key: "
    ).encode()


@dataclass(frozen=True, slots=True)
class SingleTemplate:
    """One request with a hole for the idempotency key: prefix, key, suffix."""

    prefix: bytes
    suffix: bytes

    def render(self, keys: KeySource) -> bytes:
        """The request's bytes with a fresh key."""
        return b"".join((self.prefix, keys.next(), self.suffix))


@dataclass(frozen=True, slots=True)
class CallTemplate:
    """An inference call: the same bytes each time, because a provider's clients send no idempotency key."""

    request: bytes

    def render(self, keys: KeySource) -> bytes:
        """The request's bytes."""
        return self.request


@dataclass(frozen=True, slots=True)
class SettleTemplate:
    """A settlement with holes for the authorization's id (in the path) and the idempotency key."""

    after_id: bytes
    suffix: bytes

    def render(self, keys: KeySource, authorization: bytes) -> bytes:
        """The settlement's bytes for the authorization whose id is given."""
        return b"".join((b"POST /v1/authorizations/", authorization, self.after_id, keys.next(), self.suffix))


@dataclass(frozen=True, slots=True)
class BatchTemplate:
    """A batch request: one head and a body of items, each with a hole for its own key."""

    head: bytes
    fragments: tuple[bytes, ...]
    body_length: int

    def render(self, keys: KeySource) -> bytes:
        """The batch's bytes; the request and every item have fresh keys."""
        pieces = [b""] * (2 * len(self.fragments) - 1)
        pieces[0::2] = self.fragments
        pieces[1::2] = [keys.next() for _ in range(len(self.fragments) - 1)]
        return b"".join((self.head, keys.next(), b"\r\n\r\n", *pieces))


def single_templates(
    principals: Sequence[Principal], *, path: str, host: str, body: dict[str, Any]
) -> list[tuple[Principal, SingleTemplate]]:
    """One template per budget, interleaved over the principals so that neighbours differ in both."""
    templates = []
    for round_number in range(max(len(principal.budgets) for principal in principals)):
        for principal in principals:
            if round_number < len(principal.budgets):
                content = encode(body | {"budget": principal.budgets[round_number]})
                prefix = request_head(path=path, key=principal.key, host=host, content_length=len(content))
                templates.append((principal, SingleTemplate(prefix=prefix, suffix=b"\r\n\r\n" + content)))
    return templates


def call_template(principal: Principal, *, path: str, host: str, body: dict[str, Any]) -> CallTemplate:
    """One inference call, as a client without any headers of its own would send it."""
    content = encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {principal.key}\r\nAccept: application/json\r\n"
        f"User-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return CallTemplate(head.encode() + content)


def settle_template(principal: Principal, *, host: str, body: dict[str, Any]) -> SettleTemplate:
    """The settlement that the principal sends for an authorization of its own."""
    content = encode(body)
    head = request_head(path="/settle", key=principal.key, host=host, content_length=len(content))
    return SettleTemplate(after_id=head.removeprefix(b"POST "), suffix=b"\r\n\r\n" + content)


def batch_template(
    principal: Principal, *, path: str, host: str, body: dict[str, Any], items: int, key_length_bytes: int
) -> BatchTemplate:
    """A batch of `items` authorizations that name the principal's budgets in turn."""
    hole = "\x00"
    contents = [
        json.dumps(
            body | {"budget": principal.budgets[n % len(principal.budgets)], "idempotency_key": hole},
            separators=(",", ":"),
        )
        for n in range(items)
    ]
    text = '{"items":[' + ",".join(contents) + "]}"
    fragments = tuple(fragment.encode() for fragment in text.split(json.dumps(hole)[1:-1]))
    length = sum(map(len, fragments)) + items * key_length_bytes
    head = request_head(path=path, key=principal.key, host=host, content_length=length)
    return BatchTemplate(head=head, fragments=fragments, body_length=length)


def encode(body: dict[str, Any]) -> bytes:
    """Compact JSON, as a client library would send it."""
    return json.dumps(body, separators=(",", ":")).encode()
