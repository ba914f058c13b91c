"""The fold over what moves authority and corrects: allocations, deallocations and adjustments.

Invariants: written from the accounting rules, without the code that decided; an adjustment never touches what is held.
"""

from typing import Final

from ledger.core.account import AUTHORITY_NAME, EXPENSE, ROLE_HELD, ROLE_SPENT, available_name, classify
from ledger.core.book import CATEGORY, PAYEE
from ledger.core.projecting_record import Record

_NAMED_ACCOUNTS: Final = (("expenses:", CATEGORY), ("payables:", PAYEE))


def _moved(record: Record) -> None:
    """Allocation (parent's available, or authority, to the budget's available) and deallocation (back)."""
    body = record.body
    name, currency = body["budget"]["name"], body["currency"]
    budget = record.store.budgets.get(name)
    if budget is None or budget.currency != currency:
        raise LookupError(f"there is no budget {name} in {currency}")
    above = AUTHORITY_NAME if budget.parent is None else available_name(budget.parent)
    own = available_name(name)
    taker, giver = (own, above) if record.columns.kind == "allocation" else (above, own)
    record.post([[taker, giver, body["amount"], currency]])
    record.expect_budget("budget", name, currency)
    if budget.parent is None:
        record.expect("parent", None)
    else:
        record.expect_budget("parent", budget.parent, currency)


def _adjustment(record: Record) -> None:
    """Balanced transfers by finance; never what is held."""
    record.expect("transfers", record.body["request"]["transfers"])
    record.post(None)
    for debit, credit, text, currency in record.body["transfers"]:
        for name, change in ((debit, int(text)), (credit, -int(text))):
            kind, role = classify(name) or ("", "")
            if role == ROLE_HELD:
                record.differ("an adjustment touches what open holds hold", "", name)
            spent, expense = record.fold.adjusted.get(currency, (0, 0))
            if role == ROLE_SPENT:
                record.fold.adjusted[currency] = (spent + change, expense)
            elif kind == EXPENSE:
                record.fold.adjusted[currency] = (spent, expense + change)
            for prefix, named in _NAMED_ACCOUNTS:
                if name.startswith(prefix):
                    record.meet_name(named, name.removeprefix(prefix))


HANDLERS: Final = {"allocation": _moved, "deallocation": _moved, "adjustment": _adjustment}
"""What each kind of record of finance does."""
