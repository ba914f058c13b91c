"""The journal as one CSV table: a row for each posting, with everything that is known about it.

Owns the columns, whose names and order are part of the contract (``docs/exports.md``). Invariants: RFC 4180 with CRLF
and UTF-8; amounts are plain decimals, and ``amount`` adds up to zero in each currency; a text that a spreadsheet could
take for a formula begins with an apostrophe.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from ledger.core.moment import moment_text
from ledger.core.money import format_atoms
from ledger.services.journal.making import Journal
from ledger.services.journal.pieces import csv_pieces
from ledger.services.journal.reading import Entry
from ledger.services.statements.csv_form import neutral
from ledger.services.statements.making import Digits

COLUMNS: Final = (
    "log_index", "position", "side", "day", "effective_at", "recorded_at", "kind", "subject", "account",
    "account_kind", "other_account", "currency", "debit", "credit", "amount", "balance", "other_balance",
    "authorization", "agent", "run", "budget", "category", "payee", "resource", "labels", "flags", "by", "key",
    "leaf_hash", "corrects", "meant_for", "invoice",
)  # fmt: skip


def write_csv(journal: Journal) -> Iterator[bytes]:
    """The pieces of the file. Raises JournalBroken."""
    rows = (row for entry in journal.entries() for row in _rows(entry, journal.digits))
    return csv_pieces(chain([COLUMNS], rows) if journal.header else rows)


def _rows(entry: Entry, digits: Digits) -> Iterator[list[str]]:
    when = [entry.day.isoformat(), moment_text(entry.effective_at), moment_text(entry.recorded_at)]
    labels = " ".join(f"{name}={value}" for name, value in entry.labels)
    about = [
        entry.authorization, entry.agent, neutral(entry.run), entry.budget, entry.category, entry.payee,
        neutral(entry.resource), neutral(labels), " ".join(entry.flags), entry.by, entry.key, entry.leaf_hash.hex(),
        "" if entry.corrects is None else str(entry.corrects), entry.meant_for, neutral(entry.invoice),
    ]  # fmt: skip
    for one in entry.postings:
        scale = digits[one.currency]
        amount = format_atoms(one.amount, scale)
        balances = format_atoms(one.debit_balance, scale), format_atoms(one.credit_balance, scale)
        head = [str(entry.log_index), str(one.position)]
        cause = [*when, entry.kind, neutral(entry.subject)]
        yield [
            *head, "debit", *cause, one.debit.name, one.debit.kind, one.credit.name, one.currency, amount, "", amount,
            *balances, *about,
        ]  # fmt: skip
        yield [
            *head, "credit", *cause, one.credit.name, one.credit.kind, one.debit.name, one.currency, "", amount,
            f"-{amount}", *reversed(balances), *about,
        ]  # fmt: skip
