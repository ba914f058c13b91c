"""The fold against the core that decided: two pieces of code that share the rules on paper and nothing else."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes
from ledger.core.changeset import TABLES, row_of
from ledger.core.command import Adjust, AdjustmentTransfer, Charge
from ledger.core.deriving import Clock, columns_of, read_body
from ledger.core.invariants import (
    Difference,
    balances_fold_transfers,
    held_equals_open_holds,
    overdrafts_explained,
    sorts_net_to_zero,
    spent_equals_expense,
)
from ledger.core.journal import KINDS
from ledger.core.projecting import HANDLERS, Fold
from tests.support.every_kind import play
from tests.support.ledger import Ledger
from tests.support.memory_rows import TABLES as FOLDED
from tests.support.memory_rows import MemoryStore


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """A book with a record of every kind."""
    made = Ledger()
    play(made)
    return made


def folded(bodies: list[dict[str, Any]]) -> tuple[Fold, MemoryStore, list[tuple[Any, ...]]]:
    """The fold over bodies, its rows, and its transfers."""
    store = MemoryStore()
    fold = Fold(1, store)
    clock = Clock()
    transfers: list[tuple[Any, ...]] = []
    for body in bodies:
        transfers += fold.apply(body, columns_of(body, clock))
    return fold, store, transfers


def test_the_story_has_every_kind_and_the_fold_follows_every_kind(ledger: Ledger) -> None:
    """Otherwise the tests below would leave something out in silence."""
    assert {body["kind"] for body in ledger.bodies()} == set(KINDS) == set(HANDLERS)


def columns(entity: Any) -> str:
    """The columns of an entity, to be sorted and compared."""
    return repr(entity if isinstance(entity, tuple) else row_of(entity))


def test_every_row_is_the_one_that_the_core_wrote(ledger: Ledger) -> None:
    """Table by table, column by column."""
    fold, store, transfers = folded(ledger.bodies())
    assert fold.differences == []
    for name in FOLDED:
        made = sorted(map(columns, getattr(store, name).rows.values()))
        assert made == sorted(map(columns, ledger.rows(name))), name
    assert transfers == [tuple(row[1:]) for row in ledger.rows("transfers")]
    assert fold.book == ledger.book
    head = ledger.head
    assert (fold.size, fold.recorded_at, fold.account_count) == (head.size, head.recorded_at, head.account_count)
    assert fold.frozen == head.frozen


def test_columns_derive_from_bodies(ledger: Ledger) -> None:
    """What stands beside a body is what the body gives."""
    for record in ledger.rows("log_records"):
        body = read_body(record.body)
        assert columns_of(body, Clock()) == (record.kind, record.subject, record.recorded_at, record.effective_at)


def test_every_table_is_folded_or_beside_the_log() -> None:
    """A new projection must be folded too."""
    projections = {spec.name for spec in TABLES if spec.sort == "projection"}
    assert projections == {*FOLDED, "books", "book_heads", "transfers"}


def test_the_invariants_hold_over_the_story(ledger: Ledger) -> None:
    """And each looks at something: the story overdraws, adjusts and holds."""
    fold, _, transfers = folded(ledger.bodies())
    accounts = ledger.rows("accounts")
    bodies = ledger.bodies()
    holds = [(row.budget, row.currency, row.held) for row in ledger.rows("authorizations")]
    moved = [(row[0], row[1], row[2], row[3], row[5], row[6], row[7]) for row in transfers]
    assert sorts_net_to_zero(accounts) == []
    assert held_equals_open_holds(accounts, holds) == []
    assert overdrafts_explained(accounts, lambda index: bodies[index]) == []
    assert spent_equals_expense(accounts, fold.adjusted) == []
    assert balances_fold_transfers(accounts, moved) == []
    assert any(row.role == "available" and row.balance < 0 for row in accounts)
    assert any(held for _, _, held in holds)
    assert fold.adjusted


FIRST_HOLD = "the first hold"
"""Stands for the id of the authorization that the story begins with, which has ended."""


def name_of(body: dict[str, Any]) -> str:
    """The kind of a record, apart from which there are holds that were marked, and prices that were corrected."""
    if body["kind"] == "expiry" and "by" in body:
        return "marked"
    return "reprice" if "reprice" in body else str(body["kind"])


CHANGES = (
    ("hold", ("by", "principal"), "agent:reader"),
    ("hold", ("by", "key"), "key_00000000000000000000000000"),
    ("allocation", ("by",), {"principal": "person:owner"}),
    ("allocation", ("request", "operation"), "settled"),
    ("charge", ("effective_at",), "2026-11-02T09:00:02.000000Z"),
    ("unit", ("digits",), 1),
    ("approval_requested", ("approvals", 0, "approvers"), '["person:quinn"]'),
    ("approval_requested", ("approvals", 0, "quorum"), 1),
    ("approval_requested", ("approvals", 0, "rule"), "boss"),
    ("approval_requested", ("approvals", 0, "policy"), "house"),
    ("approval_requested", ("approvals", 0, "id"), "apr_00000000000000000000000000"),
    ("hold", ("approved",), "1"),
    ("hold", ("amount",), "1"),
    ("hold", ("request", "amount"), "1"),
    ("hold", ("expires_at",), "2026-11-02T10:00:00.000000Z"),
    ("hold", ("budget", "available"), "1"),
    ("hold", ("budget", "held"), "1"),
    ("hold", ("transfers", 0, 2), "1"),
    ("hold", ("agent",), "reader"),
    ("hold", ("state",), "settled"),
    ("hold", ("decision", "outcome"), "denied"),
    ("hold", ("idempotency", 1), "0" * 64),
    ("hold", ("decision", "limits", 0, 5), "1"),
    ("hold", ("decision", "limits", 0, 6), 1),
    ("hold", ("decision", "policies", 0, 1), 9),
    ("hold", ("decision", "rules", 0, 1), "deny"),
    ("denial", ("decision", "outcome"), "approved"),
    ("denial", ("decision", "reasons", 0, "code"), "insufficient_budget"),
    ("denial", ("transfers",), [["expenses:a", "payables:b", "1", "USD"]]),
    ("denial", ("budget", "spent"), "9"),
    ("extension", ("amount",), "1"),
    ("extension", ("previous",), 1),
    ("extension", ("approved",), "1"),
    ("settlement", ("amount",), "1"),
    ("settlement", ("category",), "other"),
    ("settlement", ("payee",), "other"),
    ("settlement", ("flags",), ["late"]),
    ("settlement", ("settled",), "1"),
    ("settlement", ("held",), "1"),
    ("settlement", ("transfers", 0, 1), "budgets:research:available"),
    ("release", ("amount",), "1"),
    ("release", ("state",), "expired"),
    ("expiry", ("amount",), "1"),
    ("expiry", ("time",), "2026-11-02T09:00:00.000000Z"),
    ("refund", ("amount",), "1"),
    ("refund", ("refunded",), "1"),
    ("charge", ("amount",), "1"),
    ("charge", ("flags",), ["overrun"]),
    ("allocation", ("amount",), "1"),
    ("allocation", ("budget", "available"), "1"),
    ("deallocation", ("parent", "available"), "1"),
    ("adjustment", ("transfers", 0, 2), "1"),
    ("settlement", ("request", "metering"), [["model", "gpt"], ["input", "1"]]),
    ("settlement", ("request", "flags"), ["overrun"]),
    ("settlement", ("request", "flags"), ["unpriced", "estimated"]),
    ("settlement", ("request", "flags"), ["estimated"]),
    ("marked", ("flags",), []),
    ("marked", ("held",), "0"),
    ("marked", ("amount",), "1"),
    ("marked", ("on_expiry",), "release"),
    ("marked", ("authorization",), FIRST_HOLD),
    ("reprice", ("reprice", "settled"), "1"),
    ("reprice", ("reprice", "amount"), "1"),
    ("reprice", ("reprice", "difference"), "1"),
    ("reprice", ("reprice", "new_price"), []),
    ("reprice", ("reprice", "old_price"), [["b", "1"], ["a", "1"]]),
    ("reprice", ("request", "amount"), "1"),
    ("reprice", ("category",), "search"),
    ("reprice", ("flags",), ["repriced"]),
    ("reprice", ("repriced",), "1"),
    ("reprice", ("previous",), 1),
    ("reprice", ("budget", "spent"), "1"),
    ("reprice", ("transfers", 0, 2), "1"),
    ("reprice", ("transfers",), []),
    ("renewal", ("lapsed",), "1"),
    ("renewal", ("carried",), "1"),
    ("renewal", ("allocated",), "1"),
    ("renewal", ("short",), "1"),
    ("renewal", ("amount",), "1"),
    ("renewal", ("every",), "month"),
    ("renewal", ("period", "from"), "2026-11-02T23:00:00.000000Z"),
    ("renewal", ("budget", "available"), "1"),
    ("renewal", ("parent", "available"), "1"),
    ("renewal", ("transfers",), []),
    ("renewal", ("time",), "2026-11-02T09:00:00.000000Z"),
    ("budget_renewal", ("next_at",), "2026-11-05T23:00:00.000000Z"),
    ("budget_renewal", ("every",), "month"),
    ("budget_renewal", ("id",), "bud_0"),
    ("budget_closure", ("amount",), "1"),
    ("budget_closure", ("parent", "available"), "1"),
    ("budget_freeze", ("frozen",), False),
    ("budget_freeze", ("id",), "bud_0"),
    ("budget_unfreeze", ("frozen",), True),
    ("book_freeze", ("frozen",), False),
    ("book_unfreeze", ("frozen",), True),
    ("freeze", ("frozen",), False),
    ("unfreeze", ("id",), "agt_0"),
    ("key", ("made_by",), "person:mallory"),
    ("key_rotation", ("role",), "admin"),
    ("key_revocation", ("principal",), "person:mallory"),
    ("budget_agents", ("currency",), "EUR"),
    ("book", ("book_id",), 2),
    ("policy", ("digest",), "0" * 64),
    ("policy", ("version",), 7),
    ("policy", ("meters",), [["limit", "day", "0" * 32, 1]]),
    ("policy", ("document", "currency"), "EUR"),
    ("policy_retirement", ("version",), 7),
    ("run", ("decision", "limits", 0, 5), "1"),
    ("run_denial", ("decision", "reasons"), []),
    ("run_denial", ("agent",), "crawler"),
)


@pytest.mark.parametrize(("kind", "path", "value"), CHANGES, ids=lambda value: str(value)[:30])
def test_a_body_that_says_something_else_is_noted(ledger: Ledger, kind: str, path: tuple[Any, ...], value: Any) -> None:
    """Also where all hashes were made anew: the rules do not give what the body says. It is noted at the record."""
    bodies = copy.deepcopy(ledger.bodies())
    metered = kind == "settlement" and path[0] == "request"
    at = max(
        index
        for index, body in enumerate(bodies)
        if name_of(body) == kind and (not metered or "metering" in body["request"])
    )
    if value == FIRST_HOLD:
        value = next(body["authorization"] for body in bodies if body["kind"] == "hold")
    place = bodies[at]
    for step in path[:-1]:
        place = place[step]
    assert (place.get(path[-1]) if isinstance(place, dict) else place[path[-1]]) != value
    place[path[-1]] = value
    store = MemoryStore()
    fold = Fold(1, store)
    for body in bodies[:at]:
        fold.apply(body, columns_of(body, Clock()))
    assert fold.differences == []
    fold.apply(bodies[at], columns_of(bodies[at], Clock()))
    assert fold.differences
    assert {difference.log_index for difference in fold.differences} == {at}


@pytest.mark.parametrize(
    ("kind", "field", "value", "error"),
    [
        ("hold", "approved", "1.5", ValueError),
        ("hold", "approved", str(2**63), ValueError),
        ("hold", "approved", None, (KeyError, TypeError)),
        ("settlement", "authorization", "auth_unknown", LookupError),
        ("agent", "parent", "nobody", LookupError),
        ("budget", "parent", "nothing", LookupError),
        ("key_revocation", "key", "key_unknown", LookupError),
        ("key", "digest", "no hex", ValueError),
        ("adjustment", "transfers", [["nowhere", "assets:bank", "1", "USD"]], ValueError),
        ("adjustment", "transfers", [["assets:bank", "assets:bank", "1", "USD"]], ValueError),
        ("adjustment", "transfers", [["assets:bank", "assets:till", "0", "USD"]], ValueError),
    ],
)
def test_a_body_that_cannot_be_followed_is_refused(
    ledger: Ledger, kind: str, field: str, value: Any, error: Any
) -> None:
    """Rather than guessed at."""
    bodies = copy.deepcopy(ledger.bodies())
    at = max(index for index, body in enumerate(bodies) if body["kind"] == kind)
    bodies[at][field] = value
    with pytest.raises(error):
        folded(bodies[: at + 1])


def test_a_second_settlement_after_the_final_one_is_noted(ledger: Ledger) -> None:
    """A settled total changes by a refund only."""
    bodies = ledger.bodies()
    at = next(index for index, body in enumerate(bodies) if body["kind"] == "settlement" and body["final"])
    again = copy.deepcopy(bodies[at])
    again["idempotency"][0] = "0" * 32
    fold, _, _ = folded([*bodies[: at + 1], again])
    assert "settled_is_final" in {difference.check for difference in fold.differences}


def test_a_hold_beyond_what_is_available_is_noted() -> None:
    """No limit is exceeded by an authorization, whatever the log claims."""
    ledger = Ledger()
    crawler = ledger.agent("crawler")
    ledger.budget("research", "10", "crawler")
    ledger.hold(crawler, "10")
    bodies = ledger.bodies()
    for path in (("amount",), ("approved",), ("request", "amount")):
        place = bodies[-1]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = "10000000001"
    bodies[-1]["transfers"][0][2] = "10000000001"
    bodies[-1]["budget"] |= {"available": "-1", "held": "10000000001"}
    bodies[-1]["idempotency"][1] = sha256(canonical_bytes(bodies[-1]["request"])).hexdigest()
    fold, _, _ = folded(bodies)
    assert [one.check for one in fold.differences] == ["entries_follow_rules", "overdrafts_explained"]
    assert fold.differences[0].what == "the decision is not what the rules give on the facts before it"
    assert fold.differences[1].found == "-1"


def test_an_adjustment_on_its_way_above_zero_does_not_explain_an_overdraft() -> None:
    """The record that took a budget below zero stays named while a record as a whole leaves it there."""
    ledger = Ledger()
    finance = ledger.key("finance", "alice")
    ledger.budget("research")
    charged = ledger.do(
        Charge, finance, budget="research", amount="5", currency="USD", category="inference", payee="openai"
    )
    available = "budgets:research:available"
    moved = ledger.do(
        Adjust,
        finance,
        reason="half of it",
        transfers=(
            AdjustmentTransfer(available, "authority", "10", "USD"),
            AdjustmentTransfer("authority", available, "8", "USD"),
        ),
    )
    assert moved.status.value == "done"
    row = next(row for row in ledger.rows("accounts") if row.name == available)
    assert (row.balance, row.overdrawn_index) == (-3 * 10**9, charged.log_index)
    fold, store, _ = folded(ledger.bodies())
    assert fold.differences == []
    assert repr(store.accounts.rows[available, "USD"]) == repr(row)


def test_a_difference_reads_as_one_sentence() -> None:
    """With what it knows, and nothing where it knows nothing."""
    whole = Difference("accounts", "is not what the log gives", 3, "account_no=1", "balance", "5", "6", "a_check")
    assert whole.sentence() == (
        "accounts record 3 (account_no=1) column balance: is not what the log gives; expected 5, found 6 [a_check]"
    )
    assert Difference("books", "the row is missing").sentence() == "books: the row is missing"
