"""Standing in for each other: whose seat a delegate uses, for how long, and who may delegate what."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.command_approvals import RevokeDelegation
from ledger.core.outcome import Status
from tests.support.approving import Office, check_folded, rule
from tests.support.ledger import SECOND

DAY = 86_400


def test_a_delegate_uses_the_seat_of_the_giver() -> None:
    """For a role, by the role that the giver had; for a name, by the name; only for its time."""
    office = Office(rule(approvers=["finance"], expires_after=10 * DAY), rule(id="pat", approvers=["person:pat"]))
    assert office.delegate(office.finance, "quinn", starts_at=office.now + 60 * SECOND).status is Status.DONE
    reference = office.ask()
    assert office.grant(office.quinn, reference).status is Status.NOT_AN_APPROVER, "it has not begun"
    office.advance(60)
    assert ((office.grant(office.quinn, reference).body or {})["vote"]["seat"]) == "fred"
    assert office.delegate(office.pat, "robin", ttl_seconds=60).status is Status.DONE
    office.advance(60)
    assert office.grant(office.robin, reference).status is Status.NOT_AN_APPROVER, "it is over"
    assert office.delegate(office.pat, "robin").status is Status.DONE
    assert office.grant(office.robin, reference).status is Status.DONE
    assert [(vote.person, vote.seat) for vote in office.rows("approval_votes")] == [("quinn", "fred"), ("robin", "pat")]
    check_folded(office)


def test_a_seat_counts_once_whoever_uses_it() -> None:
    """Neither can a delegate and the giver both vote, nor one person in two seats."""
    office = Office(rule(quorum=2))
    helper = office.key("finance", "helper")
    assert office.delegate(office.pat, "helper").status is Status.DONE
    reference = office.ask()
    assert office.grant(helper, reference).status is Status.DONE
    assert office.grant(office.pat, reference).status is Status.ALREADY_VOTED
    assert office.delegate(office.quinn, "helper").status is Status.DONE
    assert office.grant(helper, reference).status is Status.ALREADY_VOTED
    assert office.grant(office.robin, reference).status is Status.DONE
    assert office.authorization(reference).state == "held"
    other = office.ask()
    assert office.grant(office.pat, other).status is Status.DONE
    vote = (office.grant(helper, other).body or {})["vote"]
    assert vote["seat"] == "quinn", "the seat of pat is used, the one of quinn is free"
    check_folded(office)


def test_a_delegation_passes_on_nothing_that_was_delegated() -> None:
    """One step, and no more."""
    office = Office(rule(approvers=["person:pat"]))
    office.delegate(office.pat, "quinn")
    office.delegate(office.quinn, "robin")
    assert office.grant(office.robin, office.ask()).status is Status.NOT_AN_APPROVER


def test_a_delegation_ends_when_it_is_revoked() -> None:
    """By its giver, its receiver or an admin, once."""
    office = Office(rule(approvers=["person:pat"]))
    for caller in (office.pat, office.quinn, office.zoe):
        given = str((office.delegate(office.pat, "quinn").body or {})["delegation"])
        assert office.do(RevokeDelegation, office.robin, delegation=given).status is Status.ROLE_NOT_ALLOWED
        assert office.do(RevokeDelegation, caller, delegation=given).status is Status.DONE
        again = office.do(RevokeDelegation, caller, delegation=given)
        assert (again.status, again.facts["state"]) == (Status.WRONG_STATE, "revoked")
        assert office.grant(office.quinn, office.ask()).status is Status.NOT_AN_APPROVER
    over = str((office.delegate(office.pat, "quinn", ttl_seconds=5).body or {})["delegation"])
    office.advance(5)
    assert office.do(RevokeDelegation, office.pat, delegation=over).facts["state"] == "ended"
    missing = office.do(RevokeDelegation, office.pat, delegation="dlg_00000000000000000000000000")
    assert missing.status is Status.NOT_FOUND
    check_folded(office)


DELEGATIONS: list[tuple[str, dict[str, Any], Status]] = [
    ("pat", {"receiver": "quinn"}, Status.DONE),
    ("pat", {"receiver": "quinn", "giver": "pat", "role": "approver"}, Status.DONE),
    ("zoe", {"receiver": "quinn", "giver": "pat", "role": "finance"}, Status.DONE),
    ("zoe", {"receiver": "quinn"}, Status.DONE),
    ("zoe", {"receiver": "quinn", "giver": "pat"}, Status.DELEGATION_INVALID),
    ("zoe", {"receiver": "quinn", "giver": "pat", "role": "auditor"}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "role": "finance"}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "pat"}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "giver": "robin", "role": "approver"}, Status.ROLE_NOT_ALLOWED),
    ("ada", {"receiver": "quinn"}, Status.ROLE_NOT_ALLOWED),
    ("pat", {"receiver": "nobody"}, Status.UNKNOWN_PERSON),
    ("zoe", {"receiver": "quinn", "giver": "nobody", "role": "approver"}, Status.UNKNOWN_PERSON),
    ("pat", {"receiver": "quinn", "ttl_seconds": 90 * DAY}, Status.DONE),
    ("pat", {"receiver": "quinn", "ttl_seconds": 90 * DAY + 1}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "starts_in": 366 * DAY}, Status.DONE),
    ("pat", {"receiver": "quinn", "starts_in": 366 * DAY + 1}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "ends_in": 0}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "starts_in": 60, "ends_in": 60}, Status.DELEGATION_INVALID),
    ("pat", {"receiver": "quinn", "starts_in": 60, "ends_in": 61}, Status.DONE),
]


@pytest.mark.parametrize(("who", "fields", "status"), DELEGATIONS)
def test_who_may_delegate_what(who: str, fields: dict[str, Any], status: Status) -> None:
    """One's own right, or as an admin another's, with an end in reach."""
    office = Office()
    callers = {"pat": office.pat, "zoe": office.zoe, "ada": office.auditor}
    written = dict(fields)
    for name in ("starts", "ends"):
        if f"{name}_in" in written:
            written[f"{name}_at"] = office.now + written.pop(f"{name}_in") * SECOND
    size = office.head.size
    outcome = office.delegate(callers[who], **written)
    assert (outcome.status, office.head.size) == (status, size + (status is Status.DONE)), outcome
    assert outcome.detail or status is Status.DONE
    check_folded(office)
