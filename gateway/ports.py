"""What the gateway gets from the server that carries it.

Invariant: the gateway knows nothing of that server's settings, tables or other routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.facts import CallFacts
from gateway.ledger import Ledger
from ledger.services.asker_cache import AskerCache
from ledger.services.sources import ParsedKey, Sources

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ports:
    """``read_key`` reads an ``Authorization`` header (None: malformed); ``take`` asks the rate limit of a key (0, or
    the seconds to wait); ``read_body`` reads a whole body of at most so many bytes (None: the client left) and raises
    ``gateway.refusals.Refusal``; ``ended`` is told of each request at its end, and must not wait."""

    ledger: Ledger
    askers: AskerCache
    sources: Sources
    read_key: Callable[[bytes], ParsedKey | None]
    take: Callable[[ParsedKey], int]
    read_body: Callable[[Scope, Receive, int], Awaitable[bytes | None]]
    ended: Callable[[CallFacts], None]
