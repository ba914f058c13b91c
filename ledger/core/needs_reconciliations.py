"""Which facts the command that records a reconciliation lacks. Invariant: as in ``missing``."""

from typing import Any, Final

from ledger.core.book import PAYEE
from ledger.core.command_reconciliations import Reconcile
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_reconcile(seeker: Seeker, asked: Reconcile, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    if (PAYEE, asked.payee) not in seeker.snapshot.names:
        seeker.needs.names.add((PAYEE, asked.payee))


SEEK: Final[dict[type, Any]] = {Reconcile: _seek_reconcile}
"""What the command refers to, beside its caller."""
