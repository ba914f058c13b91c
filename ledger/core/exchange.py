"""An authorization that was asked in another currency than its budget's: what it is converted by, and both its sides.

Owns the arithmetic of conversion. One rate is fixed with the request and converts everything that follows. Invariants:
what is held is rounded up and what is settled half-even, each time of all that was held or settled so far and never of
a part, so that parts add up to the whole; so what is settled within what was approved is never more than was held.

The row of such an authorization is in the budget's currency, and its ``exchange`` keeps the side that was asked.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.core.account import expense_name
from ledger.core.authorization import Authorization
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.money import divide_half_even, divide_up
from ledger.core.rate import Leg, RateOf, day_text, factor_of, legs_on

EXCHANGE_NAME: Final = "equity:exchange"
"""The account through which one currency is changed for another."""


@dataclass(slots=True)
class Exchange:
    """The side of an authorization that was asked: amounts in atoms of ``currency``, as the row has them in those of
    the budget's. ``numerator`` atoms of the budget's currency are ``denominator`` of this; ``legs`` are the rates that
    say so. ``splits`` is as in the row."""

    currency: str
    numerator: int
    denominator: int
    legs: list[list[Any]]
    amount: int
    approved: int = 0
    settled: int = 0
    refunded: int = 0
    repriced: int = 0
    splits: str | None = None

    def up(self, atoms: int) -> int:
        """Atoms of the budget's currency that cover so many of this."""
        return divide_up(atoms * self.numerator, self.denominator)

    def even(self, atoms: int) -> int:
        """Atoms of the budget's currency that so many of this cost."""
        return divide_half_even(atoms * self.numerator, self.denominator)

    def covered(self, atoms: int) -> int:
        """The most atoms of this that so many of the budget's currency cover."""
        return atoms * self.denominator // self.numerator

    def said(self) -> dict[str, Any]:
        """As a record's body says it."""
        said: dict[str, Any] = {
            "currency": self.currency,
            "per": [str(self.numerator), str(self.denominator)],
            "rates": self.legs,
        }
        for name in _AMOUNTS:
            said[name] = str(getattr(self, name))
        if self.splits is not None:
            said["splits"] = self.splits
        return said

    def text(self) -> str:
        """As the row keeps it."""
        return canonical_bytes(self.said()).decode()


_AMOUNTS: Final = ("amount", "approved", "settled", "refunded", "repriced")


def exchange_on(day: int, currency: str, budget_currency: str, atoms: int, rate_of: RateOf) -> Exchange | None:
    """How ``atoms`` of a currency are converted to a budget's on a day; None where there is no rate."""
    legs = legs_on(day, currency, budget_currency, rate_of)
    if legs is None:
        return None
    return Exchange(currency, *factor_of(currency, budget_currency, legs), [_leg_said(leg) for leg in legs], atoms)


def _leg_said(leg: Leg) -> list[Any]:
    """A rate as bodies say it: [log index of its record, base, quote, rate, day, source, whether it is inverted]."""
    return [leg.log_index, leg.base, leg.quote, leg.rate, day_text(leg.day), leg.source, leg.is_inverse]


def exchange_of(row: Authorization) -> Exchange | None:
    """The asked side of a row, None where it was asked in the budget's currency."""
    if row.exchange is None:
        return None
    said = parse(row.exchange.encode())
    amounts = {name: int(said[name]) for name in _AMOUNTS}
    numerator, denominator = said["per"]
    return Exchange(
        said["currency"], int(numerator), int(denominator), said["rates"], splits=said.get("splits"), **amounts
    )


def asked_side(row: Authorization) -> Authorization:
    """The row as it would be in the currency it was asked in: itself, where that is the budget's."""
    exchange = exchange_of(row)
    if exchange is None:
        return row
    return replace(
        row, currency=exchange.currency, splits=exchange.splits, **{name: getattr(exchange, name) for name in _AMOUNTS}
    )


Transfers = list[tuple[str, str, int, str]]
"""(debit account, credit account, atoms, currency) of each."""


def exchanged(category: str, credited: str, cost: int, currency: str, owed: int, owed_currency: str) -> Transfers:
    """The transfers of a cost that is owed in another currency, in order: ``cost`` as the expense, and ``owed`` to the
    account that is ``credited`` for the payee, each against the account of exchange, so that each currency nets to
    zero. What is zero moves nothing."""
    moved = [
        (expense_name(category), EXCHANGE_NAME, cost, currency),
        (EXCHANGE_NAME, credited, owed, owed_currency),
    ]
    return [transfer for transfer in moved if transfer[2]]
