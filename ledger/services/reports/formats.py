"""The formats a report can be written in, by name.

Owns the table of them, as ``services.statements.formats`` does for statements. Invariant: the same report gives the
same bytes.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ledger.core.report import Report
from ledger.services.reports.csv_form import write_csv
from ledger.services.reports.json_form import write_json
from ledger.services.reports.text_form import write_text


class ReportFormat(NamedTuple):
    """``write`` gives the pieces of the file in order; ``suffix`` ends its name."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[Report], Iterator[bytes]]


JSON: Final = ReportFormat("json", "application/json", "json", write_json)
CSV: Final = ReportFormat("csv", "text/csv; charset=utf-8", "csv", write_csv)
TEXT: Final = ReportFormat("text", "text/plain; charset=utf-8", "txt", write_text)
REPORT_FORMATS: Final[dict[str, ReportFormat]] = {form.name: form for form in (JSON, CSV, TEXT)}


def accepted(accept: str) -> ReportFormat:
    """The format that an ``Accept`` header asks for: the first it names that there is, JSON where it names none or
    takes anything."""
    media_types = {form.media_type.split(";")[0]: form for form in REPORT_FORMATS.values()}
    for part in accept.split(","):
        found = media_types.get(part.split(";")[0].strip().lower())
        if found is not None:
            return found
    return JSON


def file_name(report: Report, form: ReportFormat) -> str:
    """A name for the file: of the book, the report and its days, in characters that every system takes."""
    days = report.parameters.get("period") or report.parameters.get("as_of") or str(report.log.size)
    words = f"{report.book}_{report.name}_{days}"
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"{kept}.{form.suffix}"
