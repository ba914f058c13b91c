"""Rows by many keys at once, each found by its index, whatever a planner knows of the table.

Invariant: the cost is one look-up a key. PostgreSQL, on a table that was never analyzed, may take a list of keys for
most of a book and read all of it; a lateral look-up for each key leaves it no choice. SQLite looks up each member of a
list by itself.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    column,
    func,
    literal,
    select,
    true,
)

KEYS_AT_ONCE: Final = 5_000


def rows_by_key(
    connection: Connection,
    table: Table,
    book_id: int,
    key: Column[Any],
    values: Collection[Any],
    *conditions: ColumnElement[bool],
    columns: Collection[Column[Any]] = (),
) -> list[Any]:
    """Rows of a book whose ``key`` is one of ``values`` (texts or integers), with all columns or those that are named,
    in no order. The key must stand right behind the book in an index."""
    found: list[Any] = []
    wanted = sorted(values)
    chosen = tuple(columns) or tuple(table.columns)
    for start in range(0, len(wanted), KEYS_AT_ONCE):
        some = wanted[start : start + KEYS_AT_ONCE]
        if connection.dialect.name == "postgresql":
            statement = _lateral(table, book_id, key, some, conditions, chosen)
        else:
            statement = select(*chosen).where(table.c.book_id == book_id, key.in_(some), *conditions)
        found += connection.execute(statement).all()
    return found


def _lateral(
    table: Table,
    book_id: int,
    key: Column[Any],
    values: list[Any],
    conditions: tuple[ColumnElement[bool], ...],
    columns: tuple[Column[Any], ...],
) -> Select[Any]:
    kind = BigInteger() if isinstance(values[0], int) else Text()
    wanted = func.unnest(literal(values, ARRAY(kind))).table_valued(column("key", kind), name="wanted").render_derived()
    mine = table.c.book_id == book_id
    # Any limit keeps the look-up from being turned into a join; more rows than this have no one key.
    looked_up = select(*columns).where(mine, key == wanted.c.key, *conditions).limit(1_000_000).lateral("looked_up")
    return select(looked_up).select_from(wanted.join(looked_up, true()))
