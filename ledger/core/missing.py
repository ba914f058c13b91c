"""Which facts a batch still lacks before it can be decided.

Owns ``missing``: it walks the commands over a snapshot and names what must be read. Invariant: a decision on a
snapshot for which nothing is missing never meets a fact that was not looked for.
"""

from collections.abc import Iterable
from typing import Any, Final

from ledger.core import (
    command,
    needs_approvals,
    needs_budgets,
    needs_closing,
    needs_corrections,
    needs_history,
    needs_outcomes,
    needs_payables,
    needs_policies,
    needs_rates,
    needs_reconciliations,
    needs_redactions,
    needs_setup,
    needs_spending,
)
from ledger.core.authorization import HELD
from ledger.core.needs import Needs
from ledger.core.policy_row import SCOPE_BOOK
from ledger.core.principal import agent_name
from ledger.core.seeking import Seeker
from ledger.core.snapshot import Snapshot

SEEK: Final[dict[type, Any]] = {
    **needs_spending.SEEK,
    **needs_setup.SEEK,
    **needs_policies.SEEK,
    **needs_approvals.SEEK,
    **needs_budgets.SEEK,
    **needs_outcomes.SEEK,
    **needs_redactions.SEEK,
    **needs_rates.SEEK,
    **needs_corrections.SEEK,
    **needs_closing.SEEK,
    **needs_reconciliations.SEEK,
    **needs_payables.SEEK,
    **needs_history.SEEK,
}
"""What each command refers to, beside its caller; a command that is not here refers to nothing."""


def missing(snapshot: Snapshot, commands: Iterable[command.Command]) -> Needs:
    """The facts that must still be read before ``commands`` can be decided. Falsy when there are none.

    Called again after each read, at most ``ROUNDS_MAX`` times: a key leads to an agent, an agent to its ancestors and
    budgets, a budget to its accounts.
    """
    seeker = Seeker(snapshot)
    ready = snapshot.ready
    seeker.binding(SCOPE_BOOK, "")
    for due in snapshot.due:
        seeker.authorization(due)
    for budget in snapshot.due_renewals:
        needs_budgets.seek_due(seeker, budget)
    for asked in commands:
        sort = _sort_of(asked, snapshot)
        before = 0
        if sort is not None:
            place = ready.get(sort)
            if place is not None:
                seeker.principal(asked)
                plan, run, budget_name = place
                if plan.varied and type(asked) is command.Authorize:
                    seeker.spend(plan, asked, run, budget_name)
                continue
            before = seeker.needs.count()
        principal = seeker.principal(asked)
        known = principal is not None
        own_agent = seeker.agent(agent_name(principal)) if principal is not None else None
        seeker.placed = None
        if getattr(asked, "effective_at", None) is not None:
            # Whatever is backdated lands by which months are closed.
            seeker.periods()
        seek = SEEK.get(type(asked))
        if seek is not None:
            seek(seeker, asked, own_agent)
        if sort is not None and known and seeker.needs.count() - before <= 1 and seeker.needs.only_idempotency():
            placed = seeker.placed
            if placed is not None:
                ready[sort] = placed
    return seeker.needs


def _sort_of(asked: command.Command, snapshot: Snapshot) -> tuple[Any, ...] | None:
    """What a request to spend, or a settlement of a hold that is known, refers to: two of the same sort need the same
    facts, but for their idempotency keys and the hold itself."""
    if type(asked) is command.Authorize:
        return asked.caller.key_digest, asked.budget, asked.run, asked.currency, asked.category, asked.payee
    if type(asked) is command.Settle and asked.authorization in snapshot.authorizations:
        found = snapshot.authorizations[asked.authorization]
        if found is not None and found.state == HELD and found.splits is None and found.exchange is None:
            return (
                asked.caller.key_digest, asked.currency, asked.category, asked.payee, found.agent, found.budget,
                found.run, found.currency, found.settled_category or found.category,
                found.settled_payee or found.payee,
            )  # fmt: skip
    return None


ROUNDS_MAX: Final = 12
