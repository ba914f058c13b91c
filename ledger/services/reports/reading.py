"""What every report reads: the balances of accounts, daily totals and lines, as of one size of the log.

Owns ``Reach``. Invariants: each page is a transaction of its own, so that none stays open; what was recorded behind the
size is as if it were not there; nothing is read before the lines of that size are written, and nothing is given out
where they were taken away meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, Engine

from ledger.core.account import Account
from ledger.core.book import Book
from ledger.core.period import Period
from ledger.core.report import ReportRefused
from ledger.core.spend_line import SpendDay, day_number
from ledger.services.lining import LinesUnavailable
from ledger.storage import queries_accounts, queries_postings, queries_reports, queries_spend, spend_rows
from ledger.storage.errors import RecordArchived
from ledger.storage.paging import LIMIT_MAX
from ledger.storage.queries_reports import DayKey, KeyedLine, Place
from ledger.storage.queries_spend import LineScope

GROUPS_MAX: Final = 20_000
"""Rows of a report, at most: what has more is asked for a shorter period."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What is read, and as of when. ``newest_at`` is when the last of the first ``size`` records was written."""

    engine: Engine
    book: Book
    size: int
    newest_at: int

    @property
    def book_id(self) -> int:
        """The book's number."""
        return self.book.book_id

    @property
    def timezone(self) -> str:
        """The book's time zone."""
        return self.book.timezone

    @property
    def newest_day(self) -> int:
        """The day, since 1970, of the last record: nothing counts for a later one."""
        return day_number(self.timezone, self.newest_at)

    def accounts(self, prefix: str = "") -> Iterator[Account]:
        """The accounts that the first ``size`` records made and whose names begin so, by name and currency. What they
        say of their balance is that of now."""
        after: tuple[str, str] | None = (prefix, "") if prefix else None
        while True:
            with self.engine.connect() as connection:
                page = queries_accounts.list_accounts(connection, self.book_id, after=after, limit=LIMIT_MAX)
            for account in page.items:
                if not account.name.startswith(prefix):
                    return
                if account.created_index < self.size:
                    yield account
            if page.after is None:
                return
            after = (page.items[-1].name, page.items[-1].currency)

    def balance(self, connection: Connection, account: Account, before: int | None) -> int:
        """An account's debits less credits, in atoms: of what counts for moments earlier than ``before``; None: of all.
        Raises RecordArchived."""
        if before is None or before > self.newest_at:
            return queries_accounts.balance_at_size(connection, self.book_id, account.account_no, self.size)
        return queries_postings.balance_before(
            connection, self.book_id, account.account_no, before=before, size=self.size
        )

    def days(self, first: int, stop: int, agent: str | None = None) -> Iterator[SpendDay]:
        """Daily totals of the days from ``first`` to before ``stop``, in order."""
        stop = min(stop, self.newest_day + 1)
        for day, totals in groupby(self._stored_days(first, stop, agent), key=lambda total: total.day):
            found = list(totals)
            if all(total.changed_index < self.size for total in found):
                yield from found
                continue
            with self.engine.connect() as connection:
                self._check_lines(connection)
                found = queries_reports.day_then(
                    connection, self.book_id, day, timezone=self.timezone, size=self.size, agent=agent
                )
            yield from found

    def _stored_days(self, first: int, stop: int, agent: str | None) -> Iterator[SpendDay]:
        after: DayKey | None = None
        while True:
            with self.engine.connect() as connection:
                self._check_lines(connection)
                page = queries_reports.list_days(
                    connection, self.book_id, first=first, stop=stop, agent=agent, after=after
                )
            yield from page
            if len(page) < queries_reports.PAGE_ROWS:
                return
            last = page[-1]
            after = (last.day, last.agent, last.budget, last.category, last.payee, last.currency)

    def keyed_lines(self, column: str, period: Period, agent: str | None) -> Iterator[KeyedLine]:
        """The lines of a period with the value of one of their columns, in order."""
        after: Place | None = None
        while True:
            with self.engine.connect() as connection:
                self._check_lines(connection)
                page = queries_reports.list_keyed(
                    connection, self.book_id, column, starts_at=period.starts_at, ends_at=period.ends_at,
                    size=self.size, agent=agent, after=after,
                )  # fmt: skip
            yield from page
            if len(page) < queries_reports.PAGE_ROWS:
                return
            after = page[-1][:3]

    def spent_before(self, moment: int, agent: str | None = None) -> dict[str, int] | None:
        """What the book or one agent had spent before the start of a day, by currency; None where that is archived."""
        scope = LineScope() if agent is None else LineScope("agent", (agent,))
        try:
            with self.engine.connect() as connection:
                self._check_lines(connection)
                return queries_spend.spent_before(
                    connection, self.book_id, scope, before=moment, size=self.size, timezone=self.timezone
                )
        except RecordArchived:
            return None

    def _check_lines(self, connection: Connection) -> None:
        written = spend_rows.cursor(connection, self.book_id)
        if written is None or written < self.size:
            raise LinesUnavailable("the lines of this book are being written again; ask again")


def check_groups(count: int) -> None:
    """Raises ReportRefused for more rows than a report has."""
    if count > GROUPS_MAX:
        raise ReportRefused("by", f"the report would have more than {GROUPS_MAX} rows; ask for a shorter period")
