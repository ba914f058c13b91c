"""What keeps a spreadsheet from taking a text for a formula, in CSV and in workbooks alike.

Invariant: a text that could be a formula begins with an apostrophe, and every other text is as it was.
"""

from typing import Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a text for a formula, or hides that it does; the last four are full-width forms that
some take for the same."""


def neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula: it is put behind an apostrophe where it could be one."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
