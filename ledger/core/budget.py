"""Budgets: authority to spend in one currency, in a tree.

Invariant: a budget's name, parent and currency never change; its three accounts are made with it.
"""

from dataclasses import dataclass
from typing import Final

DEPTH_MAX: Final = 16


@dataclass(slots=True)
class Budget:
    """One row of ``budgets``. ``path`` names the budget's ancestors, root first, joined by ``/``."""

    book_id: int
    name: str
    id: str
    parent: str | None
    path: str
    currency: str
    created_index: int


@dataclass(slots=True)
class BudgetAgent:
    """One row of ``budget_agents``: an agent, or every agent of a team, may spend from a budget."""

    book_id: int
    agent: str
    budget: str
    created_index: int
