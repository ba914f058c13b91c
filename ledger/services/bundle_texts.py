"""The free texts of bundles, once all records were read: which are gone for a reason, and which should be gone.

Owns ``settle_bundle_texts``, which stands where ``verify_texts`` stands for a database. Invariants: a text that is gone
has a redaction in the records; or the bundle says that a record behind its end has one, which must be so where that
record is here; or it was written without texts. A text that is there was not redacted by a record of its own bundle.
In an older bundle, a text may stand that a later span redacts: it is counted, and never imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.changeset import REDACTIONS
from ledger.core.invariants import Difference
from ledger.services.verify_findings import Findings
from ledger.services.verify_log import LogPass
from ledger.storage.bundle_scratch import BundleScratch
from ledger.storage.proof_reader import KEYS_PER_TRANSACTION
from ledger.storage.scratch import Scratch


@dataclass(slots=True)
class BundleTexts:
    """What is to be said of texts: ``redacted_later`` are gone for records that no bundle here has, ``stale`` are there
    although a later bundle redacts them."""

    redacted_later: int = 0
    stale: int = 0

    def notes(self) -> list[str]:
        """Sentences."""
        said = []
        if self.redacted_later:
            said.append(
                f"{self.redacted_later} free texts were gone when it was written, redacted by records behind its end, "
                "as whoever wrote it says: the span behind it would prove it"
            )
        if self.stale:
            said.append(
                f"{self.stale} free texts stand in an older bundle although later records redact them: they are not "
                "imported, and to be rid of them, write a new full bundle and destroy the old one"
            )
        return said


Spans = Sequence[tuple[int, int]]
"""(first, size) of bundles that were written without texts."""


def settle_bundle_texts(
    log: LogPass, scratch: Scratch, kept: BundleScratch, findings: Findings, *, first: int, without: Spans
) -> BundleTexts:
    """Settle every text that was not there, or that was redacted, of records from ``first`` on, whose redactions are in
    ``scratch``. Raises EnoughFound; ValueError for a row that the log makes twice."""
    found = BundleTexts()
    scratch.write()
    for index, field, by in kept.gone():
        redaction = scratch.row(REDACTIONS, (index, field))
        if redaction is None and by < log.position:
            what = f"is said to have gone with record {by}, which does not redact it"
            findings.add(Difference("texts", what, index, f"field={field}"))
        elif redaction is not None and redaction[2] != by:
            what = f"is said to have gone with record {by}, and record {redaction[2]} redacts it"
            findings.add(Difference("texts", what, index, f"field={field}"))
    while suspects := scratch.texts.unexplained(KEYS_PER_TRANSACTION):
        for index, field, absent in suspects:
            scratch.texts.told_of(index, field)
            if absent:
                _absent(kept, findings, found, index, field, without)
            elif index >= first:
                _redacted(log, scratch, kept, findings, found, index, field)
    log.texts_redacted, log.texts_missing = scratch.texts.count()
    return found


def _absent(
    kept: BundleScratch, findings: Findings, found: BundleTexts, index: int, field: str, without: Spans
) -> None:
    """A text that is not there, and that no record redacts; what the bundle says of it was compared before."""
    if kept.text(index, field) is not None:
        found.redacted_later += 1
    elif not any(first <= index < size for first, size in without):
        what = "the text is gone, and neither a redaction on record nor the bundle says why"
        findings.add(Difference("texts", what, index, f"field={field}"))


def _redacted(
    log: LogPass,
    scratch: Scratch,
    kept: BundleScratch,
    findings: Findings,
    found: BundleTexts,
    index: int,
    field: str,
) -> None:
    """A text that a record redacts, and that was not missing when its record was read."""
    redaction, there = scratch.row(REDACTIONS, (index, field)), kept.text(index, field)
    by = redaction[2] if redaction is not None else -1
    if there is None:
        what = f"redacts the {field} of record {index}, which never had any"
        findings.add(Difference("log_records", what, by, "", "body"))
    elif there[0] is not None and by < there[0]:
        what = f"the text is still there, although record {by} redacted it"
        findings.add(Difference("texts", what, index, f"field={field}"))
    else:
        found.stale += 1
        log.texts -= 1
