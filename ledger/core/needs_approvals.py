"""Which facts the commands on approvals and delegations lack.

Owns the rows of ``missing`` about approvals. Invariant: as in ``missing``.
"""

from typing import Any, Final

from ledger.core import command_approvals
from ledger.core.ids import AUTHORIZATION, is_id
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_vote(
    seeker: Seeker, asked: command_approvals.GrantApproval | command_approvals.RefuseApproval, own_agent: Agent | None
) -> None:
    seeker.approval(asked.approval)
    person = seeker.person(asked)
    if person is not None:
        seeker.delegations_to(person)


def _seek_force(seeker: Seeker, asked: command_approvals.ForceApproval, own_agent: Agent | None) -> None:
    if not is_id(asked.approval, AUTHORIZATION):
        seeker.approval(asked.approval)
    elif seeker.authorization(asked.approval) is not None:
        seeker.approvals_of(asked.approval)


def _seek_delegate(seeker: Seeker, asked: command_approvals.Delegate, own_agent: Agent | None) -> None:
    for person in (asked.receiver, asked.giver or seeker.person(asked)):
        if person is not None and person not in seeker.snapshot.persons:
            seeker.needs.persons.add(person)
    seeker.delegations_to(asked.receiver)


def _seek_delegation(seeker: Seeker, asked: command_approvals.RevokeDelegation, own_agent: Agent | None) -> None:
    if asked.delegation not in seeker.snapshot.delegations:
        seeker.needs.delegations.add(asked.delegation)


SEEK: Final[dict[type, Any]] = {
    command_approvals.GrantApproval: _seek_vote,
    command_approvals.RefuseApproval: _seek_vote,
    command_approvals.ForceApproval: _seek_force,
    command_approvals.Delegate: _seek_delegate,
    command_approvals.RevokeDelegation: _seek_delegation,
}
"""What each command refers to, beside its caller."""
