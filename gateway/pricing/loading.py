"""Reading prices.yaml.

The one place of pricing that reads a file. Invariant: a file is taken whole or not at all, and every problem in it is
told with its line and what to write instead.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from gateway.pricing.document import PricesFile
from gateway.pricing.overrides import Overrides
from ledger.services.policies.document_errors import FieldsOf, PolicyFileError, Problem, problems_of, written
from ledger.services.policies.document_yaml import YamlText


def load_overrides(path: Path) -> Overrides:
    """The overrides in a file. Raises OSError where it cannot be read, PolicyFileError for what is wrong in it."""
    return parse_overrides(path.read_bytes(), source=str(path))


def parse_overrides(content: bytes, *, source: str) -> Overrides:
    """The overrides in the bytes of a file; ``source`` names it in errors. A file of comments only changes nothing.

    Raises PolicyFileError, which tells every problem with its line and field.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyFileError(source, [Problem("", "this is not UTF-8 text: save it as UTF-8")]) from error
    digest = sha256(content).hexdigest()
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return Overrides(digest=digest)
    yaml = YamlText(text, source=source)
    try:
        file = PricesFile.model_validate(yaml.data)
    except ValidationError as error:
        raise PolicyFileError(
            source,
            [
                Problem(written(path), message, *yaml.place(path))
                for path, message in problems_of(error, FieldsOf(PricesFile))
            ],
        ) from error
    return Overrides(
        entries=tuple(entry.entry() for entry in file.prices),
        fallback=file.fallback.rates() if file.fallback else None,
        fallback_max_output_tokens=file.fallback.max_output_tokens if file.fallback else None,
        digest=digest,
    )
