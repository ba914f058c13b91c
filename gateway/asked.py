"""A request that was read, and what was found out about it before any money is asked for.

Owns ``Asked``. Invariant: everything that decides what a call can cost stands here before the ledger is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import Provider
from gateway.estimate import Counts, Request
from gateway.facts import CallFacts
from gateway.paths import Place
from gateway.pricing import Tariff
from gateway.said import Said
from gateway.usage import Usage
from ledger.services.asker import Asker


@dataclass(slots=True)
class Asked:
    """A request that was read: where it goes, who asks, what it says."""

    place: Place
    provider: Provider
    provider_key: str | None
    asker: Asker
    headers: list[tuple[bytes, bytes]]
    said: Said
    query: str
    body: bytes
    request: Request
    counts: Counts
    tariff: Tariff | None
    served: Callable[[Usage], Tariff | None]
    facts: CallFacts
