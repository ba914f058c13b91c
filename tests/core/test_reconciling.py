"""Comparing a provider's lines with the ledger's: each kind of difference, tolerance, and that nothing gets lost."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.reconciling import compare
from ledger.core.reconciling_found import Comparison
from ledger.core.reconciling_lines import OurLine, TheirLine, Tolerance, day_text, model_name, quantities_of

FIRST, LAST = 20_000, 20_029
"""A month of 30 days."""


def theirs(day: int, amount: int | None, **fields: Any) -> TheirLine:
    """A line of a provider's."""
    return TheirLine("a line", FIRST + day, amount, **fields)


def ours(index: int, day: int, amount: int, **fields: Any) -> OurLine:
    """A settlement, unless told otherwise."""
    fields.setdefault("kind", "settlement")
    fields.setdefault("authorization", f"auth_{index}")
    started = FIRST + fields.pop("started", day)
    return OurLine(index=index, position=0, day=FIRST + day, started_day=started, amount=amount, **fields)


def compared(their_lines: list[TheirLine], our_lines: list[OurLine], **options: Any) -> Comparison:
    """A month compared."""
    return compare(their_lines, our_lines, first_day=FIRST, last_day=LAST, **options)


def told(found: Comparison) -> list[tuple[str, int]]:
    """Kind and amount of each difference."""
    assert sum(one.amount for one in found.differences) == found.their_total - found.our_total
    return [(one.kind, one.amount) for one in found.differences]


PER_TOKEN = {"model": "gpt-5", "quantities": {"input_tokens": 10, "output_tokens": 2}}
MORE = {"model": "gpt-5", "quantities": {"input_tokens": 15, "output_tokens": 2}}
CASES: dict[str, tuple[list[TheirLine], list[OurLine], list[tuple[str, int]]]] = {
    "nothing on either side": ([], [], []),
    "the same by day and model": (
        [theirs(0, 30, model="a"), theirs(0, 5, model="b")],
        [ours(1, 0, 10, model="a"), ours(2, 0, 20, model="a"), ours(3, 0, 5, model="b")],
        [],
    ),
    "days alone, where the provider tells no models apart": (
        [theirs(0, 15)],
        [ours(1, 0, 10, model="a"), ours(2, 0, 5, model="b")],
        [],
    ),
    "a day that the ledger has nothing of": ([theirs(3, 7, model="a")], [], [("missing_here", 7)]),
    "a day that the provider bills nothing of": (
        [theirs(3, 7, model="a")],
        [ours(1, 3, 7, model="a"), ours(2, 9, 4, model="a")],
        [("missing_there", -4)],
    ),
    "keys are told apart": (
        [theirs(0, 4, model="a", key="k1"), theirs(0, 6, model="a", key="k2")],
        [ours(1, 0, 6, model="a", key="k1"), ours(2, 0, 4, model="a", key="k2")],
        [("amount", -2), ("amount", 2)],
    ),
    "another price for the same quantity": (
        [theirs(0, 15, **PER_TOKEN)],
        [ours(1, 0, 12, **PER_TOKEN)],
        [("price", 3)],
    ),
    "another quantity": ([theirs(0, 15, **MORE)], [ours(1, 0, 12, **PER_TOKEN)], [("quantity", 3)]),
    "no quantity to tell why": ([theirs(0, 15, model="a")], [ours(1, 0, 12, model="a")], [("amount", 3)]),
    "a quantity that was not counted for every call says nothing": (
        [theirs(0, 15, **PER_TOKEN)],
        [ours(1, 0, 6, **PER_TOKEN), ours(2, 0, 6, model="gpt-5")],
        [("amount", 3)],
    ),
    "a response by its id, whatever the day": ([theirs(0, 5, id="r1")], [ours(1, 4, 5, id="r1")], []),
    "a response of several lines": (
        [theirs(0, 5, id="r1"), theirs(0, 3, id="r1")],
        [ours(1, 0, 7, id="r1")],
        [("amount", 1)],
    ),
    "a refund belongs to its response": (
        [theirs(0, 5, id="r1")],
        [ours(1, 0, 7, id="r1"), ours(2, 3, -2, kind="refund", authorization="auth_1")],
        [],
    ),
    "responses that only one side has": (
        [theirs(0, 5, id="r1"), theirs(0, 2, id="r2")],
        [ours(1, 0, 5, id="r1"), ours(2, 0, 9, id="r3")],
        [("missing_here", 2), ("missing_there", -9)],
    ),
    "a charge that was booked for a response is that response": (
        [theirs(0, 2, id="r2", model="a"), theirs(0, 3, id="r3", model="a")],
        [ours(1, 0, 3, kind="charge", model="a"), ours(2, 0, 2, kind="charge", model="a")],
        [],
    ),
    "only what a response grew by since it was booked": (
        [theirs(0, 5, id="r2", model="a")],
        [ours(1, 0, 3, kind="charge", model="a")],
        [("amount", 2)],
    ),
    "a call across midnight, within the period": (
        [theirs(0, 10, model="a"), theirs(1, 5, model="a")],
        [ours(1, 0, 3, model="a"), ours(2, 1, 7, model="a", started=0), ours(3, 1, 5, model="a")],
        [("timing", 0)],
    ),
    "a call across midnight that both count for the day of its end": (
        [theirs(1, 7, model="a")],
        [ours(2, 1, 7, model="a", started=0)],
        [],
    ),
    "a call that ended after the period and is billed in it": (
        [theirs(29, 7, model="a")],
        [ours(2, 30, 7, model="a", started=29)],
        [("timing", 7)],
    ),
    "a call that began before the period and is billed there": (
        [],
        [ours(2, 0, 7, started=-1)],
        [("timing", -7)],
    ),
    "a response that the provider bills in the period before": (
        [theirs(-1, 7, id="r1"), theirs(3, 1, id="r2")],
        [ours(1, 0, 7, id="r1"), ours(2, 3, 1, id="r2")],
        [("timing", -7)],
    ),
    "a response that ended after the period, at another price": (
        [theirs(29, 9, id="r1")],
        [ours(1, 30, 7, id="r1")],
        [("amount", 2), ("timing", 7)],
    ),
    "opposite differences of neighbouring days": (
        [theirs(4, 12, model="a"), theirs(5, 8, model="a")],
        [ours(1, 4, 10, model="a"), ours(2, 5, 10, model="a")],
        [("timing", 0)],
    ),
    "opposite differences further apart are two": (
        [theirs(4, 12, model="a"), theirs(6, 8, model="a")],
        [ours(1, 4, 10, model="a"), ours(2, 6, 10, model="a")],
        [("amount", 2), ("amount", -2)],
    ),
    "opposite differences of two models are two": (
        [theirs(4, 12, model="a"), theirs(5, 8, model="b")],
        [ours(1, 4, 10, model="a"), ours(2, 5, 10, model="b")],
        [("amount", 2), ("amount", -2)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_difference(name: str) -> None:
    """The table says what is found, and lines in another order give the same."""
    their_lines, our_lines, expected = CASES[name]
    found = compared(their_lines, our_lines)
    assert told(found) == expected
    again = compared(list(reversed(their_lines)), list(reversed(our_lines)))
    assert [(one.code, one.identity) for one in again.differences] == [
        (one.code, one.identity) for one in found.differences
    ]


EDGES = [
    (Tolerance(), 1, False),
    (Tolerance(atoms=3), 3, True),
    (Tolerance(atoms=3), -3, True),
    (Tolerance(atoms=3), 4, False),
    (Tolerance(percent=(1, 1)), 10, True),
    (Tolerance(percent=(1, 1)), 11, False),
    (Tolerance(percent=(1, 2)), 5, True),
    (Tolerance(percent=(1, 2)), 6, False),
    (Tolerance(atoms=20, percent=(1, 1)), 20, True),
]


@pytest.mark.parametrize(("tolerance", "difference", "is_small"), EDGES)
def test_the_edge_of_the_tolerance(tolerance: Tolerance, difference: int, is_small: bool) -> None:
    """Up to it, itself included; of the provider's amount, which is 1,000."""
    found = compared([theirs(0, 1_000)], [ours(1, 0, 1_000 - difference)], tolerance=tolerance)
    assert told(found) == [("tolerated" if is_small else "amount", difference)]


@pytest.mark.parametrize(
    ("bound", "kinds"),
    [
        ({}, {"tolerated"}),
        ({"total_atoms": 6}, {"tolerated"}),
        ({"total_atoms": 5}, {"amount"}),
        ({"total_percent": (1, 1)}, {"tolerated"}),
        ({"total_percent": (1, 10)}, {"amount"}),
    ],
)
def test_what_is_tolerated_is_bounded_together(bound: dict[str, Any], kinds: set[str]) -> None:
    """Three lines of 2 each are 6 of 600; beyond the bound, none of them is small."""
    found = compared(
        [theirs(day, 200) for day in (0, 2, 4)],
        [ours(day, day, 198) for day in (0, 2, 4)],
        tolerance=Tolerance(atoms=2, **bound),
    )
    assert {one.kind for one in found.differences} == kinds


def test_another_report_counts_what_the_bill_does_not() -> None:
    """A costs report without quantities and a usage report tell together that the price differs."""
    counted = [theirs(0, None, model="gpt-5", quantities={"input_tokens": 10, "output_tokens": 2, "requests": 1})]
    line = ours(1, 0, 12, **PER_TOKEN)
    assert told(compared([theirs(0, 15, model="gpt-5")], [line], counted=counted)) == [("price", 3)]
    counted = [theirs(0, None, model="gpt-5", quantities={"input_tokens": 10, "output_tokens": 2, "requests": 2})]
    found = compared([theirs(0, 15, model="gpt-5")], [line], counted=counted)
    assert told(found) == [("quantity", 3)]
    assert found.differences[0].quantities == (("requests", 2, 1),)


def test_counts_alone_say_nothing_of_money() -> None:
    """What differs is told, by quantity, and no amount is made of it."""
    counted = [theirs(0, None, **MORE), theirs(1, None, **PER_TOKEN), theirs(2, None, **PER_TOKEN)]
    found = compared([], [ours(1, 0, 12, **PER_TOKEN), ours(2, 1, 12, **PER_TOKEN), ours(3, 4, 1)], counted=counted)
    assert not found.billed
    assert [(one.kind, one.amount) for one in found.differences] == [
        ("missing_here", 0),
        ("missing_there", 0),
        ("quantity", 0),
    ]
    assert found.matched == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("GPT-4o", "gpt-4o"),
        ("meta-llama/llama-4-maverick", "meta-llama/llama-4-maverick"),
        ("o3", "o3"),
    ],
)
def test_a_model_has_one_name(said: str, expected: str) -> None:
    """Whether it is called by its snapshot or not; a mapping says otherwise."""
    assert model_name(said) == expected
    assert model_name(said, {said: "mine"}) == "mine"


def test_only_counts_are_quantities() -> None:
    """Prices and names stand in the same place."""
    assert quantities_of({"model": "gpt-5", "input_tokens": "12", "price.input": "1.25", "web_searches": "1"}) == {
        "input_tokens": 12,
        "web_searches": 1,
    }
    assert quantities_of({"model": "gpt-5"}) is None


DAYS = st.integers(-1, 3)
AMOUNTS = st.integers(-5, 20)
NAMES = st.sampled_from(("", "a", "b"))
IDS = st.sampled_from(("", "", "r1", "r2", "r3"))


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.builds(theirs, DAYS, AMOUNTS, id=IDS, model=NAMES, key=st.sampled_from(("", "k"))), max_size=8),
    st.lists(
        st.tuples(
            DAYS, AMOUNTS, IDS, NAMES, st.integers(0, 1), st.sampled_from(("settlement", "charge", "refund")),
            st.integers(0, 3),
        ),
        max_size=8,
    ),
    st.sampled_from((Tolerance(), Tolerance(atoms=3), Tolerance(atoms=3, total_atoms=2), Tolerance(percent=(50, 1)))),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_differences_account_for_both_totals(
    their_lines: list[TheirLine], drawn: list[tuple[Any, ...]], tolerance: Tolerance, order: random.Random
) -> None:
    """Whatever the lines: to the atom, no code twice for one kind and place, and the same in any order."""
    our_lines = [
        ours(index, day, amount, id=id, model=model, kind=kind, started=day - back, authorization=f"auth_{name}")
        for index, (day, amount, id, model, back, kind, name) in enumerate(drawn)
    ]
    options: dict[str, Any] = {"first_day": FIRST, "last_day": FIRST + 2, "tolerance": tolerance}
    found = compare(their_lines, our_lines, **options)
    assert sum(one.amount for one in found.differences) == found.their_total - found.our_total
    assert sum(one.amount for one in found.by_kind()) == found.their_total - found.our_total
    order.shuffle(their_lines)
    order.shuffle(our_lines)
    again = compare(their_lines, our_lines, **options)
    assert [(one.kind, one.amount, one.code) for one in again.differences] == [
        (one.kind, one.amount, one.code) for one in found.differences
    ]


def test_days_are_written_as_days() -> None:
    """Day 0 is the first of 1970."""
    assert (day_text(0), day_text(FIRST)) == ("1970-01-01", "2024-10-04")
