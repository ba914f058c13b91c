"""FOCUS rows as a Parquet file, written as they are read.

Invariants: amounts are exact decimals and moments are UTC; a file is whole by itself, with its cursor in it; the same
rows give the same bytes with the same version of the writer. ``pyarrow`` is imported only when a file is written.
"""

import importlib
import io
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from ledger.services.journal.focus_rows import AMOUNT, COLUMNS, COUNT, MOMENT, TEXT, WHOLE, FocusRow, focus_rows
from ledger.services.journal.making import Journal

ROWS_IN_GROUP: Final = 10_000
"""Rows of a group: what is kept in memory."""
DIGITS: Final = (38, 9)
"""Of a decimal: all digits, and those behind the point, of which no currency has more."""


def write_focus_parquet(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file. Raises ImportError where pyarrow is not installed; JournalBroken."""
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    schema = _schema(arrow).with_metadata({"bursar.since": str(journal.start), "bursar.next": str(journal.end)})
    target = _Target()
    rest = focus_rows(journal)
    with parquet.ParquetWriter(target, schema, compression="zstd", version="2.6") as writer:
        while some := list(islice(rest, ROWS_IN_GROUP)):
            columns = zip(*(row.values for row in _converted(some)), strict=True)
            arrays = [arrow.array(list(values), type=field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            yield target.taken()
    yield target.taken()


def _schema(arrow: Any) -> Any:
    types = {
        TEXT: arrow.string(),
        AMOUNT: arrow.decimal128(*DIGITS),
        COUNT: arrow.decimal128(*DIGITS),
        WHOLE: arrow.int64(),
        MOMENT: arrow.timestamp("us", tz="UTC"),
    }
    return arrow.schema([arrow.field(name, types[sort]) for name, sort in COLUMNS.items()])


def _converted(rows: list[FocusRow]) -> Iterator[FocusRow]:
    places = [(at, sort == AMOUNT) for at, sort in enumerate(COLUMNS.values()) if sort in (AMOUNT, COUNT)]
    for row in rows:
        values = list(row.values)
        for at, is_amount in places:
            if values[at] is not None:
                values[at] = Decimal(values[at]).scaleb(-row.digits if is_amount else 0)
        yield row._replace(values=tuple(values))


class _Target(io.RawIOBase):
    """Where the writer writes to; what it has written is taken away again, so that no file is in memory whole."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        """It is written to."""
        return True

    def write(self, data: Any) -> int:
        """Keep what is written."""
        piece = bytes(data)
        self._kept.append(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        """How much was written in all."""
        return self._length

    def taken(self) -> bytes:
        """What was written since this was last asked."""
        kept, self._kept = self._kept, []
        return b"".join(kept)
