"""Paper that documents are made for.

Owns ``Paper`` and the two there are. Whatever is laid out on pages takes one; what is not ignores it.
"""

from typing import Final, NamedTuple


class Paper(NamedTuple):
    """``css`` and ``typst`` are its names there, ``excel`` the number that workbooks know it by."""

    name: str
    css: str
    typst: str
    excel: int


A4: Final = Paper("a4", "A4", "a4", 9)
LETTER: Final = Paper("letter", "letter", "us-letter", 1)
PAPERS: Final[dict[str, Paper]] = {paper.name: paper for paper in (A4, LETTER)}
