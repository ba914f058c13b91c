"""Reading the journal: stretch by stretch of the log, each in a short transaction.

Owns how log records and transfers become entries, and spend lines become cost lines. Invariants: an entry is what its
record says, and the transfers that stand in the tables say the same, or the journal ends with an error; memory is
bounded by a stretch, however long the log; everything belongs to the records of one stretch of log indexes.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.account import Account
from ledger.core.authorization import Authorization, flag_names
from ledger.core.canonical import parse
from ledger.core.journal import LogRecord, Transfer
from ledger.core.spend_line import SpendLine
from ledger.services.statements.reading import Days
from ledger.storage import queries_authorizations, queries_journal, queries_log, queries_spend
from ledger.storage.queries_journal import EVER, Opened

RECORDS_AT_ONCE: Final = 400
"""Log indexes of a stretch: what one transaction looks at."""
ACCOUNTS_AT_ONCE: Final = 500


class JournalBroken(RuntimeError):
    """What stands in the tables is not what the log says, so there is no journal. The message says where."""


class Stretch(NamedTuple):
    """What is read: records ``start`` to before ``stop`` of a book, of these what counts for moments of ``span``."""

    engine: Engine
    book_id: int
    timezone: str
    start: int
    stop: int
    span: tuple[int, int] = EVER

    def parts(self) -> Iterator[tuple[int, int]]:
        """The stretch in parts that one transaction reads."""
        for start in range(self.start, self.stop, RECORDS_AT_ONCE):
            yield start, min(start + RECORDS_AT_ONCE, self.stop)


class Posting(NamedTuple):
    """One transfer: names and numbers of both accounts, amount and both balances after it, in atoms."""

    position: int
    debit: Account
    credit: Account
    currency: str
    amount: int
    debit_balance: int
    credit_balance: int


class Entry(NamedTuple):
    """One journal entry: a record that moved something. Times in microseconds; ``day`` is the day that it counts for in
    the book's time zone, ``meant_for`` the moment that it would count for if its month were not closed. ``by`` is who
    asked for it, empty where nobody did; ``labels`` are sorted pairs; ``corrects`` is the log index of the record that
    it names as the one that it reverses or corrects; ``invoice`` is the payee's number of the invoice that it is."""

    log_index: int
    leaf_hash: bytes
    kind: str
    subject: str
    day: date
    effective_at: int
    recorded_at: int
    authorization: str
    agent: str
    run: str
    budget: str
    category: str
    payee: str
    resource: str
    labels: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    by: str
    key: str
    corrects: int | None
    meant_for: str
    invoice: str
    postings: tuple[Posting, ...]

    @property
    def is_backdated(self) -> bool:
        """Whether it was recorded later than it counts for."""
        return self.effective_at != self.recorded_at


class EntryReader:
    """The entries of a stretch, in the order of the log. Each call begins anew."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._accounts: dict[int, Account] = {}

    def __call__(self) -> Iterator[Entry]:
        days = Days(self._stretch.timezone)
        for start, stop in self._stretch.parts():
            yield from self._read(start, stop, days)

    def _read(self, start: int, stop: int, days: Days) -> list[Entry]:
        stretch = self._stretch
        with stretch.engine.connect() as connection:
            moved: dict[int, list[Transfer]] = {}
            found = queries_journal.transfers_between(
                connection, stretch.book_id, start, stop, span=stretch.span
            )  # fmt: skip
            for row in found:
                moved.setdefault(row.log_index, []).append(row)
            if not moved:
                return []
            accounts = self._named(connection, found)
            records = queries_log.records_at(connection, stretch.book_id, list(moved))
            bodies = {index: _body(records.get(index), index) for index in moved}
            about = {name for body in bodies.values() if (name := _text(body, "authorization"))}
            rows = queries_authorizations.authorizations_at(connection, stretch.book_id, about)
        return [
            _entry(records[index], bodies[index], _postings(bodies[index], index, moved[index], accounts), rows, days)
            for index in moved
        ]

    def _named(self, connection: Connection, rows: list[Transfer]) -> dict[int, Account]:
        """The accounts of some transfers. What is kept of them, their names, never changes."""
        numbers = {number for row in rows for number in (row.debit_no, row.credit_no)}
        if len(self._accounts) > 20 * ACCOUNTS_AT_ONCE:
            self._accounts.clear()
        lacking = numbers - self._accounts.keys()
        if lacking:
            self._accounts |= queries_journal.accounts_at(connection, self._stretch.book_id, lacking)
        return self._accounts


def _body(record: LogRecord | None, index: int) -> dict[str, Any]:
    if record is None:
        raise JournalBroken(f"record {index} is missing, and its transfers are not; run 'bursar verify'")
    try:
        body = parse(record.body)
    except ValueError as error:
        raise JournalBroken(f"record {index} cannot be read; run 'bursar verify'") from error
    if not isinstance(body, dict):
        raise JournalBroken(f"record {index} is no record; run 'bursar verify'")
    return body


def _postings(
    body: dict[str, Any], index: int, rows: list[Transfer], accounts: dict[int, Account]
) -> tuple[Posting, ...]:
    """The transfers of a record, once its body says the same."""
    made = []
    for row in rows:
        debit, credit = accounts.get(row.debit_no), accounts.get(row.credit_no)
        if debit is None or credit is None:
            raise JournalBroken(f"an account of record {index} is missing; run 'bursar verify'")
        made.append(
            Posting(row.position, debit, credit, row.currency, row.amount, row.debit_balance, row.credit_balance)
        )
    said = [tuple(transfer) for transfer in body.get("transfers", ())]
    if said != [(one.debit.name, one.credit.name, str(one.amount), one.currency) for one in made]:
        raise JournalBroken(f"the transfers of record {index} are not those that the log says; run 'bursar verify'")
    return tuple(made)


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    return value if isinstance(value, str) else ""


def _invoice(body: dict[str, Any]) -> str:
    return _text(body, "number") if "invoice" in body else ""


def _entry(
    record: LogRecord,
    body: dict[str, Any],
    postings: tuple[Posting, ...],
    rows: dict[str, Authorization],
    days: Days,
) -> Entry:
    row = rows.get(_text(body, "authorization"))
    request, by, budget = (body.get(field) for field in ("request", "by", "budget"))
    request, by = (value if isinstance(value, dict) else {} for value in (request, by))
    kept = (row.category, row.payee, row.resource or "", row.labels) if row is not None else ("", "", "", None)
    labels = parse(kept[3].encode()) if kept[3] else ()
    named = body.get("reverses", body.get("corrects"))
    return Entry(
        record.log_index, record.leaf_hash, record.kind, record.subject, days.of(record.effective_at),
        record.effective_at, record.recorded_at, _text(body, "authorization"), _text(body, "agent"), _text(body, "run"),
        _text(budget, "name") if isinstance(budget, dict) else _text(body, "budget"),
        _text(body, "category") or kept[0], _text(body, "payee") or kept[1], _text(request, "resource") or kept[2],
        tuple((name, value) for name, value in labels), tuple(body.get("flags", ())), _text(by, "principal"),
        _text(by, "key"), named if type(named) is int else None, _text(body, "meant_for"),
        _invoice(body), postings,
    )  # fmt: skip


class AccountReader:
    """The accounts that the records of a stretch made, in the order in which they made them."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch

    def __call__(self) -> Iterator[Opened]:
        stretch = self._stretch
        with stretch.engine.connect() as connection:
            first = queries_journal.first_account_made(connection, stretch.book_id, stretch.start)
        while first is not None:
            with stretch.engine.connect() as connection:
                page = queries_journal.accounts_from(
                    connection, stretch.book_id, first_no=first, stop=stretch.stop, limit=ACCOUNTS_AT_ONCE
                )
            yield from page
            first = page[-1].account.account_no + 1 if len(page) == ACCOUNTS_AT_ONCE else None


class CostLine(NamedTuple):
    """A spend line with what else its record says: ``metering`` is what it was metered from, ``asked`` the resource
    that was authorized, ``corrected`` the line that it corrects, or the first of several, ``invoice``
    the number of the invoice that it is of."""

    line: SpendLine
    labels: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    metering: dict[str, str]
    asked: str
    corrected: SpendLine | None
    invoice: str


class CostReader:
    """The spend lines of a stretch in the order of the log. Their rows must have been written."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch

    def __call__(self) -> Iterator[CostLine]:
        for start, stop in self._stretch.parts():
            yield from self._read(start, stop)

    def _read(self, start: int, stop: int) -> list[CostLine]:
        stretch = self._stretch
        book_id = stretch.book_id
        with stretch.engine.connect() as connection:
            lines = queries_journal.lines_between(connection, book_id, start, stop, span=stretch.span)
            if not lines:
                return []
            records = queries_log.records_at(connection, book_id, {line.log_index for line in lines})
            bodies = {index: _body(record, index) for index, record in records.items()}
            about = {line.authorization_id for line in lines if line.authorization_id is not None}
            rows = queries_authorizations.authorizations_at(connection, book_id, about)
            earlier = {line.corrects for line in lines if line.corrects is not None}
            found = queries_spend.corrected_lines(connection, book_id, earlier) if earlier else {}
            corrected = {index: several[0] for index, several in found.items()}
        return [_cost_line(line, bodies, rows, corrected) for line in lines]


def _cost_line(
    line: SpendLine,
    bodies: dict[int, dict[str, Any]],
    rows: dict[str, Authorization],
    corrected: dict[int, SpendLine],
) -> CostLine:
    body = bodies.get(line.log_index)
    if body is None:
        raise JournalBroken(f"record {line.log_index} is missing, and its line is not; run 'bursar verify'")
    request = body.get("request")
    pairs = request.get("metering", ()) if isinstance(request, dict) else ()
    row = rows.get(line.authorization_id or "")
    labels = parse(line.labels.encode()) if line.labels else ()
    return CostLine(
        line,
        tuple((name, value) for name, value in labels),
        tuple(flag_names(line.flags)),
        dict(pairs),
        (row.resource or "") if row is not None else "",
        corrected.get(line.corrects) if line.corrects is not None else None,
        _invoice(body),
    )
