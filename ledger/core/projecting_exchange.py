"""The fold over conversion: what an authorization was converted by, and what its parts make in both currencies.

Invariants: written from the accounting rules, without the code that decided; the rate is that of the records before,
found again; each part moves what it adds to all parts so far.
"""

from typing import Any, Final, NamedTuple

from ledger.core.authorization import FLAG_PARTIAL, Authorization
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.exchange import Exchange, asked_side, exchange_of, exchange_on, exchanged
from ledger.core.money import ATOMS_MAX, currency_digits
from ledger.core.projecting_record import Progress, Record, atoms_of, credited
from ledger.core.rate import day_of

Sums = list[int]
"""[settled as repriced, refunded] of a pair of category and payee."""
Pairs = dict[tuple[str, str], Sums]


class Moved(NamedTuple):
    """What a record moves: ``atoms`` in the budget's currency and ``asked`` in the one that was asked, below zero where
    it takes back; the same where nothing is converted."""

    atoms: int
    asked: int
    category: str
    payee: str


def found_exchange(fold: Progress, budget: str, currency: str, atoms: int, moment: int) -> tuple[Exchange | None, str]:
    """(how an amount is converted to a budget's currency at a moment, that currency); None where it need not be, and
    where there is no rate. Raises LookupError for a budget that is not there."""
    row = fold.store.budgets.get(budget)
    if row is None or fold.book is None:
        raise LookupError(f"there is no budget {budget}")
    if row.currency == currency:
        return None, currency
    if currency_digits(currency) is None or currency_digits(row.currency) is None:
        raise ValueError(f"{currency} cannot be spent from a budget in {row.currency}")
    rates = fold.store.rates
    exchange = exchange_on(
        day_of(fold.book.timezone, moment), currency, row.currency, atoms, lambda pair, day: rates.get((pair, day))
    )
    if exchange is not None and exchange.up(atoms) > ATOMS_MAX:
        raise ValueError("a converted amount leaves 64 bits")
    return exchange, row.currency


def expect_exchange(record: Record, row: Authorization) -> None:
    """The body says how the asked side stands after it, and none where nothing is converted."""
    found = record.body.get("exchange")
    expected = None if row.exchange is None else parse(row.exchange.encode())
    if found != expected:
        record.differ("exchange is not what the records before it give", expected, found)


def approve(record: Record, row: Authorization, state: str) -> None:
    """Hold what the record says is approved of a request, and no more than was asked."""
    approved = record.atoms("approved")
    if approved > row.amount or (approved < row.amount and not takes_less(record.body["request"])):
        record.differ("more or less is approved than was asked", row.amount, approved)
    row.approved = row.held = approved
    row.state = state
    row.flags = FLAG_PARTIAL if approved < row.amount else 0
    exchange = exchange_of(row)
    if exchange is not None:
        _approve_asked(record, row, exchange)
    expect_exchange(record, row)


def takes_less(request: dict[str, Any]) -> bool:
    """Whether a request may be approved for less than it asks."""
    return bool(request.get("partial_ok") or request.get("afford"))


def _approve_asked(record: Record, row: Authorization, exchange: Exchange) -> None:
    """What is approved of what was asked, by what is held for it: a part only where the whole is not."""
    exchange.approved = exchange.amount if row.approved == row.amount else exchange.covered(row.approved)
    if not exchange.approved or exchange.up(exchange.approved) != row.approved:
        record.differ("what is held is not what covers what is approved", exchange.up(exchange.approved), row.approved)
    row.exchange = exchange.text()


def extended(row: Authorization, asked: int) -> int:
    """What extending by so much of what was asked adds to the hold; the asked side is changed."""
    exchange = exchange_of(row)
    if exchange is None:
        return asked
    exchange.approved += asked
    row.exchange = exchange.text()
    return exchange.up(exchange.approved) - row.approved


def pairs_settled(row: Authorization) -> Pairs:
    """(category, payee) to what was settled, as repriced, and refunded, of each pair that something was settled for."""
    if row.splits is not None:
        return {(item[0], item[1]): [int(item[2]), int(item[3])] for item in parse(row.splits.encode())}
    if row.settled_category is None or row.settled_payee is None:
        return {}
    return {(row.settled_category, row.settled_payee): [row.cost, row.refunded]}


def named_pair(row: Authorization, request: dict[str, Any]) -> tuple[str, str]:
    """The one pair of category and payee that a correction names; what is not named must leave no choice. Raises
    ValueError where it does."""
    named = [
        (category, payee)
        for category, payee in pairs_settled(row)
        if request.get("category", category) == category and request.get("payee", payee) == payee
    ]
    if len(named) != 1:
        raise ValueError("a correction names not one pair of category and payee")
    return named[0]


def _count(
    pairs: Pairs, pair: tuple[str, str], place: int, atoms: int, row: Authorization, *, named: bool = False
) -> None:
    """Add to a pair, also nothing where it is ``named`` all the same, and let the row say so of several pairs."""
    if atoms or named:
        pairs.setdefault(pair, [0, 0])[place] += atoms
    if len(pairs) > 1:
        row.splits = canonical_bytes([[*names, *map(str, sums)] for names, sums in pairs.items()]).decode()


_SETTLED: Final = 0
_REFUNDED: Final = 1


def count_spend(
    row: Authorization, category: str, payee: str, *, settled: int = 0, refunded: int = 0, repriced: int = 0
) -> tuple[int, int]:
    """Count towards the pair that spend was for, whose price was wrong, or that a refund goes back to, before the row's
    own totals move; the asked side is changed, all of it. Amounts are in the currency that was asked. Returns (what the
    pair moves in the budget's currency, what can still be refunded to it in the asked one)."""
    pair, place = (category, payee), _REFUNDED if refunded else _SETTLED
    asked = settled + refunded + repriced
    own, exchange = pairs_settled(row), exchange_of(row)
    if exchange is None:
        _count(own, pair, place, asked, row)
        after = own.get(pair, [0, 0])
        return asked, after[0] - after[1]
    side = asked_side(row)
    pairs, before = pairs_settled(side), own.get(pair, [0, 0])
    _count(pairs, pair, place, asked, side)
    after = pairs.get(pair, [0, 0])
    left, now = after[0] - after[1], exchange.even(max(after[0] - after[1], 0))
    if refunded:
        atoms = max(before[0] - before[1] - now, 0)
    elif repriced:
        atoms = now - (before[0] - before[1])
        atoms = max(atoms, 0) if repriced > 0 else min(atoms, 0)
    else:
        atoms = exchange.even(exchange.settled + settled) - exchange.even(exchange.settled)
    if asked:
        _count(own, pair, place, atoms, row, named=True)
    exchange.settled += settled
    exchange.refunded += refunded
    exchange.repriced += repriced
    exchange.splits = side.splits
    row.exchange = exchange.text()
    return atoms, left


def cost_transfers(record: Record, row: Authorization, moved: Moved) -> list[list[str]]:
    """The transfers of a cost in money: the expense and what is owed for it, through the account of exchange where
    these are in two currencies; the other way round where it is taken back."""
    exchange = exchange_of(row)
    atoms, asked = abs(moved.atoms), abs(moved.asked)
    if exchange is not None:
        made = exchanged(
            moved.category, credited(record, row, moved.payee), atoms, row.currency, asked, exchange.currency
        )
    elif atoms and currency_digits(row.currency) is not None:
        made = [(f"expenses:{moved.category}", credited(record, row, moved.payee), atoms, row.currency)]
    else:
        made = []
    if moved.asked < 0:
        made = [(credit, debit, amount, currency) for debit, credit, amount, currency in made]
    return [[debit, credit, str(amount), currency] for debit, credit, amount, currency in made]


def said_currency(body: dict[str, Any]) -> Any:
    """The currency that a body says was asked in."""
    exchange = body.get("exchange")
    return body.get("currency") if exchange is None else exchange["currency"]


def amount_asked(record: Record) -> int:
    """The amount of the request, in atoms of its currency."""
    return atoms_of(record.body["request"].get("amount", "0"))
