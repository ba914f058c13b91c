"""What the ledger says was spent with a payee, for a comparison with what the payee says.

Owns the ledger's side of a reconciliation: its total and its lines as of a size of the log. Invariants: nothing is read
before the lines of that size are written, so that a total is never short; a page is read in a short transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Engine

from ledger.core.metering import pairs_said
from ledger.core.spend_line import SpendLine
from ledger.services.errors import UnknownBook
from ledger.services.lining import Liner
from ledger.storage import queries_log
from ledger.storage import queries_reconciliations as queries

UNWRITTEN_MAX = 20_000
"""Records whose lines are written for whoever asks; with more, they are asked to come again."""


class ComparisonRefused(ValueError):
    """What was asked for cannot be compared: ``field`` names what to change, and the message says how."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared: a payee, a currency, and a period in microseconds, from ``starts_at`` (included) to ``ends_at``
    (not included)."""

    payee: str
    currency: str
    starts_at: int
    ends_at: int


class UsedLine(NamedTuple):
    """A line, when its authorization was asked for (in microseconds), and what that was metered from."""

    line: SpendLine
    asked_at: int
    metering: dict[str, str]


class LedgerSide:
    """Reads the ledger's side. Safe to be used by several threads and processes."""

    def __init__(self, engine: Engine, liner: Liner) -> None:
        self._engine = engine
        self._liner = liner

    def reach(self, book_id: int, at_size: int | None) -> int:
        """The size of the log to read at, once its lines are written. Raises ComparisonRefused, LinesUnavailable,
        UnknownBook, StorageError."""
        with self._engine.connect() as connection:
            head = queries_log.head(connection, book_id)
        if head is None:
            raise UnknownBook
        size = head.size if at_size is None else at_size
        if not 1 <= size <= head.size:
            raise ComparisonRefused("at_size", f"the log has {head.size} records: at_size is from 1 to {head.size}")
        self._liner.catch_up(book_id, size, records_max=UNWRITTEN_MAX)
        return size

    def total(self, book_id: int, what: Compared, size: int) -> int:
        """What the first ``size`` records, whose lines are written, say was spent, in atoms. Raises StorageError."""
        with self._engine.connect() as connection:
            return queries.used_total(
                connection, book_id, what.payee, what.currency, starts_at=what.starts_at, ends_at=what.ends_at,
                size=size,
            )  # fmt: skip

    def lines(
        self, book_id: int, what: Compared, size: int, *, after: tuple[int, int, int] | None, limit: int
    ) -> list[UsedLine]:
        """A page of the lines that ``total`` adds up. Raises StorageError."""
        with self._engine.connect() as connection:
            lines = queries.used_lines(
                connection, book_id, what.payee, what.currency, starts_at=what.starts_at, ends_at=what.ends_at,
                size=size, after=after, limit=limit,
            )  # fmt: skip
            named = {line.authorization_id for line in lines if line.authorization_id is not None}
            origins = queries.origins_of(connection, book_id, named) if named else {}
        made = []
        for line in lines:
            asked_at, metering = origins.get(line.authorization_id or "", (line.effective_at, None))
            made.append(UsedLine(line, asked_at, pairs_said(metering)))
        return made

    def check_booked(self, book_id: int, what: Compared, indexes: Collection[int], size: int) -> None:
        """Raises ComparisonRefused unless each of these records is a charge or a correction of the payee, among the
        first ``size``; StorageError."""
        if not indexes:
            return
        with self._engine.connect() as connection:
            known = queries.booked_among(connection, book_id, what.payee, what.currency, indexes)
        strangers = sorted(index for index in indexes if index not in known or index >= size)
        if strangers:
            raise ComparisonRefused(
                "booked",
                f"record {strangers[0]} is no charge, refund, reprice or adjustment of {what.payee} in {what.currency} "
                f"among the first {size} records",
            )
