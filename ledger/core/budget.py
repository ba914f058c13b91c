"""Budgets: authority to spend in one currency, in a tree.

Invariants: a budget's name, parent and currency never change; its three accounts are made with it; once closed it
stays closed.
"""

from dataclasses import dataclass
from typing import Final

DEPTH_MAX: Final = 16


@dataclass(slots=True)
class Budget:
    """One row of ``budgets``. ``path`` names the budget's ancestors, root first, joined by ``/``; ``closed_at`` in
    microseconds (None: open)."""

    book_id: int
    name: str
    id: str
    parent: str | None
    path: str
    currency: str
    frozen: bool
    closed_at: int | None
    created_index: int
    changed_index: int


@dataclass(slots=True)
class Renewal:
    """One row of ``renewals``: at each midnight of the book that ``every`` names, what is available above
    ``carry_over`` lapses and ``amount`` is allocated (atoms). ``next_at`` in microseconds (None: stopped)."""

    book_id: int
    budget: str
    currency: str
    every: str
    amount: int
    carry_over: int
    next_at: int | None
    created_index: int
    changed_index: int


@dataclass(slots=True)
class BudgetAgent:
    """One row of ``budget_agents``: an agent, or every agent of a team, may spend from a budget."""

    book_id: int
    agent: str
    budget: str
    created_index: int
