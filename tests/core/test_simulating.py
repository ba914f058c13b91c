"""Simulating: denied spend is not counted; windows, loops, runs, approvals, extensions, parts, scopes, one by one."""

from __future__ import annotations

from ledger.core.command import Adjust, AdjustmentTransfer, Charge, Extend, OpenRun, Refund, Release, Reprice
from ledger.core.command_approvals import GrantApproval, RefuseApproval
from ledger.core.simulated import Findings
from tests.support.simulated import USD, Past, counts, limit, simulated, status
from tests.support.simulated_traffic import book


def only(findings: Findings, category: str) -> list[tuple[str, str]]:
    """(rule, amount in atoms) of the examples of the one category there is."""
    assert list(counts(findings)) == [category]
    return [(one.rule, str(one.amount)) for one in findings.examples[category]]


def test_what_is_denied_does_not_spend() -> None:
    """6 fits into 10, the second 6 does not, and so 4 still does; its own settlement counts for nothing."""
    world = Past()
    world.hold(world.crawler, "6")
    denied = world.hold(world.crawler, "6")
    world.settle(world.crawler, denied, "6")
    world.hold(world.crawler, "4")
    world.hold(world.crawler, "0.5")
    findings = simulated(world, book(limits=[limit("day", maximum="10")]), page=1)
    assert only(findings, "newly_denied") == [("caps/day", "6000000000"), ("caps/day", "500000000")]
    first, second = findings.examples["newly_denied"]
    assert (first.reference, first.agent, first.code) == (denied, "crawler", "limit_held")
    assert (first.observed, first.limit, first.remaining) == (12 * USD, 10 * USD, 4 * USD)
    assert second.observed == 10 * USD + USD // 2
    assert findings.tallies["newly_denied"].spent == {"USD": 6 * USD}


def test_what_ended_is_found_again() -> None:
    """A late refund and a late cost of what left memory long ago give back to, and take from, its own window."""
    world = Past()
    first = world.hold(world.crawler, "6")
    world.settle(world.crawler, first, "6")
    second = world.hold(world.crawler, "3")
    world.do(Release, world.crawler, authorization=second)
    world.do(Refund, world.finance, authorization=first, amount="2", currency="USD")
    world.settle(world.crawler, second, "3")
    for amount in ("3", "0.5"):
        world.hold(world.crawler, amount)
    findings = simulated(world, book(limits=[limit("day", maximum="10")]), page=1)
    assert [(one.amount, one.observed) for one in findings.examples["newly_denied"]] == [
        (USD // 2, 10 * USD + USD // 2)
    ]


def test_a_corrected_price_counts_where_its_request_did() -> None:
    """Of what was denied it changes what was spent, of what has ended it gives room; other adjustments do nothing."""
    world = Past()
    prices = {"currency": "USD", "old_price": (), "new_price": (("output", "1"),), "reason": "mistyped"}
    first = world.hold(world.crawler, "6")
    world.settle(world.crawler, first, "6")
    denied = world.hold(world.crawler, "5")
    world.settle(world.crawler, denied, "5")
    paid = (AdjustmentTransfer("payables:openai", "assets:bank", "1", "USD"),)
    world.do(Adjust, world.finance, transfers=paid, reason="paid")
    for reference, before, after in ((first, "6", "1"), (denied, "5", "2"), (first, "1", "2")):
        asked = {"authorization": reference, "settled": before, "amount": after} | prices
        assert status(world.do(Reprice, world.finance, **asked)) == "done"
    world.hold(world.crawler, "8")
    world.hold(world.crawler, "0.5")
    findings = simulated(world, book(limits=[limit("day", maximum="10")]), page=1)
    assert [(one.reference, one.observed) for one in findings.examples["newly_denied"]] == [
        (denied, 11 * USD),
        (findings.examples["newly_denied"][1].reference, 10 * USD + USD // 2),
    ]
    assert findings.tallies["newly_denied"].spent == {"USD": 2 * USD}


def test_holds_before_the_period_count_as_they_were() -> None:
    """Nothing before ``since`` is judged, and all of it counts; the log is read from where the windows look back to."""
    world = Past()
    world.hold(world.crawler, "30", ttl_seconds=86_400)
    world.advance(20 * 3_600)
    early = world.hold(world.crawler, "7", ttl_seconds=86_400)
    world.advance(1_800)
    since = world.now
    world.hold(world.crawler, "4")
    world.do(Release, world.crawler, authorization=early)
    world.hold(world.crawler, "9")
    findings = simulated(world, book(limits=[limit("hour", "hour", "10", rolling=True)]), since=since)
    assert [one.observed for one in findings.examples["newly_denied"]] == [11 * USD]
    assert findings.requests.count == 2


def test_velocity_is_counted_anew() -> None:
    """Three a minute: what is denied leaves its place to the next; a rolling window moves on."""
    world = Past()
    for _ in range(12):
        world.hold(world.crawler, "0.1")
        world.advance(10)
    policy = book(limits=[limit("rate", "minute", max_count=3, rolling=True)])
    findings = simulated(world, policy, examples_max=20)
    opened = next(one.recorded_at for one in world.rows("log_records") if one.kind == "hold")
    seconds = [(one.moment - opened) // 1_000_000 for one in findings.examples["newly_denied"]]
    # At 60 the second of the first still touches the minute; then 70, 80 and 90 find room.
    assert seconds == [30, 40, 50, 60, 100, 110]
    assert findings.examples["newly_denied"][0].counted


def test_loops_count_attempts_that_were_refused() -> None:
    """The same request thrice within ten minutes; refused attempts count, as when they happen."""
    world = Past(amount="5")
    for _ in range(5):
        world.authorize(world.crawler, "3")
        world.advance(60)
    world.hold(world.writer, "1")
    policy = book(loops={"same_request": 2, "within": 600, "then": "freeze"})
    findings = simulated(world, policy)
    # The budget of 5 refused all but the first; so they stay what they were, and would be a loop besides.
    assert counts(findings) == {}
    assert findings.denied_by_others == 4
    world = Past()
    for _ in range(5):
        world.hold(world.crawler, "3")
    findings = simulated(world, policy)
    assert [one.code for one in findings.examples["newly_denied"]] == ["loop_detected"] * 3
    assert (findings.freeze_count, findings.freezes[0][1]) == (3, "crawler")


def test_what_the_live_policy_refused_and_the_candidate_does_not() -> None:
    """It counts in full until its time to live ends, and no longer."""
    world = Past()
    world.policy(book(limits=[limit("each", "authorization", "2")]))
    refused = world.authorize(world.crawler, "8", ttl_seconds=60)
    assert status(refused) == "limit_too_small"
    world.hold(world.crawler, "2")
    world.advance(30)
    world.hold(world.crawler, "1")
    world.advance(31)
    world.hold(world.crawler, "1")
    findings = simulated(world, book(limits=[limit("day", maximum="10")]))
    assert counts(findings) == {"newly_approved": 1, "newly_denied": 1}
    (example,) = findings.examples["newly_approved"]
    assert (example.rule, example.code, example.limit) == ("caps/each", "limit_too_small", 2 * USD)
    assert findings.examples["newly_denied"][0].observed == 11 * USD


def test_what_others_refused_stays_refused() -> None:
    """Another policy, or the budget: no candidate brings it back, and it counts nothing."""
    world = Past(amount="5")
    world.policy(book(limits=[limit("each", "authorization", "2")]))
    world.policy(book("other", limits=[limit("few", "authorization", "3")]))
    for amount in ("4", "2.5", "9"):
        world.authorize(world.crawler, amount)
    findings = simulated(world, book(limits=[limit("day", maximum="2.5")]))
    assert counts(findings) == {"newly_approved": 1}
    assert (findings.denied_by_others, findings.unchanged) == (2, 2)


ASKS = {"id": "big", "above": "4", "per": "authorization", "approvers": ["approver"], "quorum": 1, "expires_after": 900}


def test_requests_that_would_go_to_persons() -> None:
    """Taken as granted they count, as refused they do not; who did not offer to wait is told apart."""
    world = Past()
    world.hold(world.crawler, "5")
    world.hold(world.crawler, "5", accept_pending=True)
    world.hold(world.crawler, "4")
    policy = book(limits=[limit("day", maximum="12")], approval=[ASKS])
    granted = simulated(world, policy)
    assert counts(granted) == {"newly_needing_approval": 2, "newly_denied": 1}
    assert granted.not_offering_to_wait == 1
    assert granted.examples["newly_needing_approval"][0][7:9] == ("approval_required", "caps/big")
    refused = simulated(world, policy, grant=False)
    assert counts(refused) == {"newly_needing_approval": 2}


def test_requests_that_would_no_longer_go_to_persons() -> None:
    """What was granted goes on as it went; what was refused by persons would have held until its time was up."""
    world = Past()
    pat = world.key("approver", "pat")
    world.policy(book(approval=[ASKS]))
    waiting = [world.authorize(world.crawler, "5", accept_pending=True, ttl_seconds=120) for _ in range(2)]
    for kind, outcome in zip((GrantApproval, RefuseApproval), waiting, strict=True):
        fields = {"reason": "no"} if kind is RefuseApproval else {}
        assert status(world.do(kind, pat, approval=outcome.body["approvals"][0]["id"], **fields)) == "done"
    world.settle(world.crawler, waiting[0].body["authorization"], "1")
    assert status(world.authorize(world.crawler, "5")) == "approval_required"
    world.advance(60)
    world.hold(world.crawler, "3")
    world.advance(61)
    world.hold(world.crawler, "3")
    findings = simulated(world, book(limits=[limit("day", maximum="12")]), page=1)
    # 1 spent, 5 as if not refused, 5 of the request that did not offer to wait, then 3 does not fit; later it does.
    assert counts(findings) == {"newly_approved": 1, "newly_denied": 1, "no_longer_needing_approval": 2}
    assert [one.observed for one in findings.examples["newly_denied"]] == [14 * USD]


def test_runs_that_would_not_have_been_opened() -> None:
    """A run that the candidate refuses is open to nobody; one that only it opens is."""
    world = Past()
    world.policy(book(limits=[limit("opened", "day", max_count=2, on="runs"), limit("run", "run", "5")]))
    for name in ("one", "two", "three"):
        world.do(OpenRun, world.crawler, name=name)
    asked = [world.authorize(world.crawler, "2", run=name) for name in ("one", "two", "three")]
    assert [status(one) for one in asked] == ["approved", "approved", "run_required"]
    fewer = simulated(world, book(limits=[limit("opened", "day", max_count=1, on="runs"), limit("run", "run", "5")]))
    assert counts(fewer) == {"newly_denied": 2}
    assert [(one.sort, one.code) for one in fewer.examples["newly_denied"]] == [
        ("run", "limit_exceeded"), ("authorization", "run_required"),
    ]  # fmt: skip
    more = simulated(world, book(limits=[limit("opened", "day", max_count=3, on="runs"), limit("run", "run", "5")]))
    assert counts(more) == {"newly_approved": 2}


def test_a_part_of_what_was_asked() -> None:
    """Who takes less gets what the candidate has room for, and spends at most that."""
    world = Past()
    part = world.hold(world.crawler, "8", partial_ok=True)
    world.settle(world.crawler, part, "7")
    world.hold(world.crawler, "4")
    world.hold(world.crawler, "1")
    findings = simulated(world, book(limits=[limit("each", "authorization", "6"), limit("day", maximum="10")]), page=1)
    assert counts(findings) == {"approved_for_less": 1, "newly_denied": 1}
    assert findings.tallies["approved_for_less"].amounts == {"USD": 2 * USD}
    assert findings.examples["newly_denied"][0].observed == 11 * USD


def test_extensions_are_judged_too() -> None:
    """One that the candidate denies adds nothing, whatever was spent; one that it approves is held until the end."""
    world = Past()
    reference = world.hold(world.crawler, "3")
    world.do(Extend, world.crawler, authorization=reference, amount="4", currency="USD")
    world.settle(world.crawler, reference, "7")
    world.do(Refund, world.finance, authorization=reference, amount="5", currency="USD")
    world.hold(world.crawler, "3.5")
    findings = simulated(world, book(limits=[limit("each", "authorization", "5"), limit("day", maximum="6")]), page=1)
    assert [(one.sort, one.amount) for one in findings.examples["newly_denied"]] == [("extension", 4 * USD)]
    world = Past()
    world.policy(book(limits=[limit("each", "authorization", "5")]))
    reference = world.hold(world.crawler, "3")
    assert status(world.do(Extend, world.crawler, authorization=reference, amount="4", currency="USD")) != "done"
    world.hold(world.crawler, "4")
    world.settle(world.crawler, reference, "1")
    world.hold(world.crawler, "4")
    findings = simulated(world, book(limits=[limit("day", maximum="10")]), page=1)
    assert counts(findings) == {"newly_approved": 1, "newly_denied": 1}
    assert findings.examples["newly_denied"][0].observed == 11 * USD


def test_holds_whose_time_is_up_end_before_anything_is_denied() -> None:
    """As the server ends them, whether or not a record of it was needed in the real past."""
    world = Past()
    world.hold(world.crawler, "8", ttl_seconds=60)
    world.advance(61)
    world.hold(world.crawler, "8")
    assert counts(simulated(world, book(limits=[limit("day", maximum="10")]))) == {}


def test_scope_and_who_is_on_its_path() -> None:
    """A team's policy binds those below it together, an agent's only itself; charges count in it as well."""
    world = Past()
    for agent in (world.crawler, world.writer):
        world.hold(agent, "4")
    world.do(Charge, world.finance, budget="research", amount="1.5", currency="USD", category="a", payee="b",
             reason="found")  # fmt: skip
    world.hold(world.writer, "1")
    rules = {"limits": [limit("day", maximum="5")]}
    for scope, found in (
        ({"team": "research"}, [8 * USD]),
        ({"agent": "writer"}, []),
        ({"budget": "research"}, [8 * USD, 13 * USD // 2]),
    ):
        findings = simulated(world, book(**rules) | {"applies_to": scope})
        assert [one.observed for one in findings.examples["newly_denied"]] == found, scope
        assert findings.requests.count + findings.outside == 3
    assert simulated(world, book(**rules) | {"applies_to": {"agent": "crawler"}}).outside == 2


def test_a_policy_that_moves_away_frees_whom_it_refused() -> None:
    """The live version refused the writer; the candidate is about the crawler only."""
    world = Past()
    world.policy(book(limits=[limit("each", "authorization", "2")]))
    world.authorize(world.writer, "3")
    world.authorize(world.crawler, "3")
    findings = simulated(
        world, book(limits=[limit("each", "authorization", "2")]) | {"applies_to": {"agent": "crawler"}}
    )
    assert [(one.agent, one.rule) for one in findings.examples["newly_approved"]] == [("writer", "caps/each")]
    assert (findings.requests.count, findings.unchanged) == (2, 1)
