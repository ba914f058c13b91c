"""The free texts beside a log, once all of it was read: which are gone because a record says so, and which are missing.

Owns the end of the comparison that the pass over the log of a database begins (``LogPass``); ``bundle_texts`` has that
of bundles. Invariants: a text that is gone has a redaction on record, and one that was redacted is gone, or it is a
difference that names record and field; a book in use never looks wrong, because whatever looks so is looked at again
together with a head; memory is bounded by a page.
"""

from collections.abc import Callable
from typing import NamedTuple

from ledger.core.canonical import parse
from ledger.core.changeset import REDACTIONS, TEXTS
from ledger.core.deriving import text_digests
from ledger.core.invariants import Difference
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import UNFOLLOWED, LogPass
from ledger.services.verify_projections import advance_to
from ledger.storage.proof_reader import KEYS_PER_TRANSACTION, ProofReader, Row
from ledger.storage.scratch import Scratch


class _Looked(NamedTuple):
    """A text that was looked at again: its record and field, whether it is there, and whether its record has its
    digest (None: not looked at, because it was missing when its record was read, which it is only where it has)."""

    log_index: int
    field: str
    there: bool
    known: bool | None


def settle_texts(reader: ProofReader, scratch: Scratch, log: LogPass, findings: Findings) -> None:
    """Settle every text of a database that was gone when its record was read, or was redacted. Moves ``log`` on to
    later heads. Raises EnoughFound, StorageError; ValueError for a row that the log makes twice."""
    _begin(scratch, log)
    while log.followed:
        scratch.write()
        suspects = scratch.texts.unexplained(KEYS_PER_TRANSACTION)
        if not suspects:
            break
        standing, rows = reader.rows_at_head([(TEXTS, (index, field)) for index, field, _ in suspects])
        advance_to(log, standing)
        if not log.followed:
            return
        scratch.write()
        for (index, field, absent), row in zip(suspects, rows, strict=True):
            known = None if absent else _has_digest(reader.body(index), field)
            _settle(scratch, log, findings, _Looked(index, field, bool(row), known))
    log.texts_redacted, log.texts_missing = scratch.texts.count()


def _begin(scratch: Scratch, log: LogPass) -> None:
    if not log.without_texts:
        # A state may be that of a run that allowed for texts to be missing.
        scratch.texts.tell_again()


def _has_digest(packed: bytes, field: str) -> bool:
    try:
        return field in text_digests(parse(packed))
    except UNFOLLOWED:
        return False


def _settle(scratch: Scratch, log: LogPass, findings: Findings, looked: _Looked) -> None:
    """Say what is wrong with one text, if anything is, and do not ask about it again."""
    index, field, there, known = looked
    redaction: Row | None = scratch.row(REDACTIONS, (index, field))
    key = f"field={field}"
    add: Callable[[Difference], None] = findings.add
    scratch.texts.told_of(index, field)
    if redaction is not None:
        by = redaction[2]
        if known is False:
            what = f"redacts the {field} of record {index}, which never had any"
            add(Difference("log_records", what, by, "", "body"))
        elif there:
            add(Difference("texts", f"the text is still there, although record {by} redacted it", index, key))
        elif known:
            # It was there when its record was read, and went with a redaction since.
            log.texts -= 1
        return
    if there:
        add(Difference("texts", "the text came after its record was read", index, key))
        return
    if not log.without_texts:
        add(Difference("texts", "the text is gone, and no redaction on record says so", index, key))
