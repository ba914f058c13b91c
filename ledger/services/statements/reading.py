"""Reading the lines of a statement: page by page, each in a short transaction, in the order of statements.

Owns how rows become lines: what each adds to the balance, who approved it, what corrects what. Invariants: everything
is as of one log size, so pages that are read at different moments belong together; memory is bounded by a page, however
long the statement.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.account import Account
from ledger.core.authorization import Authorization, flag_names
from ledger.core.canonical import parse
from ledger.core.moment import moment_of
from ledger.core.money import currency_digits
from ledger.core.period import Period
from ledger.core.spend_line import ADJUSTMENT, SPEND_KINDS, SpendLine
from ledger.core.statement import BUDGET, PAYEE, REVERSAL, HoldLine, Line, Link
from ledger.core.windows import date_at, day_start
from ledger.storage import queries_authorizations, queries_corrections, queries_holds, queries_postings, queries_spend
from ledger.storage.queries_holds import HoldThen, OpenHold
from ledger.storage.queries_postings import EffectivePosting
from ledger.storage.queries_spend import LineScope, Place

PAGE_LINES: Final = 500
MERGED_MAX: Final = 64
"""Agents of a team whose lines are read agent by agent; of a larger team, all lines of the book are gone through."""
PAGE_HOLDS: Final = 200
_ONE_DAY: Final = timedelta(days=1)


class Reach(NamedTuple):
    """What is read, and as of when."""

    engine: Engine
    book_id: int
    timezone: str
    period: Period
    size: int


class Measured(NamedTuple):
    """A line before it is dressed: what it adds to the balance, and to what was spent."""

    line: SpendLine
    amount: int
    cost: int
    other_account: str | None = None


Measure = Callable[[SpendLine], Measured | None]
"""What a line adds to a statement's balance; None where it is not on the statement."""


def _is_owed_elsewhere(line: SpendLine) -> bool:
    """Whether a line is what a payee is owed in another currency than what it did cost was spent in."""
    return bool(line.owed) and not line.amount and not line.spent


def _measured_spent(line: SpendLine) -> Measured | None:
    if line.amount or (line.kind in SPEND_KINDS and not _is_owed_elsewhere(line)):
        return Measured(line, line.amount, line.amount)
    return None


def _measured_unspent(line: SpendLine) -> Measured | None:
    if line.authority or line.spent or (line.kind in SPEND_KINDS and not _is_owed_elsewhere(line)):
        return Measured(line, line.authority, line.spent)
    return None


def _measured_owed(line: SpendLine) -> Measured | None:
    # A unit that is not money is owed to nobody; what did cost something and is owed in another currency has a line
    # of its own.
    if line.owed or (line.kind in SPEND_KINDS and not line.amount and currency_digits(line.currency) is not None):
        return Measured(line, line.owed, line.amount)
    return None


def measure_of(kind: str) -> Measure:
    """How the lines of a kind of scope are measured."""
    return {BUDGET: _measured_unspent, PAYEE: _measured_owed}.get(kind, _measured_spent)


class Days:
    """The day of each moment, in a time zone; neighbours in a statement share theirs."""

    def __init__(self, timezone: str) -> None:
        self._timezone = timezone
        self._day = date.min
        self._starts_at = self._ends_at = 0

    def of(self, moment: int) -> date:
        """The day that a moment is in."""
        if not self._starts_at <= moment < self._ends_at:
            self._day = date_at(self._timezone, moment)
            self._starts_at = day_start(self._timezone, self._day)
            self._ends_at = day_start(self._timezone, self._day + _ONE_DAY)
        return self._day


class Dresser:
    """Makes lines out of measured rows: adds their days, who approved them, and what corrects what."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._days = Days(reach.timezone)
        self._links = Days(reach.timezone)
        with reach.engine.connect() as connection:
            self._has_corrections = queries_spend.has_corrections(connection, reach.book_id, size=reach.size)

    def dress(self, connection: Connection, page: Sequence[Measured]) -> Iterator[Line]:
        """The lines of a page."""
        book_id, size = self._reach.book_id, self._reach.size
        corrections: dict[int, list[SpendLine]] = {}
        corrected: dict[int, list[SpendLine]] = {}
        reversing: set[int] = set()
        if self._has_corrections:
            here = {one.line.log_index for one in page}
            corrections = queries_spend.corrections_of(connection, book_id, here, size=size)
            wanted = {one.line.corrects for one in page if one.line.corrects is not None}
            corrected = queries_spend.corrected_lines(connection, book_id, wanted) if wanted else {}
            correcting = {one.line.log_index for one in page if one.line.corrects is not None}
            correcting |= {line.log_index for lines in corrections.values() for line in lines}
            reversing = queries_corrections.reversing(connection, book_id, correcting) if correcting else set()
        approvals = {approval for one in page if one.line.approvals for approval in one.line.approvals.split(" ")}
        granted = queries_spend.granters(connection, book_id, approvals) if approvals else {}
        for one in page:
            line = one.line
            source = corrected.get(line.corrects) if line.corrects is not None else None
            yield self._line(
                one,
                granted,
                None if source is None else self._link(_beside(line, source), reversing),
                self._corrected_by(line, corrections.get(line.log_index, ()), reversing),
                REVERSAL if line.log_index in reversing else line.kind,
            )

    def _corrected_by(self, line: SpendLine, found: Sequence[SpendLine], reversing: set[int]) -> tuple[Link, ...]:
        """A link to each record that corrects the one of this line."""
        records: dict[int, list[SpendLine]] = {}
        for correction in found:
            records.setdefault(correction.log_index, []).append(correction)
        return tuple(self._link(_beside(line, lines), reversing) for lines in records.values())

    def _link(self, line: SpendLine, reversing: set[int]) -> Link:
        return Link(
            line.log_index, self._links.of(line.effective_at), REVERSAL if line.log_index in reversing else line.kind,
            line.budget, line.category, line.payee, line.currency, line.amount,
        )  # fmt: skip

    def _line(
        self,
        one: Measured,
        granted: dict[str, list[str]],
        corrects: Link | None,
        corrected_by: tuple[Link, ...],
        kind: str,
    ) -> Line:
        line = one.line
        approvals = tuple(line.approvals.split(" ")) if line.approvals else ()
        persons = dict.fromkeys(person for approval in approvals for person in granted.get(approval, ()))
        labels = tuple((name, value) for name, value in parse(line.labels.encode())) if line.labels else ()
        return Line(
            line.log_index, line.position, kind, self._days.of(line.effective_at), line.effective_at,
            line.recorded_at, line.authorization_id, line.agent, line.run, line.budget, line.category, line.payee,
            line.resource, labels, approvals, tuple(persons), tuple(flag_names(line.flags)), corrects, corrected_by,
            one.other_account, line.currency, one.cost, one.amount, meant_for=line.meant_for,
        )  # fmt: skip


def _beside(line: SpendLine, others: Sequence[SpendLine]) -> SpendLine:
    """Of the lines of another record, the one that belongs to this line: about the same, else the first. A reversal has
    the sides of its transfers the other way round, so places in the record tell nothing."""
    about = _about(line)
    return next((other for other in others if _about(other) == about), others[0])


def _about(line: SpendLine) -> tuple[str | None, ...]:
    return line.currency, line.budget, line.category, line.payee


class LineReader:
    """The lines of everything but an account. Each call begins anew."""

    def __init__(self, reach: Reach, kind: str, scope: LineScope) -> None:
        self._reach = reach
        self._measure = measure_of(kind)
        self._scope = scope

    def __call__(self) -> Iterator[Line]:
        dresser = Dresser(self._reach)
        measured = (found for line in self._stored() if (found := self._measure(line)) is not None)
        while page := list(islice(measured, PAGE_LINES)):
            with self._reach.engine.connect() as connection:
                yield from list(dresser.dress(connection, page))

    def _stored(self) -> Iterator[SpendLine]:
        scope = self._scope
        if len(scope.values) <= 1:
            return self._stream(scope, PAGE_LINES)
        if len(scope.values) > MERGED_MAX:
            among = frozenset(scope.values)
            return (line for line in self._stream(LineScope(), PAGE_LINES) if line.agent in among)
        page = max(PAGE_LINES // len(scope.values), 20)
        streams = [self._stream(LineScope(scope.column, (value,)), page) for value in scope.values]
        return heapq.merge(*streams, key=_place)

    def _stream(self, scope: LineScope, limit: int) -> Iterator[SpendLine]:
        reach = self._reach
        after: Place | None = None
        while True:
            with reach.engine.connect() as connection:
                page = queries_spend.list_lines(
                    connection,
                    reach.book_id,
                    scope,
                    starts_at=reach.period.starts_at,
                    ends_at=reach.period.ends_at,
                    size=reach.size,
                    after=after,
                    limit=limit,
                )
            yield from page
            if len(page) < limit:
                return
            after = _place(page[-1])


def _place(line: SpendLine) -> Place:
    return line.effective_at, line.log_index, line.position


class PostingReader:
    """The lines of an account, which may have several currencies: its postings. Each call begins anew."""

    def __init__(self, reach: Reach, accounts: Sequence[Account]) -> None:
        self._reach = reach
        self._accounts = accounts

    def __call__(self) -> Iterator[Line]:
        dresser = Dresser(self._reach)
        streams = [stream for account in self._accounts for stream in (self._prompt(account), self._backdated(account))]
        merged = heapq.merge(*streams, key=lambda item: item[0][:3])
        while page := list(islice(merged, PAGE_LINES)):
            with self._reach.engine.connect() as connection:
                yield from list(dresser.dress(connection, self._measured(connection, page)))

    def _prompt(self, account: Account) -> Iterator[tuple[EffectivePosting, Account]]:
        reach = self._reach
        with reach.engine.connect() as connection:
            first, stop = queries_postings.log_range(
                connection,
                reach.book_id,
                starts_at=reach.period.starts_at,
                ends_at=reach.period.ends_at,
                size=reach.size,
            )
        low = (first, 0)
        while True:
            with reach.engine.connect() as connection:
                page = queries_postings.list_in_order(
                    connection, reach.book_id, account.account_no, low=low, stop=stop, limit=PAGE_LINES
                )
            yield from ((posting, account) for posting in page if posting.effective_at == posting.recorded_at)
            if len(page) < PAGE_LINES:
                return
            low = (page[-1].log_index, page[-1].position + 1)

    def _backdated(self, account: Account) -> Iterator[tuple[EffectivePosting, Account]]:
        reach = self._reach
        low = (reach.period.starts_at, -1, -1)
        while True:
            with reach.engine.connect() as connection:
                page = queries_postings.list_backdated(
                    connection,
                    reach.book_id,
                    account.account_no,
                    low=low,
                    ends_at=reach.period.ends_at,
                    size=reach.size,
                    limit=PAGE_LINES,
                )
            yield from ((posting, account) for posting in page)
            if len(page) < PAGE_LINES:
                return
            low = (page[-1].effective_at, page[-1].log_index, page[-1].position)

    def _measured(self, connection: Connection, page: Sequence[tuple[EffectivePosting, Account]]) -> list[Measured]:
        book_id = self._reach.book_id
        known = queries_spend.lines_at(connection, book_id, {posting.log_index for posting, _ in page})
        asked = {posting.subject for posting, _ in page if posting.log_index not in known}
        rows = queries_authorizations.authorizations_at(
            connection, book_id, {subject for subject in asked if subject.startswith("auth_")}
        )
        adjusted = {posting.log_index for posting, _ in page if posting.kind == ADJUSTMENT} - known.keys()
        adjustments = queries_spend.corrected_lines(connection, book_id, adjusted) if adjusted else {}
        made = []
        for posting, account in page:
            line = known.get(posting.log_index)
            if line is None:
                line = _of_posting(book_id, posting, account, rows.get(posting.subject))
                if posting.log_index in adjustments:
                    line = line._replace(corrects=adjustments[posting.log_index][0].corrects)
            placed = line._replace(position=posting.position, currency=account.currency)
            made.append(Measured(placed, posting.amount, posting.amount, posting.other_account))
        return made


def _of_posting(book_id: int, posting: EffectivePosting, account: Account, row: Authorization | None) -> SpendLine:
    """A posting that no spend line tells about: of a hold, or of what concerns no authorization."""
    about: dict[str, str] = {}
    for name in (posting.other_account, account.name):
        head, _, rest = name.partition(":")
        named = {"budgets": "budget", "expenses": "category", "payables": "payee"}.get(head)
        if named is not None:
            about[named] = rest.rpartition(":")[0] if named == "budget" else rest
    budget, category, payee = (about.get(name) for name in ("budget", "category", "payee"))
    if row is not None:
        budget, category, payee = row.budget, row.category, row.payee
    return SpendLine(
        book_id, posting.log_index, posting.position, posting.kind, row.id if row is not None else None,
        row.agent if row is not None else None, budget, row.run if row is not None else None, category, payee,
        row.resource if row is not None else None, row.labels if row is not None else None, None, 0, None,
        account.currency, 0, 0, 0, 0, posting.effective_at, posting.recorded_at,
    )  # fmt: skip


class HoldReader:
    """The holds that were open and are in a statement's scope, oldest first. Each call goes over them anew."""

    def __init__(self, reach: Reach, holds: Sequence[OpenHold], wanted: Callable[[HoldThen], bool]) -> None:
        self._reach = reach
        self._holds = holds
        self._wanted = wanted

    def __call__(self) -> Iterator[HoldLine]:
        reach = self._reach
        for start in range(0, len(self._holds), PAGE_HOLDS):
            with reach.engine.connect() as connection:
                page = queries_holds.holds_then(
                    connection, reach.book_id, self._holds[start : start + PAGE_HOLDS], size=reach.size
                )
            yield from (_hold_line(found) for found in page if found.held and self._wanted(found))


def _hold_line(found: HoldThen) -> HoldLine:
    row, body = found.row, found.body
    expires_at = body.get("expires_at")
    return HoldLine(
        found.opened_index, row.id, row.agent, row.run, row.budget, row.category, row.payee, row.resource,
        body["state"], tuple(body.get("flags", ())), row.currency, found.held, row.created_at,
        None if expires_at is None else moment_of(expires_at),
    )  # fmt: skip
