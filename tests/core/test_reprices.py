"""Repricing, what settlements were metered from, their flags, and holds that are kept before their time is over."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.authorization import flag_names
from ledger.core.canonical import parse
from ledger.core.command import Charge, DefineUnit, ExpireDue, Extend, MarkUnknown, OpenRun, Refund, Release, Reprice
from ledger.core.metering import PAIRS_MAX, VALUE_LENGTH_MAX, pairs_of, pairs_said, pairs_text
from ledger.core.outcome import Outcome, Status
from tests.support.ledger import SECOND
from tests.support.policed import USD, Policed, limit
from tests.support.worlds import World

DAY = 24 * 3600
PRICES = {"old_price": (("output_tokens", "0.10"),), "new_price": (("output_tokens", "0.01"),)}


def reprice(world: World, reference: str, settled: str, amount: str, **fields: Any) -> Outcome:
    """Correct what was settled, as finance, in dollars unless told otherwise."""
    said = {"authorization": reference, "settled": settled, "amount": amount, "currency": "USD", "reason": "mistyped"}
    return world.do(Reprice, world.finance, **(PRICES | said | fields))


def spent(world: World, amount: str, approved: str | None = None, **fields: Any) -> str:
    """An authorization settled for ``amount``."""
    reference = world.hold(world.crawler, approved or amount, **fields)
    world.settle(world.crawler, reference, amount)
    return reference


def flags(world: World, reference: str) -> list[str]:
    """The flags of an authorization, by name."""
    return flag_names(world.authorization(reference).flags)


def test_the_record_names_both_prices_and_the_reason_stands_beside_it() -> None:
    """An adjustment, linked to the authorization and to the record before on it; the settlement stays as it was."""
    world = World()
    reference = spent(world, "5")
    settled = world.bodies()[-1]
    body = reprice(world, reference, "5", "0.50").body or {}
    recorded = world.bodies()[-1]
    assert (recorded["kind"], recorded["adjustment"][:4], recorded["authorization"]) == (
        "adjustment",
        "adj_",
        reference,
    )
    assert recorded["reprice"] == {
        "settled": "5000000000",
        "amount": "500000000",
        "difference": "-4500000000",
        "old_price": [["output_tokens", "0.10"]],
        "new_price": [["output_tokens", "0.01"]],
    }
    assert (recorded["settled"], recorded["repriced"], recorded["previous"]) == (
        "5000000000",
        "-4500000000",
        settled["index"],
    )
    assert (body["flags"], body["by"]["principal"]) == (["repriced"], "person:fred")
    assert [(row.field, row.content) for row in world.rows("texts")] == [("reason", "mistyped")]
    assert world.bodies()[settled["index"]] == settled


def test_the_same_key_is_answered_with_the_same_record() -> None:
    """And another request under it is refused, as everywhere."""
    world = World()
    reference = spent(world, "5")
    first = reprice(world, reference, "5", "4", idempotency_key="k")
    again = reprice(world, reference, "5", "4", idempotency_key="k")
    assert (again.status, again.log_index) == (Status.REPLAYED, first.log_index)
    assert reprice(world, reference, "5", "3", idempotency_key="k").status is Status.IDEMPOTENCY_MISMATCH
    assert world.shown("budgets:research:spent") == "4.00"


@pytest.mark.parametrize(
    ("approved", "settled", "right", "others", "expected"),
    [
        ("5", "3", "4", "90", ["repriced"]),
        ("5", "3", "5", "90", ["repriced"]),
        ("5", "3", "5.01", "10", ["overrun", "repriced"]),
        ("5", "3", "4", "96", ["repriced"]),
        ("5", "3", "4", "96.01", ["overrun", "repriced"]),
        ("5", "3", "2", "97", ["repriced"]),
    ],
)
def test_a_higher_price_is_an_overrun_above_what_was_approved_or_available(
    approved: str, settled: str, right: str, others: str, expected: list[str]
) -> None:
    """And explains that the budget stands below zero; the agent did nothing that a policy would freeze it for."""
    world = Policed()
    world.policy(overrun={"tolerance_percent": 0, "then": "freeze"}, mismatch={"more_than": 0, "then": "freeze"})
    reference = spent(world, settled, approved)
    world.hold(world.writer, others)
    assert reprice(world, reference, settled, right).status is Status.DONE
    assert flags(world, reference) == expected
    assert not any(row.frozen for row in world.rows("agents"))
    world.prove()


@pytest.mark.parametrize("kind", ["late", "charge"])
def test_what_was_late_or_unauthorized_needs_no_further_flag(kind: str) -> None:
    """Its own explains what is below zero."""
    world = Policed(amount="10")
    if kind == "charge":
        made = {"budget": "research", "amount": "1", "currency": "USD", "category": "a", "payee": "p"}
        reference = str((world.do(Charge, world.finance, **made).body or {})["authorization"])
    else:
        reference = world.hold(world.crawler, "5")
        world.do(Release, world.crawler, authorization=reference)
        world.settle(world.crawler, reference, "1")
    assert reprice(world, reference, "1", "11").status is Status.DONE
    assert world.shown("budgets:research:available") == "-1.00"
    assert flags(world, reference) == [{"late": "late", "charge": "unauthorized"}[kind], "repriced"]
    world.prove()


def test_what_nobody_could_price_is_priced_later() -> None:
    """Settled for nothing and flagged ``unpriced``: the price comes, and can be refunded and corrected again."""
    world = Policed()
    reference = world.hold(world.crawler, "5")
    world.settle(world.crawler, reference, "0", flags=("unpriced",))
    refund = {"authorization": reference, "currency": "USD"}
    assert world.do(Refund, world.finance, amount="1", **refund).status is Status.WRONG_STATE
    assert reprice(world, reference, "0", "3").status is Status.DONE
    assert world.do(Refund, world.finance, amount="3.01", **refund).status is Status.REFUND_TOO_LARGE
    assert world.do(Refund, world.finance, amount="1", **refund).status is Status.DONE
    assert reprice(world, reference, "3", "0.99").status is Status.REPRICE_TOO_SMALL
    assert reprice(world, reference, "3", "1").status is Status.DONE
    row = world.authorization(reference)
    assert (row.settled, row.repriced, row.refunded, row.cost) == (0, USD, USD, USD)
    assert flags(world, reference) == ["unpriced", "repriced"]
    assert (world.shown("budgets:research:spent"), world.shown("expenses:inference")) == ("0.00", "0.00")
    world.prove()


def test_a_refusal_says_what_is_recorded() -> None:
    """So that whoever looks again knows where the price stands."""
    world = World()
    reference = spent(world, "5")
    reprice(world, reference, "5", "4")
    stale = reprice(world, reference, "5", "3")
    assert (stale.status, stale.facts["settled"]) == (Status.REPRICE_STALE, str(4 * USD))
    assert "4.00 USD" in stale.detail
    world.do(Refund, world.finance, authorization=reference, amount="2", currency="USD")
    small = reprice(world, reference, "4", "1")
    assert (small.status, small.facts["refunded"]) == (Status.REPRICE_TOO_SMALL, str(2 * USD))


def test_several_pairs_name_the_one_whose_price_was_wrong() -> None:
    """The difference goes to its category and payee; the bound of its refunds moves and that of the other does not."""
    world = Policed()
    reference = world.hold(world.crawler, "10")
    world.settle(world.crawler, reference, "4", final=False)
    world.settle(world.crawler, reference, "3", payee="anthropic")
    ambiguous = reprice(world, reference, "7", "5")
    assert ambiguous.status is Status.REPRICE_AMBIGUOUS
    assert [pair["payee"] for pair in ambiguous.facts["pairs"]] == ["openai", "anthropic"]
    assert reprice(world, reference, "7", "5", payee="anthropic").status is Status.DONE
    assert (world.shown("payables:openai"), world.shown("payables:anthropic")) == ("-4.00", "-1.00")
    for payee, amount, status in (
        ("anthropic", "1.01", Status.REFUND_TOO_LARGE),
        ("openai", "4", Status.DONE),
        ("anthropic", "1", Status.DONE),
    ):
        refund = {"authorization": reference, "amount": amount, "currency": "USD", "payee": payee}
        assert world.do(Refund, world.finance, **refund).status is status
    assert parse((world.authorization(reference).splits or "").encode())[1][2:] == [str(USD), str(USD)]
    world.prove()


def test_a_pair_that_is_repriced_to_nothing_stays_a_pair() -> None:
    """What is settled for another afterwards stands beside it."""
    world = Policed()
    reference = world.hold(world.crawler, "10")
    world.settle(world.crawler, reference, "4", final=False)
    assert reprice(world, reference, "4", "0").status is Status.DONE
    world.settle(world.crawler, reference, "5", payee="anthropic", final=False)
    world.settle(world.crawler, reference, "0")
    refund = {"authorization": reference, "amount": "5", "currency": "USD"}
    assert world.do(Refund, world.finance, **refund).status is Status.REFUND_AMBIGUOUS
    assert world.do(Refund, world.finance, **refund, payee="anthropic").status is Status.DONE
    world.prove()


def test_what_is_repriced_on_an_open_hold_leaves_what_it_holds() -> None:
    """A lower price gives to what is available; what was settled too dear is no overrun of what follows."""
    world = Policed()
    reference = world.hold(world.crawler, "10")
    world.settle(world.crawler, reference, "9", final=False)
    assert reprice(world, reference, "9", "1").status is Status.DONE
    assert [world.shown(f"budgets:research:{role}") for role in ("available", "held", "spent")] == [
        "98.00",
        "1.00",
        "1.00",
    ]
    world.settle(world.crawler, reference, "5", final=True)
    assert flags(world, reference) == ["overrun", "repriced"], "above what it held, and not above what was approved"
    world.prove()


def test_it_counts_in_the_window_of_the_request() -> None:
    """A week later nothing of today's limit is used up or given back; the week's is, and the run's total moves."""
    world = Policed()
    world.do(OpenRun, world.crawler, name="run-1")
    world.policy(limits=[limit("day", "day", "50"), limit("life", "lifetime", "100"), limit("run", "run", "60")])
    first = spent(world, "10", run="run-1")
    same_day = spent(world, "5", run="run-1")
    assert reprice(world, same_day, "5", "8").status is Status.DONE
    assert world.counters("day") == {"[]": (18 * USD, 0, 2)}
    world.advance(7 * DAY)
    world.hold(world.crawler, "1", run="run-1")
    assert reprice(world, first, "10", "2").status is Status.DONE
    assert world.counters("day") == {"[]": (0, USD, 1)}
    assert world.counters("life") == {"[]": (10 * USD, USD, 3)}
    assert list(world.counters("run").values()) == [(10 * USD, USD, 3)]
    assert world.tables["run_totals"][1, "run-1", "USD"].spent == 10 * USD
    world.prove()


def test_the_portions_of_an_extended_hold_fill_anew() -> None:
    """What goes beyond the portions counts in the first; a lower price empties the last first."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "90"), limit("life", "lifetime", "95")])
    reference = world.hold(world.crawler, "10", ttl_seconds=2 * DAY)
    world.advance(DAY)
    world.do(Extend, world.crawler, authorization=reference, amount="5", currency="USD")
    world.settle(world.crawler, reference, "14")
    assert world.counters("day") == {"[]": (4 * USD, 0, 0)}
    assert reprice(world, reference, "14", "11").status is Status.DONE
    assert world.counters("day") == {"[]": (USD, 0, 0)}
    assert reprice(world, reference, "11", "20").status is Status.DONE
    assert world.counters("day") == {"[]": (5 * USD, 0, 0)}
    assert world.counters("life") == {"[]": (20 * USD, 0, 1)}
    world.prove()


def test_a_new_limit_is_filled_with_what_prices_are_now() -> None:
    """Also where the correction is among the records that it catches up with; other adjustments are passed over."""
    world = Policed()
    reference = spent(world, "10")
    reprice(world, reference, "10", "4")
    reprice(world, spent(world, "1"), "1", "3")
    world.policy(limits=[limit("life", "lifetime", "100")])
    assert world.counters("life") == {"[]": (7 * USD, 0, 2)}
    world.prove()


def test_a_unit_that_is_not_money_is_repriced_in_authority_alone() -> None:
    """No expense and no payable."""
    world = World()
    world.do(DefineUnit, world.admin, name="tokens", digits=0)
    world.budget("tokens", "500", "crawler", currency="tokens")
    reference = world.hold(world.crawler, "100", budget="tokens", currency="tokens")
    world.settle(world.crawler, reference, "100", currency="tokens")
    assert reprice(world, reference, "100", "40", currency="tokens").status is Status.DONE
    assert world.bodies()[-1]["transfers"] == [["budgets:tokens:available", "budgets:tokens:spent", "60", "tokens"]]


def test_backdating() -> None:
    """As of every entry of finance: the day it counts for, recorded now."""
    world = World()
    reference = spent(world, "5")
    day = world.now
    world.advance(3 * DAY)
    outcome = reprice(world, reference, "5", "4", effective_at=day)
    record = world.rows("log_records")[outcome.log_index]
    assert (record.effective_at, record.recorded_at) == (day, world.now)


def test_what_was_metered_is_in_the_record_and_on_the_row() -> None:
    """Sorted, part of the request, kept until a settlement says otherwise; flags are never taken away."""
    world = Policed()
    reference = world.hold(world.crawler, "10")
    usage = {"output_tokens": "7", "input_tokens": "100", "model": "gpt-5"}
    fields = {"metering": pairs_of(usage), "idempotency_key": "k"}
    world.settle(world.crawler, reference, "1", final=False, flags=("unpriced", "estimated"), **fields)
    request = world.bodies()[-1]["request"]
    assert request["metering"] == [["input_tokens", "100"], ["model", "gpt-5"], ["output_tokens", "7"]]
    assert request["flags"] == ["estimated", "unpriced"]
    again = world.settle(world.crawler, reference, "1", final=False, flags=("estimated",), **fields)
    assert again.status is Status.IDEMPOTENCY_MISMATCH
    world.settle(world.crawler, reference, "1", final=False)
    assert pairs_said(world.authorization(reference).metering) == usage
    world.settle(world.crawler, reference, "1", metering=pairs_of({"model": "gpt-6"}))
    assert pairs_said(world.authorization(reference).metering) == {"model": "gpt-6"}
    assert flags(world, reference) == ["estimated", "unpriced"]
    world.prove()


@pytest.mark.parametrize(
    "values",
    [
        {"": "1"},
        {"A": "1"},
        {"a b": "1"},
        {"a\n": "1"},
        {"a" * 65: "1"},
        {"a": "1\n"},
        {"a": "\x7f"},
        {"a": "x" * (VALUE_LENGTH_MAX + 1)},
        {f"n{number}": "1" for number in range(PAIRS_MAX + 1)},
        {"a": 1},
    ],
    ids=str,
)
def test_pairs_are_bounded(values: dict[str, Any]) -> None:
    """Names and values, their length, their alphabet and how many."""
    with pytest.raises(ValueError, match=r"is no|at most"):
        pairs_of(values)


def test_pairs_come_back_as_they_went() -> None:
    """As many and as long as they may be, with anything printable in them."""
    values = {f"n_{number}.x-": "é" * VALUE_LENGTH_MAX for number in range(PAIRS_MAX)} | {"n_0.x-": ""}
    assert pairs_said(pairs_text(pairs_of(values))) == values
    assert (pairs_text(()), pairs_said(None)) == (None, {})


def test_a_hold_that_is_kept_is_never_looked_at_again() -> None:
    """Nothing moves; its time passes; more time makes it an ordinary hold again, which then runs out as usual."""
    world = World()
    reference = world.hold(world.crawler, "10", ttl_seconds=60, on_expiry="unknown")
    balances = world.balances()
    outcome = world.do(MarkUnknown, world.admin, authorization=reference, reason="the provider timed out")
    body = world.bodies()[-1]
    assert (outcome.status, body["kind"], body["by"]["principal"]) == (Status.DONE, "expiry", "person:owner")
    assert (body["amount"], body["flags"], "transfers" in body) == ("0", ["unknown"], False)
    assert (world.balances(), world.authorization(reference).due_at) == (balances, None)
    world.advance(3600)
    size = world.head.size
    assert world.do(ExpireDue, world.nobody, idempotency_key="").status is Status.DONE
    assert world.head.size == size
    assert world.do(Extend, world.crawler, authorization=reference, ttl_seconds=60).status is Status.DONE
    assert (flags(world, reference), world.authorization(reference).due_at) == ([], world.now + 60 * SECOND)
    world.advance(60)
    assert world.do(MarkUnknown, world.crawler, authorization=reference).status is Status.WRONG_STATE
    assert flags(world, reference) == ["unknown"], "its time was over before it could be marked"
    world.settle(world.crawler, reference, "2")
    assert (world.authorization(reference).state, flags(world, reference)) == ("settled", [])
