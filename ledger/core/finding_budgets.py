"""The budget that a command names, or the refusal that says why there is none to do this with.

Invariant: what is closed takes nothing new; what did happen finds it all the same.
"""

from ledger.core.budget import Budget
from ledger.core.moment import moment_text
from ledger.core.outcome import Status
from ledger.core.refusal import refuse
from ledger.core.working import Batch


def existing_budget(batch: Batch, reference: str, currency: str | None) -> Budget:
    """The budget a command names; refuses an unknown one, or one in another currency."""
    name = batch.name_of("budgets", reference)
    if name is None:
        refuse(Status.UNKNOWN_BUDGET, f"there is no budget {reference}")
    budget: Budget = batch.fact("budgets", name)
    if currency is not None and budget.currency != currency:
        refuse(Status.CURRENCY_MISMATCH, f"budget {budget.name} is in {budget.currency}, not {currency}")
    return budget


def open_budget(batch: Batch, reference: str, currency: str | None) -> Budget:
    """The budget a command names, as ``existing_budget`` finds it; refuses one that is closed."""
    budget = existing_budget(batch, reference, currency)
    if budget.closed_at is not None:
        refuse(
            Status.WRONG_STATE,
            f"budget {budget.name} was closed at {moment_text(budget.closed_at)}, for good",
            state="closed",
        )
    return budget
