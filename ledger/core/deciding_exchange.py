"""Conversion while a batch is decided: the rate that a request is converted by, and what its parts move.

Invariants: an authorization is converted by the one rate that was fixed with it, whatever rates come later; each part
moves the difference that it makes to what all parts so far are converted to, so no atom is lost or made; taking back
all that was settled for a category and payee leaves nothing of it in either currency.
"""

from typing import NamedTuple

from ledger.core.authorization import Authorization
from ledger.core.budget import Budget
from ledger.core.command import Charge
from ledger.core.exchange import Exchange, asked_side, exchange_of, exchange_on
from ledger.core.exchange_verdicts import no_rate_detail
from ledger.core.money import ATOMS_MAX, currency_digits
from ledger.core.outcome import Status
from ledger.core.rate import day_of
from ledger.core.refusal import refuse
from ledger.core.splits import Split, pack_splits, settle_split, splits_of
from ledger.core.working import Batch


class Part(NamedTuple):
    """One part of the spend of an authorization in both currencies: ``atoms`` of the budget's, ``asked`` of the one
    that was asked, which are the same where nothing is converted. ``splits`` and ``exchange`` are the row's after
    it."""

    atoms: int
    asked: int
    splits: str | None
    exchange: Exchange | None


def exchange_at(batch: Batch, currency: str, budget: Budget, atoms: int, moment: int) -> Exchange | None:
    """How ``atoms`` of a currency are converted to a budget's at a moment; None where there is no rate. Refuses what is
    not money, and what would not fit 64 bits once converted."""
    check_convertible(currency, budget)
    day = day_of(batch.snapshot.book.timezone, moment)
    exchange = exchange_on(
        day, currency, budget.currency, atoms, lambda pair, earlier: batch.fact("rates", (pair, earlier))
    )
    if exchange is not None:
        check_fits(batch, exchange, atoms, budget.currency)
    return exchange


def check_convertible(currency: str, budget: Budget) -> None:
    """Refuse a currency that a budget can have no rate from, because one of the two is no money."""
    if currency != budget.currency and (currency_digits(currency) is None or currency_digits(budget.currency) is None):
        refuse(Status.CURRENCY_MISMATCH, f"budget {budget.name} is in {budget.currency}, not {currency}")


def check_fits(batch: Batch, exchange: Exchange, atoms: int, currency: str) -> None:
    """Refuse an amount that would not fit 64 bits once converted."""
    if atoms > ATOMS_MAX or exchange.up(atoms) > ATOMS_MAX:
        refuse(
            Status.AMOUNT_TOO_LARGE,
            f"{batch.amount_text(atoms, exchange.currency)} is more in {currency} than a 64-bit ledger amount can hold",
        )


def charged_exchange(batch: Batch, asked: Charge, budget: Budget, atoms: int, moment: int) -> Exchange | None:
    """How a charge is converted, by the rate of the day that it counts for; None where it is in the budget's currency.
    Refuses what has no rate, and what would come to nothing."""
    if asked.currency == budget.currency:
        return None
    exchange = exchange_at(batch, asked.currency, budget, atoms, moment)
    if exchange is None:
        day = day_of(batch.snapshot.book.timezone, moment)
        refuse(Status.RATE_NEEDED, no_rate_detail(asked.currency, budget.currency, day))
    if not exchange.even(atoms):
        refuse(
            Status.AMOUNT_NOT_POSITIVE,
            f"{batch.amount_text(atoms, asked.currency)} is less than the least amount of {budget.currency}",
        )
    exchange.settled = atoms
    return exchange


def settled_part(found: Authorization, category: str, payee: str, asked: int) -> Part:
    """What settling ``asked`` atoms more for a category and payee moves."""
    exchange = exchange_of(found)
    if exchange is None:
        return Part(asked, asked, settle_split(found, category, payee, asked), None)
    splits = settle_split(asked_side(found), category, payee, asked)
    atoms = exchange.even(exchange.settled + asked) - exchange.even(exchange.settled)
    exchange.settled += asked
    exchange.splits = splits
    return Part(atoms, asked, settle_split(found, category, payee, atoms, named=asked > 0), exchange)


def _own(found: Authorization, chosen: Split) -> Split:
    """What a pair, chosen by what was asked, has in the budget's currency."""
    for one in splits_of(found):
        if (one.category, one.payee) == (chosen.category, chosen.payee):
            return one
    return Split(chosen.category, chosen.payee, 0, 0)


def _with(found: Authorization, changed: Split) -> str | None:
    """The packed splits of a row once one of them is changed."""
    pair = (changed.category, changed.payee)
    return pack_splits([changed if (one.category, one.payee) == pair else one for one in splits_of(found)])


def refunded_part(found: Authorization, chosen: Split, asked: int, splits: str | None) -> Part:
    """What refunding ``asked`` atoms of a pair moves. ``chosen`` is the pair before it, ``splits`` the packed splits
    after it, both in the currency that was asked."""
    exchange = exchange_of(found)
    if exchange is None:
        return Part(asked, asked, splits, None)
    own = _own(found, chosen)
    left = exchange.even(chosen.settled - chosen.refunded - asked)
    atoms = max(own.settled - own.refunded - left, 0)
    exchange.refunded += asked
    exchange.splits = splits
    return Part(atoms, asked, _with(found, own._replace(refunded=own.refunded + atoms)), exchange)


def repriced_part(found: Authorization, chosen: Split, difference: int, splits: str | None) -> Part:
    """What a reprice of a pair by ``difference`` atoms moves, below zero where it costs less; as ``refunded_part``."""
    exchange = exchange_of(found)
    if exchange is None:
        return Part(difference, difference, splits, None)
    own = _own(found, chosen)
    atoms = exchange.even(chosen.settled - chosen.refunded + difference) - (own.settled - own.refunded)
    atoms = max(atoms, 0) if difference > 0 else min(atoms, 0)
    exchange.repriced += difference
    exchange.splits = splits
    return Part(atoms, difference, _with(found, own._replace(settled=own.settled + atoms)), exchange)


def keep_exchange(row: Authorization, exchange: Exchange | None) -> None:
    """Let the row say how its asked side stands."""
    if exchange is not None:
        row.exchange = exchange.text()
