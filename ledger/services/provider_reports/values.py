"""Single values of a report: amounts, counts, days and texts, each refused with its place where it is none.

Invariant: an amount is rounded once, half to even, to one atom of its currency.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

from ledger.core.moment import SECOND, moment_of
from ledger.core.money import ATOMS_MAX
from ledger.core.reconciling_lines import DAY, day_of

TEXT_MAX: Final = 256
COUNT_MAX: Final = 2**53
_EXACT: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)
_EXPONENT_MAX: Final = 60
_YEAR_1970_TO_2100: Final = range(0, 4_102_444_800 * SECOND)


class ReportError(Exception):
    """A report that cannot be read; the text begins with the place."""


def atoms_of(value: Any, digits: int, place: str, *, minor_digits: int = 0) -> int:
    """A number, or text that is one, as atoms of a currency with ``digits`` digits; with ``minor_digits`` it counts
    hundredths (2) or so of the currency."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise ReportError(f"{place}: {_shown(value)} is no amount")
    try:
        amount = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation as error:
        raise ReportError(f"{place}: {_shown(value)} is no amount") from error
    if not amount.is_finite() or abs(amount.adjusted()) > _EXPONENT_MAX:
        raise ReportError(f"{place}: {_shown(value)} is no amount")
    atoms = int(_EXACT.scaleb(amount, digits - minor_digits).quantize(Decimal(1), context=_EXACT))
    if abs(atoms) > ATOMS_MAX:
        raise ReportError(f"{place}: {_shown(value)} is more than a 64-bit ledger amount can hold")
    return atoms


def count_of(value: Any, name: str, place: str) -> int:
    """A count, zero where it is not said."""
    if value in (None, ""):
        return 0
    try:
        count = Decimal(value) if isinstance(value, (int, str, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        count = None
    if count is None or not count.is_finite() or count != count.to_integral_value() or not 0 <= count <= COUNT_MAX:
        raise ReportError(f"{place}: {name} is {_shown(value)}, which is no count")
    return int(count)


def text_of(value: Any, name: str, place: str) -> str:
    """One line of text, empty where it is not said."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_MAX or not (value.isprintable() or not value):
        raise ReportError(f"{place}: {name} is {_shown(value)}, which is no line of at most {TEXT_MAX} characters")
    return value.strip()


def currency_of(value: Any, wanted: str, place: str) -> None:
    """Refuse a currency that is not the one that is compared."""
    if not isinstance(value, str) or value.upper() != wanted:
        raise ReportError(
            f"{place}: the amount is in {_shown(value)}, and {wanted} is compared; choose with --currency"
        )


def day_within(starts_at: int, ends_at: int, place: str) -> int:
    """The day of UTC that a stretch of time is in; refuses one that is in several."""
    if starts_at not in _YEAR_1970_TO_2100 or not starts_at < ends_at:
        raise ReportError(f"{place}: its time is no stretch between 1970 and 2100")
    if day_of(starts_at) != day_of(ends_at - 1):
        raise ReportError(f"{place}: it is of more than one day of UTC; fetch the report by days (bucket_width=1d)")
    return starts_at // DAY


def seconds_of(value: Any, name: str, place: str) -> int:
    """Seconds since 1970, as microseconds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ReportError(f"{place}: {name} is {_shown(value)}, which is no time in seconds since 1970")
    return value * SECOND


def moment_said(value: Any, name: str, place: str) -> int:
    """A date (midnight UTC) or an RFC 3339 moment, of UTC where it names no offset, as microseconds."""
    try:
        text = value.strip().replace(" ", "T", 1) if isinstance(value, str) else ""
        if len(text) == 10:
            text += "T00:00:00"
        if text and not text.endswith(("Z", "z")) and "+" not in text and "-" not in text[11:]:
            text += "Z"
        moment = moment_of(text)
    except (ValueError, OverflowError) as error:
        raise ReportError(f"{place}: {name} is {_shown(value)}, which is no date and no moment") from error
    if moment not in _YEAR_1970_TO_2100:
        raise ReportError(f"{place}: {name} is {_shown(value)}, which is not between 1970 and 2100")
    return moment


def _shown(value: Any) -> str:
    return "nothing" if value is None else f'"{str(value)[:60]}"'
