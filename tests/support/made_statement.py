"""Statements made of their own types, without a database: of any length, with what is hard to show.

Owns ``made``. Invariant: the same arguments give the same statement, and it adds up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta

from ledger.core.money import currency_digits
from ledger.core.period import parse_period
from ledger.core.statement import (
    TEAM,
    HoldLine,
    Line,
    Link,
    Scope,
    Statement,
    StatementCheckpoint,
    StatementLog,
)
from ledger.core.windows import day_start

ZONE = "Europe/Paris"
SECOND = 1_000_000
DAY = 86_400 * SECOND
STARTS_AT = day_start(ZONE, date(2026, 11, 1))
ODD = (
    "<script>alert(1)</script>", '=HYPERLINK("x")', "#set page(width: 1mm) $x$ \\ _a_ *b* `c` @d ~ //e", "<r>x</r>",
    "\"quotes\" & 'more' </svg>", "+1", "@x", "émoji 中文 😀", "{{ 7*7 }} %s {0}", "_x0041_ \ufffe",
)  # fmt: skip
"""Resources that something takes for something else."""
LONG = "a-model-whose-name-goes-on-and-on-" * 7
MANY = ("USD", "EUR", "JPY", "GBP", "CHF", "KRW", "VND", "SEK", "NOK", "DKK", "PLN", "BRL")


class Digits(dict[str, int]):
    """The digits of currencies; ``TOKENS`` is a unit without any."""

    def __missing__(self, currency: str) -> int:
        digits = currency_digits(currency)
        return 0 if digits is None else digits


def made(
    lines: int = 40,
    *,
    currencies: Sequence[str] = ("USD",),
    scope: Scope = Scope(TEAM, "research"),  # noqa: B008  a value that nothing changes
    period: str = "2026-11",
    resources: Sequence[str] = ("gpt-5-mini", "gpt-5", *ODD),
    payees: Sequence[str] = ("openai", "anthropic", "serp"),
    book: str = "acme",
    holds: int = 2,
    atoms_max: int = 99 * 10**9,
    places: int = 4,
    checkpoint: bool = True,
) -> Statement:
    """A statement of November 2026 with so many lines and holds. Amounts have ``places`` digits after the point."""
    chance = random.Random(7)
    found = [_line(chance, at, lines, currencies, resources, payees, atoms_max, places) for at in range(lines)]
    open_holds = [_hold(at, currencies[at % len(currencies)], resources[-1]) for at in range(holds)]
    digits = Digits()
    opening = {currency: 1_234_567 * 10 ** max(0, digits[currency] - 2) for currency in currencies}
    closing, held = dict(opening), dict.fromkeys(currencies, 0)
    for line in found:
        closing[line.currency] += line.amount
    for hold in open_holds:
        held[hold.currency] += hold.held
    root = bytes(range(32))
    signed = StatementCheckpoint(lines + 1, root[::-1], STARTS_AT + 40 * DAY, "bursar/acme-0123abcd")
    log = StatementLog(3 * lines + 20, root, STARTS_AT + 50 * DAY + 123_456)
    return Statement(
        book, ZONE, scope, parse_period(period, ZONE), log,
        signed if checkpoint else None, digits, opening, closing, held, lambda: found, lambda: open_holds,
    )  # fmt: skip


def _line(
    chance: random.Random,
    at: int,
    lines: int,
    currencies: Sequence[str],
    resources: Sequence[str],
    payees: Sequence[str],
    atoms_max: int,
    places: int,
) -> Line:
    currency = chance.choice(currencies)
    step = 10 ** max(0, Digits()[currency] - places)
    cost = chance.randrange(1, atoms_max // step + 1) * step
    kind = chance.choice(("settlement", "settlement", "settlement", "charge", "refund", "reprice"))
    is_correction = kind in ("refund", "reprice")
    cost = -cost if is_correction else cost
    moment = STARTS_AT + at * (29 * DAY // max(1, lines))
    flags = chance.choice(((), (), (), ("overrun", "mismatch"), ("late",), ("forced",), ("unauthorized",)))
    return Line(
        3 * at + 10, at % 3, kind, date(2026, 11, 1) + timedelta(days=(moment - STARTS_AT) // DAY), moment,
        moment + (3 * DAY if at % 7 == 3 else 0), f"auth_{at:026d}", chance.choice(("crawler", "writer", None)),
        f"run-{at % 5}", "research", chance.choice(("inference", "search")), chance.choice((*payees, None)),
        resources[at % len(resources)], (("customer", "A & <b>B</b>"), ("prompt", "v3")) if at % 4 == 0 else (),
        ("appr_1",) if at % 6 == 0 else (), ("ana", "fay") if at % 6 == 0 else (), flags,
        _link(at, 3, currency, "settlement", -cost) if is_correction else None,
        (_link(99_999, 30, currency, ("refund", "reversal")[at % 2], -7 * step),) if at % 9 == 0 else (), None,
        currency, cost, cost, 0, STARTS_AT - DAY if at % 13 == 5 else None,
    )  # fmt: skip


def _link(index: int, day: int, currency: str, kind: str, cost: int) -> Link:
    return Link(index, date(2026, 11, day), kind, "research", "inference", "openai", currency, cost)


def _hold(at: int, currency: str, resource: str) -> HoldLine:
    return HoldLine(
        900 + at, f"auth_h{at:025d}", "crawler", None, "research", "inference", "openai", resource,
        ("held", "pending_approval")[at % 2], (), currency, (at + 1) * 10 ** Digits()[currency], STARTS_AT + at,
        STARTS_AT + DAY if at % 2 == 0 else None,
    )  # fmt: skip
