"""Closing a month: the statements of a pinned log size, their digests, and the record that has them.

Owns ``Closer``. Invariants: nothing waits for it, because everything is read at one size of the log in short
transactions while others spend; the record is written only if nothing that counts for the month came after that size,
which the core makes sure of when it commits; what was broken off at any place has changed nothing, and is done by
asking again.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, Engine

from ledger.core.canonical import parse
from ledger.core.closing import CLOSED, CheckResult, Month, digest_of, first_month, month_at, month_named, next_month
from ledger.core.command import Command
from ledger.core.command_closing import ClosePeriod
from ledger.core.outcome import Outcome, Status
from ledger.core.statement import AGENT, BOOK, BUDGET, PAYEE, TEAM, Scope
from ledger.core.statement_digest import digest_statement
from ledger.services.closing_checks import Looked, check_month, named_by_day, payees_of, with_lines
from ledger.services.closing_said import MonthSeen, detail_found, detail_said, month_said
from ledger.services.errors import UnknownBook
from ledger.services.sources import Sources
from ledger.services.statements.making import Statements
from ledger.storage import queries_closing, queries_log
from ledger.storage.errors import RecordArchived

CLOSING_KIND: Final = "period_close"
ATTEMPTS_MAX: Final = 5
"""How often the statements are made again because something was backdated into the month meanwhile."""
MONTHS_LISTED_MAX: Final = 2_400
Digests = list[tuple[str, str]]
Progress = Callable[[int, int], None]


class Decide(Protocol):
    """``Authorizer.decide_now``."""

    def __call__(self, book_id: int, command: Command, *, dry: bool = ...) -> Outcome: ...


class Comparison(NamedTuple):
    """What came of making a closing's statements again: scopes whose statement is another one, that the closing does
    not have, or that are made no more; and whether the digest over all of them is the one on record."""

    period: str
    statements: int
    different: tuple[str, ...]
    same: bool


class _Said(NamedTuple):
    """What the record of a closing says of its statements."""

    period: str
    size: int
    root: bytes
    digest: bytes


class Closer:
    """Closes the months of the books of a database, and compares closings with statements made again. Safe to be used
    by several threads and processes."""

    def __init__(self, engine: Engine, statements: Statements, sources: Sources) -> None:
        self._engine = engine
        self._statements = statements
        self._sources = sources

    def close(
        self, book_id: int, asked: ClosePeriod, decide: Decide, *, progress: Progress = lambda done, total: None
    ) -> Outcome:
        """Close a month: ``asked`` says which, who asks and what they accept. The outcome is a refusal where it cannot
        be closed. Raises LinesUnavailable and other ServiceError, StatementBroken, StorageError."""
        possible = decide(book_id, asked, dry=True)
        if possible.status is not Status.PERIOD_CHANGED:
            # Refused, or closed before by the same request.
            return possible
        outcome = possible
        for _ in range(ATTEMPTS_MAX):
            looked, root = self._pin(book_id, asked.period)
            self._statements.liner.catch_up(book_id, looked.size, progress=progress)
            command = replace(asked, size=looked.size, root=root, checks=check_month(looked))
            outcome = decide(book_id, command, dry=True)
            if outcome.status is Status.DONE:
                digests = tuple(self.digests(looked, root, progress))
                outcome = decide(book_id, replace(command, statements=digests))
            if outcome.status is not Status.PERIOD_CHANGED:
                return outcome
        return outcome

    def _pin(self, book_id: int, name: str) -> tuple[Looked, bytes]:
        """What is looked at from here on, however far the log grows, and its root."""
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
            head = queries_log.head(connection, book_id)
        if book is None or head is None:
            raise UnknownBook
        period = month_named(book.timezone, name)
        looked = Looked(self._engine, book_id, book.timezone, period, head.size, self._sources.now_us())
        return looked, head.root

    def checks(self, book_id: int, name: str) -> tuple[CheckResult, ...]:
        """What the checks of a month find now. Raises as ``close``."""
        looked, _ = self._pin(book_id, name)
        self._statements.liner.catch_up(book_id, looked.size)
        return check_month(looked)

    # Statements and their digests.

    def digests(self, looked: Looked, root: bytes, progress: Progress = lambda done, total: None) -> Digests:
        """The digests of a month's statements, in order: of the book, and of each budget, team, agent and payee that
        has a line in it. Raises as ``close``."""
        scopes = self._scopes(looked)
        made: Digests = []
        for scope in scopes:
            progress(len(made), len(scopes))
            made.append((str(scope), self._digest(looked, root, scope)))
        return made

    def _digest(self, looked: Looked, root: bytes, scope: Scope) -> str:
        statement = self._statements.make(looked.book_id, scope, looked.period.text, at_size=looked.size, root=root)
        return digest_statement(statement)

    def _scopes(self, looked: Looked) -> list[Scope]:
        with self._engine.connect() as connection:
            agents = with_lines(connection, looked, "agent", named_by_day(connection, looked, "agent"))
            teams = queries_closing.teams_above(connection, looked.book_id, agents)
            budgets = queries_closing.budgets_of(connection, looked.book_id, size=looked.size)
            budgets = with_lines(connection, looked, "budget", budgets)
            payees = payees_of(connection, looked)
        return [
            Scope(BOOK),
            *(Scope(BUDGET, name) for name in budgets),
            *(Scope(TEAM, name) for name in teams),
            *(Scope(AGENT, name) for name in agents),
            *(Scope(PAYEE, name) for name in payees),
        ]

    # What is closed.

    def months(self, book_id: int) -> list[MonthSeen]:
        """The months from the first that anything counts for to the one that is going on, in order."""
        with self._engine.connect() as connection:
            return months_seen(connection, book_id, self._sources.now_us())

    def shown(self, seen: MonthSeen) -> dict[str, Any]:
        """A month of ``months`` as it is told."""
        return month_said(seen, self._sources.now_us())

    def detail(self, book_id: int, name: str) -> dict[str, Any] | None:
        """One month as it is told, with its checks and digests: as its closing has them, or as they are found now. None
        for a month that the book has not, or not yet. Raises RecordArchived and as ``close``."""
        with self._engine.connect() as connection:
            seen = month_seen(connection, book_id, name, self._sources.now_us())
            if seen is None:
                return None
            if seen.row is not None and seen.row.closed_index is not None:
                return self.shown(seen) | closing_detail(connection, book_id, seen.row.closed_index)
        return self.shown(seen) | detail_found(self.checks(book_id, name))

    def compare(self, book_id: int, name: str, *, progress: Progress = lambda done, total: None) -> Comparison:
        """Make the statements of a closed month again, as of the size that its closing names, and compare. Raises
        ValueError where it is not closed; RecordArchived and as ``close``."""
        with self._engine.connect() as connection:
            found = next((row for row in queries_closing.months(connection, book_id) if row.period == name), None)
            if found is None or found.state != CLOSED or found.closed_index is None:
                raise ValueError(f"{name} is not closed")
            record = queries_log.record(connection, book_id, found.closed_index)
        body = {} if record is None else parse(record.body)
        return self._compare(book_id, found, body.get("statements"), progress)

    def compare_record(self, book_id: int, index: int, *, progress: Progress = lambda done, total: None) -> Comparison:
        """As ``compare``, of the closing that is recorded at a log index, be its month open again by now."""
        with self._engine.connect() as connection:
            record = queries_log.record(connection, book_id, index)
        body = {} if record is None else parse(record.body)
        if body.get("kind") != CLOSING_KIND:
            raise ValueError(f"record {index} closes no month")
        said = _Said(body["period"], body["size"], bytes.fromhex(body["root"]), bytes.fromhex(body["digest"]))
        return self._compare(book_id, said, body.get("statements"), progress)

    def _compare(
        self, book_id: int, said: _Said | Month, listed: list[list[str]] | None, progress: Progress
    ) -> Comparison:
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
        if book is None:
            raise UnknownBook
        period = month_named(book.timezone, said.period)
        looked = Looked(self._engine, book_id, book.timezone, period, said.size or 0, self._sources.now_us())
        self._statements.liner.catch_up(book_id, looked.size, progress=progress)
        made = self.digests(looked, said.root or b"", progress)
        different: set[str] = set()
        if listed is not None:
            recorded = {one[0]: one[1] for one in listed}
            again = dict(made)
            different = {scope for scope in recorded.keys() | again.keys() if recorded.get(scope) != again.get(scope)}
        return Comparison(said.period, len(made), tuple(sorted(different)), digest_of(made) == said.digest)


def months_seen(connection: Connection, book_id: int, now: int) -> list[MonthSeen]:
    """The months from the first that anything counts for to the one that is going on at ``now``, in order."""
    book = queries_log.book_by_id(connection, book_id)
    if book is None:
        raise UnknownBook
    rows = queries_closing.months(connection, book_id)
    known = {row.period: row for row in rows}
    made: list[MonthSeen] = []
    period, last = first_month(book.timezone, book.opened_at, rows), month_at(book.timezone, max(now, book.opened_at))
    while period.starts_at <= last.starts_at and len(made) < MONTHS_LISTED_MAX:
        made.append(MonthSeen(period, known.get(period.text)))
        period = next_month(book.timezone, period)
    return made


def month_seen(connection: Connection, book_id: int, name: str, now: int) -> MonthSeen | None:
    """One month of ``months_seen``."""
    return next((one for one in months_seen(connection, book_id, now) if one.period.text == name), None)


def closing_detail(connection: Connection, book_id: int, index: int) -> dict[str, Any]:
    """What the closing at a log index found and accepted. Raises RecordArchived."""
    record = queries_log.record(connection, book_id, index)
    if record is None:
        raise RecordArchived(f"record {index} is not here")
    evidence = queries_log.texts_at(connection, book_id, [index], "evidence").get(index)
    return detail_said(parse(record.body), {} if evidence is None else parse(evidence.encode()))
