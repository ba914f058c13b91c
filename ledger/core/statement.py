"""Statements: what a scope's balance was when a period began, what moved it line by line, and what it is at the end.

A statement is a function of (scope, period, log size): taken again at the same log size it is the same for ever. Owns
its shape and its arithmetic; ``services.statements`` finds the facts and renders. Invariants: opening + lines = closing
in every currency, checked while the lines are read, because the closing balance was found without them; lines are in
the order of the days they count for, and of the log within them; what is held stands apart and is in no balance but a
held account's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from ledger.core import ids
from ledger.core.account import classify
from ledger.core.ids import is_id, is_name, is_run_name
from ledger.core.period import Period
from ledger.core.spend_line import SPEND_KINDS

BOOK: Final = "book"
BUDGET: Final = "budget"
AGENT: Final = "agent"
TEAM: Final = "team"
PAYEE: Final = "payee"
ACCOUNT: Final = "account"
RUN: Final = "run"
SCOPE_KINDS: Final = (BOOK, BUDGET, AGENT, TEAM, PAYEE, ACCOUNT, RUN)

UNSPENT: Final = "unspent"
SPENT: Final = "spent"
OWED: Final = "owed"
DEBITS: Final = "debits_less_credits"
MEASURES: Final = {
    BOOK: SPENT, BUDGET: UNSPENT, AGENT: SPENT, TEAM: SPENT, PAYEE: OWED, ACCOUNT: DEBITS, RUN: SPENT,
}  # fmt: skip
"""What the balance on a statement of each scope is: what a budget may still spend, held amounts included; what was
spent since the book began; what is owed; an account's debits less its credits."""
REVERSAL: Final = "reversal"
"""The kind of line that a refund or an adjustment is on a statement when it undoes another record."""
NOBODY: Final = ""
"""In a subtotal: lines without a payee, a category or an agent."""


class Scope(NamedTuple):
    """What a statement is about. ``name`` is empty for the book, and an account's whole name for an account."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind == BOOK else f"{self.kind}:{self.name}"


def parse_scope(text: str) -> Scope:
    """The scope that ``book`` or ``KIND:NAME`` says. Raises ValueError, saying what to change."""
    kind, colon, name = text.partition(":")
    if kind not in SCOPE_KINDS or (kind == BOOK) == bool(colon):
        raise ValueError(
            f'"{text[:80]}" is no scope; use book, or one of {", ".join(SCOPE_KINDS[1:])} with a name: budget:research'
        )
    if kind != BOOK and not _FITS[kind](name):
        raise ValueError(f'"{name[:80]}" cannot be the name of {_ARTICLES.get(kind, "a")} {kind}')
    return Scope(kind, name)


_ARTICLES: Final = {AGENT: "an", ACCOUNT: "an"}
_FITS: Final[dict[str, Callable[[str], bool]]] = {
    BUDGET: lambda name: is_name(name) or is_id(name, ids.BUDGET),
    AGENT: lambda name: is_name(name) or is_id(name, ids.AGENT),
    TEAM: lambda name: is_name(name) or is_id(name, ids.TEAM, ids.AGENT),
    PAYEE: is_name,
    ACCOUNT: lambda name: classify(name) is not None,
    RUN: lambda name: is_run_name(name) or is_id(name, ids.RUN),
}
"""What may be named, by its name or its id."""


@dataclass(frozen=True, slots=True)
class Link:
    """Another line: where its record stands in the log, the day in the book's time zone that it counts for, what kind
    of line it is, what it was for, and what it added to what was spent (atoms); a record with several lines is told by
    the one that is about the same, else by its first."""

    log_index: int
    day: date
    kind: str
    budget: str | None
    category: str | None
    payee: str | None
    currency: str
    cost: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement. ``amount`` is what it adds to the statement's balance in ``currency`` and ``balance`` is
    what that is after it; ``cost`` is what it adds to what was spent. Amounts in atoms, times in microseconds.

    ``day`` is the day, in the book's time zone, that it counts for. ``approved_by`` are the persons who granted the
    request. ``corrects`` is the line that a refund, a reprice, a reversal or an adjustment goes back to,
    ``corrected_by`` the corrections of this one that had been recorded at the statement's log size; a line that
    reverses another, wholly, is of kind ``reversal``. ``other_account`` is the other side of a posting, on the
    statement of an account. ``is_backdated``: it was recorded later than it counts for. ``meant_for`` is the moment
    that it would count for if its month were not closed.
    """

    log_index: int
    position: int
    kind: str
    day: date
    effective_at: int
    recorded_at: int
    authorization: str | None
    agent: str | None
    run: str | None
    budget: str | None
    category: str | None
    payee: str | None
    resource: str | None
    labels: tuple[tuple[str, str], ...]
    approvals: tuple[str, ...]
    approved_by: tuple[str, ...]
    flags: tuple[str, ...]
    corrects: Link | None
    corrected_by: tuple[Link, ...]
    other_account: str | None
    currency: str
    cost: int
    amount: int
    balance: int = 0
    meant_for: int | None = None

    @property
    def is_backdated(self) -> bool:
        """Whether it counts for an earlier moment than it was recorded at."""
        return self.effective_at != self.recorded_at


@dataclass(frozen=True, slots=True)
class HoldLine:
    """One hold that was open at the statement's log size: ``held`` is what it still held then, in atoms. ``state`` is
    ``held`` or ``pending_approval``; times in microseconds."""

    log_index: int
    authorization: str
    agent: str | None
    run: str | None
    budget: str
    category: str
    payee: str
    resource: str | None
    state: str
    flags: tuple[str, ...]
    currency: str
    held: int
    opened_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class StatementLog:
    """The log that a statement stands on: its size, its Merkle root, and when its last record was written."""

    size: int
    root: bytes
    recorded_at: int


@dataclass(frozen=True, slots=True)
class StatementCheckpoint:
    """The last checkpoint that was signed of fewer records than the statement's log has: a checkpoint of as many or
    more may be signed later, and must not change a statement that is taken again. ``origin`` is the name of the log in
    its checkpoints, which never changes."""

    size: int
    root: bytes
    signed_at: int
    origin: str


@dataclass(slots=True)
class Subtotal:
    """How many lines, and what they add to what was spent (on an account's statement: to the balance). Atoms."""

    lines: int = 0
    amount: int = 0

    def add(self, amount: int) -> None:
        """Count one more line."""
        self.lines += 1
        self.amount += amount


Subtotals = dict[tuple[str, str], Subtotal]
"""(name, currency) to subtotal; the name is ``NOBODY`` for lines without one."""


@dataclass(slots=True)
class Totals:
    """What the lines of a statement add up to. ``movements`` is by kind of line and adds up to closing less opening;
    ``by_payee``, ``by_category`` and ``by_agent`` are of what was spent; ``flags`` counts lines by flag, ``backdated``
    those recorded later than they count for, ``corrections`` those that correct another line, ``corrected`` those that
    were corrected. ``closing`` is the balance after the last line."""

    closing: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    movements: Subtotals = field(default_factory=dict)
    by_payee: Subtotals = field(default_factory=dict)
    by_category: Subtotals = field(default_factory=dict)
    by_agent: Subtotals = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    backdated: int = 0
    corrections: int = 0
    corrected: int = 0

    def add(self, line: Line) -> None:
        """Count one more line."""
        self.lines += 1
        self.closing[line.currency] = line.balance
        self.movements.setdefault((line.kind, line.currency), Subtotal()).add(line.amount)
        self._add_subtotals(line)
        for flag in line.flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1
        self.backdated += line.is_backdated
        self.corrections += line.corrects is not None
        self.corrected += bool(line.corrected_by)

    def _add_subtotals(self, line: Line) -> None:
        if not line.cost and line.kind not in SPEND_KINDS:
            # What only moves authority or pays was for no category.
            return
        for subtotals, name in (
            (self.by_payee, line.payee),
            (self.by_category, line.category),
            (self.by_agent, line.agent),
        ):
            subtotals.setdefault((name or NOBODY, line.currency), Subtotal()).add(line.cost)


class StatementBroken(Exception):
    """Opening and lines do not give the closing balance: what the lines are read from is damaged or was changed while
    it was read. ``bursar verify`` names where."""


@dataclass(slots=True)
class Statement:
    """One statement. ``digits`` are those of each currency that it names; ``opening`` and ``closing`` are balances by
    currency, each found by look-up and not from lines, and zero in a currency that they do not name; ``held`` adds up
    the holds by currency.

    ``read_lines`` and ``read_holds`` begin anew each time they are called, and read page by page, so that a statement
    of a million lines needs the memory of one page; whoever needs totals before lines goes over them twice.
    """

    book: str
    timezone: str
    scope: Scope
    period: Period
    log: StatementLog
    checkpoint: StatementCheckpoint | None
    digits: Mapping[str, int]
    opening: Mapping[str, int]
    closing: Mapping[str, int]
    held: Mapping[str, int]
    read_lines: Callable[[], Iterable[Line]]
    read_holds: Callable[[], Iterable[HoldLine]]

    @property
    def measure(self) -> str:
        """What the balance is: one of ``MEASURES``."""
        return MEASURES[self.scope.kind]

    @property
    def currencies(self) -> tuple[str, ...]:
        """Currencies with a balance or a movement, in order."""
        return tuple(sorted(self.opening.keys() | self.closing.keys()))

    def lines(self, totals: Totals | None = None) -> Iterator[Line]:
        """The lines in order, each with the balance after it, counted into ``totals``. Raises StatementBroken at their
        end, unless they lead from the opening to the closing balance."""
        totals = Totals() if totals is None else totals
        totals.closing = dict(self.opening)
        balances = totals.closing
        for line in self.read_lines():
            after = balances.get(line.currency, 0) + line.amount
            counted = _with_balance(line, after)
            totals.add(counted)
            yield counted
        for currency in self.opening.keys() | self.closing.keys() | balances.keys():
            reached, expected = balances.get(currency, 0), self.closing.get(currency, 0)
            if reached != expected:
                raise StatementBroken(
                    f"the lines of {self.scope} lead to {reached} atoms of {currency}, and the balance is {expected}"
                )

    def totals(self) -> Totals:
        """What the lines add up to, in one pass over them. Raises StatementBroken."""
        totals = Totals()
        for _ in self.lines(totals):
            pass
        return totals

    def holds(self) -> Iterator[HoldLine]:
        """The holds that were open, oldest first. Raises StatementBroken at their end, unless they add up to what the
        statement says is held."""
        held: dict[str, int] = {}
        for hold in self.read_holds():
            held[hold.currency] = held.get(hold.currency, 0) + hold.held
            yield hold
        if held != {currency: amount for currency, amount in self.held.items() if amount}:
            raise StatementBroken(f"the holds of {self.scope} add up to {held}, and {dict(self.held)} is held")


def _with_balance(line: Line, balance: int) -> Line:
    # Much cheaper than dataclasses.replace, and this is done for every line.
    return Line(
        line.log_index, line.position, line.kind, line.day, line.effective_at, line.recorded_at, line.authorization,
        line.agent, line.run, line.budget, line.category, line.payee, line.resource, line.labels, line.approvals,
        line.approved_by, line.flags, line.corrects, line.corrected_by, line.other_account, line.currency, line.cost,
        line.amount, balance, line.meant_for,
    )  # fmt: skip
