"""Which free texts a request to redact means, and redacting as the owner of the database.

Owns the search. Invariants: what is found is only proposed, and the core decides on each text with the facts under the
head's lock; every search reads a bounded page in a short transaction; what was redacted is not found again, so the work
may be broken off at any moment and taken up anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.canonical import parse
from ledger.core.command import Caller
from ledger.core.command_redactions import Redact
from ledger.core.deriving import TEXT_FIELDS, text_digests
from ledger.core.ids import REDACTION
from ledger.core.outcome import Outcome, Status
from ledger.core.redaction import REDACTION_TEXTS_MAX
from ledger.services.authorizer import Authorizer
from ledger.services.sources import Sources
from ledger.storage import queries_log, queries_principals, queries_texts
from ledger.storage.archive_rows import refuse_archived
from ledger.storage.engine import create_engine
from ledger.storage.errors import RecordArchived
from ledger.storage.queries_authorizations import authorization

RECORDS_WALKED: Final = 1_000
"""Records of one authorization that are looked at in one transaction."""
TEXTS_OF_A_RECORD: Final = len(TEXT_FIELDS)
TEXTS_SCANNED: Final = 2_000
"""Texts that are looked at in one transaction, to find those of one agent."""
OWN_KIND: Final = "redaction"
"""The reasons of redactions are kept when texts are removed by age: they say why others are gone."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which texts are meant: of an ``authorization``, of one ``record``, or of records from before a moment
    (microseconds), perhaps of one ``agent`` (name or id); of ``fields``, none named: all. ``start`` is the record to go
    on from."""

    authorization: str | None = None
    record: int | None = None
    before: int | None = None
    agent: str | None = None
    fields: tuple[str, ...] = ()
    start: int | None = None


class Meant(NamedTuple):
    """Texts that a selection means, at most as many as one record may name, and the record to go on from for more
    (None: there are no more)."""

    texts: tuple[tuple[int, str], ...]
    more_from: int | None


def find_texts(engine: Engine, book_id: int, selection: Selection, *, limit: int = REDACTION_TEXTS_MAX) -> Meant:
    """The texts to be redacted with the next record; where those of an authorization or a record were all redacted
    before, those, so that the decision says so. Raises StorageError."""
    gone: tuple[tuple[int, str], ...] = ()
    while True:
        if selection.before is None:
            found, before = _of_records(engine, book_id, selection, limit)
            gone = gone or before
        else:
            found = _page(engine, book_id, selection, limit)
        if found.texts or found.more_from is None:
            return Meant(found.texts or gone, found.more_from)
        selection = replace(selection, start=found.more_from)


def find_left(engine: Engine, book_id: int, selection: Selection, *, limit: int = REDACTION_TEXTS_MAX) -> Meant:
    """A page of the texts that a redaction would remove: whole records, at most ``limit`` texts where that is three or
    more. Raises StorageError."""
    while True:
        if selection.before is None:
            found, _ = _of_records(engine, book_id, selection, limit)
        else:
            found = _page(engine, book_id, selection, limit)
        if found.texts or found.more_from is None:
            return found
        selection = replace(selection, start=found.more_from)


def all_left(engine: Engine, book_id: int, selection: Selection) -> Iterator[tuple[int, str]]:
    """Every text that redactions would remove. Raises StorageError."""
    while True:
        found = find_left(engine, book_id, selection)
        yield from found.texts
        if found.more_from is None:
            return
        selection = replace(selection, start=found.more_from)


def _records_of(connection: Connection, book_id: int, reference: str, start: int | None) -> list[int]:
    """The records of an authorization or charge, newest first, from ``start`` on."""
    row = authorization(connection, book_id, reference)
    if row is None:
        return []
    indexes: list[int] = []
    index: int | None = row.changed_index if start is None else start
    while index is not None and index > row.created_index and len(indexes) < RECORDS_WALKED:
        found = queries_log.record(connection, book_id, index)
        body = parse(found.body) if found is not None else {}
        if body.get("authorization") != row.id:
            # Nobody gave out this place to go on from.
            return []
        indexes.append(index)
        index = body.get("previous")
    if index is not None and index >= row.created_index:
        indexes.append(index)
    return indexes


def _of_records(
    engine: Engine, book_id: int, selection: Selection, limit: int
) -> tuple[Meant, tuple[tuple[int, str], ...]]:
    """Texts of one record or of an authorization that were not redacted, and some that were."""
    left: list[tuple[int, str]] = []
    gone: list[tuple[int, str]] = []
    with engine.connect() as connection:
        indexes = [selection.record] if selection.record is not None else []
        if selection.authorization is not None:
            indexes = _records_of(connection, book_id, selection.authorization, selection.start)
        bodies = queries_log.records_at(connection, book_id, indexes)
        redacted = queries_texts.redacted_at(connection, book_id, indexes)
        archived = {
            index: _texts_beside(connection, book_id, index, redacted) for index in indexes if index not in bodies
        }
    for index in indexes:
        if left and len(left) + TEXTS_OF_A_RECORD > limit:
            return Meant(tuple(left), index), tuple(gone[:limit])
        for field in archived[index] if index in archived else text_digests(parse(bodies[index].body)):
            if not selection.fields or field in selection.fields:
                (gone if field in redacted.get(index, {}) else left).append((index, field))
    more = indexes[-1] if len(indexes) > RECORDS_WALKED else None
    return Meant(tuple(left), more), tuple(gone[:limit])


def _texts_beside(
    connection: Connection, book_id: int, index: int, redacted: Mapping[int, Mapping[str, int]]
) -> list[str]:
    """The fields of an archived record whose texts stand here, or were redacted; none where there is no such record.
    Raises RecordArchived where only the archive can tell whether there were any."""
    lines = queries_texts.list_texts(connection, book_id, start=index, stop=index + 1, limit=TEXTS_OF_A_RECORD)
    fields = sorted({line.field for line in lines} | set(redacted.get(index, ())))
    if not fields:
        refuse_archived(connection, book_id, index)
    return fields


def _page(engine: Engine, book_id: int, selection: Selection, limit: int) -> Meant:
    """Texts by age, of one page."""
    with engine.connect() as connection:
        stop = queries_log.size_at(connection, book_id, (selection.before or 0) - 1)
        name: str | None = None
        if selection.agent is not None:
            agent = queries_principals.agent(connection, book_id, selection.agent)
            if agent is None:
                return Meant((), None)
            name = agent.name
        scanned = TEXTS_OF_A_RECORD + (limit if name is None else TEXTS_SCANNED)
        lines = queries_texts.list_texts(
            connection, book_id, start=selection.start or 0, stop=stop, fields=selection.fields, limit=scanned
        )
        archived = [line.log_index for line in lines if line.body is None]
        if archived and name is not None:
            raise RecordArchived(
                f"record {archived[0]} is archived, and whether its texts are of {name} stands in the archive: "
                "redact them by age without the agent, or by the index of their record"
            )
        own = queries_texts.redactions_among(connection, book_id, archived) if archived else set()
    more_from: int | None = None
    if len(lines) == scanned:
        # The last record may have more texts than were read.
        more_from = lines[-1].log_index
        lines = [line for line in lines if line.log_index != more_from]
    texts: list[tuple[int, str]] = []
    for line in lines:
        if texts and texts[-1][0] != line.log_index and len(texts) + TEXTS_OF_A_RECORD > limit:
            return Meant(tuple(texts), line.log_index)
        if line.kind == OWN_KIND or line.log_index in own:
            continue
        if name is None or (line.body is not None and _is_of_agent(line.body, name)):
            texts.append((line.log_index, line.field))
    return Meant(tuple(texts), more_from)


def _is_of_agent(body: bytes, name: str) -> bool:
    """Whether a record is about an agent's spending, or by the agent."""
    said = parse(body)
    return said.get("agent") == name or said.get("by", {}).get("principal") == f"agent:{name}"


def redact_as_owner(
    database_url: str,
    book_id: int,
    selection: Selection,
    *,
    reason: str,
    ground: str,
    sources: Sources | None = None,
) -> Iterator[Outcome]:
    """Redact everything that is meant, as the owner of the database, a record at a time; the last outcome may be a
    refusal. Raises ServiceError, StorageError."""
    engine = create_engine(database_url, pool_size=1)
    authorizer = Authorizer(database_url, sources=sources)
    authorizer.start()
    try:
        begun = False
        while True:
            found = find_texts(engine, book_id, selection)
            if begun and not found.texts:
                return
            command = command_of(
                selection,
                found,
                caller=Caller(None, as_owner=True),
                identity=authorizer.sources.new_id(REDACTION),
                reason=reason,
                ground=ground,
            )
            outcome = authorizer.decide_now(book_id, command)
            if begun and outcome.status is Status.WRONG_STATE:
                # Somebody else redacted the rest meanwhile.
                return
            yield outcome
            if outcome.status is not Status.DONE or found.more_from is None:
                return
            begun, selection = True, replace(selection, start=found.more_from)
    finally:
        authorizer.stop(deadline_seconds=10.0)
        engine.dispose()


def command_of(
    selection: Selection,
    found: Meant,
    *,
    caller: Caller,
    identity: str,
    reason: str,
    ground: str,
    idempotency_key: str = "",
) -> Redact:
    """The command that redacts what was found."""
    return Redact(
        caller=caller,
        idempotency_key=idempotency_key,
        id=identity,
        texts=found.texts,
        reason=reason,
        ground=ground,
        authorization=selection.authorization,
        record=selection.record,
        before=selection.before,
        agent=selection.agent,
        start=selection.start,
        fields=selection.fields,
    )
