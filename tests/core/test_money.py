"""Money: scales, reading, writing, and the two ways of rounding, as tables."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

import moneyed
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.money import (
    ATOMS_MAX,
    MICRO_CODES,
    NANO_CODES,
    MoneyError,
    currency_digits,
    divide_half_even,
    divide_up,
    format_atoms,
    parse_atoms,
)


def test_the_currencies_are_those_of_py_moneyed() -> None:
    """All but XXX (no currency) and XTS (for testing), and two that ISO 4217 added since. A code's scale is fixed for
    good, so none may leave its set."""
    added_since = {"XCG", "ZWG"}
    assert set(moneyed.CURRENCIES) - {"XXX", "XTS"} == (NANO_CODES | MICRO_CODES) - added_since
    assert added_since <= NANO_CODES
    assert not NANO_CODES & MICRO_CODES


@pytest.mark.parametrize(
    ("code", "digits"),
    [
        *[(code, 9) for code in ("USD", "EUR", "GBP", "CHF", "INR", "KWD", "BHD", "XAU")],
        *[(code, 6) for code in ("JPY", "KRW", "VND", "IDR", "CLP", "HUF", "IRR")],
        *[(code, None) for code in ("XXX", "XTS", "usd", "", "tokens", "USDT")],
    ],
)
def test_scale_of_a_currency(code: str, digits: int | None) -> None:
    """Nano for most, micro where the unit is small, none for what is no currency."""
    assert currency_digits(code) == digits


@pytest.mark.parametrize(
    ("text", "digits", "atoms"),
    [
        ("1", 9, 1_000_000_000),
        ("0.0125", 9, 12_500_000),
        ("0.000000005", 9, 5),
        ("12.50", 6, 12_500_000),
        ("007", 0, 7),
        ("-3.5", 9, -3_500_000_000),
        ("0", 9, 0),
        ("-0", 9, 0),
        ("1.5000000000000", 9, 1_500_000_000),
        ("5.000", 0, 5),
        ("9223372036.854775807", 9, ATOMS_MAX),
        ("-9223372036.854775807", 9, -ATOMS_MAX),
    ],
)
def test_reading(text: str, digits: int, atoms: int) -> None:
    """Exact; zeros beyond the scale say nothing."""
    assert parse_atoms(text, digits) == atoms


@pytest.mark.parametrize(
    ("text", "digits", "code"),
    [
        *[(text, 9, "format") for text in ("", " 1", "1 ", "1,0", ".5", "5.", "+1", "1e3", "0x1", "NaN", "Infinity")],
        *[(text, 9, "format") for text in ("--1", "1.2.3", "1_000", "١", "1\n", "1\x00", "9" * 65, "0." + "1" * 65)],
        ("0.0000000001", 9, "digits"),
        ("0.0000001", 6, "digits"),
        ("0.5", 0, "digits"),
        ("9223372036.854775808", 9, "range"),
        ("-9223372036.854775808", 9, "range"),
        ("99999999999999999999", 0, "range"),
        ("9" * 64, 9, "range"),
        ("0." + "1" * 64, 9, "digits"),
    ],
)
def test_what_cannot_be_read(text: str, digits: int, code: str) -> None:
    """Each error says of which kind it is."""
    with pytest.raises(MoneyError) as caught:
        parse_atoms(text, digits)
    assert caught.value.code == code
    assert str(caught.value)


@pytest.mark.parametrize(
    ("atoms", "digits", "text"),
    [
        (12_500_000, 9, "0.0125"),
        (0, 9, "0.00"),
        (5, 9, "0.000000005"),
        (-5, 9, "-0.000000005"),
        (1_000_000_000, 9, "1.00"),
        (1_100_000_000, 9, "1.10"),
        (-1_234_567_890, 9, "-1.23456789"),
        (7, 0, "7"),
        (7, 1, "0.7"),
        (70, 1, "7.0"),
        (ATOMS_MAX, 9, "9223372036.854775807"),
    ],
)
def test_writing(atoms: int, digits: int, text: str) -> None:
    """At least two digits where the scale has them, and no needless zeros."""
    assert format_atoms(atoms, digits) == text


@given(st.integers(-ATOMS_MAX, ATOMS_MAX), st.integers(0, 9), st.integers(0, 9))
def test_writing_and_reading_undo_each_other(atoms: int, digits: int, at_least: int) -> None:
    """No digit is lost at any scale."""
    text = format_atoms(atoms, digits, at_least=at_least)
    assert parse_atoms(text, digits) == atoms
    assert Decimal(text).scaleb(digits) == atoms


@pytest.mark.parametrize(
    ("numerator", "denominator", "half_even", "up"),
    [
        (5, 2, 2, 3),
        (7, 2, 4, 4),
        (-5, 2, -2, -2),
        (-7, 2, -4, -3),
        (6, 2, 3, 3),
        (1, 3, 0, 1),
        (2, 3, 1, 1),
        (-1, 3, 0, 0),
        (-2, 3, -1, 0),
        (0, 7, 0, 0),
    ],
)
def test_rounding(numerator: int, denominator: int, half_even: int, up: int) -> None:
    """A settlement rounds half to even; a hold rounds up."""
    assert divide_half_even(numerator, denominator) == half_even
    assert divide_up(numerator, denominator) == up


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_rounding_is_decimals(numerator: int, denominator: int) -> None:
    """As the standard library's Decimal rounds, on values where it is exact enough to tell."""
    scaled = Decimal(numerator) / Decimal(denominator)
    if scaled * denominator == numerator:
        assert divide_half_even(numerator, denominator) == int(scaled.to_integral_value(ROUND_HALF_EVEN))
        assert divide_up(numerator, denominator) == int(scaled.to_integral_value(ROUND_CEILING))
    assert abs(2 * (divide_half_even(numerator, denominator) * denominator - numerator)) <= denominator
    assert 0 <= divide_up(numerator, denominator) * denominator - numerator < denominator


@pytest.mark.parametrize("denominator", [0, -1])
@pytest.mark.parametrize("divide", [divide_half_even, divide_up])
def test_a_denominator_is_positive(divide, denominator: int) -> None:
    """Anything else is a bug of the caller."""
    with pytest.raises(ValueError, match="positive"):
        divide(1, denominator)
