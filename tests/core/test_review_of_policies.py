"""Ways around policies, and ways in which what they tell was wrong, that a review of them found.

Each test is one such way. Money is in dollars on the whole book unless a test says otherwise.
"""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core import compiling
from ledger.core.alert_memory import Memory
from ledger.core.alerts import events_of
from ledger.core.command import OpenRun, Release
from ledger.core.command_budgets import SetRenewal
from tests.support.approving import rule
from tests.support.policed import Policed, decision, limit, reason, status
from tests.support.simulated import Past, counts, simulated
from tests.support.simulated_traffic import book


def test_another_spelling_is_no_fresh_allowance() -> None:
    """Globs ignore case, so one pattern lets every spelling pass: together they are one counter."""
    world = Policed()
    world.policy(limits=[limit("model", "day", "5", match={"resources": ["gpt-5*"]}, by=["resource"])])
    assert status(world.authorize(world.crawler, "5", resource="gpt-5")) == "approved"
    assert status(world.authorize(world.crawler, "5", resource="GPT-5")) == "limit_held"
    assert status(world.authorize(world.crawler, "5", resource="gpt-5-mini")) == "approved"
    world.policy(limits=[limit("ticket", "day", "12", match={"labels": {"ticket": ["t-*"]}}, by=["label.ticket"])])
    said = [status(world.authorize(world.crawler, "7", labels=(("ticket", text),))) for text in ("t-1", "T-1", "t-2")]
    assert said == ["approved", "limit_held", "approved"]


def test_runs_whose_names_differ_in_case_are_two() -> None:
    """Opened runs are what they are called."""
    world = Policed()
    world.policy(limits=[limit("run", "run", "5")])
    for name in ("task", "Task"):
        assert status(world.do(OpenRun, world.crawler, name=name)) == "done"
        assert status(world.authorize(world.crawler, "5", run=name)) == "approved"


@pytest.mark.parametrize("run", [None, "made-up"])
@pytest.mark.parametrize("shadow", [False, True])
def test_a_threshold_per_run_cannot_be_dodged_without_a_run(run: str | None, shadow: bool) -> None:
    """Many requests below the threshold, each of a run of its own that nobody opened, would never ask anybody."""
    world = Policed()
    world.policy(approval=[rule(per="run", above="5")], **({"shadow": True} if shadow else {}))
    outcome = world.authorize(world.crawler, "1", run=run)
    if shadow:
        assert status(outcome) == "approved"
        assert [one["code"] for one in decision(outcome)["shadow"]] == ["run_required"]
        return
    assert status(outcome) == "run_required"
    assert reason(outcome)["rule"] == "caps/two"


def test_a_threshold_by_run_adds_up_what_names_none_and_refuses_made_up_names() -> None:
    """As a limit by run does in a window."""
    world = Policed()
    world.policy(approval=[rule(per="day", above="5", by=["run"])])
    said = [status(world.authorize(world.crawler, "3", run=run)) for run in ("made-up", "made-up-2", None, None)]
    assert said == ["run_required", "run_required", "approved", "approval_required"]


def test_a_budget_that_renews_begins_its_thresholds_anew() -> None:
    """What earlier periods spent fills nothing: each day tells its own 50, 80 and 100 %, and midnight tells nothing."""
    world = Policed()
    world.budget("daily", None, "crawler", parent="research")
    renewed = {"budget": "daily", "every": "day", "amount": "10", "currency": "USD", "carry_over": "0"}
    assert status(world.do(SetRenewal, world.admin, **renewed)) == "done"
    for day in range(3, 8):
        world.at(f"2026-11-0{day}T10:00:00Z")
        for amount in ("4", "1", "3", "2"):
            world.settle(world.crawler, world.hold(world.crawler, amount, budget="daily"), amount)
    memory = Memory(timezone="Europe/Paris", values={}, units={})
    told = [
        (event.time[:10], body["kind"], event.data["threshold"], event.data["total"]["amount"])
        for index, body in enumerate(world.bodies())
        for event in events_of(memory, index, body)
        if event.type == "budget.threshold" and event.data["budget"] == "daily"
    ]
    days = [f"2026-11-0{day}" for day in range(3, 8)]
    assert told == [(day, "hold", threshold, "10.00") for day in days for threshold in (50, 80, 100)]


def test_a_simulation_knows_which_runs_were_open_to_a_limit_by_run() -> None:
    """Whoever named a run that was opened is not refused for want of one."""
    world = Past()
    world.do(OpenRun, world.crawler, name="opened")
    for run in ("opened", "made-up", None):
        world.hold(world.crawler, "1", run=run)
    findings = simulated(world, book(limits=[limit("day", "day", "10", by=["run"])]))
    assert counts(findings) == {"newly_denied": 1}
    assert [one.code for one in findings.examples["newly_denied"]] == ["run_required"]


def test_what_nobody_granted_is_a_mismatch_when_it_is_settled() -> None:
    """To ask, to withdraw and to spend all the same is more than what was approved, which is nothing."""
    world = Policed()
    world.policy(approval=[rule(above="2.00")], mismatch={"more_than": 0, "then": "freeze"})
    outcome = world.authorize(world.crawler, "50", accept_pending=True)
    reference = (outcome.body or {})["authorization"]
    assert status(world.do(Release, world.crawler, authorization=reference)) == "done"
    settled = world.settle(world.crawler, reference, "50")
    assert (status(settled), (settled.body or {})["flags"]) == ("done", ["late", "mismatch"])
    assert status(world.authorize(world.crawler, "1")) == "agent_frozen"
    # A hold that ran out and cost what was approved is late, and as it was asked for.
    held = world.hold(world.writer, "2")
    assert status(world.do(Release, world.writer, authorization=held)) == "done"
    assert (world.settle(world.writer, held, "2").body or {})["flags"] == ["late"]
    assert status(world.authorize(world.writer, "1")) == "approved"


def test_a_policy_that_fails_to_load_lets_no_run_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may limit them; what it says cannot be known, so it denies, as it denies spending."""
    world = Policed()
    world.policy(limits=[limit("runs", "day", max_count=9, on="runs")])

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("a rule of another time")

    monkeypatch.setattr(compiling, "compile_policy", fails)
    world._warm = None
    assert status(world.authorize(world.crawler, "1")) == "policy_error"
    assert status(world.do(OpenRun, world.crawler, name="one")) == "policy_error"
    assert world.rows("runs") == []


def test_a_threshold_in_another_currency_asks_people() -> None:
    """What cannot be compared with a threshold is not let through beside it."""
    world = Policed()
    world.budget("yen", "100000", "crawler", currency="JPY")
    rule = {"id": "big", "above": "2", "per": "authorization", "approvers": ["finance"], "quorum": 1,
            "expires_after": 3600}  # fmt: skip
    world.policy(approval=[rule])
    asked = world.authorize(world.crawler, "50", currency="JPY", budget="yen")
    assert asked.status.value == "approval_required"
    waits = world.authorize(world.crawler, "50", currency="JPY", budget="yen", accept_pending=True)
    assert waits.status.value == "pending_approval"
