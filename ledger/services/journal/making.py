"""Making an export of the journal: from what was asked for to one stretch of the log that is fixed once and for all.

Owns ``Journals`` and ``Journal``. Invariants: an export is a function of where it begins, of how many records the log
had (``at_size``), of its period and its format, so a re-run gives the same bytes; what begins where another ended
carries on with neither a gap nor an overlap; a cursor of another log is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Engine

from ledger.core.account import Account
from ledger.core.book import Book, Head
from ledger.core.period import Period, parse_period
from ledger.core.windows import MONTH, calendar_bounds, date_at
from ledger.services.errors import UnknownBook
from ledger.services.journal.cursor import BEGINNING, JournalCursor, parse_cursor
from ledger.services.journal.reading import (
    ACCOUNTS_AT_ONCE,
    AccountReader,
    CostLine,
    CostReader,
    Entry,
    EntryReader,
    Stretch,
)
from ledger.services.statements.making import Digits, Statements
from ledger.storage import queries_journal, queries_log
from ledger.storage.archive_rows import refuse_archived
from ledger.storage.queries_journal import EVER, Opened

WITH: Final = "with"
WITHOUT: Final = "without"
ONLY: Final = "only"
BALANCES: Final = (WITH, WITHOUT, ONLY)
"""Whether a journal as text has the balances by which the other program checks it, or nothing else."""
_ONE_DAY: Final = timedelta(days=1)


class JournalRefused(ValueError):
    """What was asked for is no journal: ``field`` is ``since``, ``period``, ``at_size``, ``balances``, ``header`` or
    ``format``, and the message says what to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BalancesAt(NamedTuple):
    """What every account that there was had at the end of a day, in the book's time zone: debits less credits."""

    day: date
    balances: list[tuple[Account, int]]


@dataclass(frozen=True, slots=True)
class Journal:
    """One export: records ``start.size`` to before ``end.size`` of a book, of these what counts for ``period`` (None:
    whenever). ``digits`` are those of each currency."""

    book: Book
    start: JournalCursor
    end: JournalCursor
    period: Period | None
    balances: str
    header: bool
    digits: Digits
    engine: Engine

    @property
    def is_beginning(self) -> bool:
        """Whether it begins with the first record."""
        return self.start.size == 0

    def stretch(self) -> Stretch:
        """What is read of the log."""
        book, period = self.book, self.period
        start, span = self.start.size, EVER
        if period is not None:
            span = period.starts_at, period.ends_at
            with self.engine.connect() as connection:
                # What counts for the period was recorded when it had begun, or later.
                start = max(start, queries_log.size_at(connection, book.book_id, period.starts_at - 1))
        return Stretch(self.engine, book.book_id, book.timezone, min(start, self.end.size), self.end.size, span)

    def entries(self) -> Iterator[Entry]:
        """The entries, in the order of the log. Raises JournalBroken, StorageError."""
        return EntryReader(self.stretch())()

    def costs(self) -> Iterator[CostLine]:
        """The spend lines, in the order of the log. Raises JournalBroken, StorageError."""
        return CostReader(self.stretch())()

    def opened(self) -> Iterator[Opened]:
        """The accounts that records of this export made, whatever its period."""
        book = self.book
        whole = Stretch(self.engine, book.book_id, book.timezone, self.start.size, self.end.size)
        return AccountReader(whole)()

    def in_order(self) -> Iterator[Opened | Entry]:
        """Accounts and entries in the order of the log, an account before the entry that made it."""
        opened = self.opened()
        account = next(opened, None)
        for entry in self.entries():
            while account is not None and account.account.created_index <= entry.log_index:
                yield account
                account = next(opened, None)
            yield entry
        if account is not None:
            yield account
            yield from opened

    def first_in_currency(self) -> dict[str, int]:
        """Currency to the number of the first account in it."""
        with self.engine.connect() as connection:
            return queries_journal.first_in_currency(connection, self.book.book_id)

    def opening(self) -> BalancesAt | None:
        """What accounts had before the period; None without a period."""
        if self.period is None:
            return None
        return self._balances(self.period.first - _ONE_DAY, self.period.starts_at)

    def month_ends(self) -> Iterator[BalancesAt]:
        """What accounts had at the end of each month that the export reaches into, and at the period's end."""
        timezone = self.book.timezone
        span = self._reach()
        if span is None:
            return
        first, last = span
        moment = first
        while moment <= last:
            _, ends_at = calendar_bounds(MONTH, timezone=timezone, now=moment)
            if self.period is not None:
                ends_at = min(ends_at, self.period.ends_at)
            yield self._balances(date_at(timezone, ends_at - 1), ends_at)
            moment = ends_at

    def _reach(self) -> tuple[int, int] | None:
        """The first and the last moment that balances are told for."""
        with self.engine.connect() as connection:
            first = queries_journal.first_effective(connection, self.book.book_id, self.end.size)
            last = queries_log.record(connection, self.book.book_id, self.end.size - 1)
        if first is None or last is None:
            return None
        if self.period is None:
            return first, last.recorded_at
        return max(first, self.period.starts_at), min(last.recorded_at, self.period.ends_at - 1)

    def _balances(self, day: date, before: int) -> BalancesAt:
        book_id, size = self.book.book_id, self.end.size
        told: list[tuple[Account, int]] = []
        first: int | None = 0
        with self.engine.connect() as connection:
            found = queries_journal.behind(connection, book_id, before=before, size=size)
        while first is not None:
            with self.engine.connect() as connection:
                page = queries_journal.accounts_from(
                    connection, book_id, first_no=first, stop=size, limit=ACCOUNTS_AT_ONCE
                )
                for account, _ in page:
                    balance = queries_journal.balance_behind(connection, book_id, account, found)
                    if balance or account.created_index < found.first:
                        told.append((account, balance))
            first = page[-1].account.account_no + 1 if len(page) == ACCOUNTS_AT_ONCE else None
        return BalancesAt(day, told)


class Journals:
    """Makes exports of the books of a database. Safe to be used by several threads and processes."""

    def __init__(self, engine: Engine, statements: Statements) -> None:
        self._engine = engine
        self._liner = statements.liner
        self._prover = statements.prover

    def make(
        self,
        book_id: int,
        *,
        since: str | None = None,
        at_size: int | None = None,
        period: str | None = None,
        balances: str | None = None,
        header: bool | None = None,
    ) -> Journal:
        """The journal behind the cursor ``since`` (None: from the beginning) up to the first ``at_size`` records (None:
        all that there are), of these what counts for ``period``. ``balances`` None: with them where it is asked for
        without a cursor; ``header`` None: with the names of columns where it begins with the first record.

        Raises JournalRefused, RecordArchived, UnknownBook, ProofUnavailable and other ServiceError; StorageError.
        """
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
            head = queries_log.head(connection, book_id)
        if book is None or head is None:
            raise UnknownBook
        size = head.size if at_size is None else at_size
        if not 1 <= size <= head.size:
            raise JournalRefused("at_size", f"the log has {head.size} records: at_size is from 1 to {head.size}")
        start = self._start(book_id, head, size, since)
        if balances is None:
            balances = WITH if since is None else WITHOUT
        if since is not None and balances == WITH:
            raise JournalRefused(
                "balances",
                "what is recorded later may change the balances of earlier months, so a piece has none; take them in "
                "a file of their own with balances=only, without a cursor",
            )
        end = JournalCursor(size, self._root(book_id, head, size))
        chosen = _period(period, book.timezone)
        made = Journal(
            book, start, end, chosen, balances, start.size == 0 if header is None else header,
            Digits(self._engine, book_id), self._engine,
        )  # fmt: skip
        self._refuse_archived(made)
        return made

    def with_lines(
        self,
        journal: Journal,
        *,
        records_max: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Journal:
        """The same, once the spend lines that it is made from are written. Raises LinesUnavailable."""
        self._liner.catch_up(journal.book.book_id, journal.end.size, records_max=records_max, progress=progress)
        return journal

    def _start(self, book_id: int, head: Head, size: int, since: str | None) -> JournalCursor:
        if since is None:
            return BEGINNING
        try:
            start = parse_cursor(since)
        except ValueError as error:
            raise JournalRefused("since", str(error)) from error
        if start.size > head.size or start.root != self._root(book_id, head, start.size):
            raise JournalRefused(
                "since",
                f"this book's log of {head.size} records does not begin with the {start.size} that the cursor names: "
                "it is a cursor of another book, or of a copy of this one that went on otherwise",
            )
        if start.size > size:
            raise JournalRefused("at_size", f"the cursor is at {start.size} records already: at_size is from there on")
        return start

    def _root(self, book_id: int, head: Head, size: int) -> bytes:
        if size == head.size:
            return head.root
        if size == 0:
            return BEGINNING.root
        return self._prover.consistency(book_id, size).first_root

    def _refuse_archived(self, journal: Journal) -> None:
        """Whatever an export reads must be there before its first byte. Raises RecordArchived."""
        stretch = journal.stretch()
        with self._engine.connect() as connection:
            if stretch.start < stretch.stop:
                refuse_archived(connection, stretch.book_id, stretch.start)


def _period(text: str | None, timezone: str) -> Period | None:
    if text is None:
        return None
    try:
        return parse_period(text, timezone)
    except ValueError as error:
        raise JournalRefused("period", str(error)) from error
