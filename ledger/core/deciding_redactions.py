"""The decision to remove free texts from beside the log.

Invariants: the record names every text that it removes, by record and field, and only texts that their records have the
digest of, or that stand beside records which were detached into an archive; what was removed is not removed again; the
texts go in the transaction that writes the record.
"""

from typing import Any

from ledger.core.beginning import begin
from ledger.core.canonical import parse
from ledger.core.changeset import TEXTS, row_of
from ledger.core.command_redactions import Redact
from ledger.core.deriving import text_digests
from ledger.core.finishing import finish
from ledger.core.moment import moment_text
from ledger.core.outcome import Outcome, Status
from ledger.core.redaction import REDACTION_TEXTS_MAX, Redaction
from ledger.core.refusal import refuse
from ledger.core.working import Batch


def _request(asked: Redact) -> dict[str, Any]:
    """What is asked, as its record has it; the texts that are meant by it stand beside it."""
    request: dict[str, Any] = {"ground": asked.ground}
    for name in ("authorization", "record", "agent", "start"):
        value = getattr(asked, name)
        if value is not None:
            request[name] = value
    if asked.before is not None:
        request["before"] = moment_text(asked.before)
    if asked.fields:
        request["fields"] = sorted(set(asked.fields))
    return request


def _check_meant(batch: Batch, asked: Redact) -> None:
    """Refuse what refers to nothing."""
    if asked.authorization is not None and batch.authorization(asked.authorization) is None:
        refuse(Status.NOT_FOUND, f"there is no authorization or charge {asked.authorization}")
    known = asked.record is None or batch.fact("bodies", asked.record) is not None
    if not known and not any(_had(batch, index, field) for index, field in asked.texts if index == asked.record):
        refuse(Status.NOT_FOUND, f"there is no record {asked.record}")
    if asked.agent is not None and batch.name_of("agents", asked.agent) is None:
        refuse(Status.UNKNOWN_AGENT, f"there is no agent {asked.agent}")
    if asked.texts:
        return
    kinds = " or ".join(sorted(set(asked.fields))) or "free text"
    if asked.authorization is not None:
        refuse(Status.NOT_FOUND, f"no record of {asked.authorization} has ever had any {kinds}")
    if asked.record is not None:
        refuse(Status.NOT_FOUND, f"record {asked.record} has never had any {kinds}")
    refuse(Status.WRONG_STATE, f"there is no {kinds} left that this selects", state="redacted")


def _had(batch: Batch, index: int, field: str) -> bool:
    """Whether a record has the digest of a text. Of one that was detached into an archive, whether the text still
    stands beside the log, or was redacted."""
    packed = batch.fact("bodies", index)
    if packed is not None:
        return field in text_digests(parse(packed))
    there = batch.fact("texts", (index, field)) or batch.fact("redactions", (index, field))
    return index < batch.index and there is not None


def redact(batch: Batch, asked: Redact) -> Outcome:
    """Remove texts, and say so on record."""
    who, packed, replay = begin(batch, asked, _request(asked))
    if replay is not None:
        return replay
    _check_meant(batch, asked)
    if len(asked.texts) > REDACTION_TEXTS_MAX:
        raise ValueError(f"one record names at most {REDACTION_TEXTS_MAX} texts")
    meant = sorted(set(asked.texts))
    removed: list[Redaction] = []
    before: Redaction | None = None
    for index, field in meant:
        if not _had(batch, index, field):
            refuse(Status.NOT_FOUND, f"record {index} has never had any {field}")
        known = batch.fact("redactions", (index, field))
        if known is None:
            removed.append(Redaction(batch.book_id, index, field, batch.index))
        else:
            before = known
    if not removed and before is not None:
        refuse(
            Status.WRONG_STATE,
            f"it was redacted before, by record {before.created_index}",
            state="redacted",
            redacted_by=before.created_index,
        )
    for row in removed:
        batch.make("redactions", (row.log_index, row.field), row)
        batch.inserts["redactions"].append(row_of(row))
        batch.deletes[TEXTS.name].append((batch.book_id, row.log_index, row.field))
    body: dict[str, Any] = {
        "redaction": asked.id,
        "ground": asked.ground,
        "texts": [[row.log_index, row.field] for row in removed],
    }
    return finish(batch, asked, who, packed, "redaction", asked.id, body, [])
