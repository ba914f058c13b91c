"""The formats that the journal can be written in, by name.

Owns the table of them. A format is a module of this package with a function that makes bytes out of a journal, a piece
at a time; whoever adds one adds its line here, and the route, the command and their help know it. Invariant: the same
export gives the same bytes.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from ledger.services.journal.beancount_form import write_beancount
from ledger.services.journal.csv_form import write_csv
from ledger.services.journal.focus_form import write_focus
from ledger.services.journal.focus_parquet import write_focus_parquet
from ledger.services.journal.hledger_form import write_hledger
from ledger.services.journal.inference_form import write_otel_csv, write_otel_lines
from ledger.services.journal.making import BALANCES, WITHOUT, Journal, JournalRefused, Journals

_TEXT: Final = "text/plain; charset=utf-8"
_CSV: Final = "text/csv; charset=utf-8"


class Format(NamedTuple):
    """``write`` gives the pieces of the file in order; ``suffix`` ends its name. ``of_lines``: it is made from spend
    lines, and not from every entry; ``has_balances``: it can have the balances by which another program checks it;
    ``has_header``: it begins with the names of its columns."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[Journal], Iterator[bytes]]
    of_lines: bool = False
    has_balances: bool = False
    has_header: bool = False


_ALL: Final = (
    Format("beancount", _TEXT, "beancount", write_beancount, has_balances=True),
    Format("hledger", _TEXT, "journal", write_hledger, has_balances=True),
    Format("csv", _CSV, "csv", write_csv, has_header=True),
    Format("focus", _CSV, "csv", write_focus, of_lines=True, has_header=True),
    Format("focus-parquet", "application/vnd.apache.parquet", "parquet", write_focus_parquet, of_lines=True),
    Format("otel", _CSV, "csv", write_otel_csv, of_lines=True, has_header=True),
    Format("otel-ndjson", "application/x-ndjson", "ndjson", write_otel_lines, of_lines=True),
)
FORMATS: Final[dict[str, Format]] = {form.name: form for form in _ALL}
PARQUET: Final = "focus-parquet"


def make_journal(
    journals: Journals,
    book_id: int,
    form: Format,
    *,
    balances: str | None = None,
    header: bool | None = None,
    records_max: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **asked: Any,
) -> Journal:
    """The journal that is written in a format, ready to be: as ``Journals.make``, refusing what the format has not.
    Spend lines that it needs are written first, of ``records_max`` records at most."""
    if balances is not None and balances not in BALANCES:
        raise JournalRefused("balances", f"use one of {', '.join(BALANCES)}")
    if balances not in (None, WITHOUT) and not form.has_balances:
        raise JournalRefused("balances", f"only {_names('has_balances')} have balances by which another program checks")
    if header is not None and not form.has_header:
        raise JournalRefused("header", f"only {_names('has_header')} have a line with the names of columns")
    if form.name == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise JournalRefused("format", "Parquet needs pyarrow: pip install 'bursar-server[parquet]'")
    made = journals.make(
        book_id, balances=balances if form.has_balances else WITHOUT, header=header, **asked
    )  # fmt: skip
    return journals.with_lines(made, records_max=records_max, progress=progress) if form.of_lines else made


def _names(what: str) -> str:
    return ", ".join(form.name for form in _ALL if getattr(form, what))


def file_name(journal: Journal, form: Format) -> str:
    """A name for the file, in characters that every system takes: of the book, the format, the period and the records
    it is of."""
    period = f"_{journal.period.text}" if journal.period is not None else ""
    words = f"{journal.book.name}_{form.name}{period}_{journal.start.size}-{journal.end.size}"
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"{plain}.{form.suffix}"
