"""The formats a statement can be written in, by name.

Owns the table of them. A format is a module of this package with one function that makes bytes out of a statement, a
piece at a time; whoever adds one adds its line here, and the route, the command and their help know it. Invariant: the
same statement gives the same bytes.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ledger.core.statement import Statement
from ledger.services.statements.csv_form import write_csv
from ledger.services.statements.json_form import write_json
from ledger.services.statements.text_form import write_text


class Format(NamedTuple):
    """``write`` gives the pieces of the file in order; ``suffix`` ends its name."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[Statement], Iterator[bytes]]


JSON: Final = Format("json", "application/json", "json", write_json)
CSV: Final = Format("csv", "text/csv; charset=utf-8", "csv", write_csv)
TEXT: Final = Format("text", "text/plain; charset=utf-8", "txt", write_text)
FORMATS: Final[dict[str, Format]] = {form.name: form for form in (JSON, CSV, TEXT)}


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
