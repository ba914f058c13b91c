"""One batch from commands to commit: the transaction of the authorizer, with all that can go wrong in it.

Owns the snapshots of a writer thread. Invariants: the snapshot is taken over only after a commit that is known, and
dropped otherwise; a conflict or a lost connection has the whole batch decided again from a fresh snapshot, a bounded
number of times; a commit whose outcome is not known is looked up, under the head's lock, before anything is decided.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from ledger.core.book import Book
from ledger.core.changeset import AUTHORIZATIONS, KEYS, Changeset, TableSpec
from ledger.core.command import Authorize, Caller, Command, ExpireDue, Extend
from ledger.core.decide import accept, decide, tidy
from ledger.core.merkle import Frontier
from ledger.core.missing import ROUNDS_MAX, missing
from ledger.core.needs import Needs
from ledger.core.outcome import Outcome, Status
from ledger.core.renewing import RENEWALS_MAX
from ledger.core.snapshot import NEVER, Snapshot
from ledger.services.batch_report import BatchReport
from ledger.services.clock import ClockGuard
from ledger.services.errors import (
    ClockJumped,
    CommandFailed,
    DatabaseUnavailable,
    OutcomeUnknown,
    ServiceError,
    UnknownBook,
)
from ledger.services.queue import Result
from ledger.services.settings_seen import SettingsSeen
from ledger.services.sources import Sources
from ledger.storage.errors import Busy, CommitUnknown, Conflict, NoRoom, SchemaOutdated, StorageError, Unavailable
from ledger.storage.writer import BookWriter, open_writer

ATTEMPTS_MAX: Final = 8
DUE_MAX: Final = 500
BACKLOG_ROUNDS_MAX: Final = 10_000
BOOKS_MAX: Final = 64
_WAITING_OPERATIONS: Final = (Authorize.operation, Extend.operation)
"""Commands that may end in line: they are counted once they are decided."""
_logger = logging.getLogger(__name__)


class _Lost:
    """A batch whose commit may or may not have happened.

    One row of it tells: an idempotency key that it binds; where it binds none, an authorization or a key that it makes;
    else only the head, and then deciding again is harmless, because what has expired does not expire twice.
    """

    __slots__ = ("authorization", "changeset", "key_digest", "outcomes", "pair")

    def __init__(self, changeset: Changeset, outcomes: list[Outcome]) -> None:
        self.changeset = changeset
        self.outcomes = outcomes
        self.pair = next(iter(changeset.answers), None)
        self.authorization = _made(changeset, AUTHORIZATIONS, "id")
        self.key_digest = _made(changeset, KEYS, "digest")

    def add_needs(self, needs: Needs) -> None:
        """Have the telling row read."""
        if self.pair is not None:
            needs.idempotency.add(self.pair)
        elif self.authorization is not None:
            needs.authorizations.add(self.authorization)
        elif self.key_digest is not None:
            needs.keys.add(self.key_digest)

    def is_in(self, snapshot: Snapshot) -> bool:
        """Whether the batch is in the book, once the facts of ``add_needs`` were read under the head's lock."""
        if self.pair is not None:
            prior = snapshot.idempotency[self.pair]
            return prior is not None and prior.leaf_hash == self.changeset.answers[self.pair]
        if self.authorization is not None:
            return snapshot.authorizations[self.authorization] is not None
        if self.key_digest is not None:
            return snapshot.keys[self.key_digest] is not None
        after = self.changeset.head
        return snapshot.head.size == after.size and snapshot.head.root == after.root


def _made(changeset: Changeset, table: TableSpec, column: str) -> Any:
    """A column of a row that the changeset inserts, or None when it inserts none there."""
    rows = changeset.inserts.get(table.name)
    return rows[0][table.columns.index(column)] if rows else None


def _is_complete(snapshot: Snapshot, needs: Needs) -> bool:
    """Whether what was missing and has been read leads to nothing more: keys that nobody has used, and nothing due."""
    if snapshot.due or snapshot.due_renewals or not needs.only_idempotency():
        return False
    return all(snapshot.idempotency[pair] is None for pair in needs.idempotency)


def _waits(result: Result) -> bool:
    return isinstance(result, Outcome) and result.status is Status.EXPIRY_BACKLOG


class BatchWriter:
    """Processes batches on one connection. Used by one thread."""

    def __init__(
        self, database_url: str, *, sources: Sources, clock_jump_seconds: float, lock_timeout_seconds: float
    ) -> None:
        self._url = database_url
        self._sources = sources
        self._guard = ClockGuard(sources, bound_seconds=clock_jump_seconds)
        self._lock_timeout_seconds = lock_timeout_seconds
        self._connection: BookWriter | None = None
        self._snapshots: dict[int, Snapshot] = {}
        self._settings: dict[int, SettingsSeen] = {}
        self._epochs = count(1)
        self._books: dict[int, tuple[Book, bytes]] = {}
        self._commit_seconds = 0.0
        self._records = 0

    def settings_seen(self, book_id: int) -> SettingsSeen | None:
        """What is known of a book's settings; from any thread."""
        return self._settings.get(book_id)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def process(self, book_id: int, commands: Sequence[Command], *, dry: bool) -> tuple[list[Result], BatchReport]:
        """One result per command, in order, each durable or an exception that says why not. Never raises."""
        started = time.perf_counter()
        self._commit_seconds, self._records = 0.0, 0
        results = self._until_decided(book_id, commands, dry=dry)
        counted: Counter[tuple[str, str]] = Counter(
            (command.operation, result.status.value if isinstance(result, Outcome) else type(result).__name__)
            for command, result in zip(commands, results, strict=True)
        )
        for operation in _WAITING_OPERATIONS:
            counted.pop((operation, Status.WAITING.value), None)
        seconds = time.perf_counter() - started
        return results, BatchReport(len(commands), self._records, seconds, self._commit_seconds, counted, dry)

    def _until_decided(self, book_id: int, commands: Sequence[Command], *, dry: bool) -> list[Result]:
        """Decide a batch, and again those of its commands that waited for a backlog of expiries; the rest is durable by
        then, and what becomes of those that waited does not change it."""
        results = self._isolated(book_id, commands, dry=dry)
        failure: Exception = DatabaseUnavailable("too many holds are due to expire; come again")
        for _ in range(BACKLOG_ROUNDS_MAX):
            waiting = [at for at, result in enumerate(results) if _waits(result)]
            if not waiting:
                return results
            if dry:
                expired = self._isolated(book_id, (ExpireDue(caller=Caller(None)),), dry=False)[0]
                if isinstance(expired, Exception):
                    failure = expired
                    break
            again = self._isolated(book_id, [commands[at] for at in waiting], dry=dry)
            for at, result in zip(waiting, again, strict=True):
                results[at] = result
        return [failure if _waits(result) else result for result in results]

    def _isolated(self, book_id: int, commands: Sequence[Command], *, dry: bool) -> list[Result]:
        """Decide a batch; when something in it cannot be processed, each command by itself, so that it fails alone."""
        try:
            return list(self._attempts(book_id, commands, dry=dry))
        except ServiceError as error:
            return [error for _ in commands]
        except Exception as error:
            self._forget(book_id)
            if len(commands) == 1:
                _logger.exception("a command could not be processed: %s", commands[0].operation)
                failure = CommandFailed("this command could not be processed; the failure was logged")
                failure.__cause__ = error
                return [failure]
        results: list[Result] = []
        for command in commands:
            results.extend(self._isolated(book_id, (command,), dry=dry))
        return results

    def _attempts(self, book_id: int, commands: Sequence[Command], *, dry: bool) -> list[Outcome]:
        lost: _Lost | None = None
        disconnected = False
        for attempt in range(ATTEMPTS_MAX):
            try:
                return self._attempt(book_id, commands, lost, dry=dry)
            except _CommitLost as error:
                self._drop_connection(book_id)
                lost = error.lost
            except Conflict as error:
                self._forget(book_id)
                _logger.info("batch of %d decided again: %s", len(commands), error)
                time.sleep(random.uniform(0.0, 0.002) * (attempt + 1))
            except Busy as error:
                self._forget(book_id)
                self._unless_lost(lost, error)
                raise DatabaseUnavailable("the database is busy; nothing was recorded") from error
            except SchemaOutdated as error:
                self._forget(book_id)
                self._unless_lost(lost, error)
                raise DatabaseUnavailable(f"the database is not one of this version ({error})") from error
            except NoRoom as error:
                self._forget(book_id)
                self._unless_lost(lost, error)
                raise DatabaseUnavailable(str(error)) from error
            except Unavailable as error:
                self._drop_connection(book_id)
                if disconnected and lost is None:
                    raise DatabaseUnavailable("the database cannot be reached") from error
                disconnected = True
                time.sleep(0.05 * attempt)
            except (ClockJumped, UnknownBook) as error:
                self._forget(book_id)
                self._unless_lost(lost, error)
                raise
        self._unless_lost(lost, None)
        raise DatabaseUnavailable("the book is changing too fast to decide; come again")

    @staticmethod
    def _unless_lost(lost: _Lost | None, error: Exception | None) -> None:
        """Nobody may be told that nothing was recorded while a commit's outcome is not known."""
        if lost is not None:
            raise OutcomeUnknown("the commit's outcome is not known; repeat with the same Idempotency-Key") from error

    def _attempt(self, book_id: int, commands: Sequence[Command], lost: _Lost | None, *, dry: bool) -> list[Outcome]:
        connection = self._connect()
        kept = snapshot = self._snapshots.pop(book_id, None)
        needs = missing(snapshot, commands) if snapshot is not None else Needs()
        if lost is not None:
            lost.add_needs(needs)
        opening = connection.begin(book_id, needs)
        if opening.head is None:
            connection.rollback()
            raise UnknownBook(f"there is no book {book_id}")
        if snapshot is None or snapshot.head.size != opening.head.size or snapshot.head.root != opening.head.root:
            book, secret = self._book(book_id, connection)
            frontier = Frontier.from_bytes(opening.head.size, opening.head.frontier)
            snapshot = Snapshot(book, opening.head, frontier, secret)
        self._see_settings(book_id, changed=snapshot is not kept)
        opening.facts.put_into(snapshot)
        if lost is not None and lost.is_in(snapshot):
            connection.rollback()
            return lost.outcomes
        now = self._guard.check(self._sources.decision_time(opening.clock_us))
        moment = max(now, snapshot.head.recorded_at)
        stale = snapshot.is_stale(moment)
        snapshot.moment = moment
        self._read_due(connection, snapshot, moment)
        self._read_renewals(connection, snapshot, moment)
        if snapshot is not kept or lost is not None or stale or not _is_complete(snapshot, needs):
            for _ in range(ROUNDS_MAX):
                needs = missing(snapshot, commands)
                if not needs:
                    break
                connection.read(needs).put_into(snapshot)
        outcomes, changeset = decide(snapshot, commands, now)
        if dry or changeset.is_empty:
            connection.rollback()
            snapshot.due_complete = snapshot.due_complete and not snapshot.due
            snapshot.renewals_complete = snapshot.renewals_complete and not snapshot.due_renewals
            tidy(snapshot)
        else:
            self._commit(connection, changeset, outcomes)
            if changeset.touches_settings or changeset.head.frozen != snapshot.head.frozen:
                self._see_settings(book_id, changed=True)
            accept(snapshot, changeset)
        self._keep(book_id, snapshot)
        return outcomes

    def _see_settings(self, book_id: int, *, changed: bool) -> None:
        """Note that the settings are what they were, or may be others: changed here, or by whoever moved the head."""
        before = self._settings.get(book_id)
        epoch = next(self._epochs) if changed or before is None else before.epoch
        self._settings[book_id] = SettingsSeen(epoch, time.monotonic())

    def _commit(self, connection: BookWriter, changeset: Changeset, outcomes: list[Outcome]) -> None:
        started = time.perf_counter()
        try:
            connection.write_and_commit(changeset)
        except CommitUnknown as error:
            raise _CommitLost(_Lost(changeset, outcomes)) from error
        self._commit_seconds += time.perf_counter() - started
        self._records += changeset.head.size - changeset.previous_size

    def _read_due(self, connection: BookWriter, snapshot: Snapshot, now: int) -> None:
        """Note the holds whose time has come, oldest first, at most ``DUE_MAX``."""
        if snapshot.due_complete and now < snapshot.next_due_at:
            return
        rows = connection.read_due(DUE_MAX + 1)
        due = [reference for reference, due_at in rows if due_at <= now]
        later = [due_at for _, due_at in rows if due_at > now]
        snapshot.due = due[:DUE_MAX]
        snapshot.due_complete = len(due) <= DUE_MAX
        snapshot.next_due_at = later[0] if later else (NEVER if len(rows) <= DUE_MAX else 0)

    def _read_renewals(self, connection: BookWriter, snapshot: Snapshot, now: int) -> None:
        """Note the budgets whose renewal has come, earliest first, at most ``RENEWALS_MAX``; none while holds that are
        due wait, because what they leave free is to lapse too."""
        if snapshot.renewals_complete and now < snapshot.next_renewal_at:
            return
        rows = connection.read_renewals(RENEWALS_MAX + 1)
        due = [budget for budget, next_at in rows if next_at <= now]
        later = [next_at for _, next_at in rows if next_at > now]
        snapshot.due_renewals = due[:RENEWALS_MAX] if snapshot.due_complete else []
        snapshot.renewals_complete = len(due) <= (RENEWALS_MAX if snapshot.due_complete else 0)
        snapshot.next_renewal_at = later[0] if later else (NEVER if len(rows) <= RENEWALS_MAX else 0)

    def _book(self, book_id: int, connection: BookWriter) -> tuple[Book, bytes]:
        known = self._books.get(book_id)
        if known is None:
            known = connection.read_book()
            if known is None:
                raise UnknownBook(f"there is no book {book_id}")
            self._books[book_id] = known
        return known

    def _keep(self, book_id: int, snapshot: Snapshot) -> None:
        self._snapshots[book_id] = snapshot
        while len(self._snapshots) > BOOKS_MAX:
            forgotten = next(iter(self._snapshots))
            del self._snapshots[forgotten]
            self._settings.pop(forgotten, None)

    def _connect(self) -> BookWriter:
        if self._connection is None:
            self._connection = open_writer(self._url, lock_timeout_seconds=self._lock_timeout_seconds)
        return self._connection

    def _forget(self, book_id: int) -> None:
        """Leave the transaction without a trace, and the snapshot with it."""
        self._snapshots.pop(book_id, None)
        if self._connection is not None:
            self._connection.rollback()

    def _drop_connection(self, book_id: int) -> None:
        self._snapshots.pop(book_id, None)
        self.close()


class _CommitLost(StorageError):
    """The connection was lost while committing."""

    def __init__(self, lost: _Lost) -> None:
        super().__init__("the connection was lost while committing")
        self.lost = lost
