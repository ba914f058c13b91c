"""Each invariant finds what it names, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger.core import invariants
from ledger.core.account import Account, classify
from ledger.core.invariants import Difference


def account(number: int, name: str, balance: int, currency: str = "USD", overdrawn: int | None = None) -> Account:
    """A row with the kind and role that its name gives."""
    classified = classify(name)
    assert classified is not None
    return Account(1, number, name, currency, *classified, balance, overdrawn, 0, 0)


AVAILABLE, HELD, SPENT = (f"budgets:b:{role}" for role in ("available", "held", "spent"))
BOOK = [
    account(0, "authority", -100),
    account(1, AVAILABLE, 60),
    account(2, HELD, 30),
    account(3, SPENT, 10),
    account(4, "expenses:inference", 10),
    account(5, "payables:openai", -10),
    account(6, "budgets:t:spent", 7, "tokens"),
    account(7, "authority", -7, "tokens"),
]
HOLDS = [("b", "USD", 10), ("b", "USD", 20)]
TRANSFERS = [(3, 0, 1, 0, 100, 100, -100), (4, 0, 2, 1, 30, 30, 70)]
OVERRUN = {"kind": "settlement", "flags": ["overrun"]}


def changed(number: int, **fields: Any) -> list[Account]:
    """The book with one account changed."""
    rows = [Account(*(getattr(row, slot) for slot in Account.__slots__)) for row in BOOK]
    for field, value in fields.items():
        setattr(rows[number], field, value)
    return rows


def test_a_right_book_has_no_differences() -> None:
    """So that what is found below is due to the one change."""
    assert invariants.sorts_net_to_zero(BOOK) == []
    assert invariants.held_equals_open_holds(BOOK, HOLDS) == []
    assert invariants.overdrafts_explained(BOOK, lambda index: {}) == []
    assert invariants.spent_equals_expense(BOOK, {}) == []
    assert invariants.record_follows(index=3, next_index=3, recorded_at=5, last_recorded_at=5) == []


WRONG: tuple[tuple[str, Callable[[], list[Difference]], str, str], ...] = (
    ("sorts_net_to_zero", lambda: invariants.sorts_net_to_zero(changed(1, balance=61)), "0", "1"),
    ("sorts_net_to_zero", lambda: invariants.sorts_net_to_zero(changed(4, balance=9)), "0", "-1"),
    ("held_equals_open_holds", lambda: invariants.held_equals_open_holds(BOOK, HOLDS[:1]), "10", "30"),
    ("held_equals_open_holds", lambda: invariants.held_equals_open_holds(BOOK, [*HOLDS, ("x", "USD", 1)]), "1", "0"),
    ("held_equals_open_holds", lambda: invariants.held_equals_open_holds(BOOK, [*HOLDS, ("b", "EUR", 2)]), "2", "0"),
    ("overdrafts_explained", lambda: invariants.overdrafts_explained(changed(1, balance=-1), lambda _: OVERRUN),
     "0 or more", "-1"),
    ("overdrafts_explained",
     lambda: invariants.overdrafts_explained(changed(1, balance=-1, overdrawn_index=4), lambda _: {"kind": "hold"}),
     "0 or more", "-1"),
    ("spent_equals_expense", lambda: invariants.spent_equals_expense(changed(3, balance=11), {}), "10", "11"),
    ("spent_equals_expense", lambda: invariants.spent_equals_expense(BOOK, {"USD": (0, 4)}), "6", "10"),
    ("balances_fold_transfers",
     lambda: invariants.balances_fold_transfers([], [(*TRANSFERS[0][:5], 101, -100)]), "100", "101"),
    ("balances_fold_transfers",
     lambda: invariants.balances_fold_transfers([], [TRANSFERS[0], (*TRANSFERS[1][:6], 71)]), "70", "71"),
    ("balances_fold_transfers", lambda: invariants.balances_fold_transfers(BOOK[2:3], TRANSFERS[:1]), "0", "30"),
    ("times_never_run_backwards",
     lambda: invariants.record_follows(index=3, next_index=3, recorded_at=4, last_recorded_at=5), "5 or later", "4"),
)  # fmt: skip


@pytest.mark.parametrize(("check", "find", "expected", "found"), WRONG)
def test_what_is_wrong_is_named(check: str, find: Callable[[], list[Difference]], expected: str, found: str) -> None:
    """One difference, under the invariant's name, with both values."""
    assert [(one.check, one.expected, one.found) for one in find()] == [(check, expected, found)]
    assert check in invariants.NAMES


def test_a_gap_names_every_missing_index() -> None:
    """One, or a range."""
    one = invariants.record_follows(index=4, next_index=3, recorded_at=5, last_recorded_at=5)
    several = invariants.record_follows(index=9, next_index=3, recorded_at=5, last_recorded_at=5)
    assert [(found.what, found.log_index) for found in one + several] == [("missing: 3", 3), ("missing: 3 to 8", 3)]


def test_an_overdraft_that_a_record_explains_is_none() -> None:
    """Overrun, late and unauthorized spend explain, at a corrected price too; nothing else does."""
    rows = changed(1, balance=-1, overdrawn_index=4)
    for kind, flag, explained in (
        ("settlement", "overrun", True),
        ("settlement", "late", True),
        ("charge", "unauthorized", True),
        ("settlement", "mismatch", False),
        ("adjustment", "overrun", False),
        ("reprice", "overrun", True),
        ("reprice", "repriced", False),
    ):
        body = {"kind": kind, "flags": [flag]}
        if kind == "reprice":
            body |= {"kind": "adjustment", "reprice": {}}
        assert (invariants.overdrafts_explained(rows, lambda _, body=body: body) == []) is explained


def test_what_adjustments_moved_is_taken_out() -> None:
    """An adjustment may tell spent and expenses apart, by as much as it says."""
    assert invariants.spent_equals_expense(changed(3, balance=12), {"USD": (2, 0)}) == []
    assert invariants.spent_equals_expense(changed(4, balance=13), {"USD": (0, 3)}) == []
