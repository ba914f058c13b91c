"""Statements as HTML and PDF: every figure is there, no text becomes markup, the same bytes again, both papers."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import orjson
import pypdfium2
import pytest

from ledger.core.statement import ACCOUNT, BOOK, Line, Scope, Statement
from ledger.services.pages import typesetting
from ledger.services.pages.figures import FIGURE_SPACE, POINT_SPACE, Figures, grouped, plain_text
from ledger.services.pages.letters import BREAK, breakable, settable, visible
from ledger.services.pages.paper import A4, LETTER, PAPERS
from ledger.services.statements import pdf_form
from ledger.services.statements.html_form import write_html
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import StatementRefused
from ledger.services.statements.overview import Overview
from ledger.services.statements.pdf_form import write_pdf
from tests.support.made_statement import LONG, MANY, ODD, made

MILLIMETRES = {"a4": (210, 297), "letter": (216, 279)}
KINDS_OF_BOOKS = {
    "odd texts": made(36),
    "many currencies": made(60, currencies=(*MANY, "TOKENS"), holds=14),
    "long names": made(12, resources=[LONG], payees=["p" * 64], book="b" * 64, scope=Scope("budget", "r" * 64)),
    "zero lines": made(0, holds=0, checkpoint=False),
    "one line": made(1, holds=1, scope=Scope(BOOK)),
    "an account": made(12, scope=Scope(ACCOUNT, "expenses:inference"), period="2026"),
    "decades": made(12, period="1970-01-01..2090-12-31"),
}


def document(statement: Statement) -> dict[str, Any]:
    """What JSON says."""
    found: dict[str, Any] = orjson.loads(b"".join(write_json(statement)))
    return found


def figures_of(said: Any) -> Iterator[str]:
    """Every amount that JSON has, but costs of what cost nothing."""
    if isinstance(said, dict):
        if set(said) == {"amount", "currency"}:
            yield said["amount"]
            return
        for name, value in said.items():
            if not (name == "cost" and value["amount"].strip("-0.") == ""):
                yield from figures_of(value)
    elif isinstance(said, list):
        for value in said:
            yield from figures_of(value)


class Reading(html.parser.HTMLParser):
    """The texts of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page_of(statement: Statement) -> Reading:
    """The page, read."""
    return Reading(b"".join(write_html(statement)).decode())


def pages_of(data: bytes) -> list[str]:
    """The text of each page of a PDF; where a word was broken it is whole again."""
    opened = pypdfium2.PdfDocument(data)
    try:
        return [page.get_textpage().get_text_range() for page in opened]
    finally:
        opened.close()


def squeezed(text: str) -> str:
    """Text without blanks of any kind and without breaks, which layouts may put anywhere."""
    return re.sub(rf"[\s{BREAK}\ufffe\u00ad]|{FIGURE_SPACE}|{POINT_SPACE}", "", text)


def numbers(text: str) -> set[str]:
    """Every number in a text, as programs write it."""
    return {plain_text(found) for found in re.findall(r"[\u2212-]?\d[\d,]*(?:\.\d+)?", text)}


@pytest.mark.parametrize("name", KINDS_OF_BOOKS)
def test_html_has_every_figure_of_the_json(name: str) -> None:
    statement = KINDS_OF_BOOKS[name]
    shown = numbers(page_of(statement).text)
    wanted = set(figures_of(document(statement)))
    # What was spent stands beside an amount only where it is another one.
    assert {text.lstrip("-") for text in wanted} - {text.lstrip("-") for text in shown} == set()
    for line in document(statement)["lines"]:
        assert line["amount"]["amount"] in shown
        assert line["balance"]["amount"] in shown


@pytest.mark.parametrize("name", KINDS_OF_BOOKS)
def test_pdf_has_every_figure_of_the_json(name: str) -> None:
    statement = KINDS_OF_BOOKS[name]
    pages = pages_of(b"".join(write_pdf(statement)))
    shown = numbers(" ".join(pages))
    for text in figures_of(document(statement)):
        assert text in shown or text.lstrip("-") in shown, text
    assert all(f"Page {at} of {len(pages)}" in page for at, page in enumerate(pages, start=1))


def test_the_head_of_the_lines_is_on_each_of_their_pages() -> None:
    pages = pages_of(b"".join(write_pdf(made(120))))
    with_lines = [page for page in pages if "auth_0" in page]
    assert len(with_lines) >= 4
    assert all("Balance" in page and "Amount" in page for page in with_lines)


def test_every_line_says_whose_it_is_and_what_to_look_at() -> None:
    """In both, in words."""
    statement = made(36)
    for text in (page_of(statement).text, " ".join(pages_of(b"".join(write_pdf(statement))))):
        said = squeezed(text)
        for words in (
            "run run-3", "budget research", "agent crawler", "approved by ana, fay", "auth_00000000000000000000000035",
            "Settled above its hold; settled as something else than was asked", "Not authorized", "Forced by an admin",
            "corrected by record 99999 of 2026-11-30: inference openai −0.0007 USD", "recorded 2026-11-", "prompt=v3",
            "reversed by record 99999", "of 2026-11-03: inference openai ", "meant for 2026-10-31 00:00:00",
            "Opening balance", "Closing balance", "bursar/acme-0123abcd", bytes(range(32)).hex(), "--at-size 128",
            "Price correction", "Waiting for approval", "Held, and in no line above",
        ):  # fmt: skip
            assert squeezed(words).lower() in said.lower(), words


@pytest.mark.parametrize("text", ODD)
def test_no_text_of_a_user_becomes_markup_of_html(text: str) -> None:
    """It is shown as it is, and the page has the same elements whatever it says."""
    plain, odd = page_of(made(12, resources=["plain"])), page_of(made(12, resources=[text]))
    assert [tag for tag, _ in odd.tags] == [tag for tag, _ in plain.tags]
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in odd.tags}
    assert visible(text) in odd.text
    assert not [name for _, attributes in odd.tags for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("text", ODD)
def test_no_text_of_a_user_becomes_markup_of_typst(text: str) -> None:
    """It is set as it is, letter by letter; letters that no font has are shown by their number."""
    pages = pages_of(b"".join(write_pdf(made(2, resources=[text], holds=0))))
    shown = text.replace("中", "U+4E2D").replace("文", "U+6587").replace("😀", "U+1F600").replace("\ufffe", "U+FFFE")
    assert squeezed(shown) in squeezed(" ".join(pages))
    assert len(pages) <= 2


def test_html_is_written_as_its_lines_are_read() -> None:
    """However many there are: whoever reads the page has the first lines before the last ones are read."""
    statement, read = made(5_000), []

    def lines() -> Iterator[Line]:
        for line in kept:
            read.append(line.log_index)
            yield line

    kept = list(statement.read_lines())
    statement.read_lines = lines
    pieces = write_html(statement)
    while b"auth_0" not in next(pieces):
        pass
    # The first time they were added up, and then they are shown.
    assert 5_000 < len(read) < 5_500
    assert len(list(pieces)) > 10


def test_html_needs_nothing_beside_itself() -> None:
    page = b"".join(write_html(made(36))).decode()
    assert re.findall(r"(?:src|href|url|@import)\s*[=(]", page) == []
    assert re.findall(r"https?://[^\"'< ]+", page) == ["http://www.w3.org/2000/svg"] * page.count("<svg")
    assert "default-src 'none'" in page


def test_html_is_made_for_whoever_reads_it_with_help() -> None:
    """A language, a title, one first heading, heads of columns and rows, and words for each chart."""
    found = page_of(made(36))
    tags = [tag for tag, _ in found.tags]
    assert ("html", {"lang": "en"}) in found.tags
    assert (tags.count("title") - tags.count("svg"), tags.count("h1"), tags.count("main")) == (1, 1, 1)
    heads = [attributes.get("scope") for tag, attributes in found.tags if tag == "th"]
    assert set(heads) == {"col", "row"}
    assert all(attributes.get("aria-label") for tag, attributes in found.tags if tag == "svg")
    assert all(attributes.get("role") == "img" for tag, attributes in found.tags if tag == "svg")


@pytest.mark.parametrize("paper", PAPERS.values(), ids=lambda paper: paper.name)
def test_both_papers(paper: Any) -> None:
    statement = made(12)
    assert f"size: {paper.css};" in b"".join(write_html(statement, paper)).decode()
    opened = pypdfium2.PdfDocument(b"".join(write_pdf(statement, paper)))
    width, height = opened[0].get_size()
    assert (round(width / 72 * 25.4), round(height / 72 * 25.4)) == MILLIMETRES[paper.name]
    opened.close()


@pytest.mark.parametrize("write", [write_html, write_pdf])
def test_the_same_statement_is_the_same_bytes(write: Any) -> None:
    """And another one is not."""
    assert b"".join(write(made(12))) == b"".join(write(made(12)))
    assert b"".join(write(made(12), A4)) != b"".join(write(made(12), LETTER))
    assert b"".join(write(made(12))) != b"".join(write(made(13)))


def test_the_date_of_a_pdf_is_that_of_its_last_record() -> None:
    opened = pypdfium2.PdfDocument(b"".join(write_pdf(made(1))))
    about = opened.get_metadata_dict()
    opened.close()
    assert about["CreationDate"].startswith("D:20261220")
    assert about["Title"] == "Statement of team research"


def test_a_pdf_can_be_kept_and_be_read_out() -> None:
    """It says that it conforms to PDF/A-2a and PDF/UA-1, which typst checks: fonts within, tags, titles, words."""
    data = b"".join(write_pdf(made(3)))
    assert b"<pdfaid:part>2</pdfaid:part>" in data
    assert b"<pdfaid:conformance>A</pdfaid:conformance>" in data
    assert b"<pdfuaid:part>1</pdfuaid:part>" in data


def test_charts_are_vectors() -> None:
    """Nothing in the file is a picture of points."""
    data = b"".join(write_pdf(made(36)))
    assert b"/Subtype /Image" not in data
    assert b"/Subtype/Image" not in data


def test_what_is_too_long_for_a_pdf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the formats that take it, before anything is set."""
    monkeypatch.setattr(pdf_form, "LINES_MAX", 37)
    monkeypatch.setattr(pdf_form, "typeset", lambda *_, **__: pytest.fail("it was set"))
    with pytest.raises(StatementRefused, match=r"at most 37 lines.*has 38; ask for csv or xlsx") as refused:
        next(write_pdf(made(36, holds=2)))
    assert refused.value.field == "format"


def test_without_typst_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StatementRefused, match=r"pip install 'bursar-server\[pdf\]', or ask for html") as refused:
        next(write_pdf(made(1)))
    assert refused.value.field == "format"


@pytest.mark.slow
def test_ten_thousand_lines() -> None:
    """Every page has the head of its table and its number, and the last line leads to the closing balance."""
    statement = made(10_000)
    pages = pages_of(b"".join(write_pdf(statement)))
    assert len(pages) > 300
    assert all(f"Page {at} of {len(pages)}" in page for at, page in enumerate(pages, start=1))
    assert all("Balance" in page for page in pages if "auth_0" in page)
    assert sum(page.count("auth_0") for page in pages) == 10_000
    closing = grouped(statement.closing["USD"], 9)
    assert [page for page in pages if "Closing balance" in page and closing in page]


def test_what_typst_says_against_a_document_is_told() -> None:
    with pytest.raises(typesetting.TypesettingFailed, match="could not be made"):
        typesetting.typeset("statement.typ", {"title": "and nothing else"}, created_at=0)


@pytest.mark.parametrize(
    ("atoms", "digits", "shown"),
    [
        (0, 9, "0.00"), (1, 9, "0.000000001"), (-1_234_567_890_000_000, 9, "−1,234,567.89"), (999, 0, "999"),
        (1_000, 0, "1,000"), (-5, 2, "−0.05"), (2**63 - 1, 9, "9,223,372,036.854775807"), (10**6, 6, "1.00"),
    ],
)  # fmt: skip
def test_figures_are_exact(atoms: int, digits: int, shown: str) -> None:
    assert grouped(atoms, digits) == shown
    assert Decimal(plain_text(shown)) == Decimal(atoms).scaleb(-digits, Context(prec=30))


def test_points_stand_below_each_other() -> None:
    """Figures of one column are of one width behind the point."""
    figures = Figures({"USD": 9, "TOKENS": 0}, 4)
    shown = [figures.aligned(12_345_600_000, "USD"), figures.aligned(5 * 10**9, "USD"), figures.aligned(7, "TOKENS")]
    assert shown == ["12.3456", f"5.00{FIGURE_SPACE * 2}", f"7{POINT_SPACE}{FIGURE_SPACE * 4}"]


def test_what_cannot_be_seen_is_shown_by_its_number() -> None:
    assert visible("a\u202eb\u200b\u0007 é 中") == "aU+202Eb\u200bU+0007 é 中"
    assert settable("a\u202eb é 中 я e\u0301 − …") == "aU+202Eb é U+4E2D я é − …"


def test_long_words_may_be_broken_and_short_ones_may_not() -> None:
    assert breakable("short words stay", 10) == "short words stay"
    assert breakable("x" * 14 + " ab", 10) == f"xxxxxx{BREAK}xxxxxx{BREAK}xx ab"
    assert breakable("gpt-5-mini-2026-11-01", 10) == BREAK.join(["gpt-", "5-", "mini-", "2026-", "11-", "01"])


@pytest.mark.parametrize(
    ("period", "each", "bars"),
    [
        ("2026-11", "day", 30),
        ("2026-11-05", "day", 1),
        ("2026-Q4", "day", 92),
        ("2026", "month", 12),
        ("2020-01-01..2090-12-31", "month", 1),
    ],
)
def test_charts_over_time_add_up(period: str, each: str, bars: int) -> None:
    """To what was spent, by payee too."""
    statement = made(30, period=period)
    (charts,) = Overview(statement).charts()
    spent = sum(line.cost for line in statement.read_lines())
    assert (charts.each, len(charts.over_time)) == (each, bars)
    assert sum(bar.atoms for bar in charts.by_payee) == spent
    if bars > 1 or each == "month":
        assert sum(bar.atoms for bar in charts.over_time) == spent


def test_many_payees_are_added_up_as_all_others() -> None:
    statement = made(60, payees=[f"payee-{at}" for at in range(20)])
    (charts,) = Overview(statement).charts()
    assert len(charts.by_payee) == 8
    assert sum(bar.atoms for bar in charts.by_payee) == sum(line.cost for line in statement.read_lines())
