"""Look-ups of who asks: agents, the budgets they may spend from, and one budget, without balances.

Invariant: each is one statement that goes by an index led by the book's id, whatever the book's size.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select

from ledger.core.budget import Budget
from ledger.core.principal import Agent
from ledger.storage.tables import agents, budget_agents, budgets


def agents_named(connection: Connection, book_id: int, names: Sequence[str]) -> dict[str, Agent]:
    """Agents and teams by name; a name that is not there is absent."""
    statement = select(agents).where(agents.c.book_id == book_id, agents.c.name.in_(names))
    return {row.name: Agent(*row) for row in connection.execute(statement)}


def budgets_named(connection: Connection, book_id: int, names: Sequence[str]) -> dict[str, Budget]:
    """Budgets by name; a name that is not there is absent."""
    statement = select(budgets).where(budgets.c.book_id == book_id, budgets.c.name.in_(names))
    return {row.name: Budget(*row) for row in connection.execute(statement)}


def budget_named(connection: Connection, book_id: int, reference: str) -> Budget | None:
    """The budget of that name or id, or None."""
    # A name wins over an id that is spelled alike.
    statement = (
        select(budgets)
        .where(budgets.c.book_id == book_id, or_(budgets.c.name == reference, budgets.c.id == reference))
        .order_by((budgets.c.name == reference).desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Budget(*row)


def budgets_usable_by(connection: Connection, book_id: int, holders: Sequence[str]) -> list[Budget]:
    """The budgets that any of the agents or teams may spend from, closed ones among them, by name."""
    mine = select(budget_agents.c.budget).where(budget_agents.c.book_id == book_id, budget_agents.c.agent.in_(holders))
    statement = select(budgets).where(budgets.c.book_id == book_id, budgets.c.name.in_(mine)).order_by(budgets.c.name)
    return [Budget(*row) for row in connection.execute(statement)]
