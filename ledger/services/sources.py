"""Where what is not decided comes from: the clock, ids, keys and salts.

Owns the form of API keys, ``bk_<role>_<book code><256 random bits>_<checksum>``. Invariants: an id is unique for all
practical purposes and sorts by the time it was made; a key's text exists only in the answer that first shows it.
"""

import hashlib
import os
import time
import zlib
from typing import Final, NamedTuple

from ledger.core.book import CODE_LENGTH, book_code, book_id_of
from ledger.core.ids import ALPHABET, BODY_LENGTH
from ledger.core.roles import ROLES

_RANDOM_LENGTH: Final = 52
_CHECKSUM_LENGTH: Final = 7
_PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
_POOL_IDS: Final = 512
_TIME_LENGTH: Final = 10
_RANDOM_TEXT: Final = BODY_LENGTH - _TIME_LENGTH
_TO_ALPHABET: Final = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))


class ParsedKey(NamedTuple):
    """What a key's text says by itself; whether it is valid is decided at the commit."""

    book_id: int
    role: str
    digest: bytes


def _base32(value: int, length: int) -> str:
    text = []
    for _ in range(length // 2):
        text.append(_PAIRS[value & 1023])
        value >>= 10
    if length % 2:
        text.append(ALPHABET[value & 31])
    return "".join(text[::-1])


def _checksum(text: str) -> str:
    return _base32(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)


def parse_key(text: str) -> ParsedKey | None:
    """Read a key's text, or None when its form or checksum is off. No I/O."""
    parts = text.split("_")
    if len(parts) != 4 or parts[0] != "bk" or parts[1] not in ROLES or not text.isascii():
        return None
    if len(parts[2]) != CODE_LENGTH + _RANDOM_LENGTH or _checksum("_".join(parts[:3])) != parts[3]:
        return None
    book_id = book_id_of(parts[2][:CODE_LENGTH])
    if book_id is None:
        return None
    return ParsedKey(book_id, parts[1], hashlib.sha256(text.encode()).digest())


class Sources:
    """Clock, ids, keys and secrets of a process. Tests put their own in its place."""

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0
        self._millisecond = 0
        self._time_text = ""

    def now_us(self) -> int:
        """This machine's clock: microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def decision_time(self, clock_us: int) -> int:
        """The time of a batch, given the database's clock under the head's lock: that clock."""
        return clock_us

    def elapsed_us(self) -> int:
        """Microseconds on a clock that only ever runs forward, suspended time included where the system can tell."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime_ns(clock) // 1000

    def random_bytes(self, count: int) -> bytes:
        """``count`` bytes from the operating system."""
        return os.urandom(count)

    def new_id(self, prefix: str) -> str:
        """A new id of the kind that ``prefix`` names: 50 bits of milliseconds, then 80 random bits."""
        at = self._at
        if at + _RANDOM_TEXT > len(self._pool):
            self._pool = self.random_bytes(_RANDOM_TEXT * _POOL_IDS).translate(_TO_ALPHABET).decode()
            at = 0
        self._at = at + _RANDOM_TEXT
        millisecond = time.time_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond, self._time_text = millisecond, _base32(millisecond, _TIME_LENGTH)
        return f"{prefix}_{self._time_text}{self._pool[at : at + _RANDOM_TEXT]}"

    def new_book_id(self) -> int:
        """A new 40-bit book id; never zero."""
        return int.from_bytes(self.random_bytes(5)) or 1

    def new_key(self, book_id: int, role: str) -> tuple[str, bytes]:
        """(text, digest) of a new key of 256 random bits. The text is shown once and kept nowhere."""
        random = _base32(int.from_bytes(self.random_bytes(32)), _RANDOM_LENGTH)
        body = f"bk_{role}_{book_code(book_id)}{random}"
        text = f"{body}_{_checksum(body)}"
        return text, hashlib.sha256(text.encode()).digest()
