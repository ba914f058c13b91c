"""The holds that were open at a log size, whatever became of them since.

Invariant: what is looked at is bounded by the holds that were open at that size or shortly before, and not by how much
history lies before or after (``spend_line.hold_span``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select

from ledger.core.authorization import OPEN_STATES, Authorization
from ledger.core.canonical import parse
from ledger.core.spend_line import ENDING_KINDS, ended_hold
from ledger.storage.archive_rows import refuse_archived
from ledger.storage.keyed import rows_by_key
from ledger.storage.queries_authorizations import authorizations_at
from ledger.storage.tables import authorizations, book_heads, log_records
from ledger.storage.tables_finance import spend_cursor, spend_holds

UNWRITTEN_MAX: Final = 5_000
"""Records that no row of ``spend_holds`` stands for yet, at most, that are looked at one by one."""
_CHAIN_MAX: Final = 100_000


class OpenHold(NamedTuple):
    """A hold that was open: the record that made it, and a later one, or the same, from which its records lead back."""

    opened_index: int
    latest_index: int


@dataclass(frozen=True, slots=True)
class HoldThen:
    """A hold as the last record on it before a log size left it: that record's body, and the row of its authorization,
    of which only what never changes may be read."""

    opened_index: int
    body: dict[str, Any]
    row: Authorization

    @property
    def held(self) -> int:
        """What it still held, in atoms."""
        return int(self.body.get("held", self.body.get("approved", "0")))


def open_holds(connection: Connection, book_id: int, *, size: int) -> list[OpenHold] | None:
    """Every hold that was open after the first ``size`` records, oldest first, read at one moment; None when too many
    records have no row of ``spend_holds`` yet."""
    head, written = connection.execute(
        select(book_heads.c.size, func.coalesce(spend_cursor.c.next_index, 0))
        .outerjoin(spend_cursor, spend_cursor.c.book_id == book_heads.c.book_id)
        .where(book_heads.c.book_id == book_id)
    ).one()
    if head - written > UNWRITTEN_MAX:
        return None
    columns = authorizations.c
    found = [
        OpenHold(*row)
        for state in OPEN_STATES
        for row in connection.execute(
            select(columns.created_index, columns.changed_index).where(
                columns.book_id == book_id, columns.state == state, columns.created_index < size
            )
        )
    ]
    if head > size:
        found += _ended_since(connection, book_id, size)
        found += _ended_unwritten(connection, book_id, max(size, written), size)
    return sorted(found)


def _ended_since(connection: Connection, book_id: int, size: int) -> list[OpenHold]:
    columns = spend_holds.c
    found: list[OpenHold] = []
    span: int | None = connection.execute(
        select(func.min(columns.span)).where(columns.book_id == book_id)
    ).scalar_one_or_none()
    while span is not None:
        # Of this class none lasted longer: who was open at the size was opened no earlier than this.
        statement = select(columns.opened_index, columns.ended_index).where(
            columns.book_id == book_id,
            columns.span == span,
            columns.opened_index > size - (1 << span),
            columns.opened_index < size,
            columns.ended_index >= size,
        )
        found += [OpenHold(*row) for row in connection.execute(statement)]
        span = connection.execute(
            select(func.min(columns.span)).where(columns.book_id == book_id, columns.span > span)
        ).scalar_one_or_none()
    return found


def _ended_unwritten(connection: Connection, book_id: int, start: int, size: int) -> list[OpenHold]:
    columns = log_records.c
    statement = select(columns.log_index, columns.body).where(
        columns.book_id == book_id, columns.log_index >= start, columns.kind.in_(ENDING_KINDS)
    )
    ended = {}
    for index, packed in connection.execute(statement):
        authorization = ended_hold(parse(bytes(packed)))
        if authorization is not None:
            ended[authorization] = index
    rows = rows_by_key(
        connection, authorizations, book_id, authorizations.c.id, ended,
        columns=(authorizations.c.created_index, authorizations.c.id),
    )  # fmt: skip
    return [OpenHold(opened, ended[name]) for opened, name in rows if opened < size]


def holds_then(connection: Connection, book_id: int, holds: Sequence[OpenHold], *, size: int) -> list[HoldThen]:
    """How each of some holds stood after the first ``size`` records, in the same order; for a page of them. Raises
    RecordArchived."""
    bodies: dict[int, dict[str, Any]] = {}
    waiting = {hold.opened_index: hold.latest_index for hold in holds}
    for _ in range(_CHAIN_MAX):
        if not waiting:
            break
        statement = select(log_records.c.log_index, log_records.c.body).where(
            log_records.c.book_id == book_id, log_records.c.log_index.in_(sorted(waiting.values()))
        )
        read = {index: parse(bytes(packed)) for index, packed in connection.execute(statement)}
        following = {}
        for opened, index in waiting.items():
            if index not in read:
                refuse_archived(connection, book_id, index)
                raise LookupError(f"record {index} is missing; run 'bursar verify'")
            if index < size:
                bodies[opened] = read[index]
            else:
                following[opened] = int(read[index]["previous"])
        waiting = following
    rows = authorizations_at(connection, book_id, {body["authorization"] for body in bodies.values()})
    made = []
    for hold in holds:
        body = bodies[hold.opened_index]
        made.append(HoldThen(hold.opened_index, body, rows[body["authorization"]]))
    return made
