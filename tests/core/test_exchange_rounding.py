"""Conversion, atom by atom: which way it rounds, and that parts add up to the whole."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.core.exchange import EXCHANGE_NAME, Exchange
from ledger.core.money import divide_half_even, format_atoms
from ledger.core.outcome import Status
from tests.support.exchanging import converting, followed, hold, refund, settle


@pytest.mark.parametrize(
    ("numerator", "denominator", "atoms", "up", "even"),
    [
        (11, 10, 10, 11, 11),
        (11, 10, 1, 2, 1),
        (3, 2, 1, 2, 2),
        (1, 2, 1, 1, 0),
        (1, 2, 3, 2, 2),
        (1, 3, 1, 1, 0),
        (1, 3, 2, 1, 1),
        (10842, 10000, 5_000_000_000, 5_421_000_000, 5_421_000_000),
        (10842, 10000, 1, 2, 1),
        (10000, 10842, 1_000_000_000, 922_339_052, 922_339_052),
        (542100000, 81785, 1, 6629, 6628),
    ],
)
def test_a_hold_rounds_up_and_a_settlement_half_even(
    numerator: int, denominator: int, atoms: int, up: int, even: int
) -> None:
    """To one atom of the budget's currency."""
    exchange = Exchange("EUR", numerator, denominator, [], atoms)
    assert (exchange.up(atoms), exchange.even(atoms)) == (up, even)
    assert exchange.covered(up) >= atoms


PARTS = st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=6)
RATES = st.sampled_from(["0.333333333", "0.5", "1.0842", "1.5", "0.000000007", "7.77777", "163.57"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=PARTS, text=RATES, currency=st.sampled_from(["EUR", "JPY"]), spare=st.integers(0, 3), data=st.data())
def test_no_atom_is_lost_or_made(parts: list[int], text: str, currency: str, spare: int, data: st.DataObject) -> None:
    """However the spend is cut: what is settled within what was asked costs what the whole costs, is covered by the
    hold and flagged as nothing; refunded in whatever parts, in whatever order, nothing is left of it in any
    currency."""
    world = converting(text, base=currency)
    digits = 9 if currency == "EUR" else 6
    whole = sum(parts)
    payees = ["mistral" if data.draw(st.booleans(), label="first payee") else "aleph" for _ in parts]
    reference = hold(world, format_atoms(whole + spare, digits), currency)
    factor = Fraction(text) * 10 ** (9 - digits)
    settled = 0
    for atoms, payee in zip(parts, payees, strict=True):
        settle(world, reference, format_atoms(atoms, digits), currency, payee=payee, final=False)
        settled += atoms
        exact = settled * factor
        row = world.authorization(reference)
        assert row.settled == divide_half_even(exact.numerator, exact.denominator)
        assert not row.flags & 1, "a change of parts is no overrun"
        assert row.held >= 0
    settle(world, reference, "0", currency, payee=payees[-1])
    assert world.balance(EXCHANGE_NAME) == -world.balance("expenses:search") == -world.authorization(reference).settled
    assert world.balance(EXCHANGE_NAME, currency) == whole
    left = {payee: sum(a for a, one in zip(parts, payees, strict=True) if one == payee) for payee in set(payees)}
    while any(left.values()):
        payee = data.draw(st.sampled_from(sorted(one for one, atoms in left.items() if atoms)), label="payee")
        atoms = data.draw(st.integers(1, left[payee]), label="refund")
        done = refund(world, reference, format_atoms(atoms, digits), currency, payee=payee, category="search")
        assert done.status is Status.DONE, done
        left[payee] -= atoms
    assert {name: atoms for name, atoms in world.balances().items() if name[0] != "authority"} == {
        ("budgets:research:available", "USD"): 100 * 10**9
    }
    followed(world)
