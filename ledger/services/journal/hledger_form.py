"""The journal as hledger reads it, with our balances as assertions that hledger checks whenever it reads.

Owns the form. Invariants: accounts bear our own names, so that ``hledger bal`` is read beside the trial balance; each
entry is one transaction whose postings are its transfers, a debit above zero and a credit below; amounts are exact;
what a later piece brings never makes what stands in an earlier one wrong, because balances are asserted in whole files
only.
"""

from collections.abc import Iterator
from typing import Final

from ledger.core.account import ASSET, EQUITY, EXPENSE, INCOME, LIABILITY, Account
from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.services.journal.making import ONLY, WITH, WITHOUT, BalancesAt, Journal
from ledger.services.journal.names import hledger_commodity, hledger_value, hledger_words
from ledger.services.journal.pieces import text_pieces
from ledger.services.journal.reading import Entry
from ledger.services.statements.making import Digits
from ledger.storage.queries_journal import Opened

TYPES: Final = {ASSET: "A", LIABILITY: "L", EQUITY: "E", INCOME: "R", EXPENSE: "X"}
"""What hledger calls the kinds of accounts. Budgetary ones have no type there, and so are in none of its reports on
money: balance sheet, income statement."""


def write_hledger(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file. Raises JournalBroken."""
    return text_pieces(_parts(journal))


def _parts(journal: Journal) -> Iterator[str]:
    digits = journal.digits
    if journal.is_beginning and journal.balances != ONLY:
        yield (
            "; Written by Bursar. Below assets, equity, expenses, income and payables is money; authority and what\n"
            f"; stands below budgets is authority to spend it. Each of the two adds up to zero.\n"
            f"; book: {hledger_value(journal.book.name)}\n"
            "decimal-mark .\n\n"
        )
    if journal.balances != WITHOUT and (opening := journal.opening()) is not None:
        yield _opening(opening, digits)
    if journal.balances != ONLY:
        first_of = journal.first_in_currency()
        for told in journal.in_order():
            yield _entry(told, digits) if isinstance(told, Entry) else _open(told, first_of, digits)
    if journal.balances in (WITH, ONLY):
        for month in journal.month_ends():
            yield _assertions(month, digits)


def _open(told: Opened, first_of: dict[str, int], digits: Digits) -> str:
    account = told.account
    text = ""
    if first_of.get(account.currency) == account.account_no:
        # All digits: hledger lets a transaction be out of balance by less than it shows.
        text += f"commodity 1000.{'0' * digits[account.currency]} {hledger_commodity(account.currency)}\n"
    if told.is_first_of_name:
        kind = TYPES.get(account.kind)
        text += f"account {account.name}{f'  ; type:{kind}' if kind else ''}\n"
    return text


def _entry(entry: Entry, digits: Digits) -> str:
    words = " ".join(word for word in (entry.kind, entry.category, entry.resource) if word)
    payee = f"{entry.payee} | " if entry.payee else ""
    lines = [f"{entry.day.isoformat()} * ({entry.log_index}) {payee}{hledger_words(words)}"]
    lines += [f"    ; {tag}: {hledger_value(value)}" for tag, value in _facts(entry) if value]
    for one in entry.postings:
        amount = format_atoms(one.amount, digits[one.currency])
        commodity = hledger_commodity(one.currency)
        lines.append(f"    {one.debit.name}  {amount} {commodity}")
        lines.append(f"    {one.credit.name}  -{amount} {commodity}")
    return "\n".join(lines) + "\n\n"


def _facts(entry: Entry) -> tuple[tuple[str, str], ...]:
    return (
        ("log", str(entry.log_index)),
        ("kind", entry.kind),
        ("subject", entry.subject if entry.subject != entry.authorization else ""),
        ("authorization", entry.authorization),
        ("invoice", entry.invoice),
        ("agent", entry.agent),
        ("run", entry.run),
        ("budget", entry.budget),
        ("category", entry.category),
        ("resource", entry.resource),
        *((f"label.{name}", value) for name, value in entry.labels),
        ("flags", " ".join(entry.flags)),
        ("corrects", "" if entry.corrects is None else str(entry.corrects)),
        ("by", entry.by),
        ("recorded", moment_text(entry.recorded_at)),
        ("effective", moment_text(entry.effective_at) if entry.is_backdated else ""),
        ("meant-for", entry.meant_for),
    )


def _opening(opening: BalancesAt, digits: Digits) -> str:
    lines = [
        f"    {account.name}  {_amount(account, balance, digits)}" for account, balance in opening.balances if balance
    ]
    return "\n".join([f"{opening.day.isoformat()} * opening balances", *lines]) + "\n\n" if lines else ""


def _assertions(month: BalancesAt, digits: Digits) -> str:
    """A transaction that moves nothing and says what each account has: hledger checks it behind the others of its
    day, because it stands behind them in the file."""
    lines = [f"{month.day.isoformat()} * balances of the book at the end of the day"]
    for account, balance in month.balances:
        nothing = f"0 {hledger_commodity(account.currency)}"
        lines.append(f"    {account.name}  {nothing} = {_amount(account, balance, digits)}")
    return "\n".join(lines) + "\n\n" if len(lines) > 1 else ""


def _amount(account: Account, balance: int, digits: Digits) -> str:
    return f"{format_atoms(balance, digits[account.currency])} {hledger_commodity(account.currency)}"
