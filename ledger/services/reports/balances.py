"""The trial balance and the payables with their ageing: what accounts say at the end of a day.

Invariants: each sort of account nets to zero in every currency, or there is no trial balance; what is owed to a payee
is its account's balance, and its buckets add up to it.
"""

from collections import defaultdict

from ledger.core.account import BUDGETARY, ROLE_REAL, Account
from ledger.core.ageing import OLDEST_DAYS, aged
from ledger.core.period import Period
from ledger.core.report import ReportBroken, Table, amounts, words
from ledger.core.spend_line import number_of
from ledger.services.reports.reading import Reach
from ledger.services.reports.shaping import Made

PAYABLES_PREFIX = "payables:"
AGEING_COLUMNS = ("owed", "days_0_to_30", "days_31_to_60", "days_61_to_90", "days_over_90", "credit")
SORTS = {True: "real", False: BUDGETARY}


def trial_balance(reach: Reach, day: Period | None) -> Made:
    """Every account on the side where it stands, at the end of a day; without one, after all records."""
    lines = Table("accounts", words("account", "kind", "currency") + amounts("debit", "credit"))
    totals = Table("totals", words("sort", "currency") + amounts("debit", "credit"))
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for account, balance in _balances(reach, "", day):
        debit, credit = max(balance, 0), max(-balance, 0)
        if balance:
            lines.add(account.name, account.kind, account.currency, debit, credit)
        total = sums[SORTS[account.role == ROLE_REAL], account.currency]
        total[0] += debit
        total[1] += credit
    for (sort, currency), (debit, credit) in sorted(sums.items()):
        if debit != credit:
            raise ReportBroken(f"{sort} accounts in {currency} have debits of {debit} atoms and credits of {credit}")
        totals.add(sort, currency, debit, credit)
    return Made((lines, totals), ("Accounts that stand at zero are left out.",))


def payables(reach: Reach, day: Period) -> Made:
    """What is owed to each payee, and since when."""
    lines = Table("payees", words("payee", "currency") + amounts(*AGEING_COLUMNS))
    totals = Table("totals", words("currency") + amounts(*AGEING_COLUMNS))
    today = number_of(day.first)
    accrued = _accrued(reach, today)
    sums: dict[str, list[int]] = {}
    for account, balance in _balances(reach, PAYABLES_PREFIX, day):
        if not balance:
            continue
        payee = account.name.removeprefix(PAYABLES_PREFIX)
        daily = accrued.get((payee, account.currency), {})
        ages = ((today - at, daily[at]) for at in sorted(daily, reverse=True))
        row = [max(-balance, 0), *aged(-balance, ages), max(balance, 0)]
        lines.add(payee, account.currency, *row)
        total = sums.setdefault(account.currency, [0] * len(row))
        sums[account.currency] = [one + other for one, other in zip(total, row, strict=True)]
    for currency, total in sorted(sums.items()):
        totals.add(currency, *total)
    return Made(
        (lines, totals),
        ("A payment pays what has been owed longest, so what is owed is what was spent last.",
         "Credit is what a payee owes, or was paid ahead.",),
    )  # fmt: skip


def _balances(reach: Reach, prefix: str, day: Period | None) -> list[tuple[Account, int]]:
    found: list[tuple[Account, int]] = []
    page: list[Account] = []
    before = None if day is None else day.ends_at

    def read() -> None:
        with reach.engine.connect() as connection:
            found.extend((account, reach.balance(connection, account, before)) for account in page)
        page.clear()

    for account in reach.accounts(prefix):
        page.append(account)
        if len(page) == 100:
            read()
    read()
    return found


def _accrued(reach: Reach, today: int) -> dict[tuple[str, str], dict[int, int]]:
    """(payee, currency) to what was owed anew on each day that an ageing tells apart, less what was taken back."""
    found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for total in reach.days(today - OLDEST_DAYS, today + 1):
        if total.owed and total.payee:
            days = found[total.payee, total.currency]
            days[total.day] = days.get(total.day, 0) + total.owed
    return found
