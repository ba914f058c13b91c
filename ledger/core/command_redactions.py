"""The command that removes free texts from beside the log."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.core.command import Command
from ledger.core.redaction import GROUND_OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact(Command):
    """Remove free texts: some ``fields`` (none named: every one) of an ``authorization``, of one ``record`` of the log,
    or of every record from before a moment, from index ``start`` on, perhaps of one ``agent`` only.

    ``texts`` are the (log index, field) that whoever asks found to be meant, at most ``REDACTION_TEXTS_MAX`` of them;
    they are no part of the request, because a repeat of it finds others. ``before`` is in microseconds."""

    operation: ClassVar[str] = "redact"
    id: str
    texts: tuple[tuple[int, str], ...]
    reason: str
    ground: str = GROUND_OTHER
    authorization: str | None = None
    record: int | None = None
    before: int | None = None
    agent: str | None = None
    start: int | None = None
    fields: tuple[str, ...] = ()
