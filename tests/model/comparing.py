"""One book, driven through the ledger and the naive model at once, and compared: after each command, and as a whole."""

from __future__ import annotations

import threading
from collections import deque
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, text

from ledger.core import command as c
from ledger.core.authorization import flag_names
from ledger.core.canonical import parse
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.moment import moment_of
from ledger.services.authorizer import Authorizer
from ledger.services.books import open_new_book
from ledger.services.sources import Sources, parse_key
from tests.model.driver import Driver
from tests.model.naive import NaiveBook
from tests.model.naive_parts import SCALES, Answer

COMPARE_EVERY = 100
START = moment_of("2026-11-02T09:00:00Z")
ROLES = ("available", "held", "spent")


class ControlledSources(Sources):
    """A clock that the test moves, and that never seems to jump."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = START

    def now_us(self) -> int:
        """The test's clock."""
        return self.clock

    def decision_time(self, clock_us: int) -> int:
        """The test's clock, whatever the database's says."""
        return self.clock

    def elapsed_us(self) -> int:
        """As much as the test let pass."""
        return self.clock


class Run:
    """One book, driven and compared."""

    timezone = "UTC"
    driver_of: type[Driver] = Driver

    def __init__(
        self,
        url: str,
        engine: Engine,
        authorizers: list[Authorizer],
        sources: ControlledSources,
        seed: int,
        *,
        backlog: bool,
    ) -> None:
        self.engine, self.authorizers, self.sources, self.seed = engine, authorizers, sources, seed
        opened = open_new_book(url, name=f"b{seed}", currency="USD", timezone=self.timezone, sources=sources)
        self.book_id = opened.book.book_id
        admin = parse_key(opened.admin_key)
        assert admin is not None
        self.model = NaiveBook(opened_at=opened.book.opened_at, admin=admin.digest, timezone=self.timezone)
        self.driver = self.driver_of(seed, self.model, admin.digest)
        self.last: deque[Any] = deque(maxlen=8)
        self.backlog = backlog
        self.log_indexes: dict[int, int] = {}
        self.statuses: dict[str, int] = {}

    def submit(self, commands: list[Any]) -> list[Any]:
        """Hand in one batch and wait for its results."""
        done, kept = threading.Event(), []
        which = self.authorizers[0 if self.driver.random.random() < 0.8 else 1]
        which.submit(self.book_id, commands, lambda results: (kept.extend(results), done.set()))
        assert done.wait(60), "no answer"
        return kept

    def batch(self, commands: list[Any]) -> None:
        """One batch through both, compared."""
        self.model.begin(self.sources.clock)
        for asked, outcome in zip(commands, self.submit(commands), strict=True):
            answer = self.model.decide(asked)
            self.last.append((asked, answer, outcome))
            assert not isinstance(outcome, Exception), outcome
            assert outcome.status.value == answer.status
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            self.compare(answer, outcome)

    def compare(self, answer: Answer, outcome: Any) -> None:
        """The record of a command: accounts touched, balances afterwards, or the record it repeats."""
        body = outcome.body or {}
        if answer.first is not None:
            assert outcome.log_index == self.log_indexes[answer.first]
            assert body.get("authorization") == answer.subject
            return
        if body:
            self.log_indexes[self.model.commands] = outcome.log_index
            if self.backlog:
                # What is due ends in a later batch than the model's, so balances are compared once it has.
                return
            assert outcome.log_index == self.model.records - 1 - answer.followed
        if answer.subject is not None:
            assert body["authorization"] == answer.subject
        touched: dict[tuple[str, str], Decimal] = {}
        for debit, credit, atoms, currency in body.get("transfers", ()):
            amount = self.amount(int(atoms), currency)
            for account, change in ((debit, amount), (credit, -amount)):
                touched[account, currency] = touched.get((account, currency), Decimal(0)) + change
        assert touched == answer.delta
        if answer.budget is not None and answer.delta:
            said = body["budget"]
            currency = self.model.budgets[answer.budget]["currency"]
            assert said["name"] == answer.budget
            for role in ROLES:
                balance = self.model.balance(f"budgets:{answer.budget}:{role}", currency)
                assert self.amount(int(said[role]), currency) == balance

    def amount(self, atoms: int, currency: str) -> Decimal:
        """Atoms as a number of units."""
        digits = self.model.digits(currency)
        assert digits is not None
        return Decimal(atoms).scaleb(-digits)

    def rows(self, table: str, order: str) -> list[Any]:
        """The book's rows of a table."""
        with self.engine.connect() as connection:
            query = f"SELECT * FROM {table} WHERE book_id = :book ORDER BY {order}"
            return list(connection.execute(text(query), {"book": self.book_id}))

    def compare_all(self) -> None:
        """The whole state of both, and the invariants."""
        accounts = self.rows("accounts", "account_no")
        stored = {(row.name, row.currency): self.amount(row.balance, row.currency) for row in accounts}
        expected = {key: self.model.balance(*key) for key in self.model.postings}
        assert {key: value for key, value in stored.items() if value} == {k: v for k, v in expected.items() if v}
        for row in self.rows("authorizations", "id"):
            self.compare_authorization(row)
        totals = {(row.run, row.currency): row for row in self.rows("run_totals", "run, currency")}
        for (run, currency), row in totals.items():
            said = {
                "held": self.amount(row.held, currency),
                "spent": self.amount(row.spent, currency),
                "approved": row.approved_count,
                "denied": row.denied_count,
            }
            assert said == self.model.run_total(run, currency), run
        counted = {(hold.run, hold.currency) for hold in self.model.holds.values() if hold.counts}
        assert set(totals) == counted
        assert len(self.rows("authorizations", "id")) == len(self.model.holds)
        self.check_invariants(accounts)

    def compare_authorization(self, row: Any) -> None:
        """One row of ``authorizations`` against the model's list of events."""
        hold = self.model.holds[row.id]
        facts = hold.facts()
        said = {
            name: self.amount(getattr(row, name), row.currency)
            for name in ("approved", "held", "settled", "refunded", "repriced")
        }
        said |= {"state": row.state, "flags": set(flag_names(row.flags))}
        assert said == facts, row.id
        assert (row.expires_at, row.due_at) == (hold.expires, hold.due), row.id
        assert (row.agent, row.budget, row.run, row.currency) == (hold.agent, hold.budget, hold.run, hold.currency)
        assert tuple(map(tuple, parse(row.metering or "[]"))) == hold.metering, row.id
        pairs = hold.pairs()
        if row.splits is not None:
            kept = {
                (one[0], one[1]): tuple(self.amount(int(n), row.currency) for n in one[2:]) for one in parse(row.splits)
            }
            assert kept == pairs
        elif pairs:
            assert pairs == {
                (row.settled_category, row.settled_payee): (facts["settled"] + facts["repriced"], facts["refunded"])
            }

    def check_invariants(self, accounts: list[Any]) -> None:
        """What holds of all books, checked on the rows and nothing else."""
        sums: dict[tuple[bool, str], int] = {}
        for row in accounts:
            sort = (row.kind == "budgetary", row.currency)
            sums[sort] = sums.get(sort, 0) + row.balance
            assert row.role != "available" or (row.balance < 0) == (row.overdrawn_index is not None)
        assert not any(sums.values()), "each sort nets to zero per currency"
        holds = self.rows("authorizations", "id")
        for row in accounts:
            if row.role == "held":
                budget = row.name.split(":")[1]
                assert row.balance == sum(one.held for one in holds if one.budget == budget)
        records = self.rows("log_records", "log_index")
        self.check_log(records, accounts)
        by_number = {row.account_no: row for row in accounts}
        folded: dict[int, int] = {}
        spent: dict[tuple[str, str], int] = {}
        for moved in self.rows("transfers", "log_index, position"):
            for number, change, after in (
                (moved.debit_no, moved.amount, moved.debit_balance),
                (moved.credit_no, -moved.amount, moved.credit_balance),
            ):
                folded[number] = folded.get(number, 0) + change
                assert folded[number] == after, "a transfer stores the balances after it"
                if records[moved.log_index].kind != "adjustment" and moved.currency in SCALES:
                    row = by_number[number]
                    side = row.role if row.role == "spent" else row.kind
                    spent[side, moved.currency] = spent.get((side, moved.currency), 0) + change
        assert all(folded.get(row.account_no, 0) == row.balance for row in accounts), "a balance is its transfers' fold"
        for currency in SCALES:
            sides = [spent.get((side, currency), 0) for side in ("spent", "expense", "liability")]
            assert sides[0] == sides[1] == -sides[2], "spent is expense, but for adjustments"

    def check_log(self, records: list[Any], accounts: list[Any]) -> None:
        """Indexes without a gap, times that never run backwards, leaves, root and frontier."""
        assert [row.log_index for row in records] == list(range(self.model.records))
        times = [row.recorded_at for row in records]
        assert times == sorted(times)
        assert times[-1] == self.model.recorded_at
        frontier = Frontier()
        for row in records:
            assert leaf_hash(bytes(row.body)) == bytes(row.leaf_hash)
            frontier.append(bytes(row.leaf_hash))
        (head,) = self.rows("book_heads", "book_id")
        assert (head.size, bytes(head.root), bytes(head.frontier)) == (
            len(records),
            frontier.root(),
            frontier.to_bytes(),
        )
        assert head.account_count == len(accounts)

    def go(self, commands: int, largest_batch: int) -> None:
        """Set up, then random batches, the clock moving between them."""
        for one in self.driver.setting_up():
            self.batch([one])
        count, compared = 0, 0
        while count < commands:
            size = self.driver.random.randint(1, largest_batch)
            self.batch(self.driver.batch(size))
            count += size
            self.sources.clock += self.driver.random.choice((0, 1, 700_000, 5_000_000, 20_000_000, 61_000_000))
            if self.driver.random.random() < 0.03:
                self.sources.clock -= 30_000_000
            if count - compared >= COMPARE_EVERY:
                self.settle_backlog()
                self.compare_all()
                compared = count
        self.settle_backlog()
        self.compare_all()

    def settle_backlog(self) -> None:
        """Let what is due end, in as many batches as it takes, before the whole is compared."""
        while True:
            (head,) = self.rows("book_heads", "book_id")
            self.model.begin(self.sources.clock)
            self.submit([c.ExpireDue(caller=c.Caller(None))])
            (after,) = self.rows("book_heads", "book_id")
            if after.size == head.size:
                return
