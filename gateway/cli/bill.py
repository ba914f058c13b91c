"""A provider's bill, read line by line from JSON lines or CSV, whatever its columns are called.

Owns the reading. Invariants: amounts are exact decimals, never binary fractions; a line that cannot be read stops the
reading with its place and what is wrong, so that nothing is settled from half a bill; a bill of any length is read in
little memory.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, Final

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "client_request_id": ("client_request_id", "x_client_request_id", "authorization"),
    "response_id": ("response_id", "generation_id", "id"),
    "cost": ("cost", "cost_usd", "total_cost"),
    "currency": ("currency",),
    "provider": ("provider",),
    "model": ("model",),
    "tier": ("tier", "service_tier"),
    "time": ("time", "timestamp", "created_at"),
}
"""Field to the names of columns that it is read from: the first that a line has, unless ``--column`` names another."""
USAGE_COLUMN: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*_(?:tokens|seconds|searches|executions|requests|pages)")
"""Columns with such a name count what was used, in the words of genai-prices: ``input_tokens`` is all that was read."""
TEXT_MAX: Final = 128
_COUNT_MAX: Final = 2**53


class BillError(Exception):
    """The bill cannot be read; the text begins with the place."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line. ``cost`` None where the bill has none; ``priced_by`` is whose prices made it of the ``usage`` (counts
    by name), and ``recorded`` what a settlement says of both; they are empty where the bill says the cost. Texts are
    empty where absent and at most 128 characters long."""

    bill: str
    number: int
    client_request_id: str = ""
    response_id: str = ""
    cost: Decimal | None = None
    currency: str = ""
    provider: str = ""
    model: str = ""
    tier: str = ""
    time: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    priced_by: str = ""
    recorded: Mapping[str, str] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """The line as the ledger keeps it beside a settlement."""
        said: dict[str, Any] = {"line": self.number}
        for name in ("client_request_id", "response_id", "currency", "provider", "model", "tier", "time", "priced_by"):
            if getattr(self, name):
                said[name] = getattr(self, name)
        if self.cost is not None:
            said["cost"] = format(self.cost, "f")
        if self.usage:
            said["usage"] = dict(sorted(self.usage.items()))
        return said


def columns_of(said: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The columns of each field, ``said`` (field to column) in place of the usual names. Raises BillError."""
    for name in said:
        if name not in COLUMNS and USAGE_COLUMN.fullmatch(name) is None:
            known = ", ".join(COLUMNS)
            raise BillError(f"{name} is no field of a bill; they are {known}, and counts such as input_tokens")
    return {**COLUMNS, **{name: (column,) for name, column in said.items()}}


def read_bill(path: Path, columns: Mapping[str, tuple[str, ...]]) -> Iterator[BillLine]:
    """The lines of a bill in their order: CSV with a first line of names where the file is called ``.csv``, else one
    JSON object a line, whose inner values a column names with points (``usage.input_tokens``). Raises BillError."""
    with_ids = count = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _csv_rows(file, path.name) if path.suffix.lower() == ".csv" else _json_rows(file, path.name)
            for number, row in rows:
                line = _line(row, columns, bill=path.name, number=number)
                count += 1
                with_ids += bool(line.client_request_id or line.response_id)
                yield line
    except (OSError, UnicodeDecodeError) as error:
        raise BillError(f"{path.name} cannot be read: {error}") from error
    if count and not with_ids:
        raise BillError(
            f"{path.name}: no line names a call; say which column does with --column client_request_id=NAME or "
            "--column response_id=NAME"
        )


def _csv_rows(file: IO[str], bill: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BillError(f"{bill}:{reader.line_num}: the line has not as many columns as the first one")
            yield reader.line_num, row
    except csv.Error as error:
        raise BillError(f"{bill}: after line {reader.line_num}: {error}") from error


def _json_rows(file: IO[str], bill: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise BillError(f"{bill}:{number}: this is no line of JSON: {error}") from error
        if not isinstance(row, dict):
            raise BillError(f"{bill}:{number}: a line must be a JSON object")
        yield number, row


def _line(row: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]], *, bill: str, number: int) -> BillLine:
    place = f"{bill}:{number}"
    usage_columns: dict[str, tuple[str, ...]] = {
        name: (name,) for name in row if USAGE_COLUMN.fullmatch(name) is not None
    }
    usage_columns |= {name: column for name, column in columns.items() if name not in COLUMNS}
    usage: dict[str, int] = {}
    for name, column in usage_columns.items():
        value = _value(row, column)
        if value not in (None, ""):
            usage[name] = _count(value, name, place)

    def text(name: str) -> str:
        return _text(_value(row, columns[name]))

    return BillLine(
        bill,
        number,
        client_request_id=text("client_request_id"),
        response_id=text("response_id"),
        cost=_cost(_value(row, columns["cost"]), place),
        currency=text("currency"),
        provider=text("provider"),
        model=text("model"),
        tier=text("tier"),
        time=text("time"),
        usage=usage,
    )


def _value(row: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    """The first column that the row has and that says something."""
    for column in columns:
        value: Any = row.get(column)
        if value is None and "." in column:
            value = row
            for step in column.split("."):
                value = value.get(step) if isinstance(value, dict) else None
        if value not in (None, ""):
            return value
    return None


def _text(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    return "".join(one if one.isprintable() else "·" for one in str(value).strip())[:TEXT_MAX]


def _cost(value: Any, place: str) -> Decimal | None:
    if value is None:
        return None
    try:
        cost = Decimal(value.strip() if isinstance(value, str) else value)
        # What no bill says would only make the sums below endless.
        if isinstance(value, bool) or not cost.is_finite() or abs(cost.adjusted()) > 40:
            raise ValueError(value)
    except (InvalidOperation, ValueError, TypeError) as error:
        raise BillError(f'{place}: "{_text(value)}" is no cost; it is plain decimal text such as 0.0125') from error
    return cost


def _count(value: Any, name: str, place: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text[:20]) > _COUNT_MAX:
        raise BillError(f'{place}: "{_text(value)}" is no count of {name}; it is a whole number')
    return int(text)
