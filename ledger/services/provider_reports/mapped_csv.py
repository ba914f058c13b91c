"""Any CSV, with a mapping that says which column is what.

The mapping is YAML: ``amount`` and ``day`` name columns and are needed; ``id``, ``model``, ``key`` and ``currency`` may
be; ``quantities`` maps counts such as ``input_tokens`` to columns; ``unit: minor`` says that amounts are in cents;
``delimiter`` and ``decimal`` say how the file is written.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ledger.core.reconciling_lines import TheirLine, day_of
from ledger.services.provider_reports.values import (
    ReportError,
    atoms_of,
    count_of,
    currency_of,
    moment_said,
    text_of,
)

COLUMNS: Final = ("amount", "day", "id", "model", "key", "currency")
NEEDED: Final = ("amount", "day")
UNITS: Final = {"major": 0, "minor": 2}
_COUNT: Final = re.compile(r"requests|[a-z0-9]+(?:_[a-z0-9]+)*_(?:tokens|seconds|searches|executions|requests|pages)")
_MAPPING_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column is what, and how the file is written."""

    columns: dict[str, str] = field(default_factory=lambda: {name: name for name in NEEDED})
    quantities: dict[str, str] = field(default_factory=dict)
    unit: str = "major"
    delimiter: str = ","
    decimal: str = "."


def read_mapping(path: Path) -> Mapping:
    """The mapping in a file. Raises ReportError."""
    try:
        text = path.read_text(encoding="utf-8")
        said = yaml.safe_load(text) if len(text) <= _MAPPING_BYTES_MAX else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ReportError(f"{path.name}: the mapping cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict):
        raise ReportError(f"{path.name}: the mapping is no list of names and columns")
    return mapping_of(said, path.name)


def mapping_of(said: dict[str, Any], place: str) -> Mapping:
    """A mapping as it is written. Raises ReportError."""
    known = {*COLUMNS, "quantities", "unit", "delimiter", "decimal"}
    strange = sorted(str(name) for name in said if name not in known)
    if strange:
        raise ReportError(f"{place}: {strange[0]} is nothing that a mapping says; those are {', '.join(sorted(known))}")
    columns: dict[str, Any] = {name: said[name] for name in COLUMNS if name in said}
    quantities = said.get("quantities", {})
    if not isinstance(quantities, dict):
        raise ReportError(f"{place}: quantities maps names of counts to columns")
    for name, column in (*columns.items(), *quantities.items()):
        if not isinstance(column, str) or not column:
            raise ReportError(f"{place}: {name} must name a column")
    for name in NEEDED:
        if name not in columns:
            raise ReportError(f"{place}: say which column is the {name}")
    for name in quantities:
        if not isinstance(name, str) or _COUNT.fullmatch(name) is None:
            raise ReportError(f"{place}: {name} is no count; use requests, or a name such as input_tokens")
    made = Mapping(
        columns, dict(quantities), said.get("unit", "major"), said.get("delimiter", ","), said.get("decimal", ".")
    )
    if not isinstance(made.unit, str) or made.unit not in UNITS:
        raise ReportError(f"{place}: unit is major (dollars) or minor (cents)")
    if not isinstance(made.delimiter, str) or len(made.delimiter) != 1 or made.decimal not in (".", ","):
        raise ReportError(f'{place}: delimiter is one character, decimal is "." or ","')
    return made


def lines(
    files: Sequence[tuple[Path, str]], currency: str, digits: int, mapping: Mapping | None = None
) -> Iterator[TheirLine]:
    """Lines that bill. Raises ReportError."""
    mapping = mapping or Mapping()
    seen: dict[tuple[str, ...], str] = {}
    for path, text in files:
        for number, row in _rows(path.name, text, mapping):
            place = f"{path.name}:{number}"
            _once(row, mapping, place, seen)
            yield _line(row, mapping, currency, digits, place)


def _rows(name: str, text: str, mapping: Mapping) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mapping.delimiter, strict=True)
    try:
        header = reader.fieldnames or []
        for column in (*mapping.columns.values(), *mapping.quantities.values()):
            if column not in header:
                raise ReportError(f"{name}:1: there is no column {column}; those are {', '.join(header)[:200]}")
        for row in reader:
            if None in row or None in row.values():
                raise ReportError(f"{name}:{reader.line_num}: the line has not as many columns as the first one")
            yield reader.line_num, row
    except csv.Error as error:
        raise ReportError(f"{name}: after line {reader.line_num}: {error}") from error


def _once(row: dict[str, str], mapping: Mapping, place: str, seen: dict[tuple[str, ...], str]) -> None:
    """A line without an id can be there twice; one with an id and all else equal is the same line again."""
    if not row.get(mapping.columns.get("id", ""), ""):
        return
    key = tuple(row.values())
    if key in seen:
        raise ReportError(f"{place}: this is the line of {seen[key]} again; name each line once")
    seen[key] = place


def _line(row: dict[str, str], mapping: Mapping, currency: str, digits: int, place: str) -> TheirLine:
    said = {name: row[column] for name, column in mapping.columns.items()}
    if "currency" in said:
        currency_of(said["currency"].strip(), currency, place)
    amount = said["amount"].strip()
    if mapping.decimal == ",":
        amount = amount.replace(".", "").replace(",", ".")
    return TheirLine(
        place=place,
        day=day_of(moment_said(said["day"], "day", place)),
        amount=atoms_of(amount, digits, place, minor_digits=UNITS[mapping.unit]),
        id=text_of(said.get("id"), "id", place),
        model=text_of(said.get("model"), "model", place),
        key=text_of(said.get("key"), "key", place),
        quantities={name: count_of(row[column].strip(), name, place) for name, column in mapping.quantities.items()},
    )
