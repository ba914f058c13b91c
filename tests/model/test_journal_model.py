"""Journals of random books: other programs read them without complaint, and come to our balances, on any day.

Compared: what beancount and hledger add the whole up to, with the accounts; what a random period ends with, with a sum
over the log; pieces cut at random, with the whole; and FOCUS's total, with the expenses. Entries are backdated, time
jumps over midnights, months and changes of the clocks, and pieces are taken while the book goes on.
"""

from __future__ import annotations

import csv
import io
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.core.money import currency_digits
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.journal.formats import FORMATS, make_journal
from ledger.services.journal.making import Journal, Journals
from ledger.services.statements.making import Statements
from ledger.storage import migrate
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.model.comparing import ControlledSources
from tests.model.test_statements_model import FIRST_SEED, LONGER, FinanceRun, Oracle
from tests.support import plain_text

COMMANDS = {"sqlite": 90, "postgresql": 50}
MONTH = 31 * 86_400 * 1_000_000


class Exports:
    """Exports of one random book."""

    def __init__(self, run: FinanceRun, journals: Journals) -> None:
        self.run = run
        self.journals = journals

    def make(self, form: str, **asked: Any) -> Journal:
        return make_journal(self.journals, self.run.book_id, FORMATS[form], **asked)

    def written(self, form: str, **asked: Any) -> bytes:
        return b"".join(FORMATS[form].write(self.make(form, **asked)))

    def digits(self) -> dict[str, int]:
        found = {row.name: row.digits for row in self.run.rows("units", "name")}
        for row in self.run.rows("accounts", "name"):
            money = currency_digits(row.currency)
            if money is not None:
                found[row.currency] = money
        return found

    def trial_balance(self) -> plain_text.Balances:
        digits = self.digits()
        return {
            (row.name, row.currency): Decimal(row.balance).scaleb(-digits[row.currency])
            for row in self.run.rows("accounts", "name")
            if row.balance
        }


def live(exports: Exports, chance: random.Random, commands: int) -> list[tuple[str, str, bytes]]:
    """Let the book live over some months; pieces that were taken meanwhile, with the cursors between which they are."""
    run, since, taken = exports.run, "beginning", []
    plain = run.batch

    def batch(asked: list[Any]) -> None:
        nonlocal since
        plain(asked)
        if chance.random() < 0.05:
            run.sources.clock += MONTH
        if run.driver.made > 40 and chance.random() < 0.1:
            made = exports.make("beancount", since=since)
            taken.append((since, str(made.end), b"".join(FORMATS["beancount"].write(made))))
            since = str(made.end)

    run.batch = batch  # type: ignore[method-assign]
    run.live(commands, largest_batch=6)
    return taken


def check_whole(exports: Exports, directory: Path) -> None:
    """Both programs take it, and come to our balances."""
    text = exports.written("beancount")
    assert plain_text.beancount_balances(text) == exports.trial_balance()
    if plain_text.HLEDGER is not None:
        file = directory / "book.journal"
        file.write_bytes(exports.written("hledger"))
        assert plain_text.hledger(file, "check", "--strict") == (0, "")
        assert plain_text.hledger_balances(file) == exports.trial_balance()


def check_periods(exports: Exports, oracle: Oracle, chance: random.Random) -> None:
    """Each part of a random split is taken by itself, and ends with what the log adds up to."""
    digits = exports.digits()
    for period in oracle.periods(chance):
        said = plain_text.beancount_balances(exports.written("beancount", period=period.text))
        sums: dict[tuple[str, str], int] = {}
        for move in oracle.moves:
            if move.effective_at < period.ends_at:
                key = move.account, move.currency
                sums[key] = sums.get(key, 0) + move.change
        assert said == {key: Decimal(atoms).scaleb(-digits[key[1]]) for key, atoms in sums.items() if atoms}


def check_pieces(exports: Exports, taken: list[tuple[str, str, bytes]], chance: random.Random) -> None:
    """What was taken while the book went on is taken again; and is, put end to end, the whole."""
    for since, until, piece in taken:
        assert exports.written("beancount", since=since, at_size=int(until.partition(":")[0])) == piece
    rest = exports.written("beancount", since=taken[-1][1])
    whole = b"".join(piece for _, _, piece in taken) + rest
    assert whole + exports.written("beancount", balances="only") == exports.written("beancount")
    size = exports.make("csv").end.size
    for form in ("hledger", "csv", "focus", "otel"):
        cut = exports.make(form, since="beginning", at_size=chance.randrange(1, size))
        first = b"".join(FORMATS[form].write(cut))
        assert first + exports.written(form, since=str(cut.end)) == exports.written(form, since="beginning")


def check_costs(exports: Exports) -> None:
    """What FOCUS bills is what the expenses say."""
    rows = csv.DictReader(io.StringIO(exports.written("focus").decode(), newline=""))
    billed: dict[str, Decimal] = {}
    for row in rows:
        billed[row["BillingCurrency"]] = billed.get(row["BillingCurrency"], Decimal(0)) + Decimal(row["BilledCost"])
    spent: dict[str, Decimal] = {}
    for (account, currency), balance in exports.trial_balance().items():
        if account.startswith("expenses:"):
            spent[currency] = spent.get(currency, Decimal(0)) + balance
    assert {key: amount for key, amount in billed.items() if amount} == {
        key: amount for key, amount in spent.items() if amount
    }


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + LONGER))
def test_journals_agree_with_the_books(database_url: str, seed: int, tmp_path: Path) -> None:
    """A random book, and everything that the module says."""
    migrate.upgrade(database_url)
    sources = ControlledSources()
    settings = AuthorizerSettings(clock_jump_seconds=10.0**9)
    authorizers = [Authorizer(database_url, sources=sources, settings=settings) for _ in range(2)]
    for one in authorizers:
        one.start()
    engine, side, chance = create_engine(database_url), SideWriter(database_url), random.Random(seed)
    try:
        run = FinanceRun(database_url, engine, authorizers, sources, seed, backlog=False)
        exports = Exports(run, Journals(engine, Statements(engine, side)))
        taken = live(exports, chance, COMMANDS[engine.dialect.name] * LONGER)
        assert len(taken) >= 2
        oracle = Oracle(run)
        assert any(effective_at != at for (_, effective_at, _), at in zip(oracle.records, oracle.recorded, strict=True))
        check_whole(exports, tmp_path)
        check_periods(exports, oracle, chance)
        check_pieces(exports, taken, chance)
        check_costs(exports)
    finally:
        for one in authorizers:
            one.stop(deadline_seconds=10)
        side.close()
        engine.dispose()
