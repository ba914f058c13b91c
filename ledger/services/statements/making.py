"""Making a statement: from what was asked for to everything that it consists of, as of one size of the log.

Owns ``Statements``. Invariants: the balances at both ends come from balances and daily totals, or where those are
archived from all lines before, never from the lines between them, so that the lines are checked when they are read;
what belongs to a log size is read at that size, however far the log has grown; nothing is read before the lines of that
size are written.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.account import Account, available_name, held_name, payable_name
from ledger.core.book import PAYEE as PAYEE_NAME
from ledger.core.book import Book
from ledger.core.invoice import prepaid_name
from ledger.core.money import currency_digits
from ledger.core.period import Period, parse_period
from ledger.core.principal import KIND_AGENT
from ledger.core.statement import (
    ACCOUNT,
    AGENT,
    BOOK,
    BUDGET,
    PAYEE,
    RUN,
    TEAM,
    HoldLine,
    Line,
    Scope,
    Statement,
    StatementCheckpoint,
    StatementLog,
)
from ledger.services.errors import UnknownBook
from ledger.services.lining import Liner, LinesUnavailable
from ledger.services.proving import Prover
from ledger.services.statements.reading import HoldReader, LineReader, PostingReader, Reach
from ledger.services.tiling import Tiler
from ledger.storage import (
    checkpoint_rows,
    queries_accounts,
    queries_budgets,
    queries_holds,
    queries_log,
    queries_postings,
    queries_principals,
    queries_spend,
)
from ledger.storage.checkpoint_rows import StoredCheckpoint
from ledger.storage.errors import RecordArchived
from ledger.storage.queries_holds import HoldThen
from ledger.storage.queries_spend import LineScope
from ledger.storage.side_writer import SideWriter

AGENTS_PER_STATEMENT: Final = 500
Balances = dict[str, int]


class StatementRefused(ValueError):
    """What was asked for is no statement: ``field`` is ``scope``, ``period`` or ``at_size``, and the message says what
    to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ScopeNotFound(StatementRefused):
    """There is no such budget, agent, payee, account or run."""

    def __init__(self, message: str) -> None:
        super().__init__("scope", message)


class _Found(NamedTuple):
    """A scope by its own name, and where its lines, balances and holds are."""

    scope: Scope
    lines: LineScope
    accounts: tuple[Account, ...]
    """Accounts whose balance is the statement's."""
    sign: int
    """-1 where the statement tells what is owed, which an account has below zero."""
    held_accounts: tuple[Account, ...] | None
    """Accounts that have the sum of the holds; None where only the holds themselves do."""
    holds: Callable[[HoldThen], bool]


class Statements:
    """Makes statements of the books of a database. Safe to be used by several threads and processes."""

    def __init__(self, engine: Engine, side: SideWriter) -> None:
        self.liner = Liner(engine, side)
        self.prover = Prover(engine, Tiler(engine, side))
        self._engine = engine

    def make(
        self,
        book_id: int,
        scope: Scope,
        period: str,
        *,
        at_size: int | None = None,
        root: bytes | None = None,
        records_max: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Statement:
        """The statement of a scope for a period (``period.FORMS``), as the first ``at_size`` records say (None: all
        that there are). Whoever knows the root of these gives it. Lines that are not written yet are, ``records_max``
        records at most.

        Raises StatementRefused, ScopeNotFound; LinesUnavailable, ProofUnavailable and other ServiceError; StorageError.
        """
        with self._engine.connect() as connection:
            book = queries_log.book_by_id(connection, book_id)
            head = queries_log.head(connection, book_id)
        if book is None or head is None:
            raise UnknownBook
        size = head.size if at_size is None else at_size
        if not 1 <= size <= head.size:
            raise StatementRefused("at_size", f"the log has {head.size} records: at_size is from 1 to {head.size}")
        try:
            chosen = parse_period(period, book.timezone)
        except ValueError as error:
            raise StatementRefused("period", str(error)) from error
        with self._engine.connect() as connection:
            found = self._find(connection, book_id, scope, size)
        # Up to the end and not to the size alone: what ended since then is needed to know what was open then.
        self.liner.catch_up(book_id, head.size, records_max=records_max, progress=progress)
        if root is None:
            root = head.root if size == head.size else self.prover.consistency(book_id, size).first_root
        return self._made(book, found, chosen, size, root)

    def _made(self, book: Book, found: _Found, period: Period, size: int, root: bytes) -> Statement:
        reach = Reach(self._engine, book.book_id, book.timezone, period, size)
        with self._engine.connect() as connection:
            last = queries_log.record(connection, book.book_id, size - 1)
            opening = self._balances(connection, book, found, before=period.starts_at, size=size)
            closing = self._balances(connection, book, found, before=period.ends_at, size=size)
            open_holds = queries_holds.open_holds(connection, book.book_id, size=size)
            signed = checkpoint_rows.before(connection, book.book_id, size)
            held = None if found.held_accounts is None else self._held(connection, book, found.held_accounts, size)
        currencies = sorted(opening.keys() | closing.keys()) or [book.currency]
        opening, closing = ({code: found.get(code, 0) for code in currencies} for found in (opening, closing))
        if last is None:
            raise LinesUnavailable(f"record {size - 1} is missing; run 'bursar verify'")
        if open_holds is None:
            raise LinesUnavailable("the book is written to faster than its lines can follow; ask again")
        read_holds = HoldReader(reach, open_holds, found.holds)
        held = _sum_held(read_holds()) if held is None else held
        read_lines: Callable[[], Iterable[Line]]
        if found.scope.kind == ACCOUNT:
            read_lines = PostingReader(reach, found.accounts)
        else:
            read_lines = LineReader(reach, found.scope.kind, found.lines)
        return Statement(
            book.name, book.timezone, found.scope, period, StatementLog(size, root, last.recorded_at),
            _checkpoint(signed) if signed is not None else None,
            self._digits(book.book_id), opening, closing, held, read_lines, read_holds,
        )  # fmt: skip

    # What a scope names.

    def _find(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        find = {
            BOOK: self._find_book, BUDGET: self._find_budget, AGENT: self._find_agent, TEAM: self._find_team,
            PAYEE: self._find_payee, ACCOUNT: self._find_account, RUN: self._find_run,
        }  # fmt: skip
        return find[scope.kind](connection, book_id, scope, size)

    def _find_book(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        return _Found(scope, LineScope(), (), 1, None, lambda hold: True)

    def _find_budget(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        found = queries_budgets.budget(connection, book_id, scope.name)
        if found is None or found.budget.created_index >= size:
            raise _missing(scope, size)
        name = found.budget.name
        held = _accounts(connection, book_id, held_name(name), size)
        accounts = (*_accounts(connection, book_id, available_name(name), size), *held)
        return _Found(
            Scope(BUDGET, name), LineScope("budget", (name,)), accounts, 1, held, lambda hold: hold.row.budget == name
        )

    def _find_agent(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        found = queries_principals.agent(connection, book_id, scope.name)
        if found is None or found.created_index >= size:
            raise _missing(scope, size)
        if found.kind != KIND_AGENT:
            raise StatementRefused("scope", f"{found.name} is a team: ask for team:{found.name}")
        name = found.name
        return _Found(Scope(AGENT, name), LineScope("agent", (name,)), (), 1, None, lambda hold: hold.row.agent == name)

    def _find_team(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        top = queries_principals.agent(connection, book_id, scope.name)
        if top is None or top.created_index >= size:
            raise _missing(scope, size)
        names = tuple(queries_spend.agents_below(connection, book_id, top, size=size))
        among = frozenset(names)
        return _Found(
            Scope(TEAM, top.name), LineScope("agent", names), (), 1, None, lambda hold: hold.row.agent in among
        )

    def _find_payee(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        name = scope.name
        if not queries_spend.name_is_known(connection, book_id, PAYEE_NAME, name, size=size):
            raise _missing(scope, size)
        owed = _accounts(connection, book_id, payable_name(name), size)
        accounts = (*owed, *_accounts(connection, book_id, prepaid_name(name), size))
        return _Found(scope, LineScope("payee", (name,)), accounts, -1, None, lambda hold: hold.row.payee == name)

    def _find_account(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        accounts = _accounts(connection, book_id, scope.name, size)
        if not accounts:
            raise _missing(scope, size)
        return _Found(scope, LineScope(), accounts, 1, None, _holds_on(scope.name))

    def _find_run(self, connection: Connection, book_id: int, scope: Scope, size: int) -> _Found:
        name = queries_spend.run_named(connection, book_id, scope.name, size=size)
        if name is None:
            raise _missing(scope, size)
        return _Found(Scope(RUN, name), LineScope("run", (name,)), (), 1, None, lambda hold: hold.row.run == name)

    # Balances.

    def _balances(self, connection: Connection, book: Book, found: _Found, *, before: int, size: int) -> Balances:
        balances: Balances = {}
        if found.scope.kind == RUN:
            added = [queries_spend.spent_of_run(connection, book.book_id, found.scope.name, before=before, size=size)]
        elif found.scope.kind in (BOOK, AGENT, TEAM):
            added = [
                queries_spend.spent_before(
                    connection, book.book_id, part, before=before, size=size, timezone=book.timezone
                )
                for part in _parts(found.lines)
            ]
        else:
            added = self._of_accounts(connection, book, found, before=before, size=size)
        for part in added:
            for currency, amount in part.items():
                balances[currency] = balances.get(currency, 0) + amount
        return dict(sorted(balances.items()))

    @staticmethod
    def _of_accounts(
        connection: Connection, book: Book, found: _Found, *, before: int, size: int
    ) -> list[dict[str, int]]:
        try:
            return [
                {
                    account.currency: found.sign
                    * queries_postings.balance_before(
                        connection, book.book_id, account.account_no, before=before, size=size
                    )
                }
                for account in found.accounts
            ]
        except RecordArchived:
            if found.scope.kind == ACCOUNT:
                raise
        # The transfers of that time are archived, and the lines that they gave are not.
        measure: Literal["authority", "owed"] = "authority" if found.scope.kind == BUDGET else "owed"
        sums = queries_spend.measured_before(connection, book.book_id, found.lines, measure, before=before, size=size)
        return [sums]

    @staticmethod
    def _held(connection: Connection, book: Book, accounts: Iterable[Account], size: int) -> Balances:
        return {
            account.currency: queries_accounts.balance_at_size(connection, book.book_id, account.account_no, size)
            for account in accounts
        }

    def _digits(self, book_id: int) -> "Digits":
        return Digits(self._engine, book_id)


class Digits(dict[str, int]):
    """The digits of currencies and units, looked up when they are first asked for."""

    def __init__(self, engine: Engine, book_id: int) -> None:
        super().__init__()
        self._engine = engine
        self._book_id = book_id

    def __missing__(self, currency: str) -> int:
        digits = currency_digits(currency)
        if digits is None:
            with self._engine.connect() as connection:
                unit = queries_log.unit(connection, self._book_id, currency)
            if unit is None:
                raise KeyError(currency)
            digits = unit.digits
        self[currency] = digits
        return digits


def _checkpoint(signed: StoredCheckpoint) -> StatementCheckpoint:
    # The first line of a checkpoint's note is the log's origin (C2SP tlog-checkpoint).
    return StatementCheckpoint(signed.size, signed.root, signed.created_at, signed.note.partition("\n")[0])


def _accounts(connection: Connection, book_id: int, name: str, size: int) -> tuple[Account, ...]:
    """The accounts of a name, one a currency, that the first ``size`` records made."""
    found = queries_accounts.accounts_named(connection, book_id, name)
    return tuple(account for account in found if account.created_index < size)


def _missing(scope: Scope, size: int) -> ScopeNotFound:
    return ScopeNotFound(f"there is no {scope.kind} {scope.name} in the first {size} records of the book")


def _parts(scope: LineScope) -> list[LineScope]:
    """A scope of many agents in parts that one statement of the database can name."""
    if scope.column is None:
        return [scope]
    return [
        LineScope(scope.column, scope.values[start : start + AGENTS_PER_STATEMENT])
        for start in range(0, len(scope.values), AGENTS_PER_STATEMENT)
    ]


def _holds_on(account: str) -> Callable[[HoldThen], bool]:
    """Which holds concern an account: those of its budget, its payee or its category."""
    head, _, rest = account.partition(":")
    if head == "budgets":
        budget = rest.rpartition(":")[0]
        return lambda hold: hold.row.budget == budget
    if head == "payables":
        return lambda hold: hold.row.payee == rest
    if head == "expenses":
        return lambda hold: hold.row.category == rest
    return lambda hold: False


def _sum_held(holds: Iterable[HoldLine]) -> Balances:
    held: Balances = {}
    for hold in holds:
        held[hold.currency] = held.get(hold.currency, 0) + hold.held
    return dict(sorted(held.items()))
