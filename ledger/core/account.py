"""Accounts: their names, kinds and roles.

Invariant: an account is (name, currency), its kind never changes, and a transfer never joins a budgetary account
(control of authority) with a real one (money).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger.core.ids import is_name

ASSET: Final = "asset"
LIABILITY: Final = "liability"
EQUITY: Final = "equity"
INCOME: Final = "income"
EXPENSE: Final = "expense"
BUDGETARY: Final = "budgetary"
KINDS: Final = (ASSET, LIABILITY, EQUITY, INCOME, EXPENSE, BUDGETARY)

ROLE_AUTHORITY: Final = "authority"
ROLE_AVAILABLE: Final = "available"
ROLE_HELD: Final = "held"
ROLE_SPENT: Final = "spent"
ROLE_REAL: Final = "real"
ROLES: Final = (ROLE_AUTHORITY, ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT, ROLE_REAL)

AUTHORITY_NAME: Final = "authority"
OPENING_NAME: Final = "equity:opening"
"""What a book began with: opening balances, and spend that was taken over."""
_REAL_PREFIXES: Final = {
    "expenses": EXPENSE,
    "payables": LIABILITY,
    "assets": ASSET,
    "equity": EQUITY,
    "income": INCOME,
}
_CREDIT_NORMAL_KINDS: Final = frozenset((LIABILITY, EQUITY, INCOME))


@dataclass(slots=True)
class Account:
    """One row of ``accounts``. ``balance`` is debits less credits, in atoms; ``overdrawn_index`` is the log index
    of the record that explains why an available balance stands below zero."""

    book_id: int
    account_no: int
    name: str
    currency: str
    kind: str
    role: str
    balance: int
    overdrawn_index: int | None
    created_index: int
    changed_index: int


def available_name(budget: str) -> str:
    """The account of what a budget can still authorize."""
    return f"budgets:{budget}:available"


def held_name(budget: str) -> str:
    """The account of what a budget's open holds reserve."""
    return f"budgets:{budget}:held"


def spent_name(budget: str) -> str:
    """The account of what a budget has spent."""
    return f"budgets:{budget}:spent"


@lru_cache(maxsize=8192)
def budget_accounts(budget: str) -> tuple[str, str, str]:
    """(available, held, spent): the names of a budget's three accounts."""
    return available_name(budget), held_name(budget), spent_name(budget)


def expense_name(category: str) -> str:
    """The expense account of a category."""
    return f"expenses:{category}"


def payable_name(payee: str) -> str:
    """The liability account of a payee."""
    return f"payables:{payee}"


def classify(name: str) -> tuple[str, str] | None:
    """(kind, role) of the account that ``name`` denotes, or None when no account may bear that name."""
    if name == AUTHORITY_NAME:
        return BUDGETARY, ROLE_AUTHORITY
    head, _, rest = name.partition(":")
    if head == "budgets":
        budget, _, role = rest.rpartition(":")
        if is_name(budget) and role in (ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT):
            return BUDGETARY, role
        return None
    kind = _REAL_PREFIXES.get(head)
    parts = rest.split(":")
    if kind is None or len(rest) > 129 or not all(is_name(part) for part in parts):
        return None
    if len(parts) > 1 and head in ("expenses", "payables"):
        # A category and a payee are one name each.
        return None
    return kind, ROLE_REAL


def is_credit_normal(kind: str, role: str) -> bool:
    """Whether the account's usual balance is a credit: liabilities, equity, income, and ``authority``."""
    return kind in _CREDIT_NORMAL_KINDS or role == ROLE_AUTHORITY
