"""Which headers go to a provider, and which come back.

Owns the two lists. Invariants: a Bursar key never goes up and a provider's key never comes down; hop-by-hop headers end
here (RFC 9110, section 7.6.1); what concerns the way between client and gateway (compression, lengths, cookies) is made
anew on each side. Everything else passes untouched, trace headers and the provider's request id among it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from gateway.config import Provider

Headers = Sequence[tuple[bytes, bytes]]
_NONE_NAMED: Final[frozenset[bytes]] = frozenset()
LENGTH_DIGITS_MAX: Final = 20
NAMES_KEPT: Final = 512
"""Names of headers of which it is remembered whether they pass."""

_HOP_BY_HOP: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
_NOT_UP: Final = _HOP_BY_HOP | frozenset(
    (
        b"accept-encoding", b"api-key", b"authorization", b"content-encoding", b"content-length", b"content-type",
        b"cookie", b"expect", b"forwarded", b"host", b"openai-organization", b"openai-project", b"via", b"x-api-key",
        b"x-client-request-id", b"x-goog-api-key", b"x-real-ip",
    )
)  # fmt: skip
"""An organization or a project is the server's to choose: it goes with the provider's key. So does what other providers
call a key."""
_NOT_DOWN: Final = _HOP_BY_HOP | frozenset(
    (
        b"alt-svc", b"content-length", b"date", b"openai-organization", b"openai-project", b"server", b"set-cookie",
        b"strict-transport-security",
    )
)  # fmt: skip
_OURS: Final = b"x-bursar-"
_WAY: Final = b"x-forwarded-"
"""How a request came to Bursar is no provider's business."""
_PARAMETER: Final = re.compile(rb"(beta|api-version)(=[A-Za-z0-9._-]*)?")
_KEY: Final = re.compile(rb"bk_[a-z]+_[A-Za-z0-9_-]{16}")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
TRACE_HEADERS: Final = ("traceparent", "tracestate")


def key_in(headers: Headers) -> bytes | None:
    """The Bursar key as an ``Authorization`` header would carry it, from either place where SDKs put it: ``Bearer``, or
    Anthropic's ``x-api-key``. None: there is none, or there are two that differ."""
    found: set[bytes] = set()
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found.add(value[7:].strip())
        elif name == b"x-api-key":
            found.add(value.strip())
    return b"Bearer " + found.pop() if len(found) == 1 else None


def carries_key(text: bytes) -> bool:
    """Whether a Bursar key stands anywhere in a header's value or a query."""
    return b"bk_" in text and _KEY.search(text) is not None


def unknown_parameter(query: bytes) -> str | None:
    """The name of the first parameter in a call's query that is not forwarded; None where all of it is."""
    for part in query.split(b"&"):
        if part and _PARAMETER.fullmatch(part) is None:
            return part.partition(b"=")[0].decode("latin-1")
    return None


def is_compressed(headers: Headers) -> bool:
    """Whether a request says that its body is encoded: what is not read cannot be priced."""
    return any(
        name == b"content-encoding" and value.strip().lower() not in (b"", b"identity") for name, value in headers
    )


def length_in(headers: Headers) -> int:
    """The length that a request declares for its body; 0 where it declares none."""
    declared = next((value for name, value in headers if name == b"content-length"), b"")
    return int(declared) if declared.isdigit() and len(declared) < LENGTH_DIGITS_MAX else 0


def upward(headers: Headers, provider: Provider, key: str | None, authorization: str) -> list[tuple[str, str]]:
    """The headers of the call to the provider. ``authorization`` is the id that ties its records to the ledger's."""
    named = _named_by_connection(headers)
    if provider.headers:
        # What the operator sets for a provider stands alone: two values of one name would let the client choose.
        named |= {name.lower().encode() for name in provider.headers}
    if provider.key is not None and provider.key.header is not None:
        named |= {provider.key.header.lower().encode()}
    kept = [
        (shown, _text(value))
        for name, value in headers
        if (shown := _name_up(name)) is not None and name not in named and not carries_key(value)
    ]
    kept += provider.headers.items()
    kept.append(("accept-encoding", "identity"))
    if authorization:
        kept.append(("x-client-request-id", authorization))
    if key is not None:
        kept.append(_key_header(provider, key))
    return kept


def _key_header(provider: Provider, key: str) -> tuple[str, str]:
    if provider.key is not None and provider.key.header is not None:
        return provider.key.header, key
    return ("x-api-key", key) if provider.wire == "anthropic" else ("authorization", f"Bearer {key}")


def with_trace(headers: list[tuple[str, str]], trace: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a call with the trace headers of its span in place of its client's."""
    return [*((name, value) for name, value in headers if name not in TRACE_HEADERS), *trace]


def downward(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a provider's answer that its client gets, in ASGI's form."""
    found = [(name.lower(), value) for name, value in headers]
    named = _named_by_connection(found)
    kept = [(shown, value) for name, value in found if (shown := _name_down(name)) is not None and name not in named]
    if _CONTROL.search(b"".join([value for _, value in kept])) is None:
        return kept
    return [(name, value) for name, value in kept if _CONTROL.search(value) is None]


@lru_cache(maxsize=NAMES_KEPT)
def _name_up(name: bytes) -> str | None:
    """The name of a request's header as it goes to providers; None where it does not."""
    return None if name in _NOT_UP or name.startswith((_OURS, _WAY)) else name.decode("latin-1")


@lru_cache(maxsize=NAMES_KEPT)
def _name_down(name: bytes) -> bytes | None:
    """The name of an answer's header as its client gets it; None where it does not."""
    return None if name in _NOT_DOWN or name.startswith(_OURS) else name


def _text(value: bytes) -> str:
    """A value as text that is written as the same bytes again, where they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    lists = [value for name, value in headers if name == b"connection"]
    if not lists:
        return _NONE_NAMED
    return frozenset(part.strip().lower() for value in lists for part in value.split(b","))
