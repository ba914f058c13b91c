"""The parts of reports that are plain arithmetic: parts of periods, ageing, rounding, comparisons."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.ageing import aged, bucket_of
from ledger.core.buckets import parts_of
from ledger.core.judging_outcomes import (
    BETTER,
    NO_DIFFERENCE,
    NOT_ENOUGH,
    WORSE,
    Group,
    choose_baseline,
    compare_rates,
    compare_success_costs,
    estimated,
    figure,
)
from ledger.core.period import parse_period
from ledger.core.report import PER, Column, ReportRefused, Table, percent, rounded, words

PARIS = "Europe/Paris"


@pytest.mark.parametrize(
    ("per", "names"),
    [
        ("all", ["2026-11-15..2027-01-04"]),
        ("month", ["2026-11-15..2026-11-30", "2026-12", "2027-01-01..2027-01-04"]),
        ("quarter", ["2026-11-15..2026-12-31", "2027-01-01..2027-01-04"]),
        ("year", ["2026-11-15..2026-12-31", "2027-01-01..2027-01-04"]),
        (
            "week",
            ["2026-11-15"]
            + [f"{first}..{last}" for first, last in (
                ("2026-11-16", "2026-11-22"), ("2026-11-23", "2026-11-29"), ("2026-11-30", "2026-12-06"),
                ("2026-12-07", "2026-12-13"), ("2026-12-14", "2026-12-20"), ("2026-12-21", "2026-12-27"),
                ("2026-12-28", "2027-01-03"),
            )]
            + ["2027-01-04"],
        ),
    ],
)  # fmt: skip
def test_parts_of_a_period(per: str, names: list[str]) -> None:
    """Whole months and weeks within, and what is left at both ends."""
    parts = parts_of(parse_period("2026-11-15..2027-01-04", PARIS), per, PARIS)
    assert [part.text for part in parts.periods] == names


@given(st.dates(), st.integers(0, 700), st.sampled_from(PER))
def test_parts_tile(first: date, length: int, per: str) -> None:
    """Where one ends the next begins; each day is in the part that has it. Samoa skipped a day in 2011."""
    first = first.replace(year=2000 + first.year % 30, day=min(first.day, 28))
    last = first + timedelta(days=length)
    try:
        period = parse_period(f"{first}..{last}", "Pacific/Apia")
    except ValueError:
        assert first == last == date(2011, 12, 30)
        return
    parts = parts_of(period, per, "Pacific/Apia")
    found = parts.periods
    assert (found[0].starts_at, found[-1].ends_at) == (period.starts_at, period.ends_at)
    assert all(one.ends_at == other.starts_at for one, other in pairwise(found))
    for day in (first, last, first + timedelta(days=length // 2)):
        part = found[parts.of(day)]
        assert part.first <= day <= part.last or day == date(2011, 12, 30)


def test_too_many_parts() -> None:
    """A century of days is refused with what to change."""
    with pytest.raises(ReportRefused, match="longer ones or a shorter period"):
        parts_of(parse_period("2000-01-01..2100-01-01", PARIS), "day", PARIS)


def test_a_payment_pays_the_oldest() -> None:
    """100 were accrued 95 days ago, 40 then 50 days ago and 30 yesterday; 80 were paid. What is left are the 30, the 40
    and 20 of the oldest."""
    assert aged(90, [(1, 30), (50, 40), (95, 100)]) == [30, 40, 0, 20]
    assert aged(60, [(1, 30), (50, 40)]) == [30, 30, 0, 0]
    assert aged(500, [(1, 30), (50, 40)]) == [30, 40, 0, 430]
    assert aged(0, [(1, 30)]) == aged(-5, [(1, 30)]) == [0, 0, 0, 0]
    assert aged(10, [(1, -30), (31, 40)]) == [0, 10, 0, 0]
    assert [bucket_of(age) for age in (-4, 0, 30, 31, 60, 61, 90, 91, 1000)] == [0, 0, 0, 1, 1, 2, 2, 3, 3]


@given(st.integers(-100, 10**6), st.lists(st.tuples(st.integers(0, 120), st.integers(-100, 10**5)), max_size=30))
def test_buckets_add_up(owed: int, accrued: list[tuple[int, int]]) -> None:
    """To what is owed, whatever was accrued."""
    buckets = aged(owed, sorted(accrued))
    assert sum(buckets) == max(owed, 0)
    assert min(buckets) >= 0


def test_figures_are_rounded_once() -> None:
    """Half-even and exactly; estimates to four digits that count."""
    assert [rounded(Fraction(1, 8), 2), rounded(Fraction(3, 8), 2), figure(-0.5, 0), rounded(Fraction(-1, 3), 4)] == [
        "0.12", "0.38", "0", "-0.3333",
    ]  # fmt: skip
    assert [percent(1, 3), percent(1, 0), percent(-1, 4), percent(5, -1)] == ["33.33", None, "-25.00", None]
    assert [estimated(value) for value in (123_456_789.5, 12.344, 0.4, 99_995.0)] == [123_500_000, 12, 0, 100_000]
    with pytest.raises(ValueError, match="2 columns"):
        Table("odd", words("a", "b")).add("only one")
    assert Table("odd", (Column("currency"), *words("b"))).currency_of(("USD", "x")) == "USD"
    assert Table("odd", words("b")).currency_of(("x",)) is None


def group(successes: int, runs: int, cost: int = 0) -> Group:
    """Runs that cost the same, or nearly."""
    made = Group()
    for at in range(runs):
        made.add(at < successes, None, {"USD": cost + at % 3} if cost else {})
    made.finish(["USD"] if cost else [])
    return made


def test_what_is_really_better() -> None:
    """Against the group with most runs: far more successes, far fewer, about as many, and too few runs to say."""
    groups = {
        "old": group(50, 100), "good": group(45, 50), "bad": group(5, 50), "alike": group(24, 50), "new": group(9, 9),
        "(none)": group(0, 500),
    }  # fmt: skip
    assert choose_baseline(groups, ("(none)",)) == "old"
    assert choose_baseline({"(none)": group(0, 5)}, ("(none)",)) == "(none)"
    assert choose_baseline({}, ()) is None
    found = {one.value: one for one in compare_rates(groups, "old")}
    assert {value: one.verdict for value, one in found.items()} == {
        "good": BETTER, "bad": WORSE, "alike": NO_DIFFERENCE, "new": NOT_ENOUGH, "(none)": WORSE,
    }  # fmt: skip
    assert found["good"].effect == pytest.approx(0.4)
    for one in found.values():
        assert (one.chance is None) == (one.verdict == NOT_ENOUGH)
        assert one.chance is None or one.adjusted is None or one.chance <= one.adjusted


def test_one_of_many_is_judged_as_one_of_many() -> None:
    """A difference that would count alone does not where twenty were looked at."""
    groups = {"base": group(50, 100), "lucky": group(34, 50)}
    (alone,) = compare_rates(groups, "base")
    assert alone.chance is not None
    assert 0.02 < alone.chance < 0.05
    assert alone.verdict == BETTER
    groups |= {f"other-{at}": group(25, 50) for at in range(20)}
    among = next(one for one in compare_rates(groups, "base") if one.value == "lucky")
    assert (among.chance, among.verdict) == (alone.chance, NO_DIFFERENCE)


def test_what_is_really_cheaper() -> None:
    """A lower cost for each success is better, also where fewer runs succeed."""
    groups = {"old": group(60, 100, 1_000), "cheap": group(50, 100, 300), "dear": group(60, 100, 3_000)}
    groups["few"] = group(5, 10, 300)
    found = {one.value: one.verdict for one in compare_success_costs(groups, "old", "USD")}
    assert found == {"cheap": BETTER, "dear": WORSE, "few": NOT_ENOUGH}
