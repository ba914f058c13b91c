"""Money as integers of atoms, and the named ways of rounding into them.

Owns the scale of every currency, the way from decimal text to atoms and back, and rounding. Invariant: an
amount inside Bursar is an ``int`` of atoms with its currency code beside it; no float, no ``Decimal`` context
and no lost digit. One atom is 10^-9 of the unit, and 10^-6 where the unit itself is small (see ``MICRO_CODES``).
The scale of a currency is fixed for good: changing a line here would change the meaning of stored books.
"""

import re
from typing import Final

ATOMS_MAX: Final = 2**63 - 1
NANO_DIGITS: Final = 9
MICRO_DIGITS: Final = 6
UNIT_DIGITS_MAX: Final = 9

MICRO_CODES: Final = frozenset(
    (
        "ALL AMD AOA BIF CLP COP CRC DJF GNF HUF IDR IQD IRR ISK JPY KHR KMF KRW KZT LAK LBP LKR MGA MMK MNT MWK NGN "
        "PKR PYG RSD RWF SLL SOS STD SYP TZS UGX UZS VND VUV XAF XOF XPF YER ZMK"
    ).split()
)
"""Currencies whose unit is worth less than a few US cents: six digits give them the range they need."""

NANO_CODES: Final = (
    frozenset(
        (
            "ADP AED AFA AFN ALK ANG AOK AON AOR ARA ARL ARM ARP ARS ATS AUD AWG AZM AZN BAD BAM BAN BBD BDT "
            "BEC BEF BEL BGL BGM BGN BGO BHD BMD BND BOB BOL BOP BOV BRB BRC BRE BRL BRN BRR BRZ BSD BTN BUK "
            "BWP BYB BYN BYR BZD CAD CDF CHE CHF CHW CLE CLF CNH CNX CNY COU CSD CSK CUC CUP CVE CYP CZK DDM "
            "DEM DKK DOP DZD ECS ECV EEK EGP ERN ESA ESB ESP ETB EUR FIM FJD FKP FRF GBP GEK GEL GHC GHS GIP "
            "GMD GNS GQE GRD GTQ GWE GWP GYD HKD HNL HRD HRK HTG IEP ILP ILR ILS IMP INR ISJ ITL JMD JOD KES "
            "KGS KPW KRH KRO KWD KYD LRD LSL LTL LTT LUC LUF LUL LVL LVR LYD MAD MAF MCF MDC MDL MGF MKD MKN "
            "MLF MOP MRO MRU MTL MTP MUR MVP MVR MXN MXP MXV MYR MZE MZM MZN NAD NIC NIO NLG NOK NPR NZD OMR "
            "PAB PEI PEN PES PGK PHP PLN PLZ PTE QAR RHD ROL RON RUB RUR SAR SBD SCR SDD SDG SDP SEK SGD SHP "
            "SIT SKK SLE SRD SRG SSP STN SUR SVC SZL THB TJR TJS TMM TMT TND TOP TPE TRL TRY TTD TVD TWD UAH "
            "UAK UGS USD USN USS UYI UYP UYU UYW UZS VEB VED VEF VES VNN WST XAG XAU XBA XBB XBC XBD XCD XCG "
            "XDR XEU XFO XFU XPD XPT XRE XSU XUA YDD YUD YUM YUN YUR ZAL ZAR ZMW ZRN ZRZ ZWD ZWG ZWL ZWN ZWR"
        ).split()
    )
    - MICRO_CODES
)

# Long enough that what is merely too large or too precise is told so; bounded, so that reading it stays cheap.
_PATTERN: Final = re.compile(r"-?[0-9]{1,64}(?:\.[0-9]{1,64})?")


class MoneyError(ValueError):
    """An amount that cannot be taken. ``code`` is one of ``format``, ``digits``, ``range``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def currency_digits(code: str) -> int | None:
    """Digits after the point that one atom of a money currency has (9 or 6), or None for an unknown code."""
    if code in NANO_CODES:
        return NANO_DIGITS
    return MICRO_DIGITS if code in MICRO_CODES else None


def parse_atoms(text: str, digits: int) -> int:
    """Read decimal text (``"0.0125"``) as atoms of a currency with ``digits`` digits, exactly.

    Trailing zeros beyond the scale are allowed, since they say nothing. Raises MoneyError: ``format`` for what
    is not plain decimal text, ``digits`` for more digits than the scale, ``range`` beyond 64 bits.
    """
    if _PATTERN.fullmatch(text) is None:
        raise MoneyError("format", f'"{text[:40]}" is not a decimal number such as "12.50"')
    whole, _, fraction = text.partition(".")
    if len(fraction) > digits:
        if fraction[digits:].strip("0"):
            raise MoneyError("digits", f'"{text[:60]}" has more than {digits} digits after the point')
        fraction = fraction[:digits]
    atoms = int(whole + fraction.ljust(digits, "0"))
    if not -ATOMS_MAX <= atoms <= ATOMS_MAX:
        raise MoneyError("range", f'"{text[:40]}" is more than a 64-bit ledger amount can hold')
    return atoms


def format_atoms(atoms: int, digits: int, *, at_least: int = 2) -> str:
    """Write atoms as exact decimal text with at least ``at_least`` digits after the point (fewer if the scale is
    coarser), and no needless zeros beyond those: 12500000 atoms of USD is ``"0.0125"``."""
    sign = "-" if atoms < 0 else ""
    text = str(-atoms if atoms < 0 else atoms)
    if digits == 0:
        return sign + text
    if len(text) <= digits:
        text = "0" * (digits - len(text) + 1) + text
    whole, fraction = text[:-digits], text[-digits:].rstrip("0")
    shown = min(at_least, digits)
    if len(fraction) < shown:
        fraction += "0" * (shown - len(fraction))
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def divide_half_even(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded half-even to an integer: how a settlement reaches one atom."""
    if denominator <= 0:
        raise ValueError("denominator must be positive")
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2):
        quotient += 1
    return quotient


def divide_up(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded up (towards plus infinity): how a hold reaches one atom."""
    if denominator <= 0:
        raise ValueError("denominator must be positive")
    return -(-numerator // denominator)
