"""The comparison of spend lines, daily totals and ended holds with the log, as far as their cursor says they go.

Owns ``SpendCheck``: lines and holds are compared page by page while the log is followed, daily totals with the lines,
day by day. Invariants: what is behind the cursor is not there yet, and is no difference; a row beyond it, or missing
before it, is one; rows are read together with the cursor, so that a book in use never looks wrong, and memory is
bounded by a page and by the totals of one day.
"""

from collections.abc import Iterable
from typing import Any, Final

from ledger.core.approval import FORCED, GRANTED, Approval
from ledger.core.canonical import parse
from ledger.core.deriving import Columns
from ledger.core.invariants import Difference, shown
from ledger.core.projecting_record import Progress
from ledger.core.spend_line import (
    Origin,
    SpendHold,
    corrected_index,
    date_of,
    day_number,
    ended_hold,
    hold_span,
    lines_of,
    needs_origin,
)
from ledger.core.windows import day_start
from ledger.services.verify_findings import Findings
from ledger.services.verify_rows import compare_pages
from ledger.storage.proof_reader import ProofReader, Row
from ledger.storage.spend_rows import CLEARING
from ledger.storage.tables_finance import SPEND_CURSOR, SPEND_DAYS, SPEND_HOLDS, SPEND_LINES

_CURSOR: Final = "SELECT c.next_index, h.size FROM spend_cursor c LEFT JOIN book_heads h ON h.book_id = c.book_id"
_PLACED: Final = ((SPEND_LINES, "log_index"), (SPEND_HOLDS, "ended_index"))
_SUMS: Final = ("amount", "spent", "owed")


class SpendCheck:
    """Compares while the log is followed; one for each book."""

    def __init__(self, reader: ProofReader, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings
        self._fold: Progress | None = None
        self._expected: dict[str, list[Row]] = {SPEND_LINES.name: [], SPEND_HOLDS.name: []}
        self._start = 0
        self._followed = 0
        self._stop = 0
        self._gone = False

    def follow(self, fold: Progress, position: int) -> None:
        """Know the rows that the fold makes; called before the first record. What the first ``position`` records gave
        was compared before, as transfers were."""
        self._fold = fold
        self._start = self._followed = position
        with self._reader.reading() as (connection, _):
            rows = self._reader.rows(connection, f"{_CURSOR} WHERE c.book_id = :book")
        if rows and type(rows[0][0]) is int:
            self._stop = rows[0][0]

    def check(self, index: int, body: dict[str, Any], columns: Columns) -> list[Difference]:
        """Note what the record should have given; see ``RecordCheck``. It is compared with the rest of its page."""
        self._followed = index + 1
        if index < self._stop and not self._gone:
            self._expect(index, body, columns)
        return []

    def compare(self) -> None:
        """Compare what was noted; called at the end of each page of the log. Raises EnoughFound, StorageError."""
        self._compare(min(self._stop, self._followed))

    def finish(self) -> None:
        """Compare what is left, the cursor, and the daily totals. Raises EnoughFound, StorageError."""
        self.compare()
        self._compare_cursor()
        try:
            self._compare_days()
        except (TypeError, ValueError, OverflowError) as error:
            # SQLite keeps values of any type in any column.
            self._findings.add(Difference(SPEND_DAYS.name, f"or a line has a value of a wrong type: {error}"))

    def _expect(self, index: int, body: dict[str, Any], columns: Columns) -> None:
        fold = self._fold
        if fold is None:
            raise LookupError("the check follows no fold")
        origin = self._origin(needs_origin(body))
        corrects = corrected_index(body, self._body_at)
        lines = lines_of(fold.book_id, index, body, columns, origin=origin, corrects=corrects)
        self._expected[SPEND_LINES.name] += [line[1:] for line in lines]
        ended = fold.store.authorizations.get(ended_hold(body) or "")
        if ended is not None:
            hold = SpendHold(fold.book_id, index, ended.created_index, hold_span(ended.created_index, index))
            self._expected[SPEND_HOLDS.name].append(hold[1:])

    def _origin(self, authorization: str | None) -> Origin | None:
        fold = self._fold
        row = fold.store.authorizations.get(authorization) if fold is not None and authorization else None
        if fold is None or row is None:
            return None
        granted: list[Approval] = []
        while (tier := fold.store.approvals.get((row.id, len(granted)))) is not None:
            granted.append(tier)
        ids = " ".join(tier.id for tier in granted if tier.state in (GRANTED, FORCED))
        return Origin(row.created_index, row.resource, row.labels, ids or None)

    def _body_at(self, index: int) -> dict[str, Any] | None:
        body = self._reader.body(index)
        return parse(body) if body else None

    def _compare(self, stop: int) -> None:
        """Compare the records from where the last page ended to before ``stop``."""
        if stop <= self._start or self._gone:
            return
        found: dict[str, list[Row]] = {}
        with self._reader.reading() as (connection, _):
            cursor = self._reader.rows(connection, f"{_CURSOR} WHERE c.book_id = :book")
            for spec, column in _PLACED:
                found[spec.name] = self._reader.rows(
                    connection,
                    f"SELECT {', '.join(spec.columns[1:])} FROM {spec.name} WHERE book_id = :book"
                    f" AND {column} >= :start AND {column} < :stop ORDER BY {', '.join(spec.key[1:])}",
                    start=self._start,
                    stop=stop,
                )
        if not cursor or type(cursor[0][0]) is not int or cursor[0][0] < stop:
            # They are being taken away, to be made again.
            self._gone = True
            return
        for spec, _ in _PLACED:
            expected, self._expected[spec.name] = self._expected[spec.name], []
            if expected != found[spec.name]:
                self._note(compare_pages(spec, iter([expected]), iter([found[spec.name]])))
        self._start = stop

    def _note(self, differences: Iterable[Difference]) -> None:
        for difference in differences:
            self._findings.add(difference)

    def _compare_cursor(self) -> None:
        """A cursor within the log, no rows without one, and none beyond it."""
        with self._reader.reading() as (connection, _):
            cursors = self._reader.rows(connection, f"{_CURSOR} WHERE c.book_id = :book")
            cursor, size = cursors[0] if cursors else (0, None)
            stray = {
                spec: self._reader.rows(
                    connection,
                    f"SELECT {', '.join(spec.columns[1:])} FROM {spec.name} WHERE book_id = :book"
                    f" AND ({column} >= :cursor OR {column} < 0 OR {column} IS NULL) LIMIT 1",
                    cursor=cursor if type(cursor) is int else 0,
                )
                for spec, column in _PLACED
            }
            days = self._reader.rows(connection, "SELECT 1 FROM spend_days WHERE book_id = :book LIMIT 1")
            stray[SPEND_DAYS] = self._reader.rows(
                connection,
                f"SELECT {', '.join(SPEND_DAYS.columns[1:])} FROM spend_days WHERE book_id = :book"
                " AND day IS NULL LIMIT 1",
            )
        if len(cursors) > 1:
            self._note([Difference(SPEND_CURSOR.name, "the book has more than one row")])
        if cursor == CLEARING:
            return
        if not cursors:
            if days or any(stray.values()):
                what = "is missing although there are rows; delete them, or run 'bursar rebuild'"
                self._note([Difference(SPEND_CURSOR.name, what)])
            return
        if type(cursor) is not int or not 0 <= cursor <= (size if type(size) is int else cursor):
            what = "stands for records that the log has not"
            self._note([Difference(SPEND_CURSOR.name, what, None, "", "next_index", shown(size), shown(cursor))])
        for spec, rows in stray.items():
            for row in rows:
                self._note(compare_pages(spec, iter([]), iter([[row]])))

    def _compare_days(self) -> None:
        """Each day's totals with the lines of the day, read together."""
        fold = self._fold
        if self._gone or fold is None or fold.book is None:
            return
        timezone = fold.book.timezone
        day: int | None = None
        while True:
            day = self._next_day(timezone, day)
            if day is None:
                return
            starts_at, ends_at = (day_start(timezone, date_of(at)) for at in (day, day + 1))
            key = ", ".join(f"coalesce({name}, '')" for name in ("agent", "budget", "category", "payee"))
            sums = ", ".join(f"sum({name} >> 32), sum({name} & 4294967295)" for name in _SUMS)
            with self._reader.reading() as (connection, _):
                cursor = self._reader.rows(connection, f"{_CURSOR} WHERE c.book_id = :book")
                stored = self._reader.rows(
                    connection,
                    f"SELECT {', '.join(SPEND_DAYS.columns[1:])} FROM spend_days WHERE book_id = :book AND day = :day"
                    " ORDER BY agent, budget, category, payee, currency",
                    day=day,
                )
                added = self._reader.rows(
                    connection,
                    f"SELECT {key}, currency, {sums}, count(*), max(log_index) FROM spend_lines WHERE book_id = :book"
                    " AND effective_at >= :low AND effective_at < :high AND (kind = 'settlement' OR kind = 'charge'"
                    " OR kind = 'refund' OR kind = 'reprice' OR amount <> 0 OR spent <> 0 OR owed <> 0)"
                    f" GROUP BY {key}, currency ORDER BY {key}, currency",
                    low=starts_at,
                    high=ends_at,
                )
            if not cursor or cursor[0][0] == CLEARING:
                return
            expected = [(day, *row[:5], *_whole(row[5:11]), *row[11:]) for row in added]
            if expected != stored:
                self._note(compare_pages(SPEND_DAYS, iter([expected]), iter([stored])))

    def _next_day(self, timezone: str, after: int | None) -> int | None:
        """The next day that has lines or totals."""
        with self._reader.reading() as (connection, _):
            later = "" if after is None else " AND effective_at >= :low"
            low = 0 if after is None else day_start(timezone, date_of(after + 1))
            values = {} if after is None else {"low": low}
            lines = self._reader.rows(
                connection, f"SELECT min(effective_at) FROM spend_lines WHERE book_id = :book{later}", **values
            )
            later = "" if after is None else " AND day > :day"
            values = {} if after is None else {"day": after}
            days = self._reader.rows(
                connection, f"SELECT min(day) FROM spend_days WHERE book_id = :book{later}", **values
            )
        found = [] if lines[0][0] is None else [day_number(timezone, lines[0][0])]
        found += [] if days[0][0] is None else [days[0][0]]
        return min(found, default=None)


def _whole(halves: Row) -> list[int]:
    """Sums out of (sum of the upper halves, sum of the lower halves) of each."""
    return [(int(halves[at]) << 32) + int(halves[at + 1]) for at in range(0, len(halves), 2)]
