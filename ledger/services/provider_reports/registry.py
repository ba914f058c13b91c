"""The formats of reports, by name, and the reading of several files at once.

Invariant: a file is read once, and what is compared is what has the SHA-256 that is put on record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from ledger.core.reconciling_lines import TheirLine
from ledger.services.provider_reports import anthropic, mapped_csv, openai
from ledger.services.provider_reports.mapped_csv import Mapping
from ledger.services.provider_reports.values import ReportError

BYTES_MAX: Final = 512 * 1024 * 1024
Files = Sequence[tuple[Path, str]]
Reader = Callable[[Files, str, int], Iterator[TheirLine]]


class Format(NamedTuple):
    """How a report is read; whether it bills, or only counts; and which payee it is of, where that is known."""

    read: Reader
    bills: bool
    payee: str | None = None


CSV: Final = "csv"
FORMATS: Final[dict[str, Format]] = {
    "openai-costs": Format(openai.costs, True, "openai"),
    "openai-usage": Format(openai.usage, False, "openai"),
    "anthropic-costs": Format(anthropic.costs, True, "anthropic"),
    "anthropic-usage": Format(anthropic.usage, False, "anthropic"),
    CSV: Format(mapped_csv.lines, True),
}


@dataclass(slots=True)
class Report:
    """What the files say: lines that bill, lines that only count, and the SHA-256 of each file in hex. ``source`` names
    the format that bills, or else the one that counts."""

    source: str
    billed: list[TheirLine] = field(default_factory=list)
    counted: list[TheirLine] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def read_reports(
    named: Sequence[tuple[str, Path]], *, currency: str, digits: int, mapping: Mapping | None = None
) -> Report:
    """Read (format, file) pairs, of which one format at most bills. Raises ReportError."""
    by_format: dict[str, list[tuple[Path, str]]] = {}
    digests: dict[str, str] = {}
    for form, path in named:
        try:
            packed = path.read_bytes() if path.stat().st_size <= BYTES_MAX else None
            if packed is None:
                raise ReportError(f"{path.name}: it is larger than {BYTES_MAX // 1024 // 1024} MB; read it in parts")
            text = packed.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ReportError(f"{path.name}: it is no text in UTF-8; save it as UTF-8 ({error.reason})") from error
        except OSError as error:
            raise ReportError(f"{path.name} cannot be read: {error}") from error
        digest = sha256(packed).hexdigest()
        if digest in digests:
            raise ReportError(f"{path.name}: this is {digests[digest]} again; name each file once")
        digests[digest] = path.name
        by_format.setdefault(form, []).append((path, text))
    billing = [form for form in by_format if FORMATS[form].bills]
    if len(billing) > 1:
        raise ReportError(f"{' and '.join(billing)} both bill; compare one of them at a time")
    made = Report(billing[0] if billing else next(iter(by_format)), files=sorted(digests))
    for form, files in by_format.items():
        read = partial(mapped_csv.lines, mapping=mapping) if form == CSV else FORMATS[form].read
        (made.billed if FORMATS[form].bills else made.counted).extend(read(files, currency, digits))
    return made
