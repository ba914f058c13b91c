"""Amounts as answers write them.

Owns the way from atoms as a body holds them (text) to decimal text. Invariant: exact; no float and no rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.core.money import MICRO_CODES, MICRO_DIGITS, NANO_CODES, NANO_DIGITS

Scale = Mapping[str, int]
"""Currency or unit to its digits after the point; complete for the currencies of the record at hand."""
MONEY_SCALE: Final[Scale] = {
    **dict.fromkeys(NANO_CODES, NANO_DIGITS),
    **dict.fromkeys(MICRO_CODES, MICRO_DIGITS),
}


def decimal_text(atoms: str, digits: int) -> str:
    """Exact decimal text, at least two digits after the point where the scale has them, of atoms as text."""
    if not digits:
        return atoms
    sign = ""
    if atoms[0] == "-":
        sign, atoms = "-", atoms[1:]
    if len(atoms) <= digits:
        atoms = atoms.zfill(digits + 1)
    fraction = atoms[-digits:].rstrip("0")
    if len(fraction) < 2:
        fraction = (fraction + "00")[: 2 if digits > 1 else 1]
    return f"{sign}{atoms[:-digits]}.{fraction}"


def money(atoms: str, currency: str, digits: int) -> dict[str, str]:
    """An amount as answers write it."""
    return {"amount": decimal_text(atoms, digits), "currency": currency}
