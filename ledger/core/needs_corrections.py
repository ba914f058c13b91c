"""Which facts the commands on corrections lack.

Owns the rows of ``missing`` about reversals and second persons. Invariant: as in ``missing``; what waits for a second
person needs, beside itself, what its own command would.
"""

from typing import Any, Final

from ledger.core import command_corrections, needs_spending
from ledger.core.account import ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT, classify
from ledger.core.correction_request import command_of
from ledger.core.principal import Agent
from ledger.core.seeking import Seeker

_OF_BUDGETS: Final = (ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT)


def _seek_reverse(seeker: Seeker, asked: command_corrections.Reverse, own_agent: Agent | None) -> None:
    if 0 <= asked.record < seeker.snapshot.head.size and asked.record not in seeker.snapshot.reversals:
        seeker.needs.reversals.add(asked.record)
    body = seeker.body(asked.record)
    if body is None:
        return
    if body["kind"] == "charge":
        seeker.authorization(body["authorization"])
    for debit, credit, _, currency in body.get("transfers", ()):
        seeker.money(currency)
        seeker.alone(asked, currency)
        for name in (debit, credit):
            seeker.account(name, currency)
            classified = classify(name)
            if classified is not None and classified[1] in _OF_BUDGETS:
                seeker.budget(name.split(":")[1])


def _seek_rule(seeker: Seeker, asked: command_corrections.SetCorrectionRule, own_agent: Agent | None) -> None:
    seeker.money(asked.currency)
    if asked.currency not in seeker.snapshot.correction_rules:
        seeker.needs.correction_rules.add(asked.currency)


def _seek_named(
    seeker: Seeker,
    asked: command_corrections.RefuseCorrection | command_corrections.WithdrawCorrection,
    own_agent: Agent | None,
) -> None:
    if asked.correction not in seeker.snapshot.corrections:
        seeker.needs.corrections.add(asked.correction)


def _seek_approve(seeker: Seeker, asked: command_corrections.ApproveCorrection, own_agent: Agent | None) -> None:
    if asked.correction not in seeker.snapshot.corrections:
        seeker.needs.corrections.add(asked.correction)
        return
    found = seeker.snapshot.corrections[asked.correction]
    if found is not None:
        # Amounts play no part in what a command refers to, so the scale of their currency need not be known.
        meant = command_of(found, asked, lambda currency: 0)
        if getattr(meant, "effective_at", None) is not None:
            # Whatever is backdated lands by which months are closed when it is approved.
            seeker.periods()
        {**needs_spending.SEEK, **SEEK}[type(meant)](seeker, meant, own_agent)


SEEK: Final[dict[type, Any]] = {
    command_corrections.Reverse: _seek_reverse,
    command_corrections.SetCorrectionRule: _seek_rule,
    command_corrections.ApproveCorrection: _seek_approve,
    command_corrections.RefuseCorrection: _seek_named,
    command_corrections.WithdrawCorrection: _seek_named,
}
"""What each command refers to, beside its caller."""
