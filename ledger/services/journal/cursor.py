"""Cursors of the journal: how far an export went, so that the next one carries on there.

Invariant: a cursor names the log by its size and its root, so that one of another book, or of a history that was
rewritten since, is refused instead of carried on.
"""

import re
from typing import Final, NamedTuple

from ledger.core.merkle import EMPTY_ROOT

BEGINNING_NAME: Final = "beginning"
FORM: Final = (
    f"{BEGINNING_NAME}, or a number of records and the root that they lead to in hexadecimal digits: 4711:5891b5b5…"
)
_CURSOR: Final = re.compile(r"(0|[1-9][0-9]{0,15}):([0-9a-f]{64})", re.ASCII)


class JournalCursor(NamedTuple):
    """The first ``size`` records, which lead to ``root`` (32 bytes)."""

    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.size}:{self.root.hex()}"


BEGINNING = JournalCursor(0, EMPTY_ROOT)


def parse_cursor(text: str) -> JournalCursor:
    """The cursor that a text says. Raises ValueError, saying what to change."""
    if text.strip() == BEGINNING_NAME:
        return BEGINNING
    found = _CURSOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text.strip()[:80]}" is no cursor of a journal, which is {FORM}')
    return JournalCursor(int(found[1]), bytes.fromhex(found[2]))
