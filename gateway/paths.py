"""Which paths the gateway answers, and what each is.

Invariant: a path is a call on a known wire, which costs money and passes the ledger; or a known free question; or it is
refused. Nothing else is forwarded, so that no route of a provider evades the budget.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.wires import Wire

PREFIXES: Final = ("/openai/", "/anthropic/", "/providers/")

_CALLS: Final[dict[tuple[str, str], Wire]] = {
    ("openai", "chat/completions"): Wire.CHAT,
    ("openai", "responses"): Wire.RESPONSES,
    ("openai", "embeddings"): Wire.EMBEDDINGS,
    ("anthropic", "messages"): Wire.MESSAGES,
}
_FREE: Final = (
    ("openai", "GET", re.compile(r"models(/[A-Za-z0-9._:/@-]{1,200})?")),
    ("openai", "POST", re.compile(r"responses/input_tokens")),
    ("anthropic", "GET", re.compile(r"models(/[A-Za-z0-9._:@-]{1,200})?")),
    ("anthropic", "POST", re.compile(r"messages/count_tokens")),
)
"""Questions that providers answer for nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: the provider's name, the path below ``/v1``, and the wire of a call (None: free)."""

    provider: str
    path: str
    wire: Wire | None


def is_gateway_path(path: str) -> bool:
    """Whether the gateway answers requests for this path."""
    return path.startswith(PREFIXES)


def split(path: str) -> tuple[str, str] | None:
    """(provider's name, path below ``/v1``) of a gateway path; None where it has no such form."""
    parts = path.split("/")
    if parts[1] == "providers":
        del parts[1]
    if len(parts) < 4 or parts[2] != "v1":
        return None
    below = parts[3:]
    if any(part in ("", ".", "..") for part in below):
        return None
    return parts[1], "/".join(below)


def place_of(wire: str, provider: str, method: str, below: str) -> Place | None:
    """The place of a request for a provider of this wire (``openai`` or ``anthropic``); None: not served."""
    call = _CALLS.get((wire, below))
    if call is not None:
        return Place(provider, below, call) if method == "POST" else None
    for kind, verb, pattern in _FREE:
        if kind == wire and verb == method and pattern.fullmatch(below) is not None:
            return Place(provider, below, None)
    return None
