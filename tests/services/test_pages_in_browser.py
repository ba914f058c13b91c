"""Statements as HTML in a real browser: nothing runs out of a printed page, and nothing is fetched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest

from ledger.core.statement import Scope, Statement
from ledger.services.pages.paper import A4, LETTER, Paper
from ledger.services.statements.html_form import write_html
from tests.support.made_statement import LONG, MANY, made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip
MILLIMETRE = 72 / 25.4
MARGIN = 15 * MILLIMETRE
HEADING_POINTS = 13
"""The height of the first letter of the heading, which is 14.7 where nothing was made smaller."""
BOOKS: dict[str, Callable[[], Statement]] = {
    "long names": lambda: made(
        8, resources=[LONG], payees=["p" * 64], book="b" * 64, scope=Scope("budget", "r" * 64), atoms_max=9 * 10**18,
        places=9,
    ),
    "many currencies": lambda: made(20, currencies=MANY, holds=12),
    "zero lines": lambda: made(0, holds=0),
}  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine to print the page with")


@pytest.mark.parametrize("paper", [A4, LETTER], ids=lambda paper: paper.name)
@pytest.mark.parametrize("name", BOOKS)
def test_nothing_runs_out_of_a_printed_page(name: str, paper: Paper, tmp_path: Path) -> None:
    """Every letter stands between the margins of the paper that the page is made for."""
    page, printed = tmp_path / "statement.html", tmp_path / "statement.pdf"
    page.write_bytes(b"".join(write_html(BOOKS[name](), paper)))
    assert CHROMIUM is not None
    subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer",
         f"--print-to-pdf={printed}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    opened = pypdfium2.PdfDocument(printed)
    width, height = opened[0].get_size()
    assert (round(width / MILLIMETRE), round(height / MILLIMETRE)) in ((210, 297), (216, 279))
    assert (round(width / MILLIMETRE) == 210) == (paper is A4)
    texts = [sheet.get_textpage() for sheet in opened]
    for text in texts:
        for at in range(text.count_chars()):
            left, _, right, _ = text.get_charbox(at)
            assert right <= left or (left > MARGIN - 2 and right < width - MARGIN + 2), text.get_text_range(at, 40)
    said = [text.get_text_range() for text in texts]
    assert all(any(words in each for each in said) for words in ("Opening balance", "The log that this stands on"))
    # A browser makes a page smaller that is too wide to print: then its heading would be smaller too.
    _, bottom, _, top = texts[0].get_charbox(said[0].index("Statement of"))
    assert top - bottom > HEADING_POINTS
    opened.close()
