"""Sums of 64-bit columns that may be larger than 64 bits.

Invariant: a sum is exact on both databases. SQLite adds in 64 bits and fails beyond them; so the halves of each value
are summed apart, and put together in Python.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, literal_column

_HALF_BITS = 32


def halves(column: ColumnElement[int]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """(sum of the upper halves, sum of the lower halves) of a column of integers, to be selected."""
    bits: ColumnElement[int] = literal_column(str(_HALF_BITS))
    mask: ColumnElement[int] = literal_column(str((1 << _HALF_BITS) - 1))
    return (
        func.coalesce(func.sum(column.op(">>")(bits)), 0),
        func.coalesce(func.sum(column.op("&")(mask)), 0),
    )


def whole(upper: Any, lower: Any) -> int:
    """The sum out of what was selected as ``halves``."""
    return (int(upper) << _HALF_BITS) + int(lower)
