"""The journal as beancount reads it (version 3), with our balances as assertions that ``bean-check`` checks.

Owns the form; ``names`` has the mapping of names. Invariants: each entry is one transaction whose postings are its
transfers, a debit above zero and a credit below; amounts are exact, and balances asserted without tolerance; what a
later piece brings never makes what stands in an earlier one wrong, because accounts are open from 1970 on and balances
are asserted in whole files only.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import orjson

from ledger.core.account import Account
from ledger.core.moment import moment_text
from ledger.core.money import currency_digits, format_atoms
from ledger.services.journal.making import ONLY, WITH, WITHOUT, BalancesAt, Journal
from ledger.services.journal.names import beancount_account, beancount_commodity, beancount_text
from ledger.services.journal.pieces import text_pieces
from ledger.services.journal.reading import Entry
from ledger.services.statements.making import Digits
from ledger.storage.queries_journal import Opened

OPEN_DAY: Final = "1970-01-01"
"""Before anything that a book may take: an account may get entries for days before it was made."""
_ONE_DAY: Final = timedelta(days=1)


def write_beancount(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file. Raises JournalBroken."""
    return text_pieces(_parts(journal))


def _parts(journal: Journal) -> Iterator[str]:
    digits = journal.digits
    if journal.is_beginning and journal.balances != ONLY:
        yield _preamble(journal)
    if journal.balances != WITHOUT and (opening := journal.opening()) is not None:
        yield _opening(opening, digits)
    if journal.balances != ONLY:
        first_of = journal.first_in_currency()
        for told in journal.in_order():
            yield _entry(told, digits) if isinstance(told, Entry) else _open(told, first_of)
    if journal.balances in (WITH, ONLY):
        for month in journal.month_ends():
            yield from _assertions(month, digits)


def _preamble(journal: Journal) -> str:
    book = journal.book
    return (
        f";; Written by Bursar. Below Liabilities, Assets, Expenses, Income and Equity is money; what stands below\n"
        f";; Equity:BudgetAuthority is authority to spend it. Each of the two adds up to zero.\n"
        f'option "title" {beancount_text(book.name)}\n'
        f'option "operating_currency" "{beancount_commodity(book.currency)}"\n'
        f'option "tolerance_multiplier" "0"\n\n'
    )


def _open(told: Opened, first_of: dict[str, int]) -> str:
    account = told.account
    text = ""
    if first_of.get(account.currency) == account.account_no:
        commodity = beancount_commodity(account.currency)
        text += f"{OPEN_DAY} commodity {commodity}\n"
        if currency_digits(account.currency) is None:
            text += f"  unit: {beancount_text(account.currency)}\n"
    if told.is_first_of_name:
        text += f"{OPEN_DAY} open {beancount_account(account.name)}\n  account: {beancount_text(account.name)}\n"
    return text


def _entry(entry: Entry, digits: Digits) -> str:
    words = beancount_text(" ".join(word for word in (entry.kind, entry.category, entry.resource) if word))
    payee = f"{beancount_text(entry.payee)} " if entry.payee else ""
    tags = "".join(f" #{flag}" for flag in entry.flags) + (f" ^{entry.authorization}" if entry.authorization else "")
    lines = [f"{entry.day.isoformat()} * {payee}{words}{tags}", f"  log: {entry.log_index}"]
    lines += [f"  {key}: {beancount_text(value)}" for key, value in _facts(entry) if value]
    for one in entry.postings:
        amount = format_atoms(one.amount, digits[one.currency])
        commodity = beancount_commodity(one.currency)
        lines.append(f"  {beancount_account(one.debit.name)}  {amount} {commodity}")
        lines.append(f"  {beancount_account(one.credit.name)}  -{amount} {commodity}")
    return "\n".join(lines) + "\n\n"


def _facts(entry: Entry) -> tuple[tuple[str, str], ...]:
    return (
        ("kind", entry.kind),
        ("subject", entry.subject if entry.subject != entry.authorization else ""),
        ("authorization", entry.authorization),
        ("invoice", entry.invoice),
        ("agent", entry.agent),
        ("run", entry.run),
        ("budget", entry.budget),
        ("category", entry.category),
        ("resource", entry.resource),
        ("labels", orjson.dumps(dict(entry.labels)).decode() if entry.labels else ""),
        ("corrects", "" if entry.corrects is None else str(entry.corrects)),
        ("by", entry.by),
        ("recorded", moment_text(entry.recorded_at)),
        ("effective", moment_text(entry.effective_at) if entry.is_backdated else ""),
        ("meant-for", entry.meant_for),
    )


def _opening(opening: BalancesAt, digits: Digits) -> str:
    standing = [(account, balance) for account, balance in opening.balances if balance]
    if not standing:
        return ""
    lines = [f'{opening.day.isoformat()} * "opening balances"']
    lines += [
        f"  {beancount_account(account.name)}  {_amount(account, balance, digits)}" for account, balance in standing
    ]
    return "\n".join(lines) + "\n\n"


def _assertions(month: BalancesAt, digits: Digits) -> Iterator[str]:
    """What each account has at the end of the day. Beancount takes a balance to be that of the day's beginning, and an
    account's to be its own with that of all accounts below its name."""
    sums: dict[tuple[str, str], int] = {}
    told: dict[tuple[str, str], Account] = {}
    for account, balance in month.balances:
        name = beancount_account(account.name)
        told[name, account.currency] = account
        while ":" in name:
            key = name, account.currency
            sums[key] = sums.get(key, 0) + balance
            name = name.rpartition(":")[0]
    day = (month.day + _ONE_DAY).isoformat()
    for (name, currency), account in told.items():
        amount = format_atoms(sums[name, currency], digits[currency])
        yield f"{day} balance {name}  {amount} ~ 0 {beancount_commodity(account.currency)}\n"
    yield "\n"


def _amount(account: Account, balance: int, digits: Digits) -> str:
    return f"{format_atoms(balance, digits[account.currency])} {beancount_commodity(account.currency)}"
