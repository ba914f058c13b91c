"""Canonical bytes: the one place that turns facts into the exact bytes that are hashed and kept.

Invariant: the output is RFC 8785 (JCS) over strings, booleans, arrays, objects with ASCII keys, and integers of
magnitude below 2^53. Over that subset ``orjson`` with sorted keys writes the same bytes as JCS; a test compares
it with the reference implementation. Floats and nulls are refused where a body is taken in (``check_value``).
"""

import hashlib
from typing import Any, Final

import orjson

INTEGER_BOUND: Final = 2**53
_SORTED: Final = orjson.OPT_SORT_KEYS
Fragment = orjson.Fragment
"""Canonical bytes of a value, to be put into a larger body without writing them again."""


def canonical_bytes(value: Any) -> bytes:
    """The canonical JSON bytes of ``value``. Raises TypeError for what JSON cannot say (orjson's error)."""
    return orjson.dumps(value, option=_SORTED)


def parse(body: bytes) -> Any:
    """The value that canonical bytes stand for. Raises ValueError when they are not JSON."""
    return orjson.loads(body)


def check_value(value: Any, path: str = "$") -> None:
    """Raise ValueError naming the place where ``value`` leaves the canonical subset (float, null, big integer,
    key that is not ASCII text)."""
    if value is True or value is False or isinstance(value, str):
        return
    if isinstance(value, int):
        if not -INTEGER_BOUND < value < INTEGER_BOUND:
            raise ValueError(f"{path}: integer beyond 2^53")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError(f"{path}: key {key!r} is not ASCII text")
            check_value(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            check_value(item, f"{path}[{position}]")
    else:
        raise ValueError(f"{path}: {type(value).__name__} has no canonical form")


def is_canonical(body: bytes) -> bool:
    """Whether ``body`` is the canonical form of the value it stands for, and inside the subset."""
    try:
        value = orjson.loads(body)
        check_value(value)
    except ValueError:
        return False
    return canonical_bytes(value) == body


def digest_hex(value: Any) -> str:
    """SHA-256, in hex, of the canonical bytes of ``value``."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def text_salt(secret: bytes, principal: str, idempotency_key: str, field: str) -> bytes:
    """16 bytes that salt one free text: BLAKE2b (RFC 7693) keyed with the book's text secret.

    So a retry of the same request gives the same digest, while nobody without the secret can confirm a guessed text
    against the log.
    """
    message = f"{principal}\x00{idempotency_key}\x00{field}".encode()
    return hashlib.blake2b(message, digest_size=16, key=secret).digest()


def text_digest(salt: bytes, text: str) -> str:
    """Hex SHA-256 over salt and UTF-8 text: what a log record keeps of a free text."""
    return hashlib.sha256(salt + text.encode()).hexdigest()


def idempotency_digest(principal: str, idempotency_key: str) -> bytes:
    """16 bytes of SHA-256 over principal and key: how an idempotency key is stored and looked up."""
    return hashlib.sha256(f"{principal}\x00{idempotency_key}".encode()).digest()[:16]
