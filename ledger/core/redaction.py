"""Redactions: which free texts were removed from beside the log, and by which record.

Invariants: a row is never changed and never goes away, because a text that was removed does not come back; the salted
digest of the text stays in its record, so no leaf and no proof changes.
"""

from dataclasses import dataclass
from typing import Final

GROUND_OTHER: Final = "other"
GROUNDS: Final = ("erasure", "mistake", GROUND_OTHER, "retention", "secret")
"""Why a text is removed, in a word that stays readable for good, whatever becomes of the reason's own text: a person
asked for it, it should not have been written, another reason, its time is over, or it gave away what is secret."""
REDACTION_TEXTS_MAX: Final = 200
"""Texts that one record may name; more take more records."""


@dataclass(slots=True)
class Redaction:
    """One row of ``redactions``: the text of ``field`` beside record ``log_index`` was removed by record
    ``created_index``."""

    book_id: int
    log_index: int
    field: str
    created_index: int
