"""Rows of the files that are taken over: read one by one, each with its place in the file.

Owns reading CSV, JSON and JSON lines, amounts as exact decimals, moments, and the key that makes a later run of the
same row a repetition. Invariant: what cannot be taken over becomes a refusal of its line and never ends the run.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from ledger.core.money import currency_digits

Record = dict[str, Any]
SHOWN_LENGTH_MAX: Final = 80
COLUMNS_SHOWN_MAX: Final = 12
_LARGEST: Final = Decimal(10) ** 13


class FileUnusable(ValueError):
    """The file as a whole cannot be read. The message says why."""


class RowRefused(ValueError):
    """One row cannot be taken over. The message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be sent: its line in the file, its idempotency key, the body that is sent for it, and what
    rounding changed."""

    line: int
    key: str
    body: dict[str, Any]
    rounded: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that cannot be, and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """One row on which nothing was spent."""

    line: int


Outcome = Row | Refusal | Nothing


def read_csv(path: Path, *, needed: Collection[str] = (), delimiter: str = ",") -> Iterator[tuple[int, Record]]:
    """(line, columns) of a CSV with a heading, which names the columns that are needed. Raises FileUnusable."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            if not reader.fieldnames:
                raise FileUnusable(f"{path.name} has no heading: the first line names the columns")
            _check_heading(path, reader.fieldnames, needed, delimiter)
            for found in reader:
                yield reader.line_num, {name: value for name, value in found.items() if name is not None}
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except (OSError, csv.Error) as error:
        raise FileUnusable(f"{path.name} cannot be read: {error}") from error


def _check_heading(path: Path, heading: Iterable[str], needed: Collection[str], delimiter: str) -> None:
    there = list(heading)
    missing = sorted(set(needed).difference(there))
    if missing:
        raise FileUnusable(
            f"{path.name} has no column {shown(missing[0])}; split at {shown(delimiter)}, its first line names "
            f"{', '.join(map(shown, there[:COLUMNS_SHOWN_MAX]))}"
        )


def _not_utf8(path: Path, error: UnicodeDecodeError) -> FileUnusable:
    return FileUnusable(f"{path.name} is no text in UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8")


def read_json(path: Path) -> Iterator[tuple[int, Record]]:
    """(line, fields) of JSON lines, or (number of the item, fields) of one JSON array, perhaps below a key ``data``,
    ``logs`` or ``items``. Numbers with a point become exact decimals. Raises FileUnusable."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix == ".jsonl":
                yield from _lines(path, file)
                return
            content = json.load(file, parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, FileUnusable):
            raise
        raise FileUnusable(f"{path.name} cannot be read: {error}") from error
    if isinstance(content, dict):
        content = next((content[key] for key in ("data", "logs", "items") if isinstance(content.get(key), list)), None)
    if not isinstance(content, list):
        raise FileUnusable(f"{path.name} is no list of rows; write a JSON array, or JSON lines in a .jsonl file")
    for place, item in enumerate(content, start=1):
        yield place, _object(path, place, item)


def _lines(path: Path, file: Iterable[str]) -> Iterator[tuple[int, Record]]:
    line = 0
    for line, text in enumerate(file, start=1):
        if text.strip():
            try:
                said = json.loads(text, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise FileUnusable(f"{path.name} cannot be read: line {line} is no JSON: {error}") from error
            yield line, _object(path, line, said)
    if not line:
        raise FileUnusable(f"{path.name} is empty")


def _object(path: Path, place: int, item: Any) -> Record:
    if not isinstance(item, dict):
        raise FileUnusable(f"{path.name}: item {place} is no object")
    return item


def text_of(value: Any) -> str | None:
    """A value as text; None for what says nothing. Raises RowRefused for what no text can be written as."""
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    text = str(value).strip()
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RowRefused(f"{shown(text)} has half of a character; write it anew in UTF-8")
    return text or None


def amount_of(value: Any, currency: str) -> tuple[str, Decimal]:
    """(decimal text, what rounding added) of an amount, at the digits of its currency, half to even as settlements are.
    Raises RowRefused."""
    digits = currency_digits(currency)
    if digits is None:
        raise RowRefused(f"{shown(currency)} is no ISO 4217 currency")
    try:
        exact = value if isinstance(value, Decimal) else _decimal(text_of(value) or "")
    except InvalidOperation:
        raise RowRefused(f"{shown(value)} is no amount") from None
    if not exact.is_finite() or abs(exact) >= _LARGEST:
        raise RowRefused(f"{shown(value)} is no amount that a book can hold")
    if exact < 0:
        raise RowRefused(f"{shown(value)} is less than zero; what was given back is an adjustment")
    rounded = exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)
    return format(rounded, "f"), rounded - exact


def _decimal(text: str) -> Decimal:
    """A number as files have it: other digits than these ten, and 1_000, are none. Raises InvalidOperation."""
    if "_" in text or not text.isascii():
        raise InvalidOperation
    return Decimal(text)


def moment_of(value: Any) -> str:
    """RFC 3339 text of a date or a moment; one without an offset is UTC. Raises RowRefused."""
    text = text_of(value)
    try:
        found = datetime.fromisoformat((text or "").replace(" UTC", "+00:00"))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RowRefused(f"{shown(value)} is no day and no moment; write one such as 2026-09-30") from None
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def shown(value: Any) -> str:
    """A value of a file as a sentence quotes it."""
    text = ascii("" if value is None else str(value))[1:-1]
    return f'"{text[:SHOWN_LENGTH_MAX]}"'


def key_of(kind: str, *parts: Any) -> str:
    """The idempotency key of a row: the same row gives the same one in every run."""
    packed = json.dumps([kind, *parts], sort_keys=True, default=str, ensure_ascii=True)
    return f"take-over-{kind}-{hashlib.sha256(packed.encode()).hexdigest()[:40]}"


class Repeats:
    """Numbers rows that say the very same, so that each of them counts: the first, the second, and so on."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def number(self, parts: Iterable[Any]) -> int:
        """Which repetition of these parts this is, from 0."""
        packed = json.dumps(list(parts), sort_keys=True, default=str, ensure_ascii=True).encode()
        digest = hashlib.sha256(packed).digest()[:12]
        number = self._seen.get(digest, 0)
        self._seen[digest] = number + 1
        return number
