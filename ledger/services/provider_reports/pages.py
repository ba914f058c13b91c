"""Pages of JSON as a provider's API returns them: one a file, several after another, or an array of them.

Owns how buckets are found in them. Invariants: every number is read as the decimal that is written; a page that says
there are more is refused unless the next one is there too; the same line is never taken twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledger.services.provider_reports.values import ReportError

_DECODER = json.JSONDecoder(parse_float=Decimal)
_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Result:
    """One result of a bucket, with where it stands and when the bucket starts and ends (microseconds)."""

    place: str
    starts_at: int
    ends_at: int
    said: dict[str, Any]


@dataclass(slots=True)
class _Page:
    place: str
    has_more: bool
    first: int
    last: int


BucketTime = Callable[[dict[str, Any], str], tuple[int, int]]
"""When a bucket starts and ends, in microseconds."""


def results_of(
    files: Sequence[tuple[Path, str]], time_of: BucketTime, is_measured: Callable[[str], bool]
) -> Iterator[Result]:
    """Every result of the files (name, text). ``is_measured`` tells the fields that say how much; two results that
    are equal in all others are one result that was read twice. Raises ReportError."""
    pages: list[_Page] = []
    seen: dict[str, str] = {}
    for path, text in files:
        for place, page in _pages(path.name, text):
            kept = _Page(place, _has_more(page, place), 0, 0)
            pages.append(kept)
            for number, bucket in enumerate(_listed(page, "data", place), start=1):
                where = f"{place}, bucket {number}"
                starts_at, ends_at = time_of(_object(bucket, where), where)
                kept.first, kept.last = kept.first or starts_at, ends_at
                for position, said in enumerate(_listed(bucket, "results", where), start=1):
                    at = f"{where}, result {position}"
                    result = Result(at, starts_at, ends_at, _object(said, at))
                    _once(result, is_measured, seen)
                    yield result
    for one in pages:
        if one.has_more and not any(other.first >= one.last > 0 for other in pages if other is not one):
            raise ReportError(f"{one.place}: it says that there are more pages; fetch them and name them too")


def _pages(name: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    at, number = 0, 0
    while True:
        while at < len(text) and text[at] in _BLANK:
            at += 1
        if at >= len(text):
            if not number:
                raise ReportError(f"{name}: the file is empty")
            return
        try:
            document, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", text.count("\n", 0, at) + 1)
            raise ReportError(f"{name}:{line}: this is no JSON: {getattr(error, 'msg', error)}") from error
        for page in document if isinstance(document, list) else [document]:
            number += 1
            place = f"{name}, page {number}"
            yield place, _object(page, place)


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReportError(f"{place}: this is no JSON object")
    return value


def _listed(said: dict[str, Any], name: str, place: str) -> list[Any]:
    found = said.get(name)
    if not isinstance(found, list):
        raise ReportError(f'{place}: it has no list "{name}": this is not the report that was named')
    return found


def _has_more(page: dict[str, Any], place: str) -> bool:
    found = page.get("has_more", False)
    if not isinstance(found, bool):
        raise ReportError(f"{place}: has_more is neither true nor false")
    return found


def _once(result: Result, is_measured: Callable[[str], bool], seen: dict[str, str]) -> None:
    told = {name: value for name, value in result.said.items() if not is_measured(name)}
    key = f"{result.starts_at} {json.dumps(told, sort_keys=True, default=str)}"
    if key in seen:
        raise ReportError(f"{result.place}: this is {seen[key]} again; name each page once")
    seen[key] = result.place
