"""Which facts the commands on policies lack.

Owns the rows of ``missing`` about policies. Invariant: as in ``missing``.
"""

from typing import Any, Final

from ledger.core import command_policies
from ledger.core.canonical import parse
from ledger.core.compiling import currencies_of
from ledger.core.policy import scope_of
from ledger.core.policy_row import SCOPE_AGENT, SCOPE_BUDGET
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker


def _seek_apply_policy(seeker: Seeker, asked: command_policies.ApplyPolicy, own_agent: Agent | None) -> None:
    try:
        document = parse(asked.document.encode())
        name, (kind, scope) = document["policy"], scope_of(document["applies_to"])
        currencies = currencies_of(document)
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    if kind == SCOPE_AGENT:
        seeker.agent(scope)
    elif kind == SCOPE_BUDGET:
        seeker.budget(scope)
    seeker.binding(kind, scope)
    for currency in currencies:
        seeker.money(currency)
    seeker.policy(name)
    if asked.filled is not None:
        seeker.tail(asked.filled.size)


def _seek_retire_policy(seeker: Seeker, asked: command_policies.RetirePolicy, own_agent: Agent | None) -> None:
    seeker.policy(asked.policy)


SEEK: Final[dict[type, Any]] = {
    command_policies.ApplyPolicy: _seek_apply_policy,
    command_policies.RetirePolicy: _seek_retire_policy,
}
"""What each command refers to, beside its caller."""
