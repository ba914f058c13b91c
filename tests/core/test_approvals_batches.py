"""Votes in one batch: each command sees what those before it did."""

from __future__ import annotations

from typing import Any

from ledger.core.command import Caller, FreezeAgent, Release
from ledger.core.command_approvals import Delegate, GrantApproval, RefuseApproval, RevokeDelegation
from ledger.core.outcome import Outcome, Status
from tests.support.approving import NOTHING_HELD, Office, check_folded, rule, shown


def batch(office: Office, *asked: tuple[Any, Caller, dict[str, Any]]) -> list[Outcome]:
    """Decide several commands in one batch."""
    return office.decide(*(office.command(kind, caller, **fields) for kind, caller, fields in asked))


def test_of_two_grants_in_one_batch_one_counts() -> None:
    """The other finds it granted; of one person's two, the second has voted."""
    office = Office()
    reference = office.ask()
    vote = {"approval": office.approval(reference)}
    done, late = batch(office, (GrantApproval, office.pat, vote), (GrantApproval, office.quinn, vote))
    assert (done.status, late.status, late.facts["state"]) == (Status.DONE, Status.WRONG_STATE, "granted")
    office.asks(rule(quorum=2))
    reference = office.ask()
    vote = {"approval": office.approval(reference)}
    first, again, last = batch(
        office,
        (GrantApproval, office.pat, vote),
        (GrantApproval, office.pat, vote),
        (GrantApproval, office.quinn, vote),
    )
    assert [one.status for one in (first, again, last)] == [Status.DONE, Status.ALREADY_VOTED, Status.DONE]
    assert office.authorization(reference).state == "held"
    check_folded(office)


def test_a_grant_and_a_withdrawal_in_one_batch_end_as_they_came() -> None:
    """Whoever is first decides; a granted hold can still be released."""
    office = Office()
    reference = office.ask()
    vote = {"approval": office.approval(reference)}
    release = {"authorization": reference}
    outcomes = batch(office, (Release, office.crawler, release), (GrantApproval, office.pat, vote))
    assert [one.status for one in outcomes] == [Status.DONE, Status.WRONG_STATE]
    assert (office.states(reference), outcomes[1].facts["state"]) == (["withdrawn"], "withdrawn")
    reference = office.ask()
    vote, release = {"approval": office.approval(reference)}, {"authorization": reference}
    outcomes = batch(office, (GrantApproval, office.pat, vote), (Release, office.crawler, release))
    assert [one.status for one in outcomes] == [Status.DONE, Status.DONE]
    assert (office.states(reference), office.authorization(reference).state) == (["granted"], "released")
    assert shown(office) == NOTHING_HELD
    check_folded(office)


def test_a_grant_and_a_refusal_in_one_batch() -> None:
    """The first decides, the second finds it decided."""
    for kinds, state in (((GrantApproval, RefuseApproval), "held"), ((RefuseApproval, GrantApproval), "refused")):
        office = Office()
        reference = office.ask()
        vote = {"approval": office.approval(reference)}
        outcomes = batch(office, (kinds[0], office.pat, vote), (kinds[1], office.quinn, vote))
        assert [one.status for one in outcomes] == [Status.DONE, Status.WRONG_STATE]
        assert office.authorization(reference).state == state
        check_folded(office)


def test_two_tiers_in_one_batch() -> None:
    """The second opens within the batch; and a settlement behind the grant finds the hold."""
    office = Office(rule(), rule(id="boss", approvers=["finance"]))
    reference = office.ask()
    first, second = office.tiers(reference)
    outcomes = batch(
        office,
        (GrantApproval, office.pat, {"approval": first.id}),
        (GrantApproval, office.finance, {"approval": second.id}),
    )
    assert [one.status for one in outcomes] == [Status.DONE, Status.DONE]
    assert office.authorization(reference).state == "held"
    check_folded(office)


def test_a_delegation_counts_and_ends_within_a_batch() -> None:
    """Each command sees what those before it did."""
    office = Office(rule(approvers=["person:pat"], quorum=1))
    first, second = office.ask(), office.ask()
    given = office.command(Delegate, office.pat, id=office.new_id("dlg"), receiver="quinn", ttl_seconds=60)
    outcomes = office.decide(
        given,
        office.command(GrantApproval, office.quinn, approval=office.approval(first)),
        office.command(RevokeDelegation, office.pat, delegation=given.id),
        office.command(GrantApproval, office.quinn, approval=office.approval(second)),
    )
    assert [one.status for one in outcomes] == [Status.DONE, Status.DONE, Status.DONE, Status.NOT_AN_APPROVER]
    check_folded(office)


def test_a_freeze_before_a_grant_in_one_batch_stops_it() -> None:
    """Effective for the next decision."""
    office = Office()
    reference = office.ask()
    outcomes = batch(
        office,
        (FreezeAgent, office.admin, {"agent": "crawler", "frozen": True}),
        (GrantApproval, office.pat, {"approval": office.approval(reference)}),
    )
    assert [one.status for one in outcomes] == [Status.DONE, Status.WRONG_STATE]
    assert office.states(reference) == ["open"]
