"""A request that was read, and what was found out about it before any money is asked for.

Owns ``Asked``. Invariant: everything that decides what a call can cost stands here before the ledger is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import Provider
from gateway.estimate import Counts, Request
from gateway.facts import CallFacts
from gateway.headers import upward, with_trace
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

    def url(self) -> str:
        """Where the call goes."""
        below = f"v1/{self.place.path}" if self.provider.wire == "anthropic" else self.place.path
        return f"{self.provider.base_url}/{below}{self.query}"

    def upward_headers(self, authorization: str) -> list[tuple[str, str]]:
        """What the provider gets as headers."""
        headers = [
            *upward(self.headers, self.provider, self.provider_key, authorization),
            ("content-type", "application/json"),
        ]
        return headers if self.facts.trace is None else with_trace(headers, self.facts.trace.headers)
