"""The money of a replay, worked by hand: what is held rounds up, what is settled rounds half-even."""

from decimal import Decimal
from pathlib import Path

import pytest

from bench.replay_money import (
    Call,
    Comparison,
    PricedCall,
    TraceUnreadable,
    deal_in_turn,
    decimal_of,
    price_calls,
    read_trace,
    round_half_even,
    round_up,
    text_of,
)


@pytest.mark.parametrize(
    ("exact", "held", "settled"),
    [
        ("0.0000000010", "0.000000001", "0.000000001"),
        ("0.0000000001", "0.000000001", "0.000000000"),
        ("0.0000000005", "0.000000001", "0.000000000"),
        ("0.0000000015", "0.000000002", "0.000000002"),
        ("0.0000000025", "0.000000003", "0.000000002"),
        ("0.00000000251", "0.000000003", "0.000000003"),
    ],
)
def test_rounding_at_one_atom(exact: str, held: str, settled: str) -> None:
    assert text_of(round_up(Decimal(exact), digits=9)) == held
    assert text_of(round_half_even(Decimal(exact), digits=9)) == settled


def test_a_call_of_gpt_5_mini_worked_by_hand() -> None:
    # 4,808 input tokens at 0.25 USD and 10 output tokens at 2.00 USD a million; held for 2,000 output tokens.
    (priced,) = price_calls([Call(4808, 10)], model="gpt-5-mini", provider="openai", worst_output_tokens=2000, digits=9)
    assert priced == PricedCall(hold=Decimal("0.005202000"), cost=Decimal("0.001222000"))


def test_an_answer_longer_than_the_worst_case_is_held_in_full() -> None:
    (priced,) = price_calls([Call(0, 3000)], model="gpt-5-mini", provider="openai", worst_output_tokens=2000, digits=9)
    assert priced.hold == priced.cost == Decimal("0.006")


def test_a_model_nobody_sells_has_no_price() -> None:
    with pytest.raises(LookupError):
        price_calls([Call(1, 1)], model="no-such-model", provider="openai", worst_output_tokens=1, digits=9)


def test_a_trace_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,4808,10\nx,110,27\n")
    assert read_trace(path) == [Call(4808, 10), Call(110, 27)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TIMESTAMP,ContextTokens\nx,1\n", "no column GeneratedTokens"),
        ("ContextTokens,GeneratedTokens\n1,2\n3,many\n", "line 3"),
        ("ContextTokens,GeneratedTokens\n1\n", "line 2"),
        ("ContextTokens,GeneratedTokens\n1,-2\n", "negative"),
        ("ContextTokens,GeneratedTokens\n", "no calls"),
    ],
)
def test_a_trace_that_cannot_be_read_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceUnreadable, match=message):
        read_trace(path)


def test_calls_go_to_agents_in_turn() -> None:
    calls = [PricedCall(Decimal(number), Decimal(number)) for number in range(5)]
    assert [[int(call.hold) for call in hand] for hand in deal_in_turn(calls, 2)] == [[0, 2, 4], [1, 3]]


def test_amounts_come_as_text() -> None:
    assert decimal_of({"amount": "1.50", "currency": "USD"}) == decimal_of("1.50") == Decimal("1.5")
    assert decimal_of(None) == 0
    with pytest.raises(ValueError, match="must travel as text"):
        decimal_of(1.5)


def test_a_difference_of_one_atom_is_a_difference() -> None:
    assert Comparison("spent", Decimal("1.000000000"), Decimal("1")).equal
    assert not Comparison("spent", Decimal("1.000000000"), Decimal("1.000000001")).equal
