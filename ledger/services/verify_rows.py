"""Comparing rows that should be with rows that are: two streams in key order, row by row, column by column.

Invariant: a row that is in one stream only is a difference; memory is bounded by a page of each stream.
"""

from collections.abc import Iterator
from typing import Any

from ledger.core.changeset import TableSpec
from ledger.core.invariants import Difference, shown
from ledger.storage.proof_reader import Row


def compare_pages(spec: TableSpec, expected: Iterator[list[Row]], found: Iterator[list[Row]]) -> Iterator[Difference]:
    """The differences between two streams of pages, each in the order of the table's primary key. Rows are without
    their book."""
    for _, should, stored in unequal_rows(spec, expected, found):
        yield from row_differences(spec, should, stored)


def unequal_rows(
    spec: TableSpec, expected: Iterator[list[Row]], found: Iterator[list[Row]]
) -> Iterator[tuple[Row, Row | None, Row | None]]:
    """(primary key, row that should be, row that is) wherever the two are not equal; None where there is no row."""
    places = [spec.columns.index(column) - 1 for column in spec.key[1:]]
    should, stored = _Stream(expected, places), _Stream(found, places)
    while True:
        should.fill()
        stored.fill()
        if not should.page and not stored.page:
            return
        if should.at == stored.at == 0 and should.page == stored.page:
            should.page, stored.page = [], []
            continue
        order = _order(should.key(), stored.key())
        if order == 0:
            key, one, other = should.key(), should.take(), stored.take()
            if one != other:
                yield key or (), one, other
        elif order < 0:
            yield should.key() or (), should.take(), None
        else:
            yield stored.key() or (), None, stored.take()


def row_differences(spec: TableSpec, expected: Row | None, found: Row | None) -> Iterator[Difference]:
    """What differs between two rows of one primary key; a whole row where one of them is not there."""
    columns = spec.columns[1:]
    row = expected if expected is not None else found
    if row is None:
        return
    values = dict(zip(columns, row, strict=True))
    index = values.get("log_index")
    named = [column for column in spec.key[1:] if column != "log_index"]
    log_index = index if type(index) is int else None
    key = ", ".join(f"{column}={_plain(values[column])}" for column in named)
    if expected is None or found is None:
        what = "the row is missing" if found is None else "the row is not one that the log gives"
        yield Difference(spec.name, what, log_index, key)
        return
    for column, should, stored in zip(columns, expected, found, strict=True):
        if should != stored:
            yield Difference(
                spec.name, "is not what the log gives", log_index, key, column, shown(should), shown(stored)
            )  # fmt: skip


class _Stream:
    """One side of a comparison: the page at hand and the place in it."""

    __slots__ = ("_pages", "_places", "at", "page")

    def __init__(self, pages: Iterator[list[Row]], places: list[int]) -> None:
        self._pages = pages
        self._places = places
        self.page: list[Row] = []
        self.at = 0

    def fill(self) -> None:
        if self.at >= len(self.page):
            self.page, self.at = next(self._pages, []), 0

    def key(self) -> Row | None:
        """The key of the next row, or None when there is none."""
        if self.at >= len(self.page):
            return None
        row = self.page[self.at]
        return tuple(row[place] for place in self._places)

    def take(self) -> Row:
        row = self.page[self.at]
        self.at += 1
        return row


def _order(one: Row | None, other: Row | None) -> int:
    """Which key stands first: -1, 0 or 1; a stream without rows stands last."""
    if one is None or other is None:
        return (one is None) - (other is None)
    if one == other:
        return 0
    return -1 if tuple(map(_rank, one)) < tuple(map(_rank, other)) else 1


def _rank(value: Any) -> tuple[int, Any]:
    """How SQLite orders values of different types; a column of one type orders alike on both databases."""
    if value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return 1, value
    if isinstance(value, str):
        return 2, value.encode(errors="surrogateescape")
    return 3, bytes(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
