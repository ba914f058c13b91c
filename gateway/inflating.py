"""Answers that come compressed although nobody asked for that, as some proxies before providers send them.

Invariant: no piece that is given out is longer than ``PIECE_BYTES_MAX``, so that a few bytes that inflate without end
never stand in memory as a whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

PIECE_BYTES_MAX: Final = 1_048_576
DEFLATED: Final = frozenset(("gzip", "x-gzip", "deflate"))
"""The codings that are read."""
_EITHER_HEADER: Final = 47


class CannotInflate(ValueError):
    """The bytes are not what the header said."""


class Inflater:
    """Feeds on what arrives, gives what was meant, as far as it can be known yet."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=_EITHER_HEADER)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises CannotInflate."""
        try:
            while chunk and not self._decoder.eof:
                piece = self._decoder.decompress(chunk, PIECE_BYTES_MAX)
                chunk = self._decoder.unconsumed_tail
                if piece:
                    yield piece
        except zlib.error as error:
            raise CannotInflate("the provider's answer is not compressed as it says") from error

    def end(self) -> None:
        """Say that no more comes. Raises CannotInflate where more would have to."""
        if not self._decoder.eof:
            raise CannotInflate("the provider's answer ended before it was whole")
