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
from ledger.storage import queries_payables

PAYABLES_PREFIX = "payables:"
PREPAID_PREFIX = "assets:prepaid:"
AGEING_COLUMNS = ("owed", "days_0_to_30", "days_31_to_60", "days_61_to_90", "days_over_90", "invoiced", "credit")
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
    prepaid = {
        (account.name.removeprefix(PREPAID_PREFIX), account.currency): balance
        for account, balance in _balances(reach, PREPAID_PREFIX, day)
        if balance
    }
    owed = {
        (account.name.removeprefix(PAYABLES_PREFIX), account.currency): -balance
        for account, balance in _balances(reach, PAYABLES_PREFIX, day)
        if balance
    }
    for payee, currency in sorted(owed.keys() | prepaid.keys()):
        balance, advance = owed.get((payee, currency), 0), prepaid.get((payee, currency), 0)
        left, credit = max(balance, 0) + max(-advance, 0), max(-balance, 0) + max(advance, 0)
        daily = accrued.get((payee, currency), {})
        ages = [(today - at, daily[at]) for at in sorted(daily, reverse=True)]
        claimed = _claimed(reach, payee, currency, day) if left else []
        invoiced = min(sum(amount for _, amount in claimed), left)
        by_invoice, rest = aged(invoiced, claimed), aged(left - invoiced, ages)
        buckets = [one + other for one, other in zip(by_invoice, rest, strict=True)]
        row = [left, *buckets, invoiced, credit]
        lines.add(payee, currency, *row)
        total = sums.setdefault(currency, [0] * len(row))
        sums[currency] = [one + other for one, other in zip(total, row, strict=True)]
    for currency, total in sorted(sums.items()):
        totals.add(currency, *total)
    return Made(
        (lines, totals),
        (
            "What invoices claim is as old as the day they were due; before that day it is in the first column.",
            "For the rest a payment pays what has been owed longest, so what is owed is what was spent last.",
            "Credit is what a payee owes, or was paid in advance.",
        ),
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


def _claimed(reach: Reach, payee: str, currency: str, day: Period) -> list[tuple[int, int]]:
    """(days since it was due, atoms) of what invoices claim, the latest due first."""
    today = number_of(day.first)
    with reach.engine.connect() as connection:
        found = queries_payables.open_then(
            connection, reach.book_id, payee, size=reach.size, issued_by=today, paid_before=day.ends_at
        )
    return [(today - invoice.due_on, left) for invoice, left in found if invoice.currency == currency]


def _accrued(reach: Reach, today: int) -> dict[tuple[str, str], dict[int, int]]:
    """(payee, currency) to what was owed anew on each day that an ageing tells apart, less what was taken back."""
    found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for total in reach.days(today - OLDEST_DAYS, today + 1):
        if total.owed and total.payee:
            days = found[total.payee, total.currency]
            days[total.day] = days.get(total.day, 0) + total.owed
    return found
