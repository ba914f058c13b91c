"""Statements of random books say what a naive reading of the log says: of any scope, for any days, as of any size.

Compared: the balance before any day, of every budget, agent, team, payee, run, account and of the book, with a sum over
the transfers of all records; opening + lines = closing, for any split of the days; what is held, as of any record; the
sum over budgets, over agents, over payees and over days, with the trial balance's expenses. And whatever was said while
the book went on is said again, byte for byte, once it has grown. Entries are backdated, time jumps over midnights and
changes of the clocks, and persons approve.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from ledger.core.canonical import parse
from ledger.core.money import currency_digits
from ledger.core.period import Period, period_of
from ledger.core.statement import Scope, Statement, parse_scope
from ledger.core.windows import date_at, day_start
from ledger.services.authorizer import Authorizer, AuthorizerSettings
from ledger.services.lining import Liner
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import ScopeNotFound, Statements
from ledger.services.verify import verify_books
from ledger.storage import migrate, queries_spend
from ledger.storage.engine import create_engine
from ledger.storage.side_writer import SideWriter
from tests.model.comparing import ControlledSources, Run
from tests.model.test_policies_model import PolicyRun

LONGER = 10 if os.environ.get("BURSAR_LONG") == "1" else 1
FIRST_SEED = int(os.environ.get("BURSAR_SEED", "1"))
COMMANDS = {"sqlite": 150, "postgresql": 100}
SECOND = 1_000_000
HOUR = 3_600 * SECOND
STEPS = (0, 0, 0, 0, 1, 700_000, 31 * SECOND, 61 * SECOND, HOUR, 5 * HOUR, 26 * HOUR)
SPENDING = ("settlement", "charge", "refund", "adjustment")


class Move(NamedTuple):
    """One side of one transfer, with what its record is about."""

    log_index: int
    effective_at: int
    account: str
    change: int
    currency: str
    agent: str | None
    run: str | None


class FinanceRun(Run):
    """A book with adjustments, charges and corrections, over some days."""

    timezone = "Africa/Cairo"

    def live(self, commands: int, *, largest_batch: int) -> None:
        """Random batches, with time between them."""
        for one in self.driver.setting_up():
            self.batch([one])
        count = 0
        while count < commands:
            size = self.driver.random.randint(1, largest_batch)
            self.batch(self.driver.batch(size))
            count += size
            self.sources.clock += self.driver.random.choice(STEPS)


class Oracle:
    """The log of a book, read naively."""

    def __init__(self, run: Run) -> None:
        self.timezone = run.timezone
        self.records = [
            (row.log_index, row.effective_at, parse(bytes(row.body))) for row in run.rows("log_records", "log_index")
        ]
        self.recorded = [row.recorded_at for row in run.rows("log_records", "log_index")]
        self.moves = list(self._moves())
        self.paths = {row.name: (*row.path.split("/"), row.name) for row in run.rows("agents", "name")}

    def _moves(self) -> Iterator[Move]:
        for index, effective_at, body in self.records:
            for debit, credit, amount, currency in body.get("transfers", ()):
                for account, change in ((debit, int(amount)), (credit, -int(amount))):
                    yield Move(index, effective_at, account, change, currency, body.get("agent"), body.get("run"))

    def adds(self, scope: Scope, move: Move) -> int:
        """What a move adds to the balance of a scope's statements."""
        account, kind, name = move.account, scope.kind, scope.name
        if kind == "account":
            return move.change if account == name else 0
        if kind == "budget":
            return move.change if account in (f"budgets:{name}:available", f"budgets:{name}:held") else 0
        if kind == "payee":
            return -move.change if account == f"payables:{name}" else 0
        is_money = currency_digits(move.currency) is not None
        if not (account.startswith("expenses:") if is_money else account.endswith(":spent")):
            return 0
        among = {
            "book": True,
            "agent": move.agent == name,
            "team": move.agent is not None and name in self.paths[move.agent],
            "run": move.run == name,
        }
        return move.change if among[kind] else 0

    def balance(self, scope: Scope, before: int, size: int) -> dict[str, int]:
        """The balance, by currency, without zeros."""
        sums: dict[str, int] = {}
        for move in self.moves:
            if move.log_index < size and move.effective_at < before:
                sums[move.currency] = sums.get(move.currency, 0) + self.adds(scope, move)
        return {currency: amount for currency, amount in sums.items() if amount}

    def held(self, size: int) -> dict[str, int]:
        """What all holds hold together."""
        sums: dict[str, int] = {}
        for move in self.moves:
            if move.log_index < size and move.account.endswith(":held"):
                sums[move.currency] = sums.get(move.currency, 0) + move.change
        return {currency: amount for currency, amount in sums.items() if amount}

    def periods(self, chance: random.Random) -> list[Period]:
        """All the days, split at random ones."""
        first = date_at(self.timezone, min(effective_at for _, effective_at, _ in self.records)) - timedelta(days=1)
        last = date_at(self.timezone, self.recorded[-1]) + timedelta(days=1)
        days = (last - first).days
        cuts = sorted({0, days + 1, *(chance.randrange(1, days + 1) for _ in range(chance.randrange(1, 4)))})
        starts = [first + timedelta(days=cut) for cut in cuts]
        return [
            period_of(start, following - timedelta(days=1), self.timezone)
            for start, following in itertools.pairwise(starts)
        ]


def scopes_of(run: Run) -> list[Scope]:
    """Everything that a statement may be of."""
    found = [Scope("book")]
    found += [Scope("budget", row.name) for row in run.rows("budgets", "name")]
    found += [Scope(row.kind, row.name) for row in run.rows("agents", "name")]
    found += [Scope("team", row.name) for row in run.rows("agents", "name") if row.kind == "agent"]
    found += [Scope("payee", row.name) for row in run.rows("names", "name") if row.kind == "payee"]
    found += [Scope("run", row.run) for row in run.rows("spend_lines", "log_index") if row.run is not None]
    found += [parse_scope(f"account:{row.name}") for row in run.rows("accounts", "name")]
    return sorted(set(found))


def nonzero(balances: Any) -> dict[str, int]:
    """Without what is zero."""
    return {currency: amount for currency, amount in balances.items() if amount}


def check_splits(run: Run, statements: Statements, oracle: Oracle, chance: random.Random) -> None:
    """Of some scopes: each part of a split adds up, and begins where the one before ended."""
    scopes = scopes_of(run)
    several = [Scope("book")] * 3 + [Scope("team", "t0")] * 2
    for scope in [*several, *chance.sample(scopes, min(len(scopes), 4))]:
        size = chance.choice((len(oracle.records), chance.randrange(60, len(oracle.records))))
        before: Statement | None = None
        for period in oracle.periods(chance):
            try:
                made = statements.make(run.book_id, scope, period.text, at_size=size)
            except ScopeNotFound:
                break
            lines = list(made.lines())
            assert lines == sorted(lines, key=lambda line: (line.effective_at, line.log_index, line.position))
            assert all(period.starts_at <= line.effective_at < period.ends_at for line in lines)
            assert nonzero(made.opening) == oracle.balance(scope, period.starts_at, size), (scope, period, size)
            assert nonzero(made.closing) == oracle.balance(scope, period.ends_at, size), (scope, period, size)
            if before is not None:
                assert nonzero(before.closing) == nonzero(made.opening)
            before = made


def check_parts(run: Run, statements: Statements, oracle: Oracle) -> None:
    """Every way to divide what was spent gives the same whole: the trial balance's expenses."""
    first = period_of(
        oracle.periods(random.Random(0))[0].first, oracle.periods(random.Random(0))[-1].last, run.timezone
    )
    made = statements.make(run.book_id, Scope("book"), first.text)
    totals = made.totals()
    accounts = run.rows("accounts", "name")
    spent: dict[str, int] = {}
    for row in accounts:
        is_money = currency_digits(row.currency) is not None
        if row.name.startswith("expenses:") if is_money else row.role == "spent":
            spent[row.currency] = spent.get(row.currency, 0) + row.balance
    assert nonzero(made.closing) == nonzero(spent)
    for part in (totals.by_agent, totals.by_payee, totals.by_category):
        summed: dict[str, int] = {}
        for (_, currency), found in part.items():
            summed[currency] = summed.get(currency, 0) + found.amount
        assert nonzero(summed) == nonzero(spent)
    by_day: dict[str, int] = {}
    by_budget: dict[tuple[str, str], int] = {}
    for row in run.rows("spend_days", "day"):
        by_day[row.currency] = by_day.get(row.currency, 0) + row.amount
        key = (row.budget, row.currency)
        by_budget[key] = by_budget.get(key, 0) + row.spent
    assert nonzero(by_day) == nonzero(spent)
    for row in accounts:
        if row.role == "spent":
            assert by_budget.get((row.name.split(":")[1], row.currency), 0) == row.balance
    starts = {row.day: row for row in run.rows("spend_days", "day")}
    for line in made.lines():
        assert day_start(run.timezone, line.day) <= line.effective_at
        assert not starts or min(starts) <= line.day.toordinal() - 719_163


def take(run: Run, statements: Statements, chance: random.Random) -> tuple[Scope, str, int, bytes] | None:
    """A statement of something, as it is now."""
    scopes = scopes_of(run)
    scope, period = chance.choice(scopes), chance.choice(("2026", "2026-Q4", "2026-10-25", "2026-11", "2026-11-02"))
    made = statements.make(run.book_id, scope, period)
    return scope, period, made.log.size, b"".join(write_json(made))


def live(run: Any, statements: Statements, chance: random.Random, commands: int) -> list[Any]:
    """Let the book live, and take statements meanwhile."""
    taken = []
    plain = run.batch

    def batch(asked: list[Any]) -> None:
        plain(asked)
        if run.driver.made > 80 and chance.random() < 0.2:
            taken.append(take(run, statements, chance))

    run.batch = batch
    run.live(commands, largest_batch=6)
    return taken


@pytest.mark.parametrize("kind", ["finance", "policies"])
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + LONGER))
def test_statements_agree_with_the_log(
    database_url: str, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random book, and everything that the module says."""
    migrate.upgrade(database_url)
    sources = ControlledSources()
    settings = AuthorizerSettings(clock_jump_seconds=10.0**9)
    authorizers = [Authorizer(database_url, sources=sources, settings=settings) for _ in range(2)]
    for one in authorizers:
        one.start()
    engine, side = create_engine(database_url), SideWriter(database_url)
    statements, chance = Statements(engine, side), random.Random(seed)
    try:
        if kind == "policies":
            run: Run = PolicyRun(database_url, engine, authorizers, seed=seed, sources=sources, backlog=False)
        else:
            run = FinanceRun(database_url, engine, authorizers, sources, seed, backlog=False)
        taken = live(run, statements, chance, COMMANDS[engine.dialect.name] * LONGER)
        assert taken
        oracle = Oracle(run)
        for scope, period, size, said in taken:
            again = statements.make(run.book_id, scope, period, at_size=size)
            assert b"".join(write_json(again)) == said, (scope, period, size)
        for later_max in (queries_spend.LATER_MAX, 3):
            # A long log is read in another way than a short one.
            monkeypatch.setattr(queries_spend, "LATER_MAX", later_max)
            check_splits(run, statements, oracle, chance)
        check_parts(run, statements, oracle)
        for size in chance.sample(range(30, len(oracle.records)), 12):
            made = statements.make(run.book_id, Scope("book"), "2026", at_size=size)
            assert dict(made.held) == dict(sorted(oracle.held(size).items())), size
            assert len(list(made.holds())) == len({hold.authorization for hold in made.holds()})
        check_rebuilt(run, statements.liner)
        (report,) = verify_books(database_url, book=f"b{seed}")
        assert report.verified, [difference.sentence() for difference in report.differences]
    finally:
        for one in authorizers:
            one.stop(deadline_seconds=10)
        side.close()
        engine.dispose()


def check_rebuilt(run: Run, liner: Liner) -> None:
    """Taken away and made again, in other stretches, every row is what it was."""
    tables = {"spend_lines": "log_index, position", "spend_holds": "ended_index"}
    days = "day, agent, budget, category, payee, currency"
    before = {name: run.rows(name, order) for name, order in (tables | {"spend_days": days}).items()}
    liner.rebuild(run.book_id)
    with run.engine.connect() as connection:
        size = connection.execute(
            text("SELECT size FROM book_heads WHERE book_id = :book"), {"book": run.book_id}
        ).scalar_one()
    while liner.advance(run.book_id, limit=17):
        continue
    liner.catch_up(run.book_id, size)
    assert before == {name: run.rows(name, order) for name, order in (tables | {"spend_days": days}).items()}
    assert before["spend_lines"]
