"""The rules of policies that count nothing, or attempts, or ask persons: lists, hours, conditions, runs, loops,
thresholds, shadow, what cannot be compiled, and which of them is answered when several speak.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.core.canonical import canonical_bytes, parse
from ledger.core.command import (
    AssignBudget,
    Authorize,
    Charge,
    DefineUnit,
    Extend,
    FreezeAgent,
    OpenRun,
    Release,
    Settle,
)
from ledger.core.command_approvals import GrantApproval, RefuseApproval
from ledger.core.outcome import Outcome
from tests.support.policed import USD, Policed, decision, limit, reason, status, used

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def approval(name: str = "ask", above: str = "5", per: str = "authorization", **fields: Any) -> dict[str, Any]:
    """A threshold of a document."""
    made = {"id": name, "above": above, "per": per, "approvers": ["approver"], "quorum": 1, "expires_after": 3600}
    return made | fields


# Lists. What the policy says, what the request says beside category inference and payee openai, and the answer.
LISTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "allowed by name": ({"allow": {"payees": ["openai"]}}, {}, "approved"),
    "not among what is allowed": ({"allow": {"payees": ["anthropic"]}}, {}, "payee_not_allowed"),
    "allowed by a glob": ({"allow": {"payees": ["open*"]}}, {}, "approved"),
    "one sign": ({"allow": {"payees": ["opena?"]}}, {}, "approved"),
    "one sign is one": ({"allow": {"payees": ["openai?"]}}, {}, "payee_not_allowed"),
    "one of several signs": ({"allow": {"resources": ["gpt-[45]"]}}, {"resource": "gpt-5"}, "approved"),
    "none of these signs": ({"allow": {"resources": ["gpt-[!5]"]}}, {"resource": "gpt-5"}, "resource_not_allowed"),
    "a glob fits the whole": ({"allow": {"resources": ["gpt"]}}, {"resource": "gpt-5"}, "resource_not_allowed"),
    "a dot is a dot": ({"allow": {"resources": ["gpt.5"]}}, {"resource": "gpt-5"}, "resource_not_allowed"),
    "case is ignored in the glob": ({"allow": {"resources": ["GPT-*"]}}, {"resource": "gpt-5"}, "approved"),
    "case is ignored in the request": (
        {"deny": {"resources": ["gpt-*"]}}, {"resource": "GPT-5"}, "resource_not_allowed",
    ),
    "no resource fits no list of what is allowed": ({"allow": {"resources": ["*"]}}, {}, "resource_not_allowed"),
    "no resource fits no list of what is denied": ({"deny": {"resources": ["*"]}}, {}, "approved"),
    "denied by name": ({"deny": {"categories": ["inference"]}}, {}, "category_not_allowed"),
    "denied although allowed": (
        {"allow": {"resources": ["gpt-*"]}, "deny": {"resources": ["*-realtime*"]}}, {"resource": "gpt-realtime"},
        "resource_not_allowed",
    ),
    "the list of another word says nothing": ({"deny": {"categories": ["openai"]}}, {}, "approved"),
    "an empty list allows nothing": ({"allow": {"categories": []}}, {}, "category_not_allowed"),
    "an empty list denies nothing": ({"deny": {"categories": []}}, {}, "approved"),
    "the category is answered before the payee": (
        {"allow": {"payees": ["x"], "categories": ["x"]}}, {}, "category_not_allowed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_lists(case: str) -> None:
    """An absent list is anything; deny beats allow."""
    rules, fields, code = LISTS[case]
    world = Policed()
    world.policy(**rules)
    assert status(world.authorize(world.crawler, **fields)) == code


# Hours: from, to, days, zone; then moments and whether they are open, and when they open.
HOURS: dict[str, tuple[str, str, list[str], str, list[tuple[str, str | None]]]] = {
    "working hours in Paris": ("07:00", "20:00", ["mon", "tue", "wed", "thu", "fri"], "Europe/Paris", [
        ("2026-11-23T05:59:59.999999Z", "2026-11-23T06:00:00.000000Z"), ("2026-11-23T06:00:00Z", None),
        ("2026-11-23T18:59:59.999999Z", None), ("2026-11-23T19:00:00Z", "2026-11-24T06:00:00.000000Z"),
        ("2026-11-27T19:00:00Z", "2026-11-30T06:00:00.000000Z"),
    ]),
    "over midnight, on the day that it begins": ("22:00", "02:00", ["fri"], "America/New_York", [
        ("2026-11-28T02:59:59.999999Z", "2026-11-28T03:00:00.000000Z"), ("2026-11-28T03:00:00Z", None),
        ("2026-11-28T06:59:59.999999Z", None), ("2026-11-28T07:00:00Z", "2026-12-05T03:00:00.000000Z"),
    ]),
    "to the end of the day": ("12:00", "24:00", EVERY_DAY, "Asia/Kolkata", [
        ("2026-11-23T18:29:59.999999Z", None), ("2026-11-23T18:30:00Z", "2026-11-24T06:30:00.000000Z"),
    ]),
    "an hour that spring leaves out": ("02:15", "02:45", EVERY_DAY, "Europe/Paris", [
        ("2027-03-27T01:30:00Z", None), ("2027-03-28T00:59:59.999999Z", "2027-03-29T00:15:00.000000Z"),
        ("2027-03-28T01:00:00Z", "2027-03-29T00:15:00.000000Z"), ("2027-03-29T00:15:00Z", None),
    ]),
    "an hour that autumn has twice": ("02:15", "02:45", EVERY_DAY, "Europe/Paris", [
        ("2027-10-31T00:20:00Z", None), ("2027-10-31T00:50:00Z", "2027-10-31T01:15:00.000000Z"),
        ("2027-10-31T01:20:00Z", None), ("2027-10-31T01:45:00Z", "2027-11-01T01:15:00.000000Z"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("case", HOURS)
def test_hours(case: str) -> None:
    """The clock on the wall decides, and a denial says when it opens."""
    begins, ends, days, zone, moments = HOURS[case]
    world = Policed()
    world.policy(hours={"days": days, "from": begins, "to": ends}, timezone=zone)
    for moment, opens_at in moments:
        world.at(moment)
        outcome = world.authorize(world.crawler, "0.01")
        if opens_at is None:
            assert status(outcome) == "approved", moment
        else:
            assert (status(outcome), reason(outcome)["fits_at"]) == ("outside_hours", opens_at), moment


def test_hours_hold_in_the_book_s_zone_where_the_policy_names_none() -> None:
    """The book is in Paris."""
    world = Policed()
    world.policy(hours={"days": EVERY_DAY, "from": "07:00", "to": "20:00"})
    world.at("2026-11-23T05:59:59Z")
    assert status(world.authorize(world.crawler)) == "outside_hours"
    world.at("2026-11-23T06:00:00Z")
    assert status(world.authorize(world.crawler)) == "approved"


# Currencies.


def test_a_limit_refuses_what_cannot_be_converted_to_its_currency() -> None:
    """Units and other currencies alike; a limit that is only about its own currency has nothing to say of others."""
    world = Policed()
    assert status(world.do(DefineUnit, world.admin, name="tokens", digits=0)) == "done"
    for name, currency in (("euros", "EUR"), ("words", "tokens")):
        world.budget(name, "1000", "research", currency=currency)
    world.policy(limits=[limit("day", "day", "10")])
    asked = [("5", "EUR", "euros"), ("5", "tokens", "words"), ("5", "USD", "research")]

    def answers() -> list[str]:
        return [
            status(world.authorize(world.crawler, amount, currency=currency, budget=budget))
            for amount, currency, budget in asked
        ]

    assert answers() == ["limit_currency", "limit_currency", "approved"]
    world.policy(limits=[limit("day", "day", "10", match={"currencies": ["USD"]})])
    assert answers() == ["approved", "approved", "approved"]
    world.policy(limits=[limit("day", "day", max_count=6)])
    assert used(world.authorize(world.crawler, "1", budget="words", currency="tokens"), "day", "count") == 4


# Runs.


def opened(world: Policed, name: str) -> str:
    """The id of a run that the crawler opened."""
    outcome = world.do(OpenRun, world.crawler, name=name)
    assert status(outcome) == "done", outcome
    return str((outcome.body or {})["id"])


RUN_LIMITS = {
    "per run": limit("run", "run", "10"),
    "a day by run": limit("run", "day", "10", by=["run"]),
    "a count per run": limit("run", "run", max_count=1),
}


@pytest.mark.parametrize("case", RUN_LIMITS)
def test_a_made_up_run_is_no_fresh_allowance(case: str) -> None:
    """Only a run that was opened has one, by name or by id; another one's run is refused before."""
    world = Policed()
    world.policy(limits=[RUN_LIMITS[case]])
    for name in ("made-up", "made-up-2", "made-up-3"):
        assert status(world.authorize(world.crawler, "8", run=name)) == "run_required"
    reference = opened(world, "made-up")
    assert status(world.authorize(world.crawler, "8", run="made-up")) == "approved"
    for name in ("made-up", reference):
        assert status(world.authorize(world.crawler, "8", run=name)) in ("limit_held", "limit_exceeded")
    opened(world, "another")
    assert status(world.authorize(world.crawler, "8", run="another")) == "approved"
    assert status(world.authorize(world.writer, "8", run="another")) == "run_not_permitted"


def test_who_names_no_run_under_a_limit_per_run_is_refused_and_by_run_counted_together() -> None:
    """Leaving the run out is no way around either."""
    world = Policed()
    world.policy(limits=[limit("run", "run", "10")])
    assert status(world.authorize(world.crawler, "8")) == "run_required"
    world.policy(limits=[limit("run", "day", "10", by=["run"])])
    assert [status(world.authorize(world.crawler, "8")) for _ in range(2)] == ["approved", "limit_held"]


def test_opening_runs_is_limited() -> None:
    """Two a day for each; a denial is on record, takes no name and binds the key."""
    world = Policed()
    world.policy(limits=[limit("runs", "day", on="runs", max_count=2, by=["agent"])])
    opened(world, "one")
    opened(world, "two")
    asked = world.command(OpenRun, world.crawler, name="three")
    (denied,) = world.decide(asked)
    assert (status(denied), reason(denied)["rule"]) == ("limit_exceeded", "caps/runs")
    assert status(world.do(OpenRun, world.writer, name="three")) == "done"
    world.at("2026-11-03T00:00:00Z")
    assert status(world.do(OpenRun, world.crawler, name="four")) == "done"


def test_a_run_that_is_refused_for_the_moment_does_not_bind_its_key() -> None:
    """A minute later the same request opens it."""
    world = Policed()
    world.policy(limits=[limit("runs", "minute", on="runs", max_count=1)])
    opened(world, "one")
    asked = world.command(OpenRun, world.crawler, name="two")
    assert status(world.decide(asked)[0]) == "velocity"
    world.advance(60)
    assert status(world.decide(replace(asked, id=world.new_id("run")))[0]) == "done"
    world.prove()


# Loops.


def ask(world: Policed, **fields: Any) -> str:
    """The same request once more, but for what is given."""
    return status(world.authorize(world.crawler, fields.pop("amount", "1"), **({"intent": "to think"} | fields)))


def test_the_same_request_again_and_again_is_a_loop() -> None:
    """Three within ten minutes: the amount written otherwise is the same, another payee, resource, amount or intent is
    not; refused ones count; and it is over when the first is too old."""
    world = Policed()
    world.policy(loops={"same_request": 3, "within": 600, "then": "deny"})
    assert [ask(world), ask(world, amount="1.00"), ask(world)] == ["approved"] * 3
    outcome = world.authorize(world.crawler, "1", intent="to think")
    assert (status(outcome), reason(outcome)["observed"], reason(outcome)["limit"]) == ("loop_detected", "4", "3")
    for other in ({"payee": "x"}, {"resource": "x"}, {"amount": "2"}, {"intent": "to act"}):
        assert ask(world, **other) == "approved", other
    assert status(world.authorize(world.writer, "1", intent="to think")) == "approved"
    world.advance(599)
    assert ask(world) == "loop_detected"
    world.advance(620)
    assert ask(world) == "approved"


def test_refused_attempts_count_and_those_told_to_wait_do_not() -> None:
    """Hammering at a closed door is a loop; coming back as one was told is none."""
    world = Policed()
    world.policy(deny={"payees": ["nobody"]}, loops={"same_request": 2, "within": 600, "then": "deny"})
    assert [ask(world, payee="nobody") for _ in range(2)] == ["payee_not_allowed"] * 2
    looping = world.authorize(world.crawler, "1", intent="to think", payee="nobody")
    assert [one["code"] for one in decision(looping)["reasons"]] == ["payee_not_allowed", "loop_detected"]
    world.hold(world.writer, "95")
    assert [ask(world, amount="20") for _ in range(4)] == ["budget_held"] * 4


def test_a_client_s_own_mark_counts_beside_ours() -> None:
    """Requests that differ in every way, marked as the same."""
    world = Policed()
    world.policy(loops={"same_request": 2, "within": 600, "then": "deny"})
    said = [ask(world, amount=str(number), payee=f"p{number}", fingerprint="step-7") for number in range(1, 4)]
    assert said == ["approved", "approved", "loop_detected"]


def test_an_edit_keeps_the_attempts_and_another_span_of_time_begins_anew() -> None:
    """Attempts are not kept where nobody counted them, so only what counts the same goes on."""
    world = Policed()
    loops = {"same_request": 5, "within": 600, "then": "deny"}
    world.policy(loops=loops)
    assert [ask(world) for _ in range(3)] == ["approved"] * 3
    world.policy(loops=loops | {"same_request": 3}, limits=[limit("day", "day", "50")])
    assert ask(world) == "loop_detected"
    world.policy(loops=loops | {"same_request": 3, "within": 900})
    assert [ask(world) for _ in range(4)] == ["approved"] * 3 + ["loop_detected"]


def test_a_loop_may_freeze_the_agent() -> None:
    """On record, by the policy; an admin ends it."""
    world = Policed()
    world.policy(loops={"same_request": 1, "within": 600, "then": "freeze"})
    assert [ask(world), ask(world), ask(world, payee="x")] == ["approved", "loop_detected", "agent_frozen"]
    (freeze,) = (body for body in world.bodies() if body["kind"] == "freeze")
    assert (freeze["agent"], freeze["by"]) == ("crawler", {"principal": "policy:caps"})
    world.do(FreezeAgent, world.admin, agent="crawler", frozen=False)
    assert ask(world, payee="y") == "approved"


# Thresholds.


def waiting(outcome: Outcome) -> str:
    """The id of the first approval of a request that waits."""
    assert status(outcome) == "pending_approval", outcome
    return str((outcome.body or {})["approvals"][0]["id"])


def test_a_threshold_for_each_request() -> None:
    """Above five dollars somebody is asked; who does not accept to wait is refused and holds nothing."""
    world = Policed()
    world.policy(approval=[approval()])
    assert status(world.authorize(world.crawler, "5")) == "approved"
    refused = world.authorize(world.crawler, "5.000000001")
    assert status(refused) == "approval_required"
    assert world.authorization((refused.body or {})["authorization"]).held == 0
    assert status(world.authorize(world.crawler, "5.000000001", accept_pending=True)) == "pending_approval"


def test_a_threshold_for_a_day_adds_up() -> None:
    """What waits counts already; what was refused does not; the next day begins anew."""
    world = Policed()
    pat = world.key("approver", "pat")
    world.policy(approval=[approval(per="day", above="10")])
    assert [status(world.authorize(world.crawler, "4")) for _ in range(3)] == [
        "approved",
        "approved",
        "approval_required",
    ]
    reference = waiting(world.authorize(world.writer, "4", accept_pending=True))
    assert status(world.authorize(world.crawler, "0.5", accept_pending=True)) == "pending_approval"
    assert status(world.do(RefuseApproval, pat, approval=reference)) == "done"
    assert used_by(world.authorize(world.crawler, "1.5"), "ask") == 8.5
    world.at("2026-11-02T23:00:00Z")
    assert status(world.authorize(world.crawler, "10")) == "approved"


def used_by(outcome: Outcome, rule: str) -> float:
    """Dollars that a threshold had seen before."""
    (found,) = (item[4] for item in decision(outcome)["approvals"] if item[1] == rule)
    return int(found) / USD


def test_a_threshold_for_a_run_adds_up() -> None:
    """For each run that was opened."""
    world = Policed()
    opened(world, "one")
    opened(world, "two")
    world.policy(approval=[approval(per="run", above="10")])
    said = [status(world.authorize(world.crawler, "6", run=run)) for run in ("one", "two", "one")]
    assert said == ["approved", "approved", "approval_required"]


@pytest.mark.parametrize("rule", [approval(per="run", above="10"), approval(per="day", above="10", by=["run"])])
def test_a_made_up_run_is_no_way_around_a_threshold(rule: dict[str, Any]) -> None:
    """A sum that begins anew with every made-up name would never ask anybody."""
    world = Policed()
    world.policy(approval=[rule])
    assert status(world.authorize(world.crawler, "6", run="made-up", accept_pending=True)) == "run_required"
    opened(world, "real")
    said = [status(world.authorize(world.crawler, "6", run="real", accept_pending=True)) for _ in range(2)]
    assert said == ["approved", "pending_approval"]
    without = [status(world.authorize(world.crawler, "6", accept_pending=True)) for _ in range(2)]
    assert without == (["run_required"] * 2 if rule["per"] == "run" else ["approved", "pending_approval"])


def test_what_waits_is_counted_and_a_refusal_gives_back_money_but_no_count() -> None:
    """And so do a withdrawal, and a question that nobody answered."""
    for end in ("refused", "withdrawn", "expired", "granted"):
        world = Policed()
        pat = world.key("approver", "pat")
        world.policy(approval=[approval()], limits=[limit("day", "day", "20", max_count=9)])
        outcome = world.authorize(world.crawler, "8", accept_pending=True)
        reference = waiting(outcome)
        assert world.counters("day") == {"[]": (0, 8 * USD, 1)}
        name = (outcome.body or {})["authorization"]
        if end == "refused":
            world.do(RefuseApproval, pat, approval=reference)
        elif end == "withdrawn":
            world.do(Release, world.crawler, authorization=name)
        elif end == "granted":
            world.do(GrantApproval, pat, approval=reference)
            assert status(world.settle(world.crawler, name, "3")) == "done"
        else:
            world.advance(3_601)
            world.authorize(world.writer, "1", payee="x")
            assert world.counters("day") == {"[]": (0, 1 * USD, 2)}
            continue
        assert world.counters("day") == {"[]": (3 * USD if end == "granted" else 0, 0, 1)}, end


def test_an_extension_over_a_threshold_is_refused_and_the_hold_stays() -> None:
    """The threshold sees the new total; more time alone asks nobody."""
    world = Policed()
    world.policy(approval=[approval()])
    reference = world.hold(world.crawler, "4")
    said = world.do(Extend, world.crawler, authorization=reference, amount="1.01", currency="USD")
    assert (status(said), world.authorization(reference).held) == ("approval_required", 4 * USD)
    assert status(world.do(Extend, world.crawler, authorization=reference, amount="1", currency="USD")) == "done"
    world.policy(approval=[approval(above="1")])
    assert status(world.do(Extend, world.crawler, authorization=reference, ttl_seconds=60)) == "done"


def test_an_extension_meets_limits_with_its_increase_and_limits_per_authorization_with_the_total() -> None:
    """And counts no request."""
    world = Policed()
    world.policy(limits=[limit("each", "authorization", "6"), limit("day", "day", "10", max_count=2)])
    reference = world.hold(world.crawler, "4")
    other = world.hold(world.crawler, "5")
    for amount, code in (("2.5", "limit_too_small"), ("1.5", "limit_held"), ("1", "done")):
        said = world.do(Extend, world.crawler, authorization=reference, amount=amount, currency="USD")
        assert status(said) == code, amount
    assert world.authorization(other).held == 5 * USD


# Shadow.


def test_a_shadow_policy_refuses_nothing_and_says_what_it_would_have() -> None:
    """Each kind of rule; its counters count, so that it can be turned on with its use."""
    world = Policed()
    rules: dict[str, Any] = {
        "limits": [
            limit("day", "day", "3", max_count=1),
            limit("each", "authorization", "1"),
            limit("run", "run", "1"),
        ],
        "deny": {"payees": ["openai"]},
        "allow": {"categories": ["nothing"]},
        "hours": {"days": [], "from": "00:00", "to": "24:00"},
        "loops": {"same_request": 1, "within": 600, "then": "freeze"},
        "approval": [approval(above="1")],
        "when": [{"id": "never", "expression": "amount < 0"}],
        "overrun": {"tolerance_percent": 0, "then": "freeze"},
        "mismatch": {"more_than": 0, "then": "freeze"},
    }
    world.policy(shadow=True, **rules)
    assert status(world.authorize(world.crawler, "4")) == "approved"
    outcome = world.authorize(world.crawler, "4")
    assert status(outcome) == "approved"
    assert {one["code"] for one in decision(outcome)["shadow"]} == {
        "category_not_allowed", "payee_not_allowed", "condition_not_met", "run_required", "limit_too_small",
        "outside_hours", "loop_detected", "limit_exceeded",
    }  # fmt: skip
    assert decision(outcome)["reasons"] == []
    world.settle(world.crawler, (outcome.body or {})["authorization"], "50", payee="somebody")
    assert status(world.authorize(world.crawler, "4")) == "approved"
    world.policy(limits=rules["limits"][:1])
    said = world.authorize(world.crawler, "1")
    assert (status(said), used(said, "day"), used(said, "day", "count")) == ("limit_exceeded", 58 * USD, 3)


# What freezes.


@pytest.mark.parametrize(
    ("percent", "cost", "frozen"), [(10, "11", False), (10, "11.000000001", True), (0, "10", False)]
)
def test_cost_above_what_is_tolerated_freezes(percent: int, cost: str, frozen: bool) -> None:
    """Recorded in any case."""
    world = Policed()
    world.policy(overrun={"tolerance_percent": percent, "then": "freeze"})
    reference = world.hold(world.crawler, "10")
    assert status(world.settle(world.crawler, reference, cost)) == "done"
    assert status(world.authorize(world.crawler, "1")) == ("agent_frozen" if frozen else "approved")
    assert status(world.authorize(world.writer, "1")) == "approved"


def test_mismatches_freeze_once_there_are_too_many() -> None:
    """Counted per agent, over all that it ever settled; a cost of another payee, category or resource."""
    world = Policed()
    world.policy(mismatch={"more_than": 2, "then": "freeze"}, deny={"resources": ["bad"]})
    for fields in ({"payee": "x"}, {"category": "x"}):
        reference = world.hold(world.crawler, "1")
        world.do(Settle, world.crawler, authorization=reference, amount="1", currency="USD", **fields)
    named = world.hold(world.crawler, "1")
    world.do(Settle, world.crawler, authorization=named, amount="1", currency="USD", resource="good")
    assert status(world.authorize(world.crawler, "1")) == "approved"
    last = world.hold(world.crawler, "1")
    world.do(Settle, world.crawler, authorization=last, amount="1", currency="USD", resource="bad")
    assert status(world.authorize(world.crawler, "1")) == "agent_frozen"


# What cannot be compiled or evaluated.


def test_a_document_that_cannot_be_compiled_is_not_applied() -> None:
    """The version that is live goes on."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    for fields in (
        {"limits": [limit("day", "day", "ten")]},
        {"limits": [limit("day", "day", "0.0000000001")]},
        {"limits": [limit("day", "fortnight", "10")]},
        {"when": [{"id": "w", "expression": "amount <"}]},
        {"approval": [{"id": "a"}]},
        {"timezone": "Mars/Olympus", "limits": [limit("day", "day", "10")]},
        {"limits": [limit("day", "day", "10", by=["colour"])]},
        {"limits": [limit("day", "lifetime", "10", rolling=True)]},
        {"loops": {"same_request": 3, "within": 0, "then": "deny"}},
    ):
        assert status(world.apply(**fields)) == "policy_invalid", fields
    assert status(world.authorize(world.crawler, "11")) == "limit_too_small"


@pytest.mark.parametrize("where", ["book", "team", "budget"])
def test_a_policy_that_no_longer_compiles_denies(where: str) -> None:
    """Whatever it said before, even in shadow; spend that happened is recorded all the same."""
    world = Policed()
    scope = {"book": {"book": True}, "team": {"team": "research"}, "budget": {"budget": "research"}}[where]
    reference = world.hold(world.crawler, "4")
    world.policy(applies_to=scope, limits=[limit("day", "day", "10")])
    (row,) = world.rows("policies")
    packed = parse(row.packed.encode())
    packed["document"]["limits"][0]["max"] = "broken"
    row.packed, row.digest = canonical_bytes(packed).decode(), "0" * 64
    world._warm = None
    assert status(world.authorize(world.crawler, "1")) == "policy_error"
    assert (
        status(world.do(Extend, world.crawler, authorization=reference, amount="1", currency="USD")) == "policy_error"
    )
    assert status(world.settle(world.crawler, reference, "4")) == "done"
    charged = world.do(
        Charge, world.finance, budget="research", amount="1", currency="USD", category="a", payee="b", agent="crawler"
    )
    assert status(charged) == "done"


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("amount <= 2000000000", "approved"),
        ("amount < 1000000000", "condition_not_met"),
        ('labels["ticket"] != ""', "condition_not_met"),
        ("amount / (amount - amount) > 0", "condition_not_met"),
        ("amount * 9223372036854775807 > 0", "condition_not_met"),
    ],
)
def test_a_condition_that_fails_denies(expression: str, code: str) -> None:
    """Not met, or not to be evaluated for this request: a key that is absent, a division by zero, an overflow."""
    world = Policed()
    world.policy(when=[{"id": "w", "expression": expression}])
    assert status(world.authorize(world.crawler, "2" if code == "approved" else "5")) == code


# Which is answered.


def test_deny_beats_approval_beats_allow() -> None:
    """In one policy and over several, whichever is bound nearer."""
    world = Policed()
    world.policy("near", applies_to={"agent": "crawler"}, allow={"payees": ["*"]})
    assert status(world.authorize(world.crawler, "6", accept_pending=True)) == "approved"
    world.policy("far", approval=[approval()])
    assert status(world.authorize(world.crawler, "6", accept_pending=True)) == "pending_approval"
    world.policy("middle", applies_to={"team": "research"}, deny={"payees": ["openai"]})
    outcome = world.authorize(world.crawler, "6", accept_pending=True)
    assert (status(outcome), decision(outcome)["outcome"]) == ("payee_not_allowed", "denied")
    said = world.authorize(world.crawler, "6")
    assert [one["code"] for one in decision(said)["reasons"]] == ["payee_not_allowed", "approval_required"]


def test_every_policy_on_the_path_is_evaluated_and_said() -> None:
    """The book's, those of teams and agents from the top down, those of budgets from the top down."""
    world = Policed()
    world.agent("child", "crawler")
    child = world.key("agent", "child")
    world.budget("below", "50", parent="research")
    assert status(world.do(AssignBudget, world.admin, budget="below", agents=("child",))) == "done"
    scopes = {
        "a-child": {"agent": "child"}, "b-book": {"book": True}, "c-low": {"budget": "below"},
        "d-team": {"team": "research"}, "e-top": {"budget": "research"}, "f-crawler": {"agent": "crawler"},
        "g-writer": {"agent": "writer"},
    }  # fmt: skip
    for name, scope in scopes.items():
        world.policy(name, applies_to=scope, limits=[limit("day", "day", "40")])
    outcome = world.authorize(child, "1", budget="below")
    record = parse(world.rows("log_records")[outcome.log_index].body)
    named = [policy[0] for policy in record["decision"]["policies"]]
    assert named == ["b-book", "d-team", "f-crawler", "a-child", "e-top", "c-low"]
    assert [item[0] for item in record["decision"]["limits"]] == [0, 1, 2, 3, 4, 5]


def test_a_policy_takes_effect_with_its_record_within_one_batch() -> None:
    """What was asked before it in the batch is approved and counted, what is asked behind it meets it."""
    world = Policed()
    before, behind, fits = (
        world.command(Authorize, world.crawler, amount=amount, currency="USD", category="inference", payee="openai")
        for amount in ("8", "3", "2")
    )
    world.hold(world.crawler, "1")
    reference = world.hold(world.crawler, "5")
    settle = world.command(Settle, world.crawler, authorization=reference, amount="0", currency="USD")
    made = world.apply_command(limits=[limit("day", "day", "11")])
    outcomes = world.decide(settle, before, made, behind, fits)
    assert [status(one) for one in outcomes] == ["done", "approved", "done", "limit_held", "approved"]
    assert used(outcomes[-1], "day") == 9 * USD
