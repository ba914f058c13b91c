"""Runs with a cap: no approval takes what a run holds and has spent beyond it, whoever asks and in what order."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ledger.core.command import Authorize, Charge, Extend, OpenRun, Refund, Release
from ledger.core.outcome import Outcome
from tests.support.policed import USD, Policed, decision, reason, status


def opened(cap: str | None = "10", currency: str = "USD", name: str = "run-1") -> Policed:
    """A world with a run of the crawler's."""
    world = Policed()
    open_run(world, cap, currency, name)
    return world


def open_run(world: Policed, cap: str | None, currency: str = "USD", name: str = "run-1") -> Outcome:
    """Open a run as the crawler."""
    fields = {"cap_amount": cap, "cap_currency": currency} if cap is not None else {}
    outcome = world.do(OpenRun, world.crawler, name=name, **fields)
    assert status(outcome) == "done"
    return outcome


def ask(world: Policed, amount: str, **fields: object) -> Outcome:
    """Ask in the run."""
    return world.authorize(world.crawler, amount, **({"run": "run-1"} | fields))


def asking(world: Policed, amount: str) -> Authorize:
    """The command of a request in the run."""
    usual = {"currency": "USD", "category": "inference", "payee": "openai", "run": "run-1"}
    made: Authorize = world.command(Authorize, world.crawler, amount=amount, **usual)
    return made


def said(outcome: Outcome) -> list[str]:
    """What the cap's rule said: verdict, observed, limit, remaining."""
    (found,) = (rule[1:] for rule in decision(outcome)["rules"] if rule[0] == "run_cap")
    return list(found)


def extend(world: Policed, reference: str, amount: str) -> Outcome:
    """Add to a hold."""
    return world.do(Extend, world.crawler, authorization=reference, amount=amount, currency="USD")


# A story, step by step: what is done, the status, and what the run then holds and has spent.
STORY = (
    ("ask 6", "approved", 6, 0),
    ("ask 4.01", "run_held", 6, 0),
    ("ask 10.01", "run_cap_exceeded", 6, 0),
    ("ask 4", "approved", 10, 0),
    ("settle first 5", "done", 4, 5),
    ("ask 1", "approved", 5, 5),
    ("ask 1", "run_held", 5, 5),
    ("settle second 4.50", "done", 1, 9.5),
    ("ask 0.50", "run_held", 1, 9.5),
    ("ask 0.51", "run_cap_exceeded", 1, 9.5),
    ("release third", "done", 0, 9.5),
    ("ask 0.50", "approved", 0.5, 9.5),
    ("refund first 3", "done", 0.5, 6.5),
    ("ask 3", "approved", 3.5, 6.5),
)


def test_a_run_and_its_cap() -> None:
    """A cap of 10.00, from its first hold to a refund that makes room again."""
    world, holds = opened(), dict[str, str]()
    names = iter(("first", "second", "third", "fourth", "fifth"))
    for step, expected, held, spent in STORY:
        verb, *words = step.split()
        if verb == "ask":
            outcome = ask(world, words[0])
            if expected == "approved":
                holds[next(names)] = (outcome.body or {})["authorization"]
        elif verb == "settle":
            outcome = world.settle(world.crawler, holds[words[0]], words[1])
        elif verb == "refund":
            refund = {"authorization": holds[words[0]], "amount": words[1], "currency": "USD"}
            outcome = world.do(Refund, world.finance, **refund)
        else:
            outcome = world.do(Release, world.crawler, authorization=holds[words[0]])
        assert (step, status(outcome)) == (step, expected)
        (total,) = world.rows("run_totals")
        assert (total.held, total.spent) == (held * USD, spent * USD)
        assert expected != "approved" or total.held + total.spent <= 10 * USD
    world.prove()


def test_what_the_cap_says() -> None:
    """Observed with the request in it, the cap, and what remains: after an approval, and as a denial found it."""
    world = opened()
    assert said(ask(world, "6")) == ["allow", str(6 * USD), str(10 * USD), str(4 * USD)]
    held = ask(world, "5")
    assert said(held) == ["deny", str(11 * USD), str(10 * USD), str(4 * USD)]
    assert reason(held)["code"] == "run_held"
    assert (reason(held)["rule"], reason(held)["remaining"]) == ("run_cap", str(4 * USD))
    assert "never_fits" not in reason(held)
    final = ask(world, "11")
    assert reason(final)["code"] == "run_cap_exceeded"
    assert reason(final)["never_fits"]
    world.prove()


def test_a_body_without_a_cap_does_not_grow() -> None:
    """Neither the run's own record nor a decision says anything of a cap that is not there."""
    world = opened(None)
    outcome = ask(world, "6")
    assert "run_cap" not in str(outcome.body)
    assert not any("cap" in body for body in world.bodies() if body["kind"] == "run")


@pytest.mark.parametrize("settled", ["12", "10"])
def test_real_spend_is_never_refused(settled: str) -> None:
    """A settlement above the cap is recorded; what follows is denied for good."""
    world = opened()
    assert status(world.settle(world.crawler, world.hold(world.crawler, "8", run="run-1"), settled)) == "done"
    refused = ask(world, "0.01")
    assert reason(refused)["code"] == "run_cap_exceeded"
    assert reason(refused)["remaining"] == "0"
    assert "run_cap" in [one["rule"] for one in decision(refused)["reasons"]]


def test_charges_count_and_are_not_refused() -> None:
    """What is found on an invoice is the run's spend too."""
    world = opened()
    usual = {"budget": "research", "currency": "USD", "category": "inference", "payee": "openai", "run": "run-1"}
    assert status(world.do(Charge, world.finance, amount="11", **usual)) == "done"
    assert status(ask(world, "1")) == "run_cap_exceeded"
    world.prove()


def test_extensions_are_judged_with_their_own_hold() -> None:
    """More than the cap never fits; what others hold may come free; more time needs no room."""
    world = opened()
    first, second = (world.hold(world.crawler, amount, run="run-1") for amount in ("4", "3"))
    assert status(extend(world, first, "3.01")) == "run_held"
    assert status(extend(world, first, "6.01")) == "run_cap_exceeded"
    assert said(extend(world, first, "3")) == ["allow", str(10 * USD), str(10 * USD), "0"]
    world.settle(world.crawler, second, "5")
    more_time = world.do(Extend, world.crawler, authorization=first, ttl_seconds=60)
    assert status(more_time) == "done"
    assert said(more_time)[0] == "allow"
    world.prove()


def test_what_named_the_run_before_it_was_opened_is_outside() -> None:
    """The name was a label then: it neither counts nor is bounded."""
    world = Policed()
    before = world.hold(world.crawler, "20", run="run-1")
    open_run(world, "10")
    assert status(extend(world, before, "20")) == "done"
    assert said(ask(world, "10"))[0] == "allow"
    world.prove()


def test_a_cap_in_another_currency_denies() -> None:
    """What cannot be compared is not allowed."""
    world = opened("10", "EUR")
    refused = ask(world, "1")
    assert (status(refused), reason(refused)["rule"]) == ("limit_currency", "run_cap")
    world.prove()


def test_a_stranger_learns_nothing_of_the_cap() -> None:
    """Another agent's request in the run is denied for that and says nothing else."""
    world = opened()
    refused = world.authorize(world.writer, "50", run="run-1")
    assert status(refused) == "run_not_permitted"
    assert "run_cap" not in str(refused.body)
    world.prove()


def test_a_cap_is_an_amount() -> None:
    """Zero, a code that is none, and too many digits are refused; nothing is opened."""
    world = Policed()
    for cap, currency, expected in (
        ("0", "USD", "amount_not_positive"),
        ("1", "XTS", "unknown_currency"),
        ("0.0000000001", "USD", "amount_too_precise"),
    ):
        fields = {"name": "run-1", "cap_amount": cap, "cap_currency": currency}
        assert status(world.do(OpenRun, world.crawler, **fields)) == expected
    assert world.rows("runs") == []


def test_a_held_run_does_not_bind_the_key() -> None:
    """The same key asks again once there is room; a denial for good binds it."""
    world = opened()
    first = world.hold(world.crawler, "6", run="run-1")
    asked = asking(world, "6")
    assert status(world.decide(asked)[0]) == "run_held"
    world.do(Release, world.crawler, authorization=first)
    assert status(world.decide(replace(asked, id=world.new_id("auth")))[0]) == "approved"
    refused = asking(world, "11")
    assert status(world.decide(refused)[0]) == "run_cap_exceeded"
    assert status(world.decide(refused)[0]) == "replayed"


def test_many_at_once_stay_within() -> None:
    """One batch of requests, and one that opens the run it spends in, is judged one by one."""
    world = Policed()
    batch = [world.command(OpenRun, world.crawler, name="run-1", cap_amount="10", cap_currency="USD")]
    batch += [asking(world, "3") for _ in range(5)]
    found = [status(one) for one in world.decide(*batch)]
    assert found == ["done", "approved", "approved", "approved", "run_held", "run_held"]
    totals = [row.held for row in world.rows("run_totals")]
    assert totals == [9 * USD]
    world.prove()


def test_partial_takes_what_the_cap_leaves() -> None:
    """As of every other bound; and never less than nothing."""
    world = opened()
    amounts = []
    for _ in range(3):
        outcome = ask(world, "4", partial_ok=True)
        amounts.append(int((outcome.body or {}).get("approved", 0)))
    assert amounts == [4 * USD, 4 * USD, 2 * USD]
    last = ask(world, "4", partial_ok=True)
    assert status(last) == "run_held"
    assert all(one >= two for one, two in pairwise(amounts))
    world.prove()
