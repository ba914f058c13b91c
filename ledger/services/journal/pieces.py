"""Pieces of a file: rows and lines put together, some at a time.

Invariant: how a file is cut into pieces never changes its bytes.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

AT_ONCE: Final = 200


def csv_pieces(rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Rows as RFC 4180 has them, with CRLF, in UTF-8."""
    rest = iter(rows)
    while some := list(islice(rest, AT_ONCE)):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(some)
        yield text.getvalue().encode()


def text_pieces(parts: Iterable[str]) -> Iterator[bytes]:
    """Texts behind one another, in UTF-8."""
    rest = iter(parts)
    while some := list(islice(rest, AT_ONCE)):
        yield "".join(some).encode()
