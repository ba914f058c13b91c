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


class Format(NamedTuple):
    """``write`` gives the pieces of the file in order; ``suffix`` ends its name."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[Statement], Iterator[bytes]]


JSON: Final = Format("json", "application/json", "json", write_json)
CSV: Final = Format("csv", "text/csv; charset=utf-8", "csv", write_csv)
FORMATS: Final = {form.name: form for form in (JSON, CSV)}


def accepted(accept: str) -> Format | None:
    """The format that an ``Accept`` header asks for: the first it names that there is; JSON where it names none or
    takes anything; None where there is none that it takes."""
    ranges = [part.split(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    if not ranges:
        return JSON
    for wanted in ranges:
        if wanted in ("*/*", "application/*"):
            return JSON
        for form in FORMATS.values():
            media = form.media_type.split(";")[0]
            if wanted == media or (wanted.endswith("/*") and media.startswith(wanted[:-1])):
                return form
    return None


def file_name(statement: Statement, form: Format) -> str:
    """A name for the file: of the book, the scope and the period, in characters that every system takes."""
    words = f"{statement.book}_{statement.scope}_{statement.period.text}"
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"{plain}.{form.suffix}"
