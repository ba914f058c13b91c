"""Reading agents, teams, persons and keys of one book.

Invariant: wherever an id is taken, the name is too; nothing of another book is ever found.
"""

from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, or_, select

from ledger.core.principal import Agent, Key, Person
from ledger.storage.paging import Page, bounded, page_of
from ledger.storage.tables import agents, api_keys, persons

# Asked again and again by the gateway: made once, because making a statement costs more than running it.
_KEY_BY_DIGEST: Final = select(api_keys).where(
    api_keys.c.book_id == bindparam("book"), api_keys.c.digest == bindparam("sought")
)


def agent(connection: Connection, book_id: int, reference: str) -> Agent | None:
    """The agent or team of that name or id, or None."""
    # A name wins over an id that is spelled alike.
    statement = (
        select(agents)
        .where(agents.c.book_id == book_id, or_(agents.c.name == reference, agents.c.id == reference))
        .order_by((agents.c.name == reference).desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Agent(*row)


def list_agents(
    connection: Connection,
    book_id: int,
    *,
    kind: str | None = None,
    parent: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page[Agent]:
    """Agents and teams by name; ``kind`` agent or team; ``parent`` the name of the one they stand right under."""
    conditions: list[ColumnElement[bool]] = [agents.c.book_id == book_id]
    if kind is not None:
        conditions.append(agents.c.kind == kind)
    if parent is not None:
        conditions.append(agents.c.parent == parent)
    if after is not None:
        conditions.append(agents.c.name > after)
    statement = select(agents).where(*conditions).order_by(agents.c.name).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, lambda row: Agent(*row), lambda item: (item.name,))


def list_persons(connection: Connection, book_id: int, *, after: str | None = None, limit: int = 50) -> Page[Person]:
    """Persons by name."""
    statement = select(persons).where(persons.c.book_id == book_id)
    if after is not None:
        statement = statement.where(persons.c.name > after)
    statement = statement.order_by(persons.c.name).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, lambda row: Person(*row), lambda item: (item.name,))


def key_by_digest(connection: Connection, book_id: int, digest: bytes) -> Key | None:
    """The key whose SHA-256 is ``digest``, or None."""
    row = connection.execute(_KEY_BY_DIGEST, {"book": book_id, "sought": digest}).one_or_none()
    return None if row is None else Key(*row)


def key_by_id(connection: Connection, book_id: int, key_id: str) -> Key | None:
    """The key of that id, or None."""
    statement = select(api_keys).where(api_keys.c.book_id == book_id, api_keys.c.id == key_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Key(*row)


def list_keys(
    connection: Connection, book_id: int, *, principal: str | None = None, after: str | None = None, limit: int = 50
) -> Page[Key]:
    """Keys, newest first, those revoked or expired included; ``principal`` as ``agent:NAME`` or ``person:NAME``."""
    statement = select(api_keys).where(api_keys.c.book_id == book_id)
    if principal is not None:
        statement = statement.where(api_keys.c.principal == principal)
    if after is not None:
        statement = statement.where(api_keys.c.id < after)
    statement = statement.order_by(api_keys.c.id.desc()).limit(bounded(limit) + 1)
    return page_of(connection.execute(statement).all(), limit, lambda row: Key(*row), lambda item: (item.id,))
