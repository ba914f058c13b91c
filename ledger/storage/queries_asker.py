"""Look-ups of who asks: agents, the budgets they may spend from, and one budget, without balances.

Invariant: each is one statement that goes by an index led by the book's id, whatever the book's size. The statements
are made once: making one costs more than running it, and the gateway reads every agent that calls again and again.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BindParameter, Connection, bindparam, or_, select

from ledger.core.budget import Budget
from ledger.core.principal import Agent
from ledger.storage.tables import agents, budget_agents, budgets

_BOOK: Final[BindParameter[int]] = bindparam("book")
_NAMES: Final[BindParameter[list[str]]] = bindparam("names", expanding=True)
_AGENTS: Final = select(agents).where(agents.c.book_id == _BOOK, agents.c.name.in_(_NAMES))
_BUDGETS: Final = select(budgets).where(budgets.c.book_id == _BOOK, budgets.c.name.in_(_NAMES))
_REFERENCE: Final[BindParameter[str]] = bindparam("reference")
# A name wins over an id that is spelled alike.
_BUDGET: Final = (
    select(budgets)
    .where(budgets.c.book_id == _BOOK, or_(budgets.c.name == _REFERENCE, budgets.c.id == _REFERENCE))
    .order_by((budgets.c.name == _REFERENCE).desc())
    .limit(1)
)
_USABLE: Final = (
    select(budgets)
    .where(
        budgets.c.book_id == _BOOK,
        budgets.c.name.in_(
            select(budget_agents.c.budget).where(budget_agents.c.book_id == _BOOK, budget_agents.c.agent.in_(_NAMES))
        ),
    )
    .order_by(budgets.c.name)
)


def agents_named(connection: Connection, book_id: int, names: Sequence[str]) -> dict[str, Agent]:
    """Agents and teams by name; a name that is not there is absent."""
    return {row.name: Agent(*row) for row in connection.execute(_AGENTS, {"book": book_id, "names": names})}


def budgets_named(connection: Connection, book_id: int, names: Sequence[str]) -> dict[str, Budget]:
    """Budgets by name; a name that is not there is absent."""
    return {row.name: Budget(*row) for row in connection.execute(_BUDGETS, {"book": book_id, "names": names})}


def budget_named(connection: Connection, book_id: int, reference: str) -> Budget | None:
    """The budget of that name or id, or None."""
    row = connection.execute(_BUDGET, {"book": book_id, "reference": reference}).first()
    return None if row is None else Budget(*row)


def budgets_usable_by(connection: Connection, book_id: int, holders: Sequence[str]) -> list[Budget]:
    """The budgets that any of the agents or teams may spend from, closed ones among them, by name."""
    rows = connection.execute(_USABLE, {"book": book_id, "names": holders})
    return [Budget(*row) for row in rows]
