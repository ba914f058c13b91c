"""The income statement: what was spent by category in each part of a period, what came back, and income.

Invariant: what was spent, less what came back, is what the expense accounts of the trial balance grew by; there is no
statement where the two differ.
"""

from collections import defaultdict
from typing import Final

from ledger.core.account import EXPENSE, INCOME
from ledger.core.buckets import Parts
from ledger.core.money import currency_digits
from ledger.core.period import Period
from ledger.core.report import NOBODY, ReportBroken, Table, amounts, words
from ledger.core.spend_line import date_of, number_of
from ledger.core.windows import date_at
from ledger.services.reports.reading import Reach, check_groups
from ledger.services.reports.shaping import Made
from ledger.storage import queries_reports
from ledger.storage.errors import RecordArchived

SPEND: Final = "spend"
CREDITS: Final = "credits"
_INCOME: Final = "income"
_ORDER: Final = (SPEND, CREDITS, _INCOME)
Key = tuple[str, str, str]
"""Section, category or account, currency."""
Columns = dict[Key, list[int]]


def income(reach: Reach, period: Period, parts: Parts) -> Made:
    """Spending by category and part, refunds and corrections apart, and what income accounts earned."""
    width = len(parts.periods)
    rows: Columns = defaultdict(lambda: [0] * width)
    _add_spend(reach, parts, rows)
    checked = _check_expenses(reach, period, rows)
    _split_credits(reach, period, parts, rows)
    _add_income(reach, parts, rows)
    named = tuple(part.text for part in parts.periods)
    named = (*named, "total") if named != (period.text,) else (period.text,)
    lines = Table("lines", words("section", "category", "currency") + amounts(*named))
    totals = Table("totals", words("section", "currency") + amounts(*named))
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * width)
    for section, name, currency in sorted(rows, key=lambda key: (_ORDER.index(key[0]), key[2], key[1])):
        cells = rows[section, name, currency]
        if any(cells):
            lines.add(section, name, currency, *_with_total(cells, width))
            _add(sums[section, currency], cells)
    for currency in sorted({currency for _, currency in sums}):
        spend, credits, earned = (sums.get((section, currency), [0] * width) for section in _ORDER)
        net = [one + other for one, other in zip(spend, credits, strict=True)]
        result = [one - other for one, other in zip(earned, net, strict=True)]
        for section, cells in (
            (SPEND, spend), (CREDITS, credits), ("net_spend", net), (_INCOME, earned), ("result", result),
        ):  # fmt: skip
            totals.add(section, currency, *_with_total(cells, width))
    notes = ["Credits are refunds and whatever else corrects an earlier entry, in the period that they count for."]
    if not checked:
        notes.append("Part of the period is archived, so the total was not held against the accounts.")
    return Made((lines, totals), tuple(notes))


def _with_total(cells: list[int], width: int) -> list[int]:
    return cells if width == 1 else [*cells, sum(cells)]


def _add(total: list[int], cells: list[int]) -> None:
    for at, cell in enumerate(cells):
        total[at] += cell


def _add_spend(reach: Reach, parts: Parts, rows: Columns) -> None:
    """Net spending out of daily totals. Units that are no money have no expenses."""
    for total in reach.days(number_of(parts.periods[0].first), number_of(parts.periods[-1].following)):
        if total.amount and currency_digits(total.currency) is not None:
            at = parts.of(date_of(total.day))
            rows[SPEND, total.category or NOBODY, total.currency][at] += total.amount
    check_groups(len(rows) * len(parts.periods))


def _check_expenses(reach: Reach, period: Period, rows: Columns) -> bool:
    """Hold what was spent against the expense accounts; False where their history is archived. Raises ReportBroken."""
    spent: dict[str, int] = defaultdict(int)
    for (_, _, currency), cells in rows.items():
        spent[currency] += sum(cells)
    grown: dict[str, int] = defaultdict(int)
    try:
        for account in reach.accounts(f"{EXPENSE}s:"):
            with reach.engine.connect() as connection:
                before = reach.balance(connection, account, period.starts_at)
                grown[account.currency] += reach.balance(connection, account, period.ends_at) - before
    except RecordArchived:
        return False
    for currency in spent.keys() | grown.keys():
        if spent[currency] != grown[currency]:
            raise ReportBroken(
                f"lines say that {spent[currency]} atoms of {currency} were spent, and the expense accounts grew by "
                f"{grown[currency]}"
            )
    return True


def _split_credits(reach: Reach, period: Period, parts: Parts, rows: Columns) -> None:
    """Take what came back out of net spending, and show it apart."""
    after: tuple[int, int, int] | None = None
    while True:
        with reach.engine.connect() as connection:
            page = queries_reports.list_corrections(
                connection, reach.book_id, starts_at=period.starts_at, ends_at=period.ends_at, size=reach.size,
                after=after,
            )  # fmt: skip
        for found in page:
            if currency_digits(found.currency) is not None:
                at = parts.of(date_at(reach.timezone, found.effective_at))
                name = found.category or NOBODY
                rows[SPEND, name, found.currency][at] -= found.amount
                rows[CREDITS, name, found.currency][at] += found.amount
        if len(page) < queries_reports.PAGE_ROWS:
            return
        after = page[-1][:3]


def _add_income(reach: Reach, parts: Parts, rows: Columns) -> None:
    """What income accounts earned, by account: their balances at the ends of each part."""
    for account in reach.accounts(f"{INCOME}:"):
        with reach.engine.connect() as connection:
            before = reach.balance(connection, account, parts.periods[0].starts_at)
            for at, part in enumerate(parts.periods):
                after = reach.balance(connection, account, part.ends_at)
                rows[_INCOME, account.name, account.currency][at] += before - after
                before = after
