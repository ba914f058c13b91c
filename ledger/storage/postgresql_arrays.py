"""Columns as binary PostgreSQL arrays: how a batch of rows travels in a few parameters.

Owns the wire form (PostgreSQL source, ``array_send``): dimensions, whether there are NULLs, the element's type, the
length and lower bound, then each element behind its length. Invariant: an array is sent under its own type, so that
a statement is prepared once and never again for other sizes of numbers.
"""

from collections.abc import Sequence
from itertools import repeat
from struct import Struct
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER: Final = Struct(">iiiii").pack
_LENGTH: Final = Struct(">i").pack
_NULL: Final = _LENGTH(-1)
_BIGINT: Final = Struct(">iq").pack
_INTEGER: Final = Struct(">ii").pack
_BOOLEAN: Final = Struct(">i?").pack


class ArrayType(NamedTuple):
    """An element type: its name in SQL, its type number, the array's type number."""

    name: str
    element: int
    array: int


BIGINT: Final = ArrayType("bigint", 20, 1016)
INTEGER: Final = ArrayType("integer", 23, 1007)
TEXT: Final = ArrayType("text", 25, 1009)
BYTEA: Final = ArrayType("bytea", 17, 1001)
BOOLEAN: Final = ArrayType("boolean", 16, 1000)


class BigintArray(bytes):
    """A bigint[] ready to be sent."""


class IntegerArray(bytes):
    """An integer[] ready to be sent."""


class TextArray(bytes):
    """A text[] ready to be sent."""


class ByteaArray(bytes):
    """A bytea[] ready to be sent."""


class BooleanArray(bytes):
    """A boolean[] ready to be sent."""


_CLASSES: Final[dict[ArrayType, type[bytes]]] = {
    BIGINT: BigintArray,
    INTEGER: IntegerArray,
    TEXT: TextArray,
    BYTEA: ByteaArray,
    BOOLEAN: BooleanArray,
}
_FIXED: Final = {BIGINT: (8, _BIGINT), INTEGER: (4, _INTEGER), BOOLEAN: (1, _BOOLEAN)}


def type_of(column: sqlalchemy.Column[Any]) -> ArrayType:
    """The element type of a column of ``ledger.storage.tables``."""
    kind = column.type
    if isinstance(kind, sqlalchemy.BigInteger):
        return BIGINT
    if isinstance(kind, sqlalchemy.Integer):
        return INTEGER
    if isinstance(kind, sqlalchemy.Boolean):
        return BOOLEAN
    if isinstance(kind, sqlalchemy.LargeBinary):
        return BYTEA
    return TEXT


def encode(kind: ArrayType, values: Sequence[Any]) -> bytes:
    """The values as an array parameter. Raises struct.error for an integer that does not fit its type."""
    count = len(values)
    has_null = None in values
    header = _HEADER(1, has_null, kind.element, count, 1)
    fixed = _FIXED.get(kind)
    if fixed is not None:
        size, pack = fixed
        if has_null:
            parts = [_NULL if value is None else pack(size, value) for value in values]
            return _CLASSES[kind](header + b"".join(parts))
        return _CLASSES[kind](header + b"".join(map(pack, repeat(size), values)))
    if kind is TEXT:
        values = [value if value is None else value.encode() for value in values]
    if has_null:
        parts = [_NULL if value is None else _LENGTH(len(value)) + value for value in values]
    else:
        parts = [_LENGTH(len(value)) + value for value in values]
    return _CLASSES[kind](header + b"".join(parts))


class _ArrayDumper(Dumper):
    """Sends what is already in wire form."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Any:
        return obj


def register(connection: psycopg.Connection[Any]) -> None:
    """Teach a connection to send the arrays that ``encode`` makes."""
    for kind, array_class in _CLASSES.items():
        dumper = type(f"{array_class.__name__}Dumper", (_ArrayDumper,), {"oid": kind.array})
        connection.adapters.register_dumper(array_class, dumper)
