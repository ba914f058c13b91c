"""How amounts are shown to people: grouped by thousands, with a real minus, decimal points below each other.

Invariant: what is shown is exact. A figure is never rounded, so amounts of fractions of a cent make a wider column.
"""

from collections.abc import Mapping
from typing import Final

from ledger.core.money import format_atoms

MINUS: Final = "\u2212"
FIGURE_SPACE: Final = "\u2007"
POINT_SPACE: Final = "\u2008"
"""As wide as a digit, and as a point: what keeps the points of a column below each other."""


def grouped(atoms: int, digits: int) -> str:
    """Exact decimal text with commas between thousands: ``−1,234.50``."""
    whole, point, fraction = format_atoms(abs(atoms), digits).partition(".")
    sign = MINUS if atoms < 0 else ""
    return f"{sign}{int(whole):,}{point}{fraction}"


def fraction_digits(atoms: int, digits: int) -> int:
    """How many digits an amount shows after the point."""
    return len(format_atoms(abs(atoms), digits).partition(".")[2])


class Figures:
    """Amounts of one document, in columns whose points stand below each other. ``digits`` are those of each currency,
    ``places`` the most that any amount of the document has after the point."""

    def __init__(self, digits: Mapping[str, int], places: int) -> None:
        self._digits = digits
        self.places = places

    def plain(self, atoms: int, currency: str) -> str:
        """An amount within a sentence."""
        return grouped(atoms, self._digits[currency])

    def aligned(self, atoms: int, currency: str) -> str:
        """An amount in a column that is set flush right."""
        text = self.plain(atoms, currency)
        _, point, fraction = text.partition(".")
        lacking = self.places - len(fraction)
        if not self.places:
            return text
        return text + ("" if point else POINT_SPACE) + FIGURE_SPACE * lacking


def plain_text(text: str) -> str:
    """A figure as programs write it: what ``grouped`` and ``aligned`` make is ``-1234.50`` again."""
    return text.replace(MINUS, "-").replace(",", "").rstrip(FIGURE_SPACE + POINT_SPACE)
