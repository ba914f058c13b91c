"""Answers that are files: sent at once where they are short, else as they are read, in constant memory.

Invariant: what breaks off while it is read ends the connection before its end, and never looks whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from fastapi.responses import Response, StreamingResponse

WHOLE_BYTES_MAX: Final = 262_144
"""A file of at most so many bytes is sent at once, with its length."""


def file_answer(pieces: Iterator[bytes], *, media_type: str, headers: Mapping[str, str]) -> Response:
    """The answer that has these pieces. Raises what making the first of them raises."""
    begun: list[bytes] = []
    length = 0
    for piece in pieces:
        begun.append(piece)
        length += len(piece)
        if length > WHOLE_BYTES_MAX:
            return StreamingResponse(chain(begun, pieces), media_type=media_type, headers=headers)
    return Response(b"".join(begun), media_type=media_type, headers=dict(headers))
