"""Files of rates: the reference rates of the European Central Bank, and plain lines of base, quote, rate and day.

Owns reading, and nothing of what is then done. Invariants: the whole file is read before any of it is used; what cannot
be read is an error that names its line; a rate is taken as it is written, never as a float.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ledger.core.command_rates import GivenRate
from ledger.core.money import currency_digits
from ledger.core.rate import RateInvalid, check_pair, day_number, rate_text

ECB: Final = "ecb"
PLAIN: Final = "csv"
_BASE: Final = "EUR"
_NO_RATE: Final = frozenset(("", "N/A"))
_CODE: Final = re.compile(r"[A-Z]{3}")
PLAIN_COLUMNS: Final = ("base", "quote", "rate", "valid_from")


class RateFileInvalid(ValueError):
    """A file that cannot be read as what it is said to be. The message names the line and what to change."""


class RateFile(NamedTuple):
    """The rates of a file, oldest day first; ``unknown`` are codes in it that are no currency here, left out."""

    rates: list[GivenRate]
    unknown: tuple[str, ...]


def read_rates(path: Path, form: str) -> RateFile:
    """The rates of a file in a form of ``FORMS``. Raises RateFileInvalid, OSError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = FORMS[form](csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "; unpack it first" if path.suffix.lower() == ".zip" else ""
        raise RateFileInvalid(f"{path.name} is no CSV in UTF-8{hint}") from error
    places: dict[tuple[str, str, int], GivenRate] = {}
    for given in found.rates:
        known = places.setdefault((given.base, given.quote, given.day), given)
        if known != given:
            raise RateFileInvalid(f"{path.name} has two rates of {given.base}/{given.quote} for one day")
    return RateFile(sorted(places.values(), key=lambda given: (given.day, given.base, given.quote)), found.unknown)


def _ecb(rows: Iterable[list[str]]) -> RateFile:
    """A day each line, a currency each column, for one euro; N/A where there is none: the ECB's ``eurofxref-hist.csv``
    and ``eurofxref.csv``."""
    lines = iter(rows)
    header = [cell.strip() for cell in next(lines, [])]
    codes = header[1:]
    if not header or header[0] != "Date" or not any(codes):
        raise RateFileInvalid('the first line is not that of a file of the ECB, which begins with "Date,USD,JPY,"')
    for code in codes:
        if code and _CODE.fullmatch(code) is None:
            raise RateFileInvalid(f'"{code[:20]}" in the first line is no code of a currency')
    rates: list[GivenRate] = []
    for number, row in enumerate(lines, start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise RateFileInvalid(f"line {number} has {len(cells)} columns and the first line {len(header)}")
        day = _day(cells[0], number)
        for code, cell in zip(codes, cells[1:], strict=True):
            if code and cell not in _NO_RATE and currency_digits(code) is not None:
                rates.append(_given(_BASE, code, cell, day, number))
    return RateFile(rates, tuple(code for code in codes if code and currency_digits(code) is None))


def _plain(rows: Iterable[list[str]]) -> RateFile:
    """A rate each line, under a first line that names the columns."""
    lines = iter(rows)
    header = [cell.strip() for cell in next(lines, [])]
    if sorted(header) != sorted(PLAIN_COLUMNS):
        raise RateFileInvalid(f"the first line names the columns: {','.join(PLAIN_COLUMNS)}")
    return RateFile(list(_plain_rates(header, lines)), ())


def _plain_rates(header: list[str], lines: Iterator[list[str]]) -> Iterator[GivenRate]:
    for number, row in enumerate(lines, start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise RateFileInvalid(f"line {number} has {len(cells)} columns and the first line {len(header)}")
        named = dict(zip(header, cells, strict=True))
        yield _given(named["base"], named["quote"], named["rate"], _day(named["valid_from"], number), number)


def _day(text: str, number: int) -> int:
    try:
        return day_number(text)
    except ValueError as error:
        raise RateFileInvalid(f'line {number}: "{text[:20]}" is no day; it is written 2026-11-28') from error


def _given(base: str, quote: str, text: str, day: int, number: int) -> GivenRate:
    try:
        check_pair(base, quote)
        return GivenRate(base=base, quote=quote, rate=rate_text(text), day=day)
    except RateInvalid as error:
        raise RateFileInvalid(f"line {number}: {error}") from error


FORMS: Final[dict[str, Callable[[Iterable[list[str]]], RateFile]]] = {ECB: _ecb, PLAIN: _plain}
"""How a file may be written."""
