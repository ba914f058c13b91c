"""A report as one JSON object.

Invariant: amounts are text with their currency beside them, other figures are text that was rounded once, whole numbers
are numbers; members stand in a fixed order, so the same report gives the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any, Final

import orjson

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.core.report import MONEY, Cell, Column, Report, Table

ROWS_AT_ONCE: Final = 200


def write_json(report: Report) -> Iterator[bytes]:
    """The pieces of the document."""
    log = report.log
    head = {
        "report": report.name,
        "book": report.book,
        "timezone": report.timezone,
        "parameters": dict(report.parameters),
        "log": {"size": log.size, "root": log.root.hex(), "recorded_at": moment_text(log.recorded_at)},
        "notes": list(report.notes),
    }
    yield orjson.dumps(head)[:-1] + b',"tables":['
    for at, table in enumerate(report.tables):
        columns = [{"name": column.name, "kind": column.kind} for column in table.columns]
        start = orjson.dumps({"name": table.name, "columns": columns})
        yield (b"," if at else b"") + start[:-1] + b',"rows":['
        rest, first = iter(table.rows), True
        while some := list(islice(rest, ROWS_AT_ONCE)):
            packed = b",".join(orjson.dumps(_row(table, row, report.digits)) for row in some)
            yield packed if first else b"," + packed
            first = False
        yield b"]}"
    yield b"]}\n"


def _row(table: Table, row: Sequence[Cell], digits: Mapping[str, int]) -> dict[str, Any]:
    currency = table.currency_of(row)
    return {
        column.name: _cell(column, cell, currency, digits) for column, cell in zip(table.columns, row, strict=True)
    }  # fmt: skip


def _cell(column: Column, cell: Cell, currency: str | None, digits: Mapping[str, int]) -> Any:
    if isinstance(cell, date):
        return cell.isoformat()
    if column.kind == MONEY and isinstance(cell, int) and currency is not None:
        return {"amount": format_atoms(cell, digits[currency]), "currency": currency}
    return cell
