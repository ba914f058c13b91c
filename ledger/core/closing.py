"""Months that are closed, and what keeps one open: the noun, and the rules that the core and the fold share on paper.

Owns the rows of ``periods`` and ``explanations``, which months there are, and the names of the checks before a closing.
Invariants: months are those of the book's time zone and close one after the other, from the first that anything counts
for, so that all that is closed lies before one moment; a month closes only once it is over; the first instant after it
has passed by then, so that what comes too late for it never counts for the future.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Final, NamedTuple

from ledger.core.authorization import (
    FLAG_ESTIMATED,
    FLAG_FORCED,
    FLAG_LATE,
    FLAG_MISMATCH,
    FLAG_OVERRUN,
    FLAG_UNAUTHORIZED,
    FLAG_UNPRICED,
)
from ledger.core.canonical import canonical_bytes
from ledger.core.moment import SECOND
from ledger.core.period import YEAR_MAX, YEAR_MIN, Period, period_of
from ledger.core.windows import date_at

MONTH: Final = "month"
"""The unit in which periods close. A quarter or a year is closed when its months are."""
OPEN: Final = "open"
CLOSED: Final = "closed"
STATES: Final = (OPEN, CLOSED)
REOPEN_SECONDS: Final = 7 * 24 * 3600
"""How long a request to reopen waits for the second person; then it has lapsed, and another can be made."""

FLAGS: Final = "flags"
UNKNOWN_HOLDS: Final = "unknown_holds"
PENDING_APPROVALS: Final = "pending_approvals"
RECONCILIATION: Final = "reconciliation"
TRIAL_BALANCE: Final = "trial_balance"
CHECKS: Final = (FLAGS, UNKNOWN_HOLDS, PENDING_APPROVALS, RECONCILIATION, TRIAL_BALANCE)
"""The checks before a closing, in the order in which they are said."""
ACCEPTABLE: Final = (FLAGS, UNKNOWN_HOLDS, PENDING_APPROVALS, RECONCILIATION)
"""Those that may fail and be accepted with a reason. Books that do not balance are damaged: nobody accepts that."""
CHECK_ITEMS_MAX: Final = 20
"""Ids that a check names on record; it counts all."""
STATEMENTS_LISTED_MAX: Final = 250
"""Statements whose digests stand in the record one by one; of more, only the digest over all of them."""
EXPLAINED_FLAGS: Final = (
    FLAG_OVERRUN | FLAG_LATE | FLAG_MISMATCH | FLAG_UNAUTHORIZED | FLAG_FORCED | FLAG_ESTIMATED | FLAG_UNPRICED
)
"""Flags that somebody explains before a month closes. The others say how something was done, or that it was corrected
with a reason."""


@dataclass(slots=True)
class Month:
    """One row of ``periods``: a month that was closed, or that something was backdated into once it was over. Times in
    microseconds; ``ends_at`` is not in it.

    ``backdated_index`` is the last record that was backdated into it. ``size``, ``root`` and ``digest`` are those of
    the statements that its closing recorded, at ``closed_index``; None while it is open. ``reopen_by`` asked at
    ``reopen_at`` that it be opened again, with a key behind which ``reopen_backer`` stands; ``reopened_index`` is the
    record that last opened it again.
    """

    book_id: int
    period: str
    unit: str
    state: str
    starts_at: int
    ends_at: int
    backdated_index: int | None
    size: int | None
    root: bytes | None
    digest: bytes | None
    closed_by: str | None
    closed_at: int | None
    closed_index: int | None
    reopen_by: str | None
    reopen_backer: str | None
    reopen_at: int | None
    reopened_index: int | None
    created_index: int
    changed_index: int

    def asks_to_reopen(self, now: int) -> bool:
        """Whether somebody asked that it be opened again, and that still waits for a second person."""
        return self.reopen_at is not None and now < self.reopen_at + REOPEN_SECONDS * SECOND

    def open_again(self) -> None:
        """Forget the closing, and who asked to undo it."""
        self.state = OPEN
        self.size = self.root = self.digest = None
        self.closed_by = self.closed_at = self.closed_index = None
        self.forget_request()

    def forget_request(self) -> None:
        """Forget who asked to open it again."""
        self.reopen_by = self.reopen_backer = self.reopen_at = None


@dataclass(slots=True)
class Explanation:
    """One row of ``explanations``: which flags of an authorization or charge somebody explained, as bits."""

    book_id: int
    authorization_id: str
    flags: int
    explained_by: str
    created_index: int
    changed_index: int


class CheckResult(NamedTuple):
    """What a check found: how many things fail it, and the ids of the first ``CHECK_ITEMS_MAX``, in order."""

    name: str
    failing: int
    items: tuple[str, ...] = ()


def new_month(book_id: int, period: Period, index: int) -> Month:
    """A month nobody closed yet, as the record at ``index`` makes it known."""
    return Month(
        book_id, period.text, MONTH, OPEN, period.starts_at, period.ends_at, None, None, None, None, None, None, None,
        None, None, None, None, index, index,
    )  # fmt: skip


def month_at(timezone: str, moment: int) -> Period:
    """The month, in a time zone, that a moment is in."""
    return _month(timezone, date_at(timezone, moment))


def month_named(timezone: str, text: str) -> Period:
    """The month that ``2026-11`` names. Raises ValueError for anything else."""
    year, dash, month = text.partition("-")
    if not (dash and len(year) == 4 and len(month) == 2 and (year + month).isascii() and (year + month).isdigit()):
        raise ValueError(f'"{text[:40]}" is no month such as 2026-11')
    if not YEAR_MIN <= int(year) <= YEAR_MAX:
        raise ValueError(f"{year} lies outside of the years {YEAR_MIN} to {YEAR_MAX}")
    return _month(timezone, date(int(year), int(month), 1))


def next_month(timezone: str, period: Period) -> Period:
    """The month after another."""
    return _month(timezone, period.following)


def _month(timezone: str, day: date) -> Period:
    first = day.replace(day=1)
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return period_of(first, date.fromordinal(following.toordinal() - 1), timezone)


def last_closed(months: Iterable[Month]) -> Month | None:
    """The last month that is closed, None where none is."""
    closed = (month for month in months if month.state == CLOSED)
    return max(closed, key=lambda month: month.starts_at, default=None)


def closing_of(months: Iterable[Month], moment: int) -> Month | None:
    """The closed month because of which nothing more can count for ``moment``: its own, or the first that was closed
    where it lies before all of them. None where its month is open."""
    closed = sorted((month for month in months if month.state == CLOSED), key=lambda month: month.starts_at)
    return next((month for month in closed if moment < month.ends_at), None)


def first_month(timezone: str, opened_at: int, months: Iterable[Month]) -> Period:
    """The first month that anything can count for: that in which the book was opened, or an earlier one that something
    was backdated into."""
    earliest = min((month.starts_at for month in months), default=opened_at)
    return month_at(timezone, min(earliest, opened_at))


def digest_of(statements: Sequence[tuple[str, str]]) -> bytes:
    """The digest over the digests of statements (scope, hex), in order: SHA-256 over a line for each."""
    return sha256("".join(f"{digest} {scope}\n" for scope, digest in statements).encode()).digest()


def accepted_said(accept: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
    """(checks that may fail, in order; the canonical JSON of the reason for each) as ``ClosePeriod`` has them."""
    names = tuple(name for name in CHECKS if name in accept)
    return names, canonical_bytes({name: accept[name] for name in sorted(names)}).decode() if names else None
