"""The checks before a month closes: what each finds, by name.

Owns what fails a check. Invariant: each names what somebody can look at and mend; all of them read what counts for the
month as the first N records say, so that what they find belongs to the statements that the closing records.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from ledger.core.account import ROLE_REAL
from ledger.core.authorization import flag_names
from ledger.core.canonical import parse
from ledger.core.closing import (
    CHECK_ITEMS_MAX,
    EXPLAINED_FLAGS,
    FLAGS,
    PENDING_APPROVALS,
    RECONCILIATION,
    TRIAL_BALANCE,
    UNKNOWN_HOLDS,
    CheckResult,
)
from ledger.core.correction import Correction
from ledger.core.moment import moment_of
from ledger.core.money import currency_digits
from ledger.core.period import Period, period_of
from ledger.core.reconciliation import makes_good
from ledger.core.spend_line import day_number
from ledger.core.windows import day_start
from ledger.storage import queries_accounts, queries_closing, queries_reconciliations

_ONE_DAY: Final = timedelta(days=1)


class Looked(NamedTuple):
    """What is looked at: a month of a book, as the first ``size`` records say, at ``now``."""

    engine: Engine
    book_id: int
    timezone: str
    period: Period
    size: int
    now: int


def check_month(looked: Looked) -> tuple[CheckResult, ...]:
    """What every check finds, in the order of ``closing.CHECKS``. Lines must be written. Raises StorageError."""
    return tuple(_result(name, find(looked)) for name, find in _FINDERS.items())


def _result(name: str, found: list[str]) -> CheckResult:
    return CheckResult(name, len(found), tuple(found[:CHECK_ITEMS_MAX]))


def unexplained(looked: Looked) -> list[str]:
    """Authorizations and charges with a line in the month that has a flag which nobody explained, each with these
    flags: ``auth_… overrun mismatch``."""
    flags: dict[str, int] = {}
    day = looked.period.first
    while day <= looked.period.last:
        with looked.engine.connect() as connection:
            found = queries_closing.flagged_lines(
                connection,
                looked.book_id,
                starts_at=day_start(looked.timezone, day),
                ends_at=day_start(looked.timezone, day + _ONE_DAY),
                size=looked.size,
            )
        for _, authorization, bits in found:
            flags[authorization] = flags.get(authorization, 0) | bits
        day += _ONE_DAY
    with looked.engine.connect() as connection:
        known = queries_closing.explained(connection, looked.book_id, flags)
    left = {name: bits & EXPLAINED_FLAGS & ~known.get(name, 0) for name, bits in flags.items()}
    return [f"{name} {' '.join(flag_names(bits))}" for name, bits in left.items() if bits]


def _unknown_holds(looked: Looked) -> list[str]:
    with looked.engine.connect() as connection:
        return queries_closing.unknown_holds(
            connection,
            looked.book_id,
            starts_at=looked.period.starts_at,
            ends_at=looked.period.ends_at,
            now=looked.now,
        )


def _pending(looked: Looked) -> list[str]:
    """Requests to spend of the month that wait for a person, and corrections that would count for it."""
    period = looked.period
    with looked.engine.connect() as connection:
        spending = queries_closing.pending(
            connection, looked.book_id, starts_at=period.starts_at, ends_at=period.ends_at
        )
        waiting = queries_closing.waiting_corrections(connection, looked.book_id, now=looked.now)
    return spending + [one.id for one in waiting if period.starts_at <= _meant_for(one) < period.ends_at]


def _meant_for(waiting: Correction) -> int:
    """The moment that a correction is to count for; that of its request where it says none."""
    said = parse(waiting.request.encode()).get("effective_at")
    return waiting.created_at if said is None else moment_of(said)


def _unreconciled(looked: Looked) -> list[str]:
    """Payees with whom something was spent in the month, each with the currencies in which reconciliations leave
    a moment out, or something open: ``openai USD``. Units that are not money are owed to nobody."""
    period = looked.period
    first, last = _days(looked)
    # Providers bill by days of UTC, so the days of the month may be those, too.
    in_utc = period_of(period.first, period.last, "UTC")
    stretches = [(one.starts_at, one.ends_at) for one in (period, in_utc)]
    with looked.engine.connect() as connection:
        billed = [
            pair
            for pair in queries_closing.billed_in_days(connection, looked.book_id, first=first, last=last)
            if currency_digits(pair[1]) is not None
            and queries_closing.is_billed(
                connection, looked.book_id, *pair, starts_at=period.starts_at, ends_at=period.ends_at, size=looked.size
            )
        ]
        compared = queries_reconciliations.of_period(
            connection, looked.book_id, min(stretches)[0], max(ends_at for _, ends_at in stretches), looked.size
        )
    left = []
    for payee, currency in billed:
        rows = [one for one in compared if (one.payee, one.currency) == (payee, currency)]
        if not any(makes_good(rows, *stretch) for stretch in stretches):
            left.append(f"{payee} {currency}")
    return left


def payees_of(connection: Connection, looked: Looked) -> list[str]:
    """The payees with a line in the month, in order."""
    return with_lines(connection, looked, "payee", named_by_day(connection, looked, "payee"))


def named_by_day(connection: Connection, looked: Looked, column: str) -> list[str]:
    """Agents or payees that may have a line in the month: those that the totals of its days name."""
    first, last = _days(looked)
    return queries_closing.named_in_days(connection, looked.book_id, column, first=first, last=last)


def _days(looked: Looked) -> tuple[int, int]:
    """The first and the last day of the month, since 1970."""
    timezone, period = looked.timezone, looked.period
    return day_number(timezone, period.starts_at), day_number(timezone, period.ends_at - 1)


def with_lines(connection: Connection, looked: Looked, column: str, names: list[str]) -> list[str]:
    """Those of some agents, budgets or payees that have a line in the month."""
    period = looked.period
    return [
        name
        for name in names
        if queries_closing.has_lines(
            connection, looked.book_id, column, name, starts_at=period.starts_at, ends_at=period.ends_at,
            size=looked.size,
        )
    ]  # fmt: skip


def _unbalanced(looked: Looked) -> list[str]:
    """Currencies in which authority, or money, does not net to zero."""
    with looked.engine.connect() as connection:
        found = queries_accounts.trial_balance(connection, looked.book_id)
    nets: dict[tuple[str, str], int] = {}
    for line in found.lines if found is not None else ():
        sort = "money" if line.role == ROLE_REAL else "authority"
        nets[line.currency, sort] = nets.get((line.currency, sort), 0) + line.debit - line.credit
    return [f"{sort} in {currency}" for (currency, sort), net in sorted(nets.items()) if net]


_FINDERS: Final[dict[str, Callable[[Looked], list[str]]]] = {
    FLAGS: unexplained,
    UNKNOWN_HOLDS: _unknown_holds,
    PENDING_APPROVALS: _pending,
    RECONCILIATION: _unreconciled,
    TRIAL_BALANCE: _unbalanced,
}
