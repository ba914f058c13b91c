"""A calculator for the few shapes of formulas that workbooks of Bursar have, apart from what writes them.

Owns ``Calculated``. Invariant: a formula of any other shape is an error, so that no formula goes unchecked.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_ROUND = re.compile(r"=ROUND\((.*),(\d)\)")
_SUMIFS = re.compile(r"SUMIFS\(([^,()]+),([^()]+)\)")
_TERM = re.compile(r"([+-]?)((?:\w+!)?\$[A-Z]+\$\d+)")
_CELL = re.compile(r"(?:(\w+)!)?\$([A-Z]+)\$(\d+)")
_RANGE = re.compile(r"(?:(\w+)!)?\$([A-Z]+)\$(\d+):\$([A-Z]+)\$(\d+)")


class Calculated:
    """The values of a workbook that openpyxl read with its formulas."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._known: dict[tuple[str, str], Any] = {}

    def value(self, sheet: str, coordinate: str) -> Any:
        """What a cell comes to; a number as a Decimal, an empty cell as None."""
        key = (sheet, coordinate)
        if key not in self._known:
            found = self._book[sheet][coordinate]
            self._known[key] = self._formula(sheet, found.value) if found.data_type == "f" else _plain(found.value)
        return self._known[key]

    def _formula(self, sheet: str, formula: str) -> Decimal:
        rounded = _ROUND.fullmatch(formula)
        assert rounded is not None, formula
        inner, places = rounded[1], int(rounded[2])
        summed = _SUMIFS.fullmatch(inner)
        result = self._sum_if(sheet, summed[1], summed[2].split(",")) if summed else self._terms(sheet, inner)
        return result.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)

    def _terms(self, sheet: str, text: str) -> Decimal:
        assert "".join(sign + name for sign, name in _TERM.findall(text)) == text, text
        added = Decimal(0)
        for sign, name in _TERM.findall(text):
            value = self._cell(sheet, name)
            assert isinstance(value, Decimal), (text, name, value)
            added += -value if sign == "-" else value
        return added

    def _sum_if(self, sheet: str, added: str, conditions: list[str]) -> Decimal:
        ranges, criteria = conditions[::2], conditions[1::2]
        wanted = [None if text == '"="' else self._cell(sheet, text) for text in criteria]
        columns = [self._range(sheet, each) for each in ranges]
        amounts = self._range(sheet, added)
        assert all(len(column) == len(amounts) for column in columns)
        return sum(
            (
                amount
                for at, amount in enumerate(amounts)
                if all(column[at] == each for column, each in zip(columns, wanted, strict=True))
            ),
            Decimal(0),
        )

    def _cell(self, sheet: str, name: str) -> Any:
        found = _CELL.fullmatch(name)
        assert found is not None, name
        return self.value(found[1] or sheet, f"{found[2]}{found[3]}")

    def _range(self, sheet: str, name: str) -> list[Any]:
        found = _RANGE.fullmatch(name)
        assert found is not None, name
        assert found[2] == found[4], name
        key = (name, "column")
        if key not in self._known:
            on = found[1] or sheet
            self._known[key] = [self.value(on, f"{found[2]}{row}") for row in range(int(found[3]), int(found[5]) + 1)]
        column: list[Any] = self._known[key]
        return column


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return Decimal(repr(value))
