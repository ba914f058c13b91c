"""Ways in which limits of other systems failed users, each as a test here, or why it cannot happen.

Owns the table ``PROBLEMS``: for every reported problem of overshoot, bypass and false refusal that concerns limits, the
tests that show it does not happen here. A test makes sure that each of them exists. What concerns budgets stands in
``concurrency/test_problems.py``.

By construction:

- *Caps kept in one process and dumped later.* A counter is a row that the deciding transaction changes, behind the lock
  of the book's head; a process's memory is used only while the book's size and root are those it was read at.
- *A request that cannot be priced gets no hold.* There is no request without an amount, and an amount in what a limit
  cannot be compared with is denied.
- *Counters that clean-up corrects later.* What a release gives back is worked out from the authorization's own row, in
  the transaction that ends it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from ledger.core.command import Authorize, Charge, Extend, OpenRun, Refund, Release, Settle
from ledger.core.outcome import Outcome
from tests.support.policed import USD, Policed, decision, limit, reason, status, used

TESTS = Path(__file__).resolve().parents[1]
HERE = "core/test_problems_of_limits.py::"
LIMITS = "core/test_limits.py::"
RULES = "core/test_rules_of_policies.py::"
PROCESSES = "concurrency/test_limits_hold.py::"
MODEL = "model/test_policies_model.py::"
PROBLEMS: dict[str, tuple[str, ...]] = {
    # Overshoot and bypass.
    "concurrent requests all pass a read of past spend": (PROCESSES + "test_exactly_what_a_limit_allows_is_approved",),
    "the first requests of an unknown user skip the default budget": (
        HERE + "test_a_new_agent_s_first_request_is_bound",
    ),
    "limits multiply by the number of server processes": (
        PROCESSES + "test_exactly_what_a_limit_allows_is_approved",
        PROCESSES + "test_no_interleaving_exceeds_a_limit_or_refuses_what_fits",
    ),
    "caps kept in one process and dumped later": (PROCESSES + "test_a_killed_server_forgets_no_use",),
    "other routes evade the budget": (HERE + "test_every_way_to_spend_counts",),
    "a request that cannot be priced gets no hold": (
        HERE + "test_what_has_no_amount_is_refused",
        RULES + "test_a_limit_refuses_what_cannot_be_converted_to_its_currency",
    ),
    "the last hold is shrunk to what is left": (
        HERE + "test_a_hold_is_never_shrunk_in_silence",
        LIMITS + "test_less_is_approved_where_less_is_of_use",
    ),
    "a fixed tiny hold": (HERE + "test_tiny_holds_for_large_costs_end_at_the_limit",),
    "holds accepted beyond the balance": (HERE + "test_six_holds_of_a_thousand_under_a_limit_of_five_thousand",),
    "a concurrent commit reads the same remainder twice": (
        HERE + "test_a_batch_reads_what_it_wrote",
        PROCESSES + "test_no_interleaving_exceeds_a_limit_or_refuses_what_fits",
    ),
    "lost updates": (PROCESSES + "test_no_interleaving_exceeds_a_limit_or_refuses_what_fits",),
    "a made-up name is a fresh allowance": (RULES + "test_a_made_up_run_is_no_fresh_allowance",),
    # Refused though there is money.
    "leaked reservations": (
        HERE + "test_a_hold_that_nobody_ends_leaks_nothing",
        HERE + "test_holds_that_are_due_fill_no_limit_however_many_there_are",
    ),
    "enforcement counter and true spend differ": (
        HERE + "test_a_counter_is_the_sum_of_its_authorizations",
        MODEL + "test_limits_agree_with_a_recount",
    ),
    "cleanup that fails counts twice": (HERE + "test_ending_twice_gives_back_once",),
    "a counter that never resets": (LIMITS + "test_where_one_window_ends_and_the_next_begins",),
    "resets at the wrong time": (
        LIMITS + "test_where_one_window_ends_and_the_next_begins",
        LIMITS + "test_a_rolling_window_never_counts_too_little_and_at_most_a_part_too_much",
    ),
    "editing a limit zeroes its use": (LIMITS + "test_an_edit_keeps_what_was_used",),
    "worst-case holds fill the budget while real spend is near zero": (
        HERE + "test_held_is_told_apart_from_spent",
        LIMITS + "test_a_limit_that_only_holds_fill_is_told_apart_from_one_that_is_spent",
    ),
}


def test_every_problem_has_its_tests() -> None:
    """The table names tests that exist."""
    for problem, names in PROBLEMS.items():
        assert names, problem
        for name in names:
            file, _, function = name.partition("::")
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in found, f"{problem}: there is no {name}"


# Overshoot and bypass.


def test_a_new_agent_s_first_request_is_bound() -> None:
    """litellm #40095: the default was applied from the second request on. Here by the path, from the first."""
    world = Policed()
    world.policy("default", limits=[limit("own", "day", "10", by=["agent"])])
    world.policy("team", applies_to={"team": "research"}, limits=[limit("each", "authorization", "30")])
    for name, parent in (("newcomer", "research"), ("spawned", "newcomer")):
        caller = world.agent(name, parent)
        assert status(world.authorize(caller, "10.000000001")) == "limit_too_small"
        assert status(world.authorize(caller, "31")) == "limit_too_small"
        assert status(world.authorize(caller, "10")) == "approved"
        assert status(world.authorize(caller, "0.000000001")) == "limit_held"


def test_every_way_to_spend_counts() -> None:
    """bifrost #2873: another route of the same gateway did not count. Here whatever holds or spends counts: requests
    with and without a run, extensions, costs above the hold and after its end, and charges by finance."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "100")])
    crawler, dollars = world.crawler, {"currency": "USD"}
    assert status(world.do(OpenRun, crawler, name="run-1")) == "done"
    first = world.hold(crawler, "1", run="run-1")
    second = world.hold(crawler, "2", budget="research")
    late = world.hold(crawler, "4")
    total = [7]

    def counts(more: int, outcome: Outcome) -> None:
        assert status(outcome) == "done", outcome
        total[0] += more
        settled, held, _ = world.counters("day")["[]"]
        assert settled + held == total[0] * USD

    counts(8, world.do(Extend, crawler, authorization=first, amount="8", **dollars))
    counts(16, world.do(Settle, crawler, authorization=second, amount="18", **dollars))
    counts(-4, world.do(Release, crawler, authorization=late))
    counts(32, world.do(Settle, crawler, authorization=late, amount="32", **dollars))
    charge = {"budget": "research", "amount": "64", "category": "a", "payee": "b", "run": "elsewhere"}
    counts(64, world.do(Charge, world.finance, agent="writer", **charge, **dollars))
    assert status(world.authorize(world.writer, "0.01")) == "limit_exceeded"


@pytest.mark.parametrize(
    ("amount", "code"), [("0", "amount_not_positive"), ("-1", "amount_not_positive"), ("", "amount_malformed")]
)
def test_what_has_no_amount_is_refused(amount: str, code: str) -> None:
    """litellm #35524: what could not be priced went through without a hold."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    assert status(world.authorize(world.crawler, amount)) == code
    assert world.counters("day") == {}


def test_a_hold_is_never_shrunk_in_silence() -> None:
    """candela #634: the last hold was made as small as what was left, and the call cost what it cost. Here it is
    refused, or made smaller only for who says that less is of use, and flagged, and what it costs beyond counts."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    world.hold(world.crawler, "8")
    assert status(world.authorize(world.crawler, "5")) == "limit_held"
    outcome = world.authorize(world.crawler, "5", partial_ok=True)
    body: dict[str, Any] = outcome.body or {}
    assert (body["approved"], body["flags"]) == (str(2 * USD), ["partial"])
    world.settle(world.crawler, body["authorization"], "5")
    assert world.counters("day") == {"[]": (5 * USD, 8 * USD, 2)}
    assert status(world.authorize(world.crawler, "0.01", partial_ok=True)) == "limit_held"


def test_tiny_holds_for_large_costs_end_at_the_limit() -> None:
    """candela #634: a hold of a cent for whatever it costs. The cost is recorded and counts, so the next is refused;
    and a policy may stop the agent at the first."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    for _ in range(3):
        world.settle(world.crawler, world.hold(world.crawler, "0.01"), "3.5")
    assert status(world.authorize(world.crawler, "0.01")) == "limit_exceeded"
    world.policy(limits=[limit("day", "day", "1000")], overrun={"tolerance_percent": 50, "then": "freeze"})
    world.settle(world.writer, world.hold(world.writer, "0.01"), "3.5")
    assert status(world.authorize(world.writer, "0.01")) == "agent_frozen"


def test_six_holds_of_a_thousand_under_a_limit_of_five_thousand() -> None:
    """blnk #181, with a limit where the balance was; one after the other, and in one batch."""
    for together in (False, True):
        world = Policed(amount="100000")
        world.policy(limits=[limit("day", "day", "5000")])
        said = {"amount": "1000", "currency": "USD", "category": "inference", "payee": "openai"}
        asked = [world.command(Authorize, world.crawler, **said) for _ in range(6)]
        outcomes = world.decide(*asked) if together else [world.decide(one)[0] for one in asked]
        assert [status(one) for one in outcomes] == ["approved"] * 5 + ["limit_held"]
        assert world.counters("day") == {"[]": (0, 5_000 * USD, 5)}


def test_a_batch_reads_what_it_wrote() -> None:
    """blnk PR #171: each of several that were committed together saw the remainder before all of them."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10", max_count=4)])
    reference = world.hold(world.crawler, "6")
    said = {"currency": "USD", "category": "inference", "payee": "openai"}
    outcomes = world.decide(
        world.command(Authorize, world.crawler, amount="5", **said),
        world.command(Settle, world.crawler, authorization=reference, amount="1", currency="USD"),
        world.command(Authorize, world.writer, amount="5", **said),
        world.command(Extend, world.crawler, authorization=reference, amount="1", currency="USD"),
        world.command(Authorize, world.writer, amount="5", **said),
        world.command(Authorize, world.writer, amount="4", **said),
        world.command(Authorize, world.writer, amount="0.01", **said),
    )
    codes = ["limit_held", "done", "approved", "wrong_state", "limit_held", "approved", "limit_held"]
    assert [status(one) for one in outcomes] == codes
    assert world.counters("day") == {"[]": (1 * USD, 9 * USD, 3)}


# Refused though there is money.


def test_a_hold_that_nobody_ends_leaks_nothing() -> None:
    """litellm #27639, otari #128: an error before the first chunk left the reservation for ever."""
    world = Policed()
    world.policy(limits=[limit("all", "lifetime", "10")])
    for _ in range(5):
        world.hold(world.crawler, "10", ttl_seconds=60)
        assert status(world.authorize(world.crawler, "10")) == "limit_held"
        world.advance(61)
    assert world.counters("all") == {"[]": (0, 10 * USD, 5)}
    world.hold(world.crawler, "10")
    assert world.counters("all") == {"[]": (0, 10 * USD, 6)}


def test_holds_that_are_due_fill_no_limit_however_many_there_are() -> None:
    """More holds are past their time than one batch ends: nobody is refused or asked for what is held no more, the
    decision waits until they have ended; and the attempt is counted once, with the decision."""
    ask = {"id": "ask", "above": "10", "per": "day", "approvers": ["approver"], "quorum": 1, "expires_after": 3600}
    rules: tuple[dict[str, Any], ...] = (
        {"limits": [limit("day", "day", "10")], "loops": {"same_request": 5, "within": 3_600, "then": "deny"}},
        {"limits": [limit("all", "lifetime", "10")]},
        {"approval": [ask]},
    )
    for rule in rules:
        for pending in (False, True):
            world = Policed(due_max=1)
            world.policy(**rule)
            for number in range(3):
                world.hold(world.crawler, "3", ttl_seconds=60, payee=f"p{number}")
            extended = world.hold(world.crawler, "1", ttl_seconds=3_600)
            world.advance(100)
            asked = world.command(
                Authorize, world.crawler, amount="9", currency="USD", category="a", payee="b", accept_pending=pending
            )
            more = world.command(Extend, world.crawler, authorization=extended, amount="9", currency="USD")
            assert status(world.decide(asked)[0]) == "expiry_backlog"
            assert status(world.decide(more)[0]) == "expiry_backlog"
            (done,) = world.decide(asked)
            assert status(done) == "approved"
            assert "limits" not in rule or used(done, rule["limits"][0]["id"]) == 1 * USD
            if "loops" in rule:
                (counted,) = (row.count for row in world.rows("counters") if '"derived"' in row.key and row.count == 1
                              and row.changed_index == done.log_index)  # fmt: skip
                assert counted == 1


def test_a_counter_is_the_sum_of_its_authorizations() -> None:
    """litellm #30460, #40050: the counter that decides and the spend on record were two numbers. Here they are worked
    out from the same rows, and both are compared by ``verify``."""
    world = Policed()
    world.policy(limits=[limit("all", "lifetime", "90", by=["agent"])])
    for number in range(1, 7):
        caller = world.crawler if number % 2 else world.writer
        reference = world.hold(caller, str(number))
        if number % 3 == 0:
            world.settle(caller, reference, str(number * 2))
            world.do(Refund, world.finance, authorization=reference, amount="1", currency="USD")
        elif number % 3 == 1:
            world.settle(caller, reference, "0.5", final=False)
    for agent in ("crawler", "writer"):
        mine = [row for row in world.rows("authorizations") if row.agent == agent]
        settled, held, count = world.counters("all")[f'["{agent}"]']
        assert settled == sum(row.settled - row.refunded for row in mine)
        assert (held, count) == (sum(row.held for row in mine), len(mine))


def test_ending_twice_gives_back_once() -> None:
    """litellm #35569: a clean-up that failed in the middle was done again. What comes second is refused or replayed."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    crawler = world.crawler
    kept = world.hold(crawler, "2")
    for first in ("release", "settle", "expiry"):
        reference = world.hold(crawler, "5", ttl_seconds=60)
        release = world.command(Release, crawler, authorization=reference)
        settle = world.command(Settle, crawler, authorization=reference, amount="0", currency="USD")
        if first == "expiry":
            world.advance(61)
        one = {"release": release, "settle": settle, "expiry": world.command(Release, crawler, authorization=reference)}
        said = [
            status(world.decide(one[first])[0]),
            status(world.decide(one[first])[0]),
            status(world.decide(release)[0]),
        ]
        assert (
            said
            == {
                "release": ["done", "replayed", "replayed"],
                "settle": ["done", "replayed", "wrong_state"],
                "expiry": ["wrong_state", "wrong_state", "wrong_state"],
            }[first]
        )
        assert world.counters("day")["[]"][:2] == (0, 2 * USD), first
    assert world.authorization(kept).held == 2 * USD


def test_held_is_told_apart_from_spent() -> None:
    """litellm PR #38647: worst-case holds filled the budget. The denial says that only holds stand in the way, it is
    told to come again, and what real spend leaves is there at once; a small hold that grows fits beside others."""
    world = Policed()
    world.policy(limits=[limit("day", "day", "10")])
    worst = [world.hold(world.crawler, "3") for _ in range(3)]
    refused = world.authorize(world.writer, "3")
    assert (status(refused), reason(refused)["remaining"]) == ("limit_held", str(1 * USD))
    assert world.counters("day") == {"[]": (0, 9 * USD, 3)}
    small = world.hold(world.writer, "1")
    for reference in worst:
        world.settle(world.crawler, reference, "0.1")
    assert world.counters("day") == {"[]": (3 * USD // 10, 1 * USD, 4)}
    grown = world.do(Extend, world.writer, authorization=small, amount="8.7", currency="USD")
    assert (status(grown), decision(grown)["outcome"]) == ("done", "approved")
