"""Rates of exchange: what is one, which is used on a day, what it makes of an atom, and how finance gives it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from ledger.core.command_rates import GIVEN_MAX, GivenRate, GiveRates
from ledger.core.outcome import Outcome, Status
from ledger.core.rate import (
    AGE_DAYS_MAX,
    AHEAD_DAYS_MAX,
    FIRST_DAY,
    Rate,
    RateInvalid,
    day_number,
    day_of,
    day_text,
    factor_of,
    legs_on,
    rate_text,
)
from tests.support.worlds import World

TODAY = 20_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0842", "1.0842"),
        ("1.08420", "1.0842"),
        ("163.570", "163.57"),
        ("0000.5", "0.5"),
        ("7", "7"),
        ("7.000", "7"),
        ("0.000000000001", "0.000000000001"),
        ("999999999999.999999999999", "999999999999.999999999999"),
    ],
)
def test_a_rate_has_one_form(text: str, expected: str) -> None:
    """So that the same rate is the same text."""
    assert rate_text(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "0.000", "-1", "+1", "1,08", "1e3", ".5", "5.", "1.0000000000001", "1000000000000", "NaN", "१"]
)
def test_what_is_no_rate(text: str) -> None:
    """Each says what to change."""
    with pytest.raises(RateInvalid, match=r"decimal number|above zero"):
        rate_text(text)


def test_days_as_text() -> None:
    """Days since 1970, in the zone of the book."""
    assert day_text(day_number("2026-11-28")) == "2026-11-28"
    assert day_number("1970-01-01") == 0
    noon = day_number("2026-11-28") * 86_400_000_000 + 12 * 3_600_000_000
    assert day_text(day_of("UTC", noon)) == "2026-11-28"
    assert day_text(day_of("Pacific/Kiritimati", noon)) == "2026-11-29"
    for text in ("2026-02-29", "28.11.2026", "20261128", "2026-W48-6"):
        with pytest.raises(ValueError, match=r"day|isoformat"):
            day_number(text)


def given(*rows: tuple[str, int, str, int]) -> dict[tuple[str, int], Rate]:
    """Rates (pair, days ago, rate, how many days it may be used), in the order in which they were recorded."""
    return {
        (pair, TODAY - ago): Rate(1, pair, TODAY - ago, rate, "ecb", age, place, place)
        for place, (pair, ago, rate, age) in enumerate(rows)
    }


USED = [
    ("none", [], None),
    ("today's", [("EUR/USD", 0, "1.1", 7)], [("EUR/USD", "1.1", False)]),
    ("the other way round", [("USD/EUR", 0, "0.9", 7)], [("USD/EUR", "0.9", True)]),
    ("the latest", [("EUR/USD", 0, "1.2", 7), ("EUR/USD", 3, "1.1", 7)], [("EUR/USD", "1.2", False)]),
    ("none of tomorrow", [("EUR/USD", -1, "1.2", 7)], None),
    ("as old as it may get", [("EUR/USD", 7, "1.1", 7)], [("EUR/USD", "1.1", False)]),
    ("too old", [("EUR/USD", 8, "1.1", 7)], None),
    ("of that day only", [("EUR/USD", 1, "1.1", 0)], None),
    ("as old as any may get", [("EUR/USD", AGE_DAYS_MAX, "1.1", AGE_DAYS_MAX)], [("EUR/USD", "1.1", False)]),
    ("none before one that is too old", [("EUR/USD", 9, "1.2", 7), ("EUR/USD", 20, "1.1", 92)], None),
    (
        "of both ways the later day's",
        [("USD/EUR", 1, "0.8", 7), ("EUR/USD", 2, "1.1", 7)],
        [("USD/EUR", "0.8", True)],
    ),
    (
        "of one day's that recorded last",
        [("EUR/USD", 1, "1.1", 7), ("USD/EUR", 1, "0.8", 7)],
        [("USD/EUR", "0.8", True)],
    ),
]


@pytest.mark.parametrize(("rows", "expected"), [row[1:] for row in USED], ids=[row[0] for row in USED])
def test_which_rate_is_used(rows: list[Any], expected: list[Any] | None) -> None:
    """From euros to dollars, today."""
    rates = given(*rows)
    legs = legs_on(TODAY, "EUR", "USD", lambda pair, day: rates.get((pair, day)))
    found = None if legs is None else [(f"{leg.base}/{leg.quote}", leg.rate, leg.is_inverse) for leg in legs]
    assert found == expected


CROSSES = [
    (
        "through the euro",
        [("EUR/USD", 1, "1.1", 7), ("EUR/JPY", 2, "165", 7)],
        [("EUR/JPY", True), ("EUR/USD", False)],
    ),
    ("its own comes first", [("EUR/USD", 0, "1.1", 7), ("EUR/JPY", 0, "165", 7), ("USD/JPY", 5, "150", 7)],
     [("USD/JPY", True)]),
    ("its own is too old", [("EUR/USD", 0, "1.1", 7), ("EUR/JPY", 0, "165", 7), ("USD/JPY", 9, "150", 7)],
     [("EUR/JPY", True), ("EUR/USD", False)]),
    ("one half is missing", [("EUR/USD", 0, "1.1", 7)], None),
    ("one half is too old", [("EUR/USD", 0, "1.1", 7), ("EUR/JPY", 8, "165", 7)], None),
    ("through no other currency", [("GBP/USD", 0, "1.3", 7), ("GBP/JPY", 0, "195", 7)], None),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), [row[1:] for row in CROSSES], ids=[row[0] for row in CROSSES])
def test_two_currencies_without_a_rate_go_through_the_euro(rows: list[Any], expected: list[Any] | None) -> None:
    """From yen to dollars, today."""
    rates = given(*rows)
    legs = legs_on(TODAY, "JPY", "USD", lambda pair, day: rates.get((pair, day)))
    assert (None if legs is None else [(f"{leg.base}/{leg.quote}", leg.is_inverse) for leg in legs]) == expected


def test_what_an_atom_is_worth() -> None:
    """Exactly, across scales (JPY has six digits), inverted and through two rates."""
    rates = given(("EUR/USD", 0, "1.0842", 7), ("EUR/JPY", 0, "163.57", 7))

    def factor(base: str, quote: str) -> Fraction:
        legs = legs_on(TODAY, base, quote, lambda pair, day: rates.get((pair, day)))
        assert legs is not None
        return Fraction(*factor_of(base, quote, legs))

    assert factor("EUR", "USD") == Fraction("1.0842")
    assert factor("USD", "EUR") == 1 / Fraction("1.0842")
    assert factor("EUR", "JPY") == Fraction("163.57") / 1000
    assert factor("JPY", "USD") == Fraction("1.0842") / Fraction("163.57") * 1000
    assert factor("JPY", "USD") * factor("USD", "JPY") == 1


# Giving rates.


def give(world: World, *rates: tuple[str, str, str, int], **fields: Any) -> Outcome:
    """Rates (base, quote, rate, days ago) by finance."""
    today = day_of(world.book.timezone, world.now)
    wanted = tuple(GivenRate(base=base, quote=quote, rate=rate, day=today - ago) for base, quote, rate, ago in rates)
    return world.do(GiveRates, fields.pop("caller", world.finance), rates=wanted, **fields)


def test_rates_are_on_record_and_corrected_by_record() -> None:
    """The later record for a day holds from then on; the row remembers which was first."""
    world = World()
    first = give(world, ("EUR", "USD", "10.8420", 0), ("EUR", "GBP", "0.87", 0), source="ecb", reason="by hand")
    assert first.status is Status.DONE
    assert first.body is not None
    assert first.body["rates"] == [["EUR", "USD", "10.842", "2026-11-02"], ["EUR", "GBP", "0.87", "2026-11-02"]]
    second = give(world, ("EUR", "USD", "1.0842", 0), source="treasury", max_age_days=31)
    rows = {row.pair: row for row in world.rows("rates")}
    assert (rows["EUR/USD"].rate, rows["EUR/USD"].source, rows["EUR/USD"].max_age_days) == ("1.0842", "treasury", 31)
    assert (rows["EUR/USD"].created_index, rows["EUR/USD"].changed_index) == (first.log_index, second.log_index)
    assert (rows["EUR/GBP"].rate, rows["EUR/GBP"].changed_index) == ("0.87", first.log_index)


@pytest.mark.parametrize(
    ("rates", "fields"),
    [
        ([("EUR", "EUR", "1", 0)], {}),
        ([("EUR", "tokens", "1", 0)], {}),
        ([("EUR", "XXX", "1", 0)], {}),
        ([("EUR", "USD", "0", 0)], {}),
        ([("EUR", "USD", "1.1", -AHEAD_DAYS_MAX - 1)], {}),
        ([("EUR", "USD", "1.1", 0), ("EUR", "USD", "1.2", 0)], {}),
        ([("EUR", "USD", "1.1", 0), ("USD", "EUR", "0.9", 0)], {}),
        ([], {}),
        ([("EUR", "USD", "1.1", ago) for ago in range(GIVEN_MAX + 1)], {}),
        ([("EUR", "USD", "1.1", 0)], {"source": "The Bank"}),
        ([("EUR", "USD", "1.1", 0)], {"max_age_days": AGE_DAYS_MAX + 1}),
        ([("EUR", "USD", "1.1", 0)], {"max_age_days": -1}),
    ],
    ids=str,
)
def test_what_cannot_be_given(rates: list[Any], fields: dict[str, Any]) -> None:
    """Nothing of it is recorded."""
    world = World()
    size = world.head.size
    outcome = give(world, *rates, **fields)
    assert outcome.status is Status.RATE_INVALID
    assert outcome.detail
    assert (world.head.size, world.rows("rates")) == (size, [])


def test_the_days_that_a_rate_can_be_for() -> None:
    """From 1990, up to a year ahead."""
    world = World()
    today = day_of(world.book.timezone, world.now)
    assert give(world, ("EUR", "USD", "1.1", today - FIRST_DAY)).status is Status.DONE
    assert give(world, ("EUR", "USD", "1.1", today - FIRST_DAY + 1)).status is Status.RATE_INVALID
    assert give(world, ("EUR", "USD", "1.1", -AHEAD_DAYS_MAX)).status is Status.DONE


def test_who_gives_rates() -> None:
    """Finance and admins; nobody who spends or only looks."""
    world = World()
    rate = ("EUR", "USD", "1.1", 0)
    assert give(world, rate, caller=world.admin).status is Status.DONE
    for caller in (world.crawler, world.auditor):
        assert give(world, rate, caller=caller).status is Status.ROLE_NOT_ALLOWED


def test_the_same_key_gives_the_same_answer() -> None:
    """And other rates under it are refused."""
    world = World()
    first = give(world, ("EUR", "USD", "1.1", 0), idempotency_key="daily")
    again = give(world, ("EUR", "USD", "1.1", 0), idempotency_key="daily")
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert give(world, ("EUR", "USD", "1.2", 0), idempotency_key="daily").status is Status.IDEMPOTENCY_MISMATCH
