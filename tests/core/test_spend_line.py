"""Spend lines: what each kind of record gives, read from its own transfers."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.deriving import Columns
from ledger.core.spend_line import (
    Origin,
    SpendLine,
    corrected_index,
    days_of,
    ended_hold,
    is_spend,
    lines_of,
    needs_origin,
)

AT = 1_793_000_000_000_000


def lines(body: dict[str, Any], *, origin: Origin | None = None, corrects: int | None = None) -> list[SpendLine]:
    """The lines of a record at index 9."""
    return lines_of(1, 9, body, Columns(body["kind"], "x", AT, AT), origin=origin, corrects=corrects)


def effects(made: list[SpendLine]) -> list[tuple[Any, ...]]:
    """What each line is about, and (amount, spent, authority, owed)."""
    return [
        (line.position, line.budget, line.category, line.payee, line.amount, line.spent, line.authority, line.owed)
        for line in made
    ]


def settlement(**fields: Any) -> dict[str, Any]:
    """A final settlement of 3 within a hold of 5."""
    body = {
        "kind": "settlement", "authorization": "auth_1", "agent": "crawler", "run": "r", "budget": {"name": "b"},
        "category": "inference", "payee": "openai", "currency": "USD", "amount": "3", "final": True, "held": "0",
        "state": "settled", "flags": ["late"], "request": {}, "previous": 4,
        "transfers": [
            ["budgets:b:spent", "budgets:b:held", "3", "USD"], ["budgets:b:available", "budgets:b:held", "2", "USD"],
            ["expenses:inference", "payables:openai", "3", "USD"],
        ],
    }  # fmt: skip
    return body | fields


def test_a_settlement_is_one_line() -> None:
    """What goes back to the budget is no spend; resource and labels come from what was asked for."""
    (line,) = lines(settlement(), origin=Origin(2, "gpt-5", '[["prompt","v7"]]', "apr_1 apr_2"))
    assert effects([line]) == [(0, "b", "inference", "openai", 3, 3, -3, 3)]
    assert (line.agent, line.run, line.resource, line.labels) == ("crawler", "r", "gpt-5", '[["prompt","v7"]]')
    assert (line.approvals, line.flags, line.kind) == ("apr_1 apr_2", 2, "settlement")
    (named,) = lines(settlement(request={"resource": "gpt-5-mini"}), origin=Origin(2, "gpt-5", None, None))
    assert named.resource == "gpt-5-mini"


def test_a_settlement_of_nothing_is_a_line_too() -> None:
    """A call that cost nothing did happen."""
    (line,) = lines(settlement(amount="0", transfers=[]))
    assert effects([line]) == [(0, "b", "inference", "openai", 0, 0, 0, 0)]
    assert is_spend(line)


def test_a_unit_is_spent_and_owed_to_nobody() -> None:
    moved = [["budgets:b:spent", "budgets:b:held", "3", "tokens"]]
    assert effects(lines(settlement(currency="tokens", transfers=moved)))[0][4:] == (3, 3, -3, 0)


@pytest.mark.parametrize(
    ("transfers", "expected"),
    [
        # Spent on another category than was booked: two expenses, a line each.
        ([("expenses:search", "expenses:tools", "7")],
         [(0, None, "search", None, 7, 0, 0, 0), (1, None, "tools", None, -7, 0, 0, 0)]),
        # An expense and what is owed for it belong together.
        ([("expenses:search", "payables:serp", "7")], [(0, None, "search", "serp", 7, 0, 0, 7)]),
        ([("payables:serp", "expenses:search", "7")], [(0, None, "search", "serp", -7, 0, 0, -7)]),
        # Paid: nothing is spent, less is owed.
        ([("payables:serp", "assets:bank", "7")], [(0, None, None, "serp", 0, 0, 0, -7)]),
        ([("assets:bank", "equity:founders", "7")], []),
        # Spend moved from one budget to another.
        ([("budgets:a:available", "budgets:a:spent", "7"), ("budgets:b:spent", "budgets:b:available", "7")],
         [(0, "a", None, None, 0, -7, 7, 0), (2, "b", None, None, 0, 7, -7, 0)]),
        ([("budgets:a:available", "budgets:b:available", "7")],
         [(0, "a", None, None, 0, 0, 7, 0), (1, "b", None, None, 0, 0, -7, 0)]),
        ([("budgets:a:available", "authority", "7")], [(0, "a", None, None, 0, 0, 7, 0)]),
    ],
)  # fmt: skip
def test_an_adjustment_is_a_line_for_each_thing_it_moves(
    transfers: list[tuple[str, str, str]], expected: list[Any]
) -> None:
    body = {"kind": "adjustment", "transfers": [[*moved, "USD"] for moved in transfers]}
    made = lines(body)
    assert effects(made) == expected
    assert {line.kind for line in made} <= {"adjustment"}


def test_a_renewal_lets_lapse_and_allocates() -> None:
    """Of a budget below another, both see it; and where nothing moved there is no line."""
    moved = [["budgets:top:available", "budgets:b:available", "2", "USD"],
             ["budgets:b:available", "budgets:top:available", "5", "USD"]]  # fmt: skip
    made = lines({"kind": "renewal", "renewed": "b", "transfers": moved})
    assert [(line.kind, line.budget, line.authority) for line in made] == [
        ("lapse", "top", 2), ("lapse", "b", -2), ("renewal", "b", 5), ("renewal", "top", -5),
    ]  # fmt: skip
    assert not any(is_spend(line) for line in made)
    for kind in ("renewal", "budget_closure"):
        assert lines({"kind": kind, "renewed": "b"}) == []
    assert lines({"kind": "hold"}) == []


def test_which_hold_ends() -> None:
    """The first final settlement ends one; a late one, and a partial one, do not."""
    assert ended_hold(settlement(flags=[])) == "auth_1"
    assert ended_hold(settlement()) is None
    assert ended_hold(settlement(flags=[], final=False, state="held")) is None
    for kind, state in (("release", "released"), ("expiry", "expired"), ("approval_refused", "refused")):
        body = {"kind": kind, "authorization": "auth_1", "held": "0", "state": state}
        assert ended_hold(body) == "auth_1"
    assert ended_hold({"kind": "expiry", "authorization": "auth_1", "held": "5", "state": "held"}) is None
    assert ended_hold({"kind": "extension", "authorization": "auth_1", "held": "0", "state": "held"}) is None


def test_a_correction_goes_back_to_what_was_settled_for_its_pair() -> None:
    """Past whatever else happened to the authorization; what is known already is not looked for again."""
    pair = {"category": "search", "payee": "serp"}
    log: dict[int, dict[str, Any]] = {
        3: {"kind": "settlement", "previous": 1, **pair},
        5: settlement(previous=3),
        6: {"kind": "refund", "authorization": "auth_1", "previous": 5, **pair},
        7: {"kind": "release", "previous": 6},
    }
    refund = {"kind": "refund", "index": 8, "authorization": "auth_1", "previous": 7, **pair}
    read: list[int] = []

    def body_at(index: int) -> dict[str, Any] | None:
        read.append(index)
        return log.get(index)

    assert corrected_index(refund, body_at) == 3
    assert read == [7, 6, 5, 3]
    read.clear()
    assert corrected_index(refund, body_at, lambda index: 3 if index == 6 else None) == 3
    assert read == [7, 6]
    assert corrected_index({**refund, "category": "tools"}, body_at) is None
    assert corrected_index(settlement(), body_at) is None
    # A forged chain that leads in a circle, or forward, ends.
    assert corrected_index({**refund, "previous": 8}, lambda index: {**refund, "previous": 8, "payee": "x"}) is None
    assert corrected_index({**refund, "previous": 5}, lambda index: {**refund, "previous": 6, "payee": "x"}) is None
    assert needs_origin(refund) == needs_origin({"kind": "adjustment", "authorization": "auth_1"}) == "auth_1"
    assert needs_origin({"kind": "charge", "authorization": "chg_1"}) is None


def test_lines_of_a_day_add_up() -> None:
    """By agent, budget, category, payee and currency; what is none of these is no text at all."""
    one, other = lines(settlement())[0], lines(settlement(amount="0", transfers=[]))[0]._replace(log_index=12)
    (adjusted,) = lines({"kind": "adjustment", "transfers": [["payables:serp", "assets:bank", "7", "USD"]]})
    days = days_of([one, other, adjusted], "UTC")
    assert [tuple(day)[2:] for day in days] == [
        ("", "", "", "serp", "USD", 0, 0, -7, 1, 9),
        ("crawler", "b", "inference", "openai", "USD", 3, 3, 3, 2, 12),
    ]
    assert {day.day for day in days} == {AT // 86_400_000_000}
