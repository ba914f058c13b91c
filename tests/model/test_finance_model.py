"""All that finance can do, at random and mixed: after every batch the books balance, and the fold finds nothing.

Held after every batch: authority and money net to zero in every currency; no overdraft is unexplained; the fold over
the records, written from the rules and not from the code that decided, notes no difference; the lines of statements add
up to the accounts; nothing that was recorded behind a closing counts for its month; what was refunded in full leaves
nothing in either currency. ``BURSAR_LONG=1`` makes it ten times longer; a failure says the seed.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from ledger.core.canonical import parse
from ledger.core.changeset import row_of
from ledger.core.deriving import Clock, columns_of
from ledger.core.exchange import asked_side
from ledger.core.invariants import (
    held_equals_open_holds,
    overdrafts_explained,
    sorts_net_to_zero,
    spent_equals_expense,
)
from ledger.core.money import currency_digits
from ledger.core.projecting import Fold
from ledger.core.spend_line import Origin, SpendLine, lines_of
from ledger.core.splits import splits_of
from tests.core.test_projecting import FOLDED
from tests.model.finance_driver import FinanceDriver
from tests.support.memory_rows import MemoryStore

IS_LONG = os.environ.get("BURSAR_LONG") == "1"
FIRST_SEED = int(os.environ.get("BURSAR_SEED", "2"))
BOOKS, STEPS = (60, 400) if IS_LONG else (4, 80)
DONE = frozenset(
    "authorize settle extend release charge refund reprice adjust reverse set_correction_rule approve_correction "
    "refuse_correction give_rates record_invoice void_invoice record_payment reverse_payment set_payee take_over "
    "close_period request_reopening approve_reopening explain deallocate".split()
)
ANSWERED = frozenset("pending_approval not_an_approver no_rate rate_needed period_out_of_order replayed".split())
NOTHING = Origin(0, None, None, None)


class Watch:
    """Follows a ledger record by record, and says what does not hold."""

    def __init__(self, driver: FinanceDriver) -> None:
        self.ledger = driver.ledger
        self.store = MemoryStore()
        self.fold, self.clock = Fold(1, self.store), Clock()
        self.bodies: list[dict[str, Any]] = []
        self.lines: list[SpendLine] = []

    def follow(self) -> None:
        """Take in what is new, and look at everything."""
        records = self.ledger.tables["log_records"]
        for index in range(len(self.bodies), self.ledger.head.size):
            body = parse(records[1, index].body)
            columns = columns_of(body, self.clock)
            self.fold.apply(body, columns)
            assert self.fold.differences == [], (body, self.fold.differences)
            self.bodies.append(body)
            self.lines += lines_of(1, index, body, columns, origin=NOTHING, corrects=None)
        self.books_balance()
        self.lines_add_up()
        self.months_stay()
        self.refunds_leave_nothing()

    def books_balance(self) -> None:
        """The named invariants."""
        accounts = self.ledger.rows("accounts")
        held = [(row.budget, row.currency, row.held) for row in self.ledger.rows("authorizations")]
        assert sorts_net_to_zero(accounts) == []
        assert held_equals_open_holds(accounts, held) == []
        assert overdrafts_explained(accounts, lambda index: self.bodies[index]) == []
        assert spent_equals_expense(accounts, self.fold.adjusted) == []

    def lines_add_up(self) -> None:
        """To expenses, what budgets spent and may still spend, and what payees are owed, in every currency."""
        expected: Counter[tuple[str, str, str]] = Counter()
        found: Counter[tuple[str, str, str]] = Counter()
        for row in self.ledger.rows("accounts"):
            head, _, rest = row.name.partition(":")
            budget, _, role = rest.rpartition(":")
            if head == "expenses":
                expected["amount", "", row.currency] += row.balance
            elif head == "budgets":
                expected["spent" if role == "spent" else "authority", budget, row.currency] += row.balance
                if role == "spent" and currency_digits(row.currency) is None:
                    expected["amount", "", row.currency] += row.balance
            elif head == "payables" or row.name.startswith("assets:prepaid:"):
                expected["owed", rest.removeprefix("prepaid:"), row.currency] -= row.balance
        for line in self.lines:
            found["amount", "", line.currency] += line.amount
            found["spent", line.budget or "", line.currency] += line.spent
            found["authority", line.budget or "", line.currency] += line.authority
            found["owed", line.payee or "", line.currency] += line.owed
        assert {key: sum_ for key, sum_ in found.items() if sum_} == {
            key: sum_ for key, sum_ in expected.items() if sum_
        }
        assert len({(line.log_index, line.position) for line in self.lines}) == len(self.lines)

    def months_stay(self) -> None:
        """What is recorded behind the size of a closing counts for a later month."""
        for month in self.ledger.rows("periods"):
            if month.state == "closed":
                late = [line for line in self.lines if line.log_index >= month.size]
                assert not [line for line in late if month.starts_at <= line.effective_at < month.ends_at]

    def refunds_leave_nothing(self) -> None:
        """A pair of category and payee that was refunded in full has nothing left in the budget's currency."""
        for row in self.ledger.rows("authorizations"):
            left = {one[:2]: one.settled - one.refunded for one in splits_of(row)}
            assert min(left.values(), default=0) >= 0, row
            assert sum(left.values()) == row.settled + row.repriced - row.refunded, row
            for one in splits_of(asked_side(row)):
                assert one.settled > one.refunded or not left[one[:2]], row

    def compare(self) -> None:
        """Every row is the one that the fold makes."""
        for name in FOLDED:
            made = sorted(map(_columns, getattr(self.store, name).rows.values()))
            assert made == sorted(map(_columns, self.ledger.rows(name))), name


def _columns(entity: Any) -> str:
    return repr(entity if isinstance(entity, tuple) else row_of(entity))


@pytest.mark.timeout(1200)
def test_whatever_finance_does_the_books_balance() -> None:
    """And it did enough of everything to say something."""
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + BOOKS):
        driver = FinanceDriver(seed)
        watch = Watch(driver)
        try:
            watch.follow()
            for _ in range(STEPS):
                driver.step()
                watch.follow()
            watch.compare()
        except AssertionError as error:
            raise AssertionError(f"BURSAR_SEED={seed}: {error}\n{driver.said[-4:]}") from error
        seen.update(driver.statuses)
    if "BURSAR_SEED" in os.environ:
        return
    done = {operation for (operation, status) in seen if status in ("done", "approved")}
    assert done >= DONE, DONE - done
    answered = {status for _, status in seen}
    assert answered >= ANSWERED, ANSWERED - answered
