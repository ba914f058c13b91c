"""Spend in another currency than the budget's, decided: what is held, settled, given back and refused."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.authorization import flag_names
from ledger.core.command import Authorize, Charge, Extend, OpenRun, Refund, Release, Reprice
from ledger.core.command_rates import GivenRate, GiveRates
from ledger.core.exchange import EXCHANGE_NAME
from ledger.core.outcome import Status
from ledger.core.rate import day_of
from tests.support.exchanging import SPEND, ask, converting, followed, hold, rate, refund, said, settle
from tests.support.policed import Policed, limit
from tests.support.worlds import World

DAY = 86_400


# The life of a converted authorization.


def test_what_is_held_settled_and_given_back() -> None:
    """In the budget's currency; the payee is owed the other, and each nets to zero."""
    world = converting()
    given_by = world.head.size - 1
    reference = hold(world, "10")
    row = world.authorization(reference)
    assert (row.currency, row.amount, row.approved, row.held) == ("USD", *[11 * 10**9] * 3)
    assert said(row) == {
        "currency": "EUR",
        "per": ["11", "10"],
        "rates": [[given_by, "EUR", "USD", "1.1", "2026-11-02", "manual", False]],
        "amount": "10000000000",
        "approved": "10000000000",
        "settled": "0",
        "refunded": "0",
        "repriced": "0",
    }
    settle(world, reference, "6")
    assert world.shown("budgets:research:spent") == "6.60"
    assert world.shown("budgets:research:available") == "93.40"
    assert world.shown("expenses:search") == "6.60"
    assert world.shown("payables:mistral", "EUR") == "-6.00"
    assert (world.shown(EXCHANGE_NAME), world.shown(EXCHANGE_NAME, "EUR")) == ("-6.60", "6.00")
    assert refund(world, reference, "6").status is Status.DONE
    balances = {key: atoms for key, atoms in world.balances().items() if not key[0].startswith("authority")}
    assert balances == {("budgets:research:available", "USD"): 100 * 10**9}
    followed(world)


def test_the_rate_is_fixed_with_the_request() -> None:
    """A dearer euro makes no overrun; what is asked for after it pays it."""
    world = converting()
    early = hold(world, "10")
    rate(world, text="2")
    late = hold(world, "10")
    settle(world, early, "10")
    assert flag_names(world.authorization(early).flags) == []
    assert (world.authorization(early).settled, world.authorization(late).held) == (11 * 10**9, 20 * 10**9)
    extended = world.do(Extend, world.crawler, authorization=late, amount="1", currency="EUR")
    assert extended.status is Status.DONE
    assert world.authorization(late).held == 22 * 10**9
    followed(world)


def test_an_overrun_a_late_cost_and_a_mismatch_are_flagged_as_ever() -> None:
    """By what was asked: more than that is more, in either currency."""
    world = converting()
    over, late, other = hold(world, "1"), hold(world, "1"), hold(world, "1")
    settle(world, over, "1.000000001")
    world.do(Release, world.crawler, authorization=late)
    settle(world, late, "0.5")
    settle(world, other, "1", payee="aleph")
    flags = [flag_names(world.authorization(one).flags) for one in (over, late, other)]
    assert flags == [["overrun", "mismatch"], ["late"], ["mismatch"]]
    assert world.shown("payables:aleph", "EUR") == "-1.00"
    followed(world)


def test_it_expires_as_any_hold() -> None:
    """And what was settled of it stays."""
    world = converting()
    reference = hold(world, "10", ttl_seconds=60)
    settle(world, reference, "1", final=False)
    world.advance(60)
    hold(world, "1")
    row = world.authorization(reference)
    assert (row.state, row.held, row.settled) == ("expired", 0, 1_100_000_000)
    followed(world)


def test_a_part_is_approved_where_that_is_of_use() -> None:
    """What the budget has covers so much of what is asked, rounded down; what is held covers it, rounded up."""
    world = converting("3", amount="10")
    outcome = ask(world, "5", partial_ok=True)
    assert outcome.status is Status.APPROVED
    row = world.authorization(str((outcome.body or {})["authorization"]))
    assert (said(row)["approved"], row.approved) == ("3333333333", 9_999_999_999)
    assert flag_names(row.flags) == ["partial"]
    followed(world)


def test_what_covers_not_one_atom_is_denied() -> None:
    """A yen has fewer digits: its least amount is worth several of a dollar's."""
    world = converting("0.0064", base="JPY", amount="0.000000005")
    outcome = ask(world, "1", "JPY", partial_ok=True)
    assert outcome.status is Status.INSUFFICIENT_BUDGET
    followed(world)


def test_less_only_where_there_is_less_in_all() -> None:
    """As the gateway asks: what others hold makes nothing less."""
    world = converting("2", amount="10")
    other = hold(world, "1")
    held = ask(world, "6", afford=True, least="1")
    assert held.status is Status.BUDGET_HELD
    world.do(Release, world.crawler, authorization=other)
    outcome = ask(world, "6", afford=True, least="1")
    assert outcome.status is Status.APPROVED
    row = world.authorization(str((outcome.body or {})["authorization"]))
    assert (said(row)["approved"], row.held) == ("5000000000", 10 * 10**9)
    followed(world)


def test_a_charge_takes_the_rate_of_its_day() -> None:
    """Backdated, that of the day it counts for; its row can be refunded and repriced."""
    world = World()
    rate(world, text="2", days=-3)
    rate(world, text="3")
    about: dict[str, Any] = {"budget": "research", "amount": "1", "currency": "EUR", **SPEND}
    now = world.do(Charge, world.finance, **about)
    then = world.do(Charge, world.finance, effective_at=world.now - 2 * DAY * 10**6, **about)
    before = world.do(Charge, world.finance, effective_at=world.now - 5 * DAY * 10**6, **about)
    assert [one.status for one in (now, then, before)] == [Status.DONE, Status.DONE, Status.RATE_NEEDED]
    assert "for 2026-10-28" in before.detail
    rows = [world.authorization(str((one.body or {})["authorization"])) for one in (now, then)]
    assert [row.settled for row in rows] == [3 * 10**9, 2 * 10**9]
    assert refund(world, rows[0].id, "0.5").status is Status.DONE
    assert world.shown("budgets:research:spent") == "3.50"
    followed(world)


def test_a_reprice_is_in_the_asked_currency() -> None:
    """Both ways; what it says is recorded is what was asked."""
    world = converting()
    reference = hold(world, "10")
    settle(world, reference, "5")
    prices: dict[str, Any] = {"old_price": (("output", "5"),), "new_price": (("output", "6"),), "reason": "mistyped"}
    asked: dict[str, Any] = {"authorization": reference, "currency": "EUR", **prices}
    assert world.do(Reprice, world.finance, settled="5.50", amount="6", **asked).status is Status.REPRICE_STALE
    assert world.do(Reprice, world.finance, settled="5", amount="6", **asked).status is Status.DONE
    assert world.do(Reprice, world.finance, settled="6", amount="2", **asked).status is Status.DONE
    row = world.authorization(reference)
    assert (row.settled, row.repriced, said(row)["repriced"]) == (5_500_000_000, -3_300_000_000, "-3000000000")
    assert world.shown("payables:mistral", "EUR") == "-2.00"
    assert refund(world, reference, "2.01").status is Status.REFUND_TOO_LARGE
    assert refund(world, reference, "2").status is Status.DONE
    assert world.shown("budgets:research:spent") == "0.00"
    followed(world)


def test_several_payees_are_owed_what_each_billed() -> None:
    """And each refund goes back to its own, down to nothing in both currencies."""
    world = converting("0.333333333")
    reference = hold(world, "10")
    for payee, amount in (("mistral", "1.000000001"), ("aleph", "2.000000001"), ("mistral", "0.000000001")):
        settle(world, reference, amount, payee=payee, final=False)
    assert world.shown("payables:mistral", "EUR") == "-1.000000002"
    assert refund(world, reference, "1", payee=None).status is Status.REFUND_AMBIGUOUS
    assert refund(world, reference, "2.000000002", payee="aleph").status is Status.REFUND_TOO_LARGE
    assert refund(world, reference, "2.000000001", payee="aleph").status is Status.DONE
    assert refund(world, reference, "0.000000001", payee="mistral").status is Status.DONE
    assert refund(world, reference, "1.000000001", payee="mistral").status is Status.DONE
    assert world.shown("expenses:search") == "0.00"
    assert world.shown(EXCHANGE_NAME) == world.shown(EXCHANGE_NAME, "EUR") == "0.00"
    followed(world)


# What has no rate, and what is not money.


def test_no_rate_is_a_denial_on_record() -> None:
    """It names the pair and the day, and says nothing of a balance in a currency that cannot be compared."""
    world = World()
    outcome = ask(world, "5", partial_ok=True)
    assert (outcome.status, outcome.log_index) == (Status.NO_RATE, world.head.size - 1)
    body = outcome.body or {}
    (reason,) = body["decision"]["reasons"]
    assert (reason["code"], reason["rule"]) == ("no_rate", "rate_known")
    assert reason["detail"].startswith("there is no rate from EUR to USD for 2026-11-02; finance can give one")
    assert (body["currency"], body["amount"], set(body["budget"])) == ("EUR", "5000000000", {"id", "name"})
    row = world.authorization(body["authorization"])
    assert (row.state, row.currency, row.exchange, row.reason) == ("denied", "EUR", None, "no_rate")
    yen = ask(world, "5", "JPY")
    assert ", nor from both to EUR" in (yen.body or {})["decision"]["reasons"][0]["detail"]
    followed(world)


def test_a_rate_grows_old_overnight() -> None:
    """The first request of a day finds it too old, also where the rates are known from before."""
    world = World()
    rate(world, age=1)
    assert ask(world, "1").status is Status.APPROVED
    world.advance(DAY)
    assert ask(world, "1").status is Status.APPROVED
    world.advance(DAY)
    assert ask(world, "1").status is Status.NO_RATE
    rate(world)
    assert ask(world, "1").status is Status.APPROVED
    followed(world)


def test_a_rate_of_the_same_batch_is_used() -> None:
    """Commands are decided in order."""
    world = World()
    day = day_of(world.book.timezone, world.now)
    rates = (GivenRate(base="EUR", quote="USD", rate="2", day=day),)
    before = world.command(Authorize, world.crawler, amount="1", currency="EUR", **SPEND)
    after = world.command(Authorize, world.crawler, amount="1", currency="EUR", **SPEND)
    outcomes = world.decide(before, world.command(GiveRates, world.finance, rates=rates), after)
    assert [one.status for one in outcomes] == [Status.NO_RATE, Status.DONE, Status.APPROVED]
    followed(world)


def test_a_first_rate_and_what_it_converts_in_one_batch_are_judged_by_everything() -> None:
    """What is found out about a request hangs on whether there is a rate, and the batch itself gives the first: the cap
    of its run and limits in the budget's currency hold all the same."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "50")])
    world.do(OpenRun, world.crawler, name="run-1", cap_amount="11", cap_currency="USD")
    given = (GivenRate(base="EUR", quote="USD", rate="1.1", day=day_of(world.book.timezone, world.now)),)
    spend = {"currency": "EUR", "run": "run-1", **SPEND}
    outcomes = world.decide(
        world.command(GiveRates, world.finance, rates=given),
        world.command(Authorize, world.crawler, amount="10", **spend),
        world.command(Authorize, world.crawler, amount="1", **spend),
        world.command(Charge, world.finance, amount="1", budget="research", **spend),
    )
    assert [one.status for one in outcomes] == [Status.DONE, Status.APPROVED, Status.RUN_HELD, Status.DONE]
    ((settled, held, _),) = world.counters("day").values()
    assert (settled, held) == (1_100_000_000, 11_000_000_000)
    followed(world)


def test_a_rate_that_the_same_batch_makes_too_old_leaves_the_way_through_the_euro() -> None:
    """Of which nothing was looked at before."""
    world = World()
    rate(world, "GBP", "USD", "1.5", days=-1)
    rate(world, "EUR", "USD", "1.1")
    rate(world, "EUR", "GBP", "0.8")
    given = (GivenRate(base="GBP", quote="USD", rate="1.5", day=day_of(world.book.timezone, world.now) - 1),)
    outcomes = world.decide(
        world.command(Authorize, world.crawler, amount="1", currency="GBP", **SPEND),
        world.command(GiveRates, world.finance, rates=given, max_age_days=0),
        world.command(Authorize, world.crawler, amount="1", currency="GBP", **SPEND),
    )
    assert [one.status for one in outcomes] == [Status.APPROVED, Status.DONE, Status.APPROVED]
    assert [(one.body or {})["approved"] for one in (outcomes[0], outcomes[2])] == ["1500000000", "1375000000"]
    followed(world)


@pytest.mark.parametrize("currency", ["USD", "GBP", "JPY"])
def test_it_is_settled_in_the_currency_that_was_asked(currency: str) -> None:
    """Neither in the budget's nor in a third; extended, refunded and repriced likewise."""
    world = converting()
    rate(world, "GBP", "USD", "1.3")
    reference = hold(world, "10")
    settle(world, reference, "1", final=False)
    about: dict[str, Any] = {"authorization": reference, "amount": "1", "currency": currency}
    assert world.settle(world.crawler, reference, "1", currency=currency).status is Status.CURRENCY_MISMATCH
    assert world.do(Extend, world.crawler, **about).status is Status.CURRENCY_MISMATCH
    assert world.do(Refund, world.finance, **about).status is Status.CURRENCY_MISMATCH
    prices: dict[str, Any] = {"old_price": (), "new_price": (("output", "2"),), "reason": "mistyped", "settled": "1"}
    assert world.do(Reprice, world.finance, **(about | prices | {"amount": "2"})).status is Status.CURRENCY_MISMATCH


def test_what_would_not_fit_is_refused() -> None:
    """Once converted it would leave 64 bits."""
    world = converting("1000000000")
    assert ask(world, "10").status is Status.AMOUNT_TOO_LARGE
    charged = world.do(Charge, world.finance, budget="research", amount="10", currency="EUR", **SPEND)
    assert charged.status is Status.AMOUNT_TOO_LARGE


def test_a_charge_of_nothing_is_refused() -> None:
    """Less than the least amount of the budget's currency moves nothing there."""
    world = converting("0.1")
    charged = world.do(Charge, world.finance, budget="research", amount="0.000000001", currency="EUR", **SPEND)
    assert charged.status is Status.AMOUNT_NOT_POSITIVE


# Limits, caps, approvals.


def test_limits_in_the_budgets_currency_count_what_is_converted() -> None:
    """The same limit as for dollars; a release and a smaller settlement give back to it."""
    world = Policed()
    rate(world)
    world.apply(limits=[limit("day", "day", maximum="11")])
    first = hold(world, "6")
    assert ask(world, "5").status is Status.LIMIT_HELD
    settle(world, first, "5")
    hold(world, "5")
    denied = ask(world, "0.000000001")
    assert denied.status is Status.LIMIT_HELD
    assert (denied.body or {})["decision"]["limits"][0][4:6] == ["11000000000", "11000000000"]
    followed(world)


def test_a_limit_in_another_currency_than_the_budgets_denies() -> None:
    """Also where it is that of the request: what counts is what the budget spends."""
    world = Policed()
    rate(world)
    world.apply(currency="EUR", limits=[limit("day", "day", maximum="11")])
    assert ask(world, "1").status is Status.LIMIT_CURRENCY


def test_the_cap_of_a_run_counts_what_is_converted() -> None:
    """In the budget's currency, and never beyond it."""
    world = converting()
    world.do(OpenRun, world.crawler, name="run-1", cap_amount="11", cap_currency="USD")
    reference = hold(world, "10", run="run-1")
    assert ask(world, "0.000000001", run="run-1").status is Status.RUN_HELD
    settle(world, reference, "9")
    (total,) = world.rows("run_totals")
    assert (total.currency, total.held, total.spent) == ("USD", 0, 9_900_000_000)
    assert ask(world, "1.01", run="run-1").status is Status.RUN_CAP_EXCEEDED
    followed(world)
