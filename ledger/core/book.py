"""A book: its settings, its head, the units it defines and the names it has met.

Invariant: the head's size, root and frontier always describe the log as committed, and ``recorded_at`` never runs
backwards.
"""

from dataclasses import dataclass
from typing import Final

CATEGORY: Final = "category"
PAYEE: Final = "payee"
CODE_LENGTH: Final = 8
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(slots=True)
class Book:
    """One row of ``books``. ``strict_names``: an unknown category or payee is refused instead of made."""

    book_id: int
    name: str
    currency: str
    timezone: str
    strict_names: bool
    opened_at: int


@dataclass(slots=True)
class Head:
    """One row of ``book_heads``, which is also the book's lock. ``frontier`` packs the Merkle tree's right edge;
    ``recorded_at`` (microseconds) is the time of the last record; ``account_count`` numbers new accounts; ``frozen``
    says that nothing new is approved in the whole book."""

    book_id: int
    size: int
    root: bytes
    frontier: bytes
    recorded_at: int
    account_count: int
    frozen: bool


@dataclass(slots=True)
class Unit:
    """One row of ``units``: something counted that is not money (tokens, credits), with digits of its own."""

    book_id: int
    name: str
    digits: int
    created_index: int


@dataclass(slots=True)
class Name:
    """One row of ``names``: a category or payee that the book knows."""

    book_id: int
    kind: str
    name: str
    created_index: int


def book_code(book_id: int) -> str:
    """The 8 characters that stand for a book inside its keys: its 40-bit id in base 32."""
    return "".join(_ALPHABET[(book_id >> shift) & 31] for shift in range(35, -5, -5))


def book_id_of(code: str) -> int | None:
    """The id that a book's code stands for, or None when it is not a code."""
    if len(code) != CODE_LENGTH:
        return None
    value = 0
    for character in code:
        digit = _ALPHABET.find(character)
        if digit < 0:
            return None
        value = value << 5 | digit
    return value
