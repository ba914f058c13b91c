"""Reading budgets with what they can authorize, hold and have spent.

Invariant: a budget and its three balances come out of one statement, so they always add up.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select

from ledger.core.account import ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT
from ledger.core.budget import Budget, Renewal
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.sums import halves, whole
from ledger.storage.tables import accounts, budget_agents, budgets, renewals


@dataclass(frozen=True, slots=True)
class BudgetBalances:
    """A budget with its balances in atoms; ``available`` may stand below zero after an overrun. ``renewal`` is None
    where it was never set."""

    budget: Budget
    available: int
    held: int
    spent: int
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class CurrencySums:
    """What the budgets of one book hold and have spent in one currency, in atoms; may be more than 64 bits hold."""

    book_id: int
    currency: str
    held: int
    spent: int


def _with_balances(*conditions: ColumnElement[bool]) -> Select[Any]:
    available, held, spent = (accounts.alias(role) for role in (ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT))
    source: Any = budgets
    for account, role in ((available, ROLE_AVAILABLE), (held, ROLE_HELD), (spent, ROLE_SPENT)):
        name = "budgets:" + budgets.c.name + f":{role}"
        source = source.join(
            account,
            and_(
                account.c.book_id == budgets.c.book_id,
                account.c.name == name,
                account.c.currency == budgets.c.currency,
            ),
        )
    source = source.outerjoin(
        renewals, and_(renewals.c.book_id == budgets.c.book_id, renewals.c.budget == budgets.c.name)
    )
    columns = (budgets, available.c.balance, held.c.balance, spent.c.balance, renewals)
    return select(*columns).select_from(source).where(*conditions)


def _made(row: Row[Any]) -> BudgetBalances:
    values = tuple(row)
    at = len(budgets.c)
    available, held, spent, *renewal = values[at:]
    found = Renewal(*renewal) if renewal[0] is not None else None
    return BudgetBalances(Budget(*values[:at]), available, held, spent, found)


def budget(connection: Connection, book_id: int, reference: str) -> BudgetBalances | None:
    """The budget of that name or id with its balances, or None."""
    # A name wins over an id that is spelled alike.
    statement = (
        _with_balances(budgets.c.book_id == book_id, or_(budgets.c.name == reference, budgets.c.id == reference))
        .order_by((budgets.c.name == reference).desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else _made(row)


def list_budgets(
    connection: Connection, book_id: int, *, parent: str | None = None, after: str | None = None, limit: int = 50
) -> Page[BudgetBalances]:
    """Budgets with their balances, by name; ``parent`` the name of the budget they stand right under."""
    conditions: list[ColumnElement[bool]] = [budgets.c.book_id == book_id]
    if parent is not None:
        conditions.append(budgets.c.parent == parent)
    if after is not None:
        conditions.append(budgets.c.name > after)
    statement = _with_balances(*conditions).order_by(budgets.c.name).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, _made, lambda item: (item.budget.name,))


def agents_of_budget(connection: Connection, book_id: int, budget_name: str) -> list[str]:
    """The names of the agents and teams that may spend from a budget, sorted."""
    statement = select(budget_agents.c.agent).where(
        budget_agents.c.book_id == book_id, budget_agents.c.budget == budget_name
    )
    return list(connection.execute(statement.order_by(budget_agents.c.agent)).scalars())


def budgets_of_agents(connection: Connection, book_id: int, agent_names: list[str]) -> list[BudgetBalances]:
    """The budgets that any of the agents or teams may spend from, with their balances, by name."""
    mine = select(budget_agents.c.budget).where(
        budget_agents.c.book_id == book_id, budget_agents.c.agent.in_(agent_names)
    )
    statement = _with_balances(budgets.c.book_id == book_id, budgets.c.name.in_(mine)).order_by(budgets.c.name)
    return [_made(row) for row in connection.execute(statement)]


def held_and_spent(connection: Connection, book_id: int | None = None) -> list[CurrencySums]:
    """Sums per book and currency over all budgets, of one book or (None) of all. Reads every account."""
    statement = (
        select(accounts.c.book_id, accounts.c.currency, accounts.c.role, *halves(accounts.c.balance))
        .where(accounts.c.role.in_((ROLE_HELD, ROLE_SPENT)))
        .group_by(accounts.c.book_id, accounts.c.currency, accounts.c.role)
        .order_by(accounts.c.book_id, accounts.c.currency)
    )
    if book_id is not None:
        statement = statement.where(accounts.c.book_id == book_id)
    sums: dict[tuple[int, str], dict[str, int]] = {}
    for book, currency, role, upper, lower in connection.execute(statement):
        sums.setdefault((book, currency), {})[role] = whole(upper, lower)
    return [
        CurrencySums(book, currency, roles.get(ROLE_HELD, 0), roles.get(ROLE_SPENT, 0))
        for (book, currency), roles in sums.items()
    ]
