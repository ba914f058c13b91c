"""Requests that wait for persons: who may vote, what a vote does, in which state, and what nobody can get around."""

from __future__ import annotations

import pytest

from ledger.core.authorization import flag_names
from ledger.core.command import Caller, CreateKey, ExpireDue, Extend, FreezeAgent, OpenRun
from ledger.core.command_approvals import ForceApproval, GrantApproval, RefuseApproval
from ledger.core.command_budgets import FreezeBook, FreezeBudget
from ledger.core.outcome import Status
from tests.support.approving import FIVE_HELD, NOTHING_HELD, Office, check_folded, rule, shown
from tests.support.ledger import SECOND

DAY = 86_400

# What a vote does.


def test_asking_holds_the_amount_and_starts_no_time_to_live() -> None:
    """So that a grant can be funded; the deadline of the first tier is what expires."""
    office = Office()
    reference = office.ask()
    row, (tier,) = office.authorization(reference), office.tiers(reference)
    assert (row.state, row.expires_at, row.due_at) == ("pending_approval", None, office.now + 3600 * SECOND)
    assert shown(office) == FIVE_HELD
    assert (tier.state, tier.requested_by, tier.key_made_by) == ("open", "agent:crawler", "person:owner")
    check_folded(office)


def test_a_grant_makes_the_hold_from_that_moment() -> None:
    """The time to live begins with the grant."""
    office = Office()
    reference = office.ask(ttl_seconds=60)
    office.advance(1800)
    assert office.grant(office.pat, reference, reason="fine").status is Status.DONE
    row = office.authorization(reference)
    assert (row.state, row.expires_at, row.due_at) == ("held", office.now + 60 * SECOND, office.now + 60 * SECOND)
    assert (office.states(reference), flag_names(row.flags), shown(office)) == (["granted"], [], FIVE_HELD)
    (vote,) = office.rows("approval_votes")
    assert (vote.person, vote.seat, vote.verdict) == ("pat", "pat", "grant")
    assert [text.content for text in office.rows("texts")] == ["fine"]
    assert office.settle(office.crawler, reference, "4").status is Status.DONE
    check_folded(office)


def test_one_refusal_ends_a_request() -> None:
    """Whatever was granted before; the money is free, and later tiers are never asked."""
    office = Office(rule(quorum=2), rule(id="boss", approvers=["finance"]))
    reference = office.ask()
    assert office.grant(office.pat, reference).status is Status.DONE
    assert office.turn_down(office.quinn, reference, reason="too dear").status is Status.DONE
    assert (office.authorization(reference).state, office.states(reference)) == ("refused", ["refused", "refused"])
    assert (office.authorization(reference).due_at, shown(office)) == (None, NOTHING_HELD)
    check_folded(office)


def test_a_quorum_counts_persons() -> None:
    """Two keys of one person are one voice."""
    office = Office(rule(quorum=2))
    reference = office.ask()
    first = office.grant(office.pat, reference)
    assert ((first.body or {})["kind"], (first.body or {})["granted"]) == ("approval_vote", 1)
    second_key = office.key("approver", "pat")
    assert office.grant(second_key, reference).status is Status.ALREADY_VOTED
    assert office.turn_down(second_key, reference).status is Status.ALREADY_VOTED
    assert office.authorization(reference).state == "pending_approval"
    assert (office.grant(office.robin, reference).body or {})["kind"] == "approval_granted"
    assert office.authorization(reference).state == "held"
    check_folded(office)


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_a_quorum_is_reached_with_its_last_voice_and_no_sooner(quorum: int) -> None:
    """However many it is."""
    office = Office(rule(quorum=quorum))
    reference = office.ask()
    for count, caller in enumerate((office.pat, office.quinn, office.robin)[:quorum], start=1):
        assert office.authorization(reference).state == "pending_approval"
        assert (office.grant(caller, reference).body or {})["granted"] == count
    assert office.authorization(reference).state == "held"


def test_tiers_open_one_after_the_other_each_with_its_own_time() -> None:
    """The deadline moves with the tier; voting on one that waits is refused."""
    office = Office(rule(expires_after=60), rule(id="boss", approvers=["finance"], expires_after=300))
    reference = office.ask()
    first, second = office.tiers(reference)
    assert (second.state, second.opened_at, second.expires_at) == ("waiting", None, None)
    early = office.do(GrantApproval, office.finance, approval=second.id)
    assert (early.status, early.facts["state"]) == (Status.WRONG_STATE, "waiting")
    office.advance(59)
    assert office.grant(office.pat, reference).status is Status.DONE
    opened = office.tiers(reference)[1]
    assert (opened.state, opened.expires_at) == ("open", office.now + 300 * SECOND)
    assert office.authorization(reference).due_at == opened.expires_at
    assert office.do(GrantApproval, office.pat, approval=first.id).facts["state"] == "granted"
    office.advance(299)
    assert office.grant(office.finance, reference).status is Status.DONE
    assert office.states(reference) == ["granted", "granted"]
    check_folded(office)


@pytest.mark.parametrize("seconds", [60, 61])
def test_a_grant_after_the_deadline_changes_nothing(seconds: int) -> None:
    """It has expired in that very moment; the answer says so, and the money is free."""
    office = Office(rule(expires_after=60))
    reference = office.ask()
    approval = office.approval(reference)
    office.advance(seconds)
    outcome = office.do(GrantApproval, office.pat, approval=approval)
    assert (outcome.status, outcome.facts["state"]) == (Status.WRONG_STATE, "expired")
    assert (office.authorization(reference).state, office.states(reference)) == ("expired", ["expired"])
    assert (shown(office), office.rows("approval_votes")) == (NOTHING_HELD, [])
    check_folded(office)


def test_a_grant_after_the_deadline_is_late_also_behind_a_backlog() -> None:
    """However many are due before it, and whoever looks first."""
    office = Office(rule(expires_after=60), due_max=1)
    earlier, reference = office.ask(), office.ask()
    approval = office.approval(reference)
    office.advance(60)
    outcome = office.do(GrantApproval, office.pat, approval=approval)
    assert (outcome.status, outcome.facts["state"]) == (Status.WRONG_STATE, "expired")
    assert [office.authorization(one).state for one in (earlier, reference)] == ["expired", "expired"]
    other = office.ask()
    office.ask()
    late = office.approval(other)
    office.advance(60)
    forced = office.do(ForceApproval, office.zoe, approval=late, reason="now")
    assert forced.status is Status.WRONG_STATE
    check_folded(office)


def test_a_request_on_expiry_unknown_expires_as_any_while_it_waits() -> None:
    """Nothing was spent that could be unknown; once granted it stays held."""
    office = Office(rule(expires_after=60))
    waiting = office.ask(on_expiry="unknown")
    office.advance(60)
    office.do(ExpireDue, Caller(None), idempotency_key="")
    assert (office.authorization(waiting).state, shown(office)) == ("expired", NOTHING_HELD)
    granted = office.ask(on_expiry="unknown", ttl_seconds=60)
    office.grant(office.pat, granted)
    office.advance(60)
    office.do(ExpireDue, Caller(None), idempotency_key="")
    assert flag_names(office.authorization(granted).flags) == ["unknown"]
    check_folded(office)


# Who may vote.

VOTERS = [
    # approvers of the rule, whose key, whether it counts
    (["approver"], "pat", True),
    (["approver"], "fred", False),
    (["approver"], "zoe", False),
    (["finance"], "fred", True),
    (["finance"], "pat", False),
    (["admin"], "zoe", True),
    (["admin"], "owner", False),
    (["approver", "finance", "admin"], "owner", False),
    (["person:owner"], "owner", False),
    (["person:pat"], "pat", True),
    (["person:pat"], "quinn", False),
    (["person:fred"], "fred", True),
    (["person:fred", "approver"], "quinn", True),
]


@pytest.mark.parametrize(("approvers", "person", "counts"), VOTERS)
def test_who_may_vote(approvers: list[str], person: str, counts: bool) -> None:
    """Whom the rule names, by role or by name, but never who made the key of the request (``owner``)."""
    office = Office(rule(approvers=approvers))
    callers = {
        "pat": office.pat, "quinn": office.quinn, "fred": office.finance, "zoe": office.zoe, "owner": office.admin,
    }  # fmt: skip
    reference = office.ask()
    size = office.head.size
    expected = Status.DONE if counts else Status.NOT_AN_APPROVER
    assert office.grant(callers[person], reference).status is expected
    assert office.head.size == size + counts
    other = office.ask()
    assert office.turn_down(callers[person], other).status is expected


def test_no_agent_and_no_reader_votes() -> None:
    """Neither the requester, nor those above and below it, nor any other; nor an auditor."""
    office = Office()
    below = office.agent("below", "crawler")
    reference = office.ask()
    for caller in (office.crawler, office.writer, below, office.auditor):
        assert office.grant(caller, reference).status is Status.ROLE_NOT_ALLOWED
        assert office.turn_down(caller, reference).status is Status.ROLE_NOT_ALLOWED
        assert office.force(caller, reference).status is Status.ROLE_NOT_ALLOWED
    owner = Caller(None, as_owner=True)
    vote = office.do(GrantApproval, owner, approval=office.approval(reference), idempotency_key="")
    assert vote.status is Status.NOT_AN_APPROVER


def test_who_made_the_key_of_the_request_has_no_voice_in_it() -> None:
    """Also with another role, also through a delegate; of a request with another key they have one."""
    office = Office()
    made = office.do(CreateKey, office.zoe, digest=b"\x55" * 32, role="agent", agent="crawler")
    assert made.status is Status.DONE
    zoe_as_approver = office.key("approver", "zoe")
    reference = office.ask(caller=Caller(b"\x55" * 32))
    assert office.tiers(reference)[0].key_made_by == "person:zoe"
    assert office.grant(zoe_as_approver, reference).status is Status.NOT_AN_APPROVER
    auditing = office.key("finance", "nora")
    assert office.delegate(zoe_as_approver, "nora").status is Status.DONE
    assert office.grant(auditing, reference).status is Status.NOT_AN_APPROVER
    assert office.grant(auditing, office.ask()).status is Status.DONE, "in the place of zoe, who made another key"
    assert office.grant(zoe_as_approver, office.ask()).status is Status.DONE


# What a vote is bound to.


def test_a_vote_is_bound_to_the_request_that_was_shown() -> None:
    """The digest of another request is refused, for all three verbs."""
    office = Office()
    reference, other = office.ask(), office.ask("6")
    digest = office.tiers(reference)[0].request_digest.hex()
    wrong = office.tiers(other)[0].request_digest.hex()
    assert digest != wrong
    for outcome in (
        office.grant(office.pat, reference, request_digest=wrong),
        office.turn_down(office.pat, reference, request_digest=wrong),
        office.force(office.zoe, reference, request_digest=wrong),
    ):
        assert (outcome.status, outcome.facts["request_digest"]) == (Status.APPROVAL_MISMATCH, digest)
    assert office.grant(office.pat, reference, request_digest=digest).status is Status.DONE


def test_a_later_policy_changes_nothing_in_flight() -> None:
    """Who is asked, how many and until when was fixed with the request."""
    office = Office()
    reference = office.ask()
    office.asks(rule(above="1.00", approvers=["finance"], quorum=2, expires_after=1))
    assert office.grant(office.finance, reference).status is Status.NOT_AN_APPROVER
    office.advance(3599)
    assert office.grant(office.pat, reference).status is Status.DONE
    assert office.authorization(reference).state == "held"
    newer = office.ask("1.5")
    assert (office.tiers(newer)[0].version, office.tiers(newer)[0].quorum) == (2, 2)
    check_folded(office)


# Freezes and force.


def test_nothing_is_granted_to_who_is_frozen() -> None:
    """409 with the reason, nothing changes; a refusal is possible, and so is a grant after the freeze."""
    office = Office(rule(expires_after=DAY))
    reference = office.ask()
    for frozen in ("crawler", "research"):
        assert office.do(FreezeAgent, office.admin, agent=frozen, frozen=True).status is Status.DONE
        size = office.head.size
        for outcome in (office.grant(office.pat, reference), office.force(office.zoe, reference)):
            assert (outcome.status, outcome.facts["reason"]) == (Status.WRONG_STATE, "agent_frozen")
            assert (outcome.facts["state"], frozen in outcome.detail) == ("pending_approval", True)
        assert (office.head.size, office.states(reference)) == (size, ["open"])
        office.do(FreezeAgent, office.admin, agent=frozen, frozen=False)
    for kind, fields, reason in (
        (FreezeBudget, {"budget": "research"}, "budget_frozen"),
        (FreezeBook, {}, "book_frozen"),
    ):
        assert office.do(kind, office.admin, frozen=True, **fields).status is Status.DONE
        for outcome in (office.grant(office.pat, reference), office.force(office.zoe, reference)):
            assert (outcome.status, outcome.facts["reason"]) == (Status.WRONG_STATE, reason)
        office.do(kind, office.admin, frozen=False, **fields)
    assert office.grant(office.pat, reference).status is Status.DONE
    other = office.ask()
    office.do(FreezeAgent, office.admin, agent="crawler", frozen=True)
    assert office.turn_down(office.pat, other).status is Status.DONE
    check_folded(office)


def test_an_admin_forces_every_tier_and_it_shows_for_ever() -> None:
    """Also the maker of the key; what was granted before stays granted; no later record takes the flag away."""
    office = Office(rule(), rule(id="boss", approvers=["finance"]), rule(id="chief", approvers=["admin"]))
    reference = office.ask(ttl_seconds=60)
    office.grant(office.pat, reference)
    outcome = office.force(office.admin, reference)
    assert (outcome.status, (outcome.body or {})["forced"]) == (Status.DONE, True)
    assert office.states(reference) == ["granted", "forced", "forced"]
    row = office.authorization(reference)
    assert (row.state, row.expires_at) == ("held", office.now + 60 * SECOND)
    office.settle(office.crawler, reference, "2", final=False)
    office.advance(60)
    office.settle(office.crawler, reference, "1")
    assert flag_names(office.authorization(reference).flags) == ["late", "forced"]
    assert "an emergency" in [text.content for text in office.rows("texts")]
    check_folded(office)


def test_force_finds_the_request_by_either_id() -> None:
    """And refuses what waits for nobody."""
    office = Office()
    first, second = office.ask(), office.ask()
    assert office.force(office.zoe, first).status is Status.DONE
    assert office.force(office.zoe, second, approval=office.approval(second)).status is Status.DONE
    again = office.force(office.zoe, second)
    assert (again.status, again.facts["state"]) == (Status.WRONG_STATE, "held")
    held = office.hold(office.crawler, "1")
    assert office.force(office.zoe, held).facts["state"] == "held"
    for missing in ("auth_00000000000000000000000000", "apr_00000000000000000000000000"):
        assert office.force(office.zoe, first, approval=missing).status is Status.NOT_FOUND


# Beside the money.


def test_a_vote_repeated_with_its_key_is_answered_as_before() -> None:
    """It votes once."""
    office = Office(rule(quorum=2))
    reference = office.ask()
    fields = {"approval": office.approval(reference), "idempotency_key": "vote"}
    first = office.do(GrantApproval, office.pat, **fields)
    again = office.do(GrantApproval, office.pat, **fields)
    assert (again.status, again.log_index, len(office.rows("approval_votes"))) == (Status.REPLAYED, first.log_index, 1)
    other = office.do(RefuseApproval, office.pat, **fields)
    assert other.status is Status.IDEMPOTENCY_MISMATCH


def test_a_run_counts_what_waits_and_gives_back_what_is_refused() -> None:
    """Held while it waits, spent once it is settled."""
    office = Office()
    office.do(OpenRun, office.crawler, name="run-1")
    refused, granted = office.ask(run="run-1"), office.ask("6", run="run-1")
    (total,) = office.rows("run_totals")
    assert (total.held, total.approved_count) == (11_000_000_000, 2)
    office.turn_down(office.pat, refused)
    office.grant(office.pat, granted)
    office.settle(office.crawler, granted, "4")
    (total,) = office.rows("run_totals")
    assert (total.held, total.spent) == (0, 4_000_000_000)
    check_folded(office)


def test_a_partial_request_waits_for_what_there_is() -> None:
    """What is left of the budget is held and granted, and flagged."""
    office = Office()
    reference = office.ask("120", partial_ok=True)
    assert shown(office) == {"available": "0.00", "held": "100.00", "spent": "0.00"}
    office.grant(office.pat, reference)
    assert flag_names(office.authorization(reference).flags) == ["partial"]
    check_folded(office)


def test_an_extension_that_would_need_persons_is_denied() -> None:
    """The hold stays as it was; more time alone is no more money."""
    office = Office()
    held = office.hold(office.crawler, "2")
    more = office.do(Extend, office.crawler, authorization=held, amount="1", currency="USD")
    assert more.status is Status.APPROVAL_REQUIRED
    reference = office.ask()
    office.grant(office.pat, reference)
    assert office.do(Extend, office.crawler, authorization=reference, ttl_seconds=60).status is Status.DONE
    check_folded(office)


def test_two_policies_ask_for_two_approvals() -> None:
    """Each policy's persons, one after the other; one person may be asked by both."""
    office = Office()
    office.asks(rule(id="again"), policy="too")
    reference = office.ask()
    assert [tier.policy for tier in office.tiers(reference)] == ["asks", "too"]
    assert office.grant(office.pat, reference).status is Status.DONE
    assert office.authorization(reference).state == "pending_approval"
    assert office.grant(office.pat, reference).status is Status.DONE
    assert office.authorization(reference).state == "held"
    check_folded(office)
