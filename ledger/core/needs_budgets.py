"""Which facts the commands on a budget's life lack, and which a renewal that is due lacks.

Owns the rows of ``missing`` about renewal, closing and freezing. Invariant: as in ``missing``.
"""

from typing import Any, Final

from ledger.core import account, command_budgets
from ledger.core.budget import Budget
from ledger.core.principal import Agent, lineage
from ledger.core.seeking import Seeker


def seek_due(seeker: Seeker, reference: str) -> None:
    """A budget that renews and those above it, with what gives to each, and whether they renew too."""
    found = seeker.budget(reference)
    if found is None:
        return
    for name in (*lineage(found.path), found.name):
        _seek_moved(seeker, name)
        _seek_row(seeker, name)


def _seek_row(seeker: Seeker, name: str) -> None:
    if name not in seeker.snapshot.renewals:
        seeker.needs.renewals.add(name)


def _seek_moved(seeker: Seeker, reference: str) -> Budget | None:
    """A budget and where its money comes from and goes back to."""
    found = seeker.budget(reference)
    if found is not None:
        if found.parent is None:
            seeker.account(account.AUTHORITY_NAME, found.currency)
        else:
            seeker.budget(found.parent)
    return found


def _seek_renewal(
    seeker: Seeker, asked: command_budgets.SetRenewal | command_budgets.StopRenewal, own_agent: Agent | None
) -> None:
    if isinstance(asked, command_budgets.SetRenewal):
        seeker.money(asked.currency)
    found = seeker.budget(asked.budget)
    if found is not None:
        _seek_row(seeker, found.name)


def _seek_close(seeker: Seeker, asked: command_budgets.CloseBudget, own_agent: Agent | None) -> None:
    found = _seek_moved(seeker, asked.budget)
    if found is None:
        return
    seeker.money(found.currency)
    _seek_row(seeker, found.name)
    if found.name not in seeker.snapshot.open_children:
        seeker.needs.open_children.add(found.name)


def _seek_freeze(seeker: Seeker, asked: command_budgets.FreezeBudget, own_agent: Agent | None) -> None:
    seeker.budget(asked.budget)


SEEK: Final[dict[type, Any]] = {
    command_budgets.SetRenewal: _seek_renewal,
    command_budgets.StopRenewal: _seek_renewal,
    command_budgets.CloseBudget: _seek_close,
    command_budgets.FreezeBudget: _seek_freeze,
}
"""What each command refers to, beside its caller. ``FreezeBook`` refers to nothing."""
