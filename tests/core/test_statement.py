"""Statements: running balances, what lines add up to, and that a statement which does not add up is none."""

from collections.abc import Iterable
from datetime import date

import pytest

from ledger.core.period import parse_period
from ledger.core.statement import (
    HoldLine,
    Line,
    Scope,
    Statement,
    StatementBroken,
    StatementLog,
    Totals,
    parse_scope,
)


def line(amount: int, *, kind: str = "settlement", currency: str = "USD", payee: str | None = "openai") -> Line:
    return Line(
        5, 0, kind, date(2026, 11, 3), 1, 1, "auth_1", "crawler", None, "research", "inference", payee, None, (), (),
        (), ("late",), None, (), None, currency, -amount, amount,
    )  # fmt: skip


def hold(held: int) -> HoldLine:
    return HoldLine(
        7, "auth_2", "crawler", None, "research", "inference", "openai", None, "held", (), "USD", held, 1, 2
    )


def statement(
    lines: Iterable[Line], *, opening: dict[str, int], closing: dict[str, int], holds: Iterable[HoldLine] = ()
) -> Statement:
    read, kept = list(lines), list(holds)
    return Statement(
        "acme", "UTC", Scope("budget", "research"), parse_period("2026-11", "UTC"), StatementLog(9, bytes(32), 2), None,
        {"USD": 9, "EUR": 9}, opening, closing, {"USD": sum(one.held for one in kept)}, lambda: read, lambda: kept,
    )  # fmt: skip


def test_each_line_has_the_balance_after_it_in_its_currency() -> None:
    lines = [line(-3), line(10, kind="allocation", payee=None), line(-4, currency="EUR"), line(-2)]
    made = statement(lines, opening={"USD": 100}, closing={"USD": 105, "EUR": -4})
    totals = Totals()
    assert [one.balance for one in made.lines(totals)] == [97, 107, -4, 105]
    assert totals.closing == {"USD": 105, "EUR": -4}
    assert totals.movements["settlement", "USD"].amount == -5
    assert totals.by_payee["openai", "USD"].amount == 5
    assert totals.by_payee["", "USD"].lines == 1
    assert totals.flags == {"late": 4}
    assert made.currencies == ("EUR", "USD")
    # The second pass is the same as the first.
    assert made.totals() == totals


@pytest.mark.parametrize("closing", [{"USD": 96}, {"USD": 97, "EUR": 1}, {}])
def test_lines_that_do_not_lead_to_the_closing_balance_are_no_statement(closing: dict[str, int]) -> None:
    with pytest.raises(StatementBroken, match="the balance is"):
        statement([line(-3)], opening={"USD": 100}, closing=closing).totals()


def test_holds_that_do_not_add_up_are_no_statement() -> None:
    made = statement([], opening={}, closing={}, holds=[hold(3), hold(4)])
    assert [one.held for one in made.holds()] == [3, 4]
    made.held = {"USD": 8}
    with pytest.raises(StatementBroken, match="add up"):
        list(made.holds())


@pytest.mark.parametrize(
    "text",
    ["book", "budget:research", "agent:crawler", "team:research", "payee:openai", "run:Nightly:7",
     "account:budgets:research:spent", "account:authority"],
)  # fmt: skip
def test_scopes(text: str) -> None:
    assert str(parse_scope(text)) == text


@pytest.mark.parametrize(
    "text", ["", "book:acme", "budget", "budget:", "budget:Research", "account:cash", "customer:a", "payee:open ai"]
)
def test_what_is_no_scope(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no scope|cannot be the name"):
        parse_scope(text)
