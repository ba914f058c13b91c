"""Which facts the command that takes over spend lacks. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core import account
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.command_history import TakeOver
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_history(seeker: Seeker, asked: TakeOver, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    seeker.budget(asked.budget)
    seeker.agent(asked.agent)
    seeker.run(asked.run, None)
    for name in (account.AUTHORITY_NAME, account.OPENING_NAME, account.expense_name(asked.category)):
        seeker.account(name, asked.currency)
    for named in ((CATEGORY, asked.category), (PAYEE, asked.payee)):
        if named not in seeker.snapshot.names:
            seeker.needs.names.add(named)


SEEK: Final[dict[type, Any]] = {TakeOver: _seek_history}
"""What the command refers to, beside its caller."""
