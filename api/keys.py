"""Who asks, as far as the edge can tell: API keys read from headers, and the rate at which each may ask.

Owns the cache from header bytes to parsed keys and the token buckets. Invariants: nothing here decides whether a key
is valid (the core does, at the commit; reads ask the database each time); both maps are bounded whatever clients send.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from api.problems import ProblemError
from ledger.services.sources import ParsedKey, parse_key

CACHED_KEYS: Final = 20_000
_KEY_LENGTH_MAX: Final = 256
K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A bounded map: two generations, of which the older is dropped when the younger is full."""

    __slots__ = ("_entries", "_old", "_young")

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value under ``key``, or None."""
        found = self._young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self._young[key] = found
        return found

    def put(self, key: K, value: V) -> None:
        """Keep ``value`` under ``key``; may forget what was not used for long."""
        if len(self._young) >= self._entries:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class KeyRing:
    """Reads ``Authorization`` headers."""

    __slots__ = ("_known",)

    def __init__(self, entries: int = CACHED_KEYS) -> None:
        self._known: Recent[bytes, ParsedKey] = Recent(entries)

    def read(self, header: bytes | None) -> ParsedKey:
        """The key in an ``Authorization`` header. Raises ProblemError ``unauthenticated`` for a missing or malformed
        one; whether the key exists is not asked."""
        if header is None:
            raise ProblemError("unauthenticated")
        found = self._known.get(header)
        if found is None:
            found = self._parse(header)
            self._known.put(header, found)
        return found

    @staticmethod
    def _parse(header: bytes) -> ParsedKey:
        scheme, _, text = header.partition(b" ")
        if scheme.lower() != b"bearer" or len(text) > _KEY_LENGTH_MAX or not text.isascii():
            raise ProblemError("unauthenticated")
        parsed = parse_key(text.strip().decode())
        if parsed is None:
            raise ProblemError("unauthenticated", "the key is malformed; check that it was copied whole")
        return parsed


class RateLimit:
    """A token bucket per key digest. ``per_second`` 0 sets no bound."""

    __slots__ = ("_buckets", "_burst", "_refused", "per_second")

    def __init__(self, *, per_second: int, burst: int, entries: int = CACHED_KEYS) -> None:
        self.per_second = per_second
        self._burst = burst
        self._buckets: Recent[bytes, list[float]] = Recent(entries)
        self._refused = 0

    def take(self, digest: bytes, now_seconds: float, tokens: int = 1) -> None:
        """Take tokens for one request; a request for more than a full bucket takes a full one. Raises ProblemError
        ``rate_limited`` with the seconds after which there will be enough."""
        wanted = min(tokens, self._burst)
        bucket = self._buckets.get(digest)
        if bucket is None:
            bucket = [self._burst, now_seconds]
            self._buckets.put(digest, bucket)
        filled = bucket[0] + (now_seconds - bucket[1]) * self.per_second
        bucket[0] = filled if filled < self._burst else self._burst
        bucket[1] = now_seconds
        if bucket[0] < wanted:
            self._refused += 1
            seconds = int((wanted - bucket[0]) / self.per_second) + 1
            raise ProblemError("rate_limited", headers=((b"retry-after", b"%d" % seconds),))
        bucket[0] -= wanted

    def take_refused(self) -> int:
        """Requests refused since this was last asked."""
        refused, self._refused = self._refused, 0
        return refused
