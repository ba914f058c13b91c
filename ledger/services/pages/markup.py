"""HTML that people read on a screen and print: escaping, the page around it, and its tables.

Owns the shell of a page (inline style, no script, nothing from a network) and its tables. Invariants: a text becomes
markup in one place, ``escaped``, which escapes it; pieces are written as they come, so that a page may be of any
length.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from ledger.services.pages.paper import Paper

FONT: Final = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'Noto Sans', sans-serif"
_STYLE: Final = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.45 FONT; color: #1d242b; background: #fff; margin: 0 auto; padding: 2rem 1.5rem; max-width: 60rem; }
header { border-bottom: 3px solid #1f4e79; padding-bottom: .8rem; margin-bottom: 1.2rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; color: #1f4e79; break-after: avoid; }
p { margin: .3rem 0; overflow-wrap: anywhere; }
.book { color: #4a5560; font-weight: 600; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .32rem .5rem; border-bottom: 1px solid #d9dee3;
  overflow-wrap: anywhere; }
thead th { overflow-wrap: normal; border-bottom: 2px solid #1f4e79; font-size: .85rem; color: #3c4650; }
tbody th { font-weight: normal; }
.figure { text-align: right; white-space: nowrap; overflow-wrap: normal;
  font-variant-numeric: tabular-nums lining-nums; }
.code { white-space: nowrap; overflow-wrap: normal; }
.day { white-space: nowrap; font-variant-numeric: tabular-nums; }
.small { font-size: .82rem; color: #4a5560; }
.note { font-size: .82rem; color: #8a2f0f; font-weight: 600; }
.balances { width: auto; min-width: 60%; }
.balances th, .balances td { vertical-align: baseline; }
.balances td.figure { font-weight: 650; font-size: 1.12rem; }
tr.edge th, tr.edge td { font-weight: 650; background: #eef3f8; }
.blocks { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 0 2rem; }
.blocks section { break-inside: avoid; min-width: 0; }
.mono { font-family: ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: .8rem; }
figure { margin: .6rem 0; break-inside: avoid; }
figcaption { font-size: .85rem; color: #3c4650; }
svg { display: block; width: 100%; height: auto; max-width: 720px; }
footer { margin-top: 2rem; border-top: 1px solid #b8c0c8; padding-top: .5rem; break-inside: avoid; }
@page { size: PAPER; margin: 16mm 15mm; }
@media print {
  body { font-size: 9.5pt; line-height: 1.3; max-width: none; padding: 0; }
  th, td { padding: .2rem .4rem; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  tr.edge th, tr.edge td { background: none; }
  .blocks { grid-template-columns: 1fr 1fr; }
}
"""


class Column(NamedTuple):
    """A column of a table; ``css`` is the class of its cells."""

    title: str
    css: str = ""


class Markup(str):
    """Text that is markup already: made by this module, never of a user's text."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Text as markup that shows it."""
    return text if isinstance(text, Markup) else Markup(escape(text))


def element(name: str, *content: str, **attributes: str) -> Markup:
    """One element. ``css`` among the attributes stands for class."""
    said = "".join(
        f' {"class" if key == "css" else key}="{escape(value)}"' for key, value in attributes.items() if value
    )
    return Markup(f"<{name}{said}>{''.join(escaped(one) for one in content)}</{name}>")


def page_start(title: str, paper: Paper) -> str:
    """Everything before the content of the page."""
    style = _STYLE.replace("FONT", FONT).replace("PAPER", paper.css)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', title)}\n<style>{style}</style>\n</head>\n<body>\n"
    )


def page_end() -> str:
    """What closes the page."""
    return "</body>\n</html>\n"


def table(columns: Sequence[Column], rows: Iterable[str], *, caption: str = "", css: str = "") -> Iterator[str]:
    """The pieces of a table whose rows are made by ``row``."""
    said = f' aria-label="{escape(caption)}"' if caption else ""
    said += f' class="{css}"' if css else ""
    heads = "".join(element("th", column.title, scope="col", css=column.css) for column in columns)
    yield f"<table{said}>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
    yield from rows
    yield "</tbody>\n</table>\n"


def row(columns: Sequence[Column], cells: Sequence[str], *, css: str = "") -> str:
    """One row, whose first cell heads it."""
    made = [
        element("th", cell, scope="row", css=column.css) if at == 0 else element("td", cell, css=column.css)
        for at, (column, cell) in enumerate(zip(columns, cells, strict=True))
    ]
    return element("tr", *made, css=css) + "\n"


def stacked(*parts: tuple[str, str]) -> Markup:
    """What stands below each other in one cell: (class, text); what is empty is left out."""
    return Markup("".join(element("div", text, css=css) for css, text in parts if text))
