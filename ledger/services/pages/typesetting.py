"""Typesetting: data and a template to the bytes of a PDF, by typst, in a process of its own.

Owns that process, which is this module run as a program. Invariants: what a user wrote reaches typst as data and is
never read as its markup; nothing is read from a network or from the fonts of the machine, and the date in the file is
given, so that the same data gives the same bytes; a server typesets one document at a time, at a low priority, in a
process whose memory is bounded and ends with it, because deciding who may spend matters more than paper.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from ledger.services.pages.letters import settable

TEMPLATES: Final = Path(__file__).parent / "templates"
FONT: Final = "Libertinus Serif"
"""A font that typst itself carries, with Latin, Greek, Cyrillic and Hebrew letters."""
MISSING: Final = (
    "PDF needs typst, which is not installed here: pip install 'bursar-server[pdf]', or ask for html, xlsx or csv"
)
STANDARDS: Final[list[Any]] = ["a-2a", "ua-1"]
"""PDF/A-2a, for files that are kept for years, and PDF/UA-1, for readers who have them read out: typst refuses to make
what does not conform."""
SECONDS_MAX: Final = 300
BYTES_MAX: Final = 4 * 2**30
"""What the process may have of memory; the longest statement takes half of it."""
_ONE_AT_A_TIME: Final = threading.Lock()


class TypesettingFailed(Exception):
    """The document could not be set: typst is missing, gave up, or took too long."""


def is_installed() -> bool:
    """Whether PDFs can be made here."""
    return importlib.util.find_spec("typst") is not None


def typeset(template: str, data: dict[str, Any], *, created_at: int) -> bytes:
    """The PDF that a template of ``TEMPLATES`` makes of ``data`` (values of JSON). ``created_at`` is the date that the
    file bears, in seconds since 1970. Raises TypesettingFailed."""
    if not is_installed():
        raise TypesettingFailed(MISSING)
    asked = json.dumps({"template": template, "data": _settable(data), "created_at": created_at}).encode()
    with _ONE_AT_A_TIME:
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__], input=asked, capture_output=True, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TypesettingFailed(
                f"the PDF was not done within {SECONDS_MAX} seconds; ask for csv or xlsx"
            ) from error
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise TypesettingFailed(f"the PDF could not be made: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout


def _settable(value: Any) -> Any:
    """The same data with every text as the fonts can set it."""
    if isinstance(value, str):
        return settable(value)
    if isinstance(value, dict):
        return {name: _settable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_settable(each) for each in value]
    return value


def main() -> None:
    """Read what to set from standard input, and write the PDF to standard output."""
    import typst

    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
    asked = json.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(
        typst.compile(
            str(TEMPLATES / asked["template"]),
            root=str(TEMPLATES),
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(asked["data"])},
            timestamp=asked["created_at"],
            pdf_standards=STANDARDS,
        )
    )


if __name__ == "__main__":
    main()
