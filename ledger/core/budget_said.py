"""A budget's balances as bodies and answers say them.

Invariant: what is said is what stands once the record's own transfers are made.
"""

from ledger.core.account import budget_accounts
from ledger.core.working import Batch, Posting


def budget_after(batch: Batch, budget: str, currency: str, postings: list[Posting]) -> dict[str, str]:
    """A budget's three balances once ``postings`` are made, as a body and an answer say them (atoms)."""
    names = budget_accounts(budget)
    balances = {name: batch.balance(name, currency) for name in names}
    for debit, credit, atoms, _ in postings:
        if debit in balances:
            balances[debit] += atoms
        if credit in balances:
            balances[credit] -= atoms
    available, held, spent = balances.values()
    return {
        "id": batch.fact("budgets", budget).id,
        "name": budget,
        "available": str(available),
        "held": str(held),
        "spent": str(spent),
    }
