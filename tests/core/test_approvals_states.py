"""docs/statuses.md, cell by cell: what people can do about a request in each state."""

from __future__ import annotations

import pytest

from ledger.core.command import Caller, ExpireDue, FreezeAgent, Release
from ledger.core.command_approvals import ForceApproval, GrantApproval, RefuseApproval
from ledger.core.outcome import Outcome, Status
from tests.support.approving import Office, check_folded
from tests.support.documents import table_under

GRID = table_under("statuses.md", "command on an approval")
CELLS = [(row["command on an approval"], state, row[state]) for row in GRID for state in list(GRID[0])[1:]]


def arrange(office: Office, state: str) -> tuple[str, str]:
    """(authorization, approval) of a request that is in a state."""
    if state == "none":
        return "auth_00000000000000000000000000", "apr_00000000000000000000000000"
    reference = office.ask(idempotency_key="the key")
    approval = office.approval(reference)
    if state == "granted":
        office.grant(office.pat, reference)
    if state == "refused":
        office.turn_down(office.pat, reference)
    if state == "withdrawn":
        office.do(Release, office.crawler, authorization=reference)
    if state == "expired":
        office.advance(3600)
        office.do(ExpireDue, Caller(None), idempotency_key="")
    if state == "past its deadline":
        office.advance(3600)
    if state == "forced":
        office.force(office.zoe, reference)
    if state == "waiting, agent frozen":
        office.do(FreezeAgent, office.admin, agent="crawler", frozen=True)
    return reference, approval


def act(office: Office, command: str, reference: str, approval: str) -> Outcome:
    """Give the command that a row of the table names."""
    if command == "approve":
        return office.do(GrantApproval, office.quinn, approval=approval)
    if command == "refuse":
        return office.do(RefuseApproval, office.quinn, approval=approval)
    if command == "force":
        return office.do(ForceApproval, office.zoe, approval=approval, reason="now")
    assert command == "repeat the key of the request", command
    return office.authorize(office.crawler, "5", accept_pending=True, idempotency_key="the key")


ANSWERS = {
    "not found": (Status.NOT_FOUND, None),
    "wrong state": (Status.WRONG_STATE, None),
    "granted": (Status.DONE, "held"),
    "refused": (Status.DONE, "refused"),
    "forced": (Status.DONE, "held"),
    "pending": (Status.PENDING_APPROVAL, "pending_approval"),
    "same pending again": (Status.REPLAYED, None),
    "hold no longer open": (Status.REPLAY_CLOSED, None),
}


@pytest.mark.parametrize(("command", "state", "words"), CELLS, ids=[f"{one[0]} | {one[1]}" for one in CELLS])
def test_cell(command: str, state: str, words: str) -> None:
    """The page says in words what becomes of the request; the core does that."""
    office = Office()
    reference, approval = arrange(office, state)
    size = office.head.size
    outcome = act(office, command, reference, approval)
    status, after = ANSWERS[words]
    assert outcome.status is status
    late = state == "past its deadline"
    assert office.head.size == size + (after is not None) + late
    if after is not None and state != "none":
        assert office.authorization(reference).state == after
    elif late:
        assert office.authorization(reference).state == "expired"
    if status is Status.WRONG_STATE:
        expected = "pending_approval" if state == "waiting, agent frozen" else None
        known = (office.authorization(reference).state, office.states(reference)[-1])
        assert outcome.facts["state"] in ((expected,) if expected else known)
    check_folded(office)


def test_the_table_is_whole() -> None:
    """Every state of an approval and every command, every word used."""
    assert list(GRID[0])[1:] == [
        "none", "waiting", "waiting, agent frozen", "past its deadline", "granted", "refused", "expired", "withdrawn",
        "forced",
    ]  # fmt: skip
    assert {words for _, _, words in CELLS} == set(ANSWERS)
