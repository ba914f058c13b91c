"""Texts of users as documents show them: nothing invisible, nothing that has no picture, and no word without an end.

Invariant: every letter is shown, as itself or as its number (``U+4E2D``); where a long word may be broken changes
nothing but its look.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

BREAK: Final = "\u200b"
_BEHIND_HYPHENS: Final = re.compile(r"(?<=-)(?=.)")
_PART: Final = 6
_IN_FONTS: Final = (
    (0x20, 0x7E), (0xA0, 0x2FF), (0x370, 0x377), (0x37A, 0x37F), (0x384, 0x38A), (0x38E, 0x3A1), (0x3A3, 0x482),
    (0x48A, 0x4FF), (0x5D0, 0x5EA), (0x1E00, 0x1EFF), (0x2010, 0x2027), (0x2030, 0x2040), (0x20A0, 0x20BF),
    (0x2122, 0x2122), (0x2190, 0x23FF), (0x2500, 0x2606),
)  # fmt: skip
"""What the fonts that typst carries have: Latin, Greek, Cyrillic, Hebrew, and signs."""
_SPACES: Final = frozenset((BREAK, "\u2007", "\u2008"))
"""What this package puts into texts itself."""


def visible(text: str) -> str:
    """Text in which nothing is hidden: what cannot be seen, or turns the direction of what follows, is shown by its
    number."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in _SPACES else _by_number(letter) for letter in text)


def settable(text: str) -> str:
    """Text of which typst's own fonts have every letter: others are shown by their number."""
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if letter in _SPACES or _is_in_fonts(letter) else _by_number(letter) for letter in composed)


def breakable(text: str, letters: int) -> str:
    """Text in which a word longer than ``letters`` may be broken: zero-width spaces say where, behind its hyphens and
    within what is still longer than that."""
    if len(text) <= letters:
        return text
    return " ".join(word if len(word) <= letters else BREAK.join(_parts(word, letters)) for word in text.split(" "))


def shortened(text: str, letters: int) -> str:
    """Text of so many letters at most; what lacks is said by an ellipsis."""
    return text if len(text) <= letters else text[: letters - 1] + "\u2026"


def _is_in_fonts(letter: str) -> bool:
    code = ord(letter)
    return any(first <= code <= last for first, last in _IN_FONTS) and letter.isprintable()


def _by_number(letter: str) -> str:
    return f"U+{ord(letter):04X}"


def _parts(word: str, letters: int) -> Iterator[str]:
    for part in _BEHIND_HYPHENS.split(word):
        if len(part) <= letters:
            yield part
        else:
            yield from (part[at : at + _PART] for at in range(0, len(part), _PART))
