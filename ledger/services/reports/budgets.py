"""Budgets against what was spent of them: allocated, spent, held, available, and the day on which they run out.

Invariant: what a budget was allocated, net of what it gave on and back, is what it spent, holds and has available; all
four come from balances, and the forecast from the days before.
"""

from collections import defaultdict
from typing import Final

from ledger.core.account import available_name, held_name, spent_name
from ledger.core.budget import Budget
from ledger.core.burning import DAYS_MAX, Forecast, forecast
from ledger.core.period import Period
from ledger.core.report import DAY as DAY_COLUMN
from ledger.core.report import Cell, Column, ReportRefused, Table, amounts, atoms_of, counts, numbers, percent, words
from ledger.core.spend_line import date_of, day_number, number_of
from ledger.services.reports.reading import Reach
from ledger.services.reports.shaping import Made
from ledger.storage import queries_accounts, queries_budgets, queries_log
from ledger.storage.errors import RecordArchived
from ledger.storage.paging import LIMIT_MAX

OPEN: Final = "open"
CLOSED: Final = "closed"


def budgets(reach: Reach, day: Period, days: int) -> Made:
    """Every budget that was made by the end of a day; its rate is that of the ``days`` whole days before."""
    if not 1 <= days <= DAYS_MAX:
        raise ReportRefused("days", f"the rate is looked at over 1 to {DAYS_MAX} days")
    lines = Table(
        "budgets",
        words("budget", "parent", "state", "currency") + amounts("allocated", "spent", "held", "available")
        + numbers("used_percent") + amounts("burn_per_day") + counts("days") + words("forecast")
        + tuple(Column(name, DAY_COLUMN) for name in ("runs_out", "earliest", "latest")),
    )  # fmt: skip
    today = number_of(day.first)
    # The day of the last record goes on: what is spent of it so far is not what such a day spends.
    last = min(today, reach.newest_day - 1)
    spent = _spent_by_day(reach, last - days + 1, last)
    for budget in _budgets(reach):
        with reach.engine.connect() as connection:
            made_on = _made_on(reach, budget)
            if made_on > today:
                continue
            available, held, used = (
                sum(
                    reach.balance(connection, account, day.ends_at)
                    for account in queries_accounts.accounts_named(connection, reach.book_id, name)
                    if account.created_index < reach.size
                )
                for name in (available_name(budget.name), held_name(budget.name), spent_name(budget.name))
            )
        first = max(last - days + 1, made_on)
        daily = spent.get(budget.name, {})
        # What is available now is spent from now on, also where a later day is asked for.
        start = min(day.first, date_of(reach.newest_day))
        seen = forecast(available, [daily.get(at, 0) for at in range(first, last + 1)], start)
        is_closed = _is_closed(budget, reach, day)
        allocated = available + held + used
        lines.add(
            budget.name, budget.parent, CLOSED if is_closed else OPEN, budget.currency, allocated, used, held,
            available, percent(used, allocated), *_shown(seen),
        )  # fmt: skip
    return Made(
        (lines,),
        (
            f"The rate is that of the whole days from {date_of(last - days + 1).isoformat()} to"
            f" {date_of(last).isoformat()}, or since the budget was made.",
            "What is held counts as gone: money runs out when nothing is available any more.",
            "The range holds the day 80 times in a hundred, if days go on like those looked at.",
        ),
    )


def _is_closed(budget: Budget, reach: Reach, day: Period) -> bool:
    """Whether it was closed by the end of a day, as the first ``size`` records say. Those of one moment are told apart
    by the record that changed the budget last, which of a closed one is its closure."""
    if budget.closed_at is None or budget.closed_at >= day.ends_at:
        return False
    return budget.closed_at < reach.newest_at or (
        budget.closed_at == reach.newest_at and budget.changed_index < reach.size
    )


def _shown(seen: Forecast) -> tuple[Cell, ...]:
    rate = atoms_of(seen.per_day) if seen.days else None
    return rate, seen.days, seen.status, seen.day, seen.earliest, seen.latest


def _budgets(reach: Reach) -> list[Budget]:
    """The budgets that the first ``size`` records made, by name."""
    found: list[Budget] = []
    after: str | None = None
    while True:
        with reach.engine.connect() as connection:
            page = queries_budgets.list_budgets(connection, reach.book_id, after=after, limit=LIMIT_MAX)
        found += [item.budget for item in page.items if item.budget.created_index < reach.size]
        if page.after is None:
            return found
        after = page.items[-1].budget.name


def _made_on(reach: Reach, budget: Budget) -> int:
    """The day on which a budget was made; long ago where that record is archived."""
    with reach.engine.connect() as connection:
        try:
            record = queries_log.record(connection, reach.book_id, budget.created_index)
        except RecordArchived:
            record = None
    return day_number(reach.timezone, reach.book.opened_at if record is None else record.recorded_at)


def _spent_by_day(reach: Reach, first: int, last: int) -> dict[str, dict[int, int]]:
    """Budget to day to what it spent on it. A budget has one currency."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for total in reach.days(first, last + 1):
        if total.budget and total.spent:
            days = found[total.budget]
            days[total.day] = days.get(total.day, 0) + total.spent
    return found
