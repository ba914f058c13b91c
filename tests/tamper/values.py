"""Other values for a column: near, far, empty, of another row, of another type, and such as only look the same.

Invariant: a value given here is not the one that was there, by type and content, and the column of a bare copy can hold
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Column

FAR = 10**12
FAR_SMALL = 10**6
LOOK_ALIKES = str.maketrans("aeopcxyiAEOPCXHKMT", "аеорсхуіАЕОРСХНКМТ")
"""Latin letters, and the Cyrillic ones that look like them."""


class NoText(NamedTuple):
    """Bytes that a column of SQLite keeps as text although they are none."""

    stored: bytes


def other_values(value: Any, column: Column[Any], others: list[Any], *, sqlite: bool) -> Iterator[tuple[str, Any]]:
    """(operation, value) for every way to change ``value``; ``others`` are what other rows have in the column."""
    for operation, other in _candidates(value, column, others, sqlite=sqlite):
        if (type(other), other) != (type(value), value):
            yield operation, other


def _candidates(value: Any, column: Column[Any], others: list[Any], *, sqlite: bool) -> Iterator[tuple[str, Any]]:
    kind = str(column.type)
    yield "null", None
    known = value
    if value is None:
        known = next((other for other in others if other is not None), None)
        yield "set", known if known is not None else _something(kind)
        return
    another = next((other for other in others if other is not None and other != value), None)
    if another is not None:
        yield "another_rows", another
    if kind == "BOOLEAN":
        yield "flipped", not value
        if sqlite:
            yield "two", 2
            yield "text", "true"
    elif isinstance(value, int):
        yield from _numbers(value, FAR_SMALL if kind == "INTEGER" else FAR, sqlite=sqlite)
    elif isinstance(value, str):
        yield from _texts(value, sqlite=sqlite)
    else:
        yield from _bytes(bytes(value), sqlite=sqlite)


def _something(kind: str) -> Any:
    if kind in ("BIGINT", "INTEGER"):
        return 7
    return "other" if kind == "TEXT" else b"other"


def _numbers(value: int, far: int, *, sqlite: bool) -> Iterator[tuple[str, Any]]:
    yield "plus_one", value + 1
    yield "minus_one", value - 1
    yield "negated", -value
    yield "zero", 0
    yield "far", far
    if sqlite:
        yield "fraction", value + 0.5
        yield "text", "much"
        yield "blob", str(value).encode()


def _texts(value: str, *, sqlite: bool) -> Iterator[tuple[str, Any]]:
    yield "appended", value + "x"
    yield "shortened", value[:-1]
    yield "emptied", ""
    yield "spaced", value + " "
    yield "case", value.swapcase()
    yield "look_alike", value.translate(LOOK_ALIKES)
    if value:
        yield "bit", chr(ord(value[0]) ^ 1) + value[1:]
    if sqlite:
        yield "blob", value.encode()
        yield "zero_byte", value + "\0"
        yield "no_text", NoText(value.encode() + b"\xff")


def _bytes(value: bytes, *, sqlite: bool) -> Iterator[tuple[str, Any]]:
    if value:
        yield "first_bit", bytes([value[0] ^ 0x80]) + value[1:]
        yield "last_bit", value[:-1] + bytes([value[-1] ^ 1])
    yield "shortened", value[:-1]
    yield "appended", value + b"\0"
    yield "emptied", b""
    yield "zeroed", bytes(len(value))
    if sqlite:
        yield "hex", value.hex()
