"""The part of ``every_kind`` about rates of exchange: each kind of record that a conversion can stand in, with the odd
cases of each."""

from __future__ import annotations

from ledger.core.command import Authorize, Caller, Charge, Extend, Refund, Release, Reprice
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.outcome import Outcome
from ledger.core.rate import day_of
from tests.support.ledger import Ledger

DAY = 86_400 * 1_000_000


def today(ledger: Ledger) -> int:
    """The day of the book's clock, since 1970 in its time zone."""
    now = getattr(ledger, "sources", ledger).now
    return day_of(ledger.book.timezone, now)


def give(ledger: Ledger, caller: Caller, *rates: tuple[str, str, str], days_ago: int = 0, **fields: object) -> Outcome:
    """Give rates (base, quote, rate) of one day."""
    day = today(ledger) - days_ago
    given = tuple(GivenRate(base=base, quote=quote, rate=rate, day=day) for base, quote, rate in rates)
    outcome = ledger.do(GiveRates, caller, rates=given, **({"source": "ecb"} | fields))
    assert outcome.status.value == "done", outcome
    return outcome


def convert(ledger: Ledger, finance: Caller) -> None:
    """Rates, one of them mistyped; spend in euros and in yen from a budget in dollars, with all that becomes of it."""
    trader = ledger.agent("trader", "research")
    ledger.budget("trading", "90", "trader")
    spend = {"category": "search", "payee": "mistral", "budget": "trading", "currency": "EUR"}
    denied = ledger.do(Authorize, trader, amount="1", **spend)
    assert denied.status.value == "no_rate", denied
    give(ledger, finance, ("EUR", "USD", "1.11"), ("EUR", "JPY", "163.57"), days_ago=1)
    give(ledger, finance, ("EUR", "USD", "10.842"), reason="a mistyped rate")
    give(ledger, ledger.admin, ("EUR", "USD", "1.0842"), source="treasury", max_age_days=31)
    first = _held(ledger, trader, amount="7", labels=(("prompt", "v7"),), **spend)
    assert ledger.do(Extend, trader, authorization=first, amount="1.000000001", currency="EUR").status.value == "done"
    for amount, payee in (("0.333333333", "mistral"), ("0.333333333", "aleph"), ("0.333333334", "mistral")):
        settled = ledger.settle(trader, first, amount, currency="EUR", final=False, payee=payee)
        assert settled.status.value == "done", settled
    ledger.do(Refund, finance, authorization=first, amount="0.1", currency="EUR", payee="aleph", category="search")
    ledger.settle(trader, first, "4", currency="EUR")
    repriced = ledger.do(
        Reprice, finance, authorization=first, settled="5", amount="5.5", currency="EUR", old_price=(("output", "5"),),
        new_price=(("output", "5.5"),), category="search", payee="mistral", reason="a mistyped price",
    )  # fmt: skip
    assert repriced.status.value == "done", repriced
    yen = _held(ledger, trader, amount="300.5", **(spend | {"currency": "JPY"}))
    ledger.settle(trader, yen, "400", currency="JPY")
    ledger.do(Refund, finance, authorization=yen, amount="400", currency="JPY")
    ended = _held(ledger, trader, amount="1", **spend)
    ledger.do(Release, trader, authorization=ended)
    ledger.settle(trader, ended, "0.5", currency="EUR")
    short = ledger.do(Extend, trader, authorization=_held(ledger, trader, **(spend | {"amount": "2"})),
                      amount="500", currency="EUR")  # fmt: skip
    assert short.status.value == "insufficient_budget", short
    part = ledger.do(Authorize, trader, amount="500", partial_ok=True, **spend)
    assert part.status.value == "approved", part
    ledger.do(Release, trader, authorization=str((part.body or {})["authorization"]))
    charged = ledger.do(
        Charge, finance, budget="trading", agent="trader", amount="2.5", currency="EUR", category="search",
        payee="mistral", reason="found on the invoice",
    )  # fmt: skip
    assert charged.status.value == "done", charged
    reference = str((charged.body or {})["authorization"])
    assert ledger.do(Refund, finance, authorization=reference, amount="2.5", currency="EUR").status.value == "done"


def _held(ledger: Ledger, caller: Caller, **fields: object) -> str:
    outcome = ledger.do(Authorize, caller, **fields)
    assert outcome.status.value == "approved", outcome
    return str((outcome.body or {})["authorization"])
