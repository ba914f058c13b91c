"""What is to become of each call, as a table; and that the plan never spends a line of a bill twice."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.bill import BillLine
from gateway.cli.reconciled import FAILED, Result, totals_of
from gateway.cli.reconciling import Call, Matches, Step, Wish, body_of, match, plan

SECOND = 1_000_000
CALL = Call(
    "auth_1",
    "crawler",
    "gpt-5-mini",
    "openai",
    "USD",
    Decimal("0.50"),
    Decimal(0),
    100 * SECOND,
    160 * SECOND,
    True,
    "",
)


def line(cost: str | None = "0.20", **fields: object) -> BillLine:
    """A line that names the call."""
    made = BillLine("b.csv", 2, "auth_1", cost=Decimal(cost) if cost is not None else None)
    return replace(made, **fields)  # type: ignore[arg-type]


def step(call: Call = CALL, *lines: BillLine, **wish: object) -> Step:
    """What becomes of one call."""
    wanted = Wish(**wish)  # type: ignore[arg-type]
    (made,) = plan([call], match([call], lines, currency=wanted.currency), wanted)
    return made


BILLED = [
    (CALL, [line()], "settle", "0.20", "one line names it, 0.2 USD"),
    (CALL, [line(), line("0.05")], "settle", "0.25", "the sum of 2 lines names it, 0.25 USD"),
    (CALL, [line("0")], "settle", "0", "one line names it, 0 USD"),
    (CALL, [line("7")], "settle", "7", "one line names it, 7 USD"),
    # Rounded once, half to even, and only the sum.
    (CALL, [line("0.0000000005")], "settle", "0", "0 USD"),
    (CALL, [line("0.0000000015")], "settle", "0.000000002", "0.000000002 USD"),
    (CALL, [line("0.0000000003"), line("0.0000000003")], "settle", "0.000000001", "0.000000001 USD"),
    (CALL, [line("0.3"), line("-0.1")], "settle", "0.2", "the sum of 2 lines"),
    (CALL, [line("0.1"), line("-0.2")], "keep", None, "comes to less than nothing"),
    (CALL, [line(), line(None)], "keep", None, "without a cost that can be known"),
    (CALL, [line(currency="EUR")], "keep", None, "in another currency than USD"),
    (replace(CALL, currency="tokens"), [line()], "keep", None, "in another currency than tokens"),
    (replace(CALL, settled=Decimal("0.15")), [line()], "settle", "0.05", "of which 0.15 is settled already"),
    (replace(CALL, settled=Decimal("0.30")), [line()], "settle", "0", "0.1 more than billed is settled"),
    (replace(CALL, response_id="r"), [line(client_request_id="", response_id="r")], "settle", "0.2", "one line"),
]


@pytest.mark.parametrize(("call", "lines", "action", "amount", "why"), BILLED, ids=range(len(BILLED)))
def test_what_a_bill_says_of_a_call(
    call: Call, lines: list[BillLine], action: str, amount: str | None, why: str
) -> None:
    """Settled at what was billed, and kept where that is not clear."""
    made = step(call, *lines)
    assert (made.action, made.guess) == (action, False)
    assert made.amount == (None if amount is None else Decimal(amount))
    assert why in made.why


@pytest.mark.parametrize(
    ("wish", "action", "why"),
    [
        ({}, "keep", ""),
        ({"covers_until": 200 * SECOND}, "keep", "the bill does not name it"),
        ({"absent": "release"}, "keep", "no line of the bill names it"),
        ({"absent": "release", "covers_until": 200 * SECOND}, "release", "which covers it (up to 1970-01-01T00:03:20"),
        ({"absent": "settle", "covers_until": 200 * SECOND}, "settle", "does not name it"),
        ({"absent": "release", "covers_until": 200 * SECOND, "reason": "lost"}, "release", "; lost"),
        # It may have been made until its hold ended.
        ({"absent": "release", "covers_until": 160 * SECOND}, "keep", "the bill does not cover its time"),
        ({"absent": "release", "covers_from": 101 * SECOND, "covers_until": 200 * SECOND}, "keep", "does not cover"),
        ({"everything": "settle", "reason": "lost"}, "settle", "lost"),
        ({"everything": "release", "reason": "lost"}, "release", "lost"),
    ],
)
def test_what_becomes_of_a_call_that_no_line_names(wish: dict[str, object], action: str, why: str) -> None:
    """Only as whoever asks says, and only where the bill would name it."""
    made = step(CALL, **wish)
    assert made.action == action
    assert why in made.why
    assert made.amount == (Decimal("0.50") if action == "settle" else None)


def test_the_key_of_a_request_is_that_of_the_call_and_the_lines() -> None:
    """Not of the file's name, of its order, or of the number of a line; so a second run repeats the first."""
    one = step(CALL, line(response_id="a"), line("0.1", response_id="b"))
    again = step(CALL, line("0.1", response_id="b", bill="copy.csv", number=9), line(response_id="a", number=1))
    assert one.idempotency_key() == again.idempotency_key()
    others = [
        step(CALL, line(response_id="a"), line("0.1", response_id="c")),
        step(CALL, line(response_id="a")),
        step(replace(CALL, authorization="auth_2"), line(client_request_id="auth_2")),
        step(CALL, everything="settle"),
        step(CALL, everything="release"),
    ]
    assert len({made.idempotency_key() for made in [one, *others]}) == 6


def test_the_request_that_settles() -> None:
    """With the lines as evidence, and what was used as metering; a guess is said to be one."""
    usage = {"input_tokens": 5, "output_tokens": 2}
    body = body_of(
        step(CALL, line(usage=usage, model="m", response_id="a"), line(usage=usage, model="m", response_id="b"))
    )
    assert body["amount"] == {"amount": "0.4", "currency": "USD"}
    assert body["final"] is True
    assert [one["response_id"] for one in body["evidence"]["lines"]] == ["a", "b"]
    assert body["metering"] == {
        "provider": "openai", "model": "m", "price.source": "bill", "input_tokens": "10", "output_tokens": "4",
    }  # fmt: skip
    assert "flags" not in body
    assert "metering" not in body_of(step(CALL, line()))
    guess = body_of(step(CALL, everything="settle", reason="lost"))
    assert (guess["flags"], guess["evidence"]) == (["estimated"], {"reconciled_by": "decision", "why": "lost"})


def test_evidence_stays_within_what_the_server_takes() -> None:
    """However many lines, in whatever script."""
    lines = [line("0.0001", response_id="é" * 128, model="模" * 128, number=number) for number in range(300)]
    made = body_of(step(CALL, *lines))["evidence"]
    assert len(json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()) <= 8_192
    assert len(made["lines"]) + made["more_lines"] == 300
    assert made["lines"]


amounts = st.decimals("-1", "5", places=10, allow_nan=False)
names = st.sampled_from(["auth_1", "auth_2", "auth_3", "r_2", "", "other"])


@given(st.lists(st.tuples(names, names, amounts), max_size=12))
def test_every_line_is_spent_once_or_told_apart(said: list[tuple[str, str, Decimal]]) -> None:
    """What is settled and kept by lines, and what is about other calls, comes to the whole bill."""
    calls = [replace(CALL, authorization=f"auth_{n}", response_id="r_2" if n == 2 else "") for n in (1, 2, 3)]
    bill = [BillLine("b", n, request, response, cost) for n, (request, response, cost) in enumerate(said)]
    found = match(calls, bill, currency="USD")
    steps = plan(calls, found, Wish())
    taken = [one for made in steps for one in made.lines]
    assert len(taken) + found.other_lines == len(bill)
    assert len({one.number for one in taken}) == len(taken)
    for made in steps:
        if made.action == "settle":
            exact = sum((one.cost or Decimal(0) for one in made.lines), Decimal(0))
            assert made.amount is not None
            assert abs(made.amount - exact) <= Decimal("5e-10")
    assert sum(found.other_cost.values(), Decimal(0)) + sum(
        (one.cost or Decimal(0) for one in taken), Decimal(0)
    ) == sum((cost for _, _, cost in said), Decimal(0))


def test_totals() -> None:
    """Of what a bill named, and of what became of each call."""
    done = [
        Result(step(CALL, line()), "settle", ""),
        Result(step(CALL, line("0.30")), FAILED, ""),
        Result(step(CALL, everything="settle"), "settle", ""),
        Result(step(CALL, everything="release"), "release", ""),
        Result(step(replace(CALL, currency="EUR")), "keep", ""),
        Result(step(CALL, line()), "resolved meanwhile", ""),
    ]
    assert [(one["what"], one["currency"], one["calls"], one["amount"]) for one in totals_of(done)] == [
        ("known", "USD", 3, "0.7"),
        ("settled", "USD", 2, "0.7"),
        ("released", "USD", 1, "0.5"),
        ("resolved meanwhile", "USD", 1, "0.5"),
        ("still unknown", "EUR", 1, "0.5"),
        ("still unknown", "USD", 1, "0.5"),
    ]
    assert totals_of([]) == []
    assert plan([], Matches(), Wish()) == []
