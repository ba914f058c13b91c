"""The real programs for plain-text accounting, asked what they make of a journal.

``bean-check`` and its reader come from the package index and are always there; hledger comes from Debian, and what
needs it is skipped where it is not installed.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from beancount import loader
from beancount.core.data import Open, Transaction
from beancount.core.inventory import Inventory

from ledger.services.journal.names import account_of_beancount, currency_of_beancount

HLEDGER = shutil.which("hledger")
needs_hledger = pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed: apt-get install hledger")
Balances = dict[tuple[str, str], Decimal]
"""(account, currency) to debits less credits, in our names; without zeros."""


def bean_check(file: Path) -> tuple[int, str]:
    """The status of ``bean-check``, and what it says."""
    command = [str(Path(sys.executable).parent / "bean-check"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def beancount_errors(text: bytes) -> list[str]:
    """What beancount's own reader finds wrong with a journal."""
    return [str(error.message) for error in loader.load_string(text.decode())[1]]


def beancount_balances(text: bytes) -> Balances:
    """What beancount adds the postings of a journal up to."""
    entries, errors, _ = loader.load_string(text.decode())
    assert errors == []
    sums: dict[str, Inventory] = {}
    for entry in entries:
        if isinstance(entry, Transaction):
            for posting in entry.postings:
                sums.setdefault(posting.account, Inventory()).add_position(posting)
    return {
        (account_of_beancount(account), currency_of_beancount(position.units.currency)): position.units.number
        for account, inventory in sums.items()
        for position in inventory
    }


def beancount_accounts(text: bytes) -> dict[str, str]:
    """Account of beancount to what its metadata says ours is."""
    entries, _, _ = loader.load_string(text.decode())
    return {entry.account: entry.meta["account"] for entry in entries if isinstance(entry, Open)}


def hledger(file: Path, *arguments: str) -> tuple[int, str]:
    """The status of hledger, and what it says."""
    assert HLEDGER is not None
    command = [HLEDGER, *_no_settings(), "-f", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@cache
def _no_settings() -> tuple[str, ...]:
    """What keeps later versions from reading a person's settings."""
    assert HLEDGER is not None
    said = subprocess.run([HLEDGER, "--help"], capture_output=True, text=True, check=False, timeout=60).stdout
    return ("--no-conf",) if "--no-conf" in said else ()


def hledger_balances(file: Path, *query: str) -> Balances:
    """What ``hledger balance`` says, account by account."""
    status, said = hledger(file, "balance", "--flat", "--layout=bare", "--output-format=csv", "--no-total", *query)
    assert status == 0, said
    rows = list(csv.reader(io.StringIO(said)))
    return {(account, currency): Decimal(amount) for account, currency, amount in rows[1:] if Decimal(amount)}


def beancount_texts(text: bytes) -> list[str]:
    """The narration and the metadata ``resource`` of each transaction."""
    entries, _, _ = loader.load_string(text.decode())
    found = [entry for entry in entries if isinstance(entry, Transaction)]
    return [said for entry in found for said in (entry.narration, entry.meta["resource"])]
