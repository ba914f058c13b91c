"""The formats a statement can be written in, by name.

Owns the table of them. A format is a module of this package with one function that makes bytes out of a statement, a
piece at a time; whoever adds one adds its line here, and the route, the command and their help know it. Invariant: the
same statement on the same paper gives the same bytes.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ledger.core.statement import Statement
from ledger.services.pages.paper import A4, Paper
from ledger.services.statements.csv_form import write_csv
from ledger.services.statements.html_form import write_html
from ledger.services.statements.json_form import write_json
from ledger.services.statements.pdf_form import write_pdf
from ledger.services.statements.text_form import write_text
from ledger.services.statements.xlsx_form import write_xlsx


class Format(NamedTuple):
    """``write`` gives the pieces of the file in order, and ``lay_out`` those for a paper, where there is one to choose;
    ``suffix`` ends its name; ``is_binary``: no terminal shows it."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[Statement], Iterator[bytes]]
    lay_out: Callable[[Statement, Paper], Iterator[bytes]] | None = None
    is_binary: bool = False

    def pieces(self, statement: Statement, paper: Paper = A4) -> Iterator[bytes]:
        """The pieces of the file, for a paper where it has pages. Raises StatementBroken where the statement does not
        add up, and StatementRefused where this format cannot take it."""
        return self.write(statement) if self.lay_out is None else self.lay_out(statement, paper)


JSON: Final = Format("json", "application/json", "json", write_json)
CSV: Final = Format("csv", "text/csv; charset=utf-8", "csv", write_csv)
TEXT: Final = Format("text", "text/plain; charset=utf-8", "txt", write_text)
HTML: Final = Format("html", "text/html; charset=utf-8", "html", write_html, write_html)
PDF: Final = Format("pdf", "application/pdf", "pdf", write_pdf, write_pdf, is_binary=True)
XLSX: Final = Format(
    "xlsx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xlsx",
    write_xlsx,
    write_xlsx,
    is_binary=True,
)
FORMATS: Final[dict[str, Format]] = {form.name: form for form in (JSON, CSV, TEXT, HTML, PDF, XLSX)}


def accepted(accept: str) -> Format:
    """The format that an ``Accept`` header asks for: the first it names that there is, JSON where it names none or
    takes anything."""
    media_types = {form.media_type.split(";")[0]: form for form in FORMATS.values()}
    for part in accept.split(","):
        found = media_types.get(part.split(";")[0].strip().lower())
        if found is not None:
            return found
    return JSON


def file_name(statement: Statement, form: Format) -> str:
    """A name for the file: of the book, the scope and the period, in characters that every system takes."""
    words = f"{statement.book}_{statement.scope}_{statement.period.text}"
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"{plain}.{form.suffix}"
