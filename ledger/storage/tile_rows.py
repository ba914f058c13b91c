"""Reading and writing tiles of the Merkle tree, and the leaf hashes that stand for those that are not complete.

Invariants: every statement is bounded by a page or by the nodes of one proof; a tile is inserted once and replaced only
by whoever made it again from the leaves.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from ledger.core.tiles import Tile
from ledger.storage.tables import log_records
from ledger.storage.tables_proofs import merkle_tiles

PAGE_TILES: Final = 64
"""Tiles in half a megabyte."""
LOOKS_PER_STATEMENT: Final = 200


def leaves(connection: Connection, book_id: int, start: int, stop: int) -> list[tuple[int, bytes]]:
    """(index, leaf hash) of the records from ``start`` to before ``stop``; the caller bounds the range."""
    columns = log_records.c
    statement = (
        select(columns.log_index, columns.leaf_hash)
        .where(columns.book_id == book_id, columns.log_index >= start, columns.log_index < stop)
        .order_by(columns.log_index)
    )
    return [(row[0], bytes(row[1])) for row in connection.execute(statement)]


def leaves_at(connection: Connection, book_id: int, indexes: Sequence[int]) -> dict[int, bytes]:
    """The leaf hashes of those of the records that are there; the caller bounds how many they are."""
    if not indexes:
        return {}
    columns = log_records.c
    statement = select(columns.log_index, columns.leaf_hash).where(
        columns.book_id == book_id, columns.log_index.in_(indexes)
    )
    return {row[0]: bytes(row[1]) for row in connection.execute(statement)}


def roots(connection: Connection, book_id: int, level: int, start: int, stop: int) -> list[tuple[int, bytes]]:
    """(position, root) of the tiles of a level from ``start`` to before ``stop``; the caller bounds the range."""
    columns = merkle_tiles.c
    statement = (
        select(columns.position, columns.root)
        .where(columns.book_id == book_id, columns.level == level, columns.position >= start, columns.position < stop)
        .order_by(columns.position)
    )
    return [(row[0], bytes(row[1])) for row in connection.execute(statement)]


def tiles(connection: Connection, book_id: int, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes of those of the tiles (level, position) that are there, in one statement for all of a proof."""
    columns = merkle_tiles.c
    found: dict[tuple[int, int], bytes] = {}
    # One look-up by the whole key for each: SQLite reads every tile of the book for a list of pairs, and PostgreSQL
    # does where it has not counted them yet.
    for at in range(0, len(places), LOOKS_PER_STATEMENT):
        statement = union_all(
            *(
                select(columns.level, columns.position, columns.hashes).where(
                    columns.book_id == book_id, columns.level == level, columns.position == position
                )
                for level, position in places[at : at + LOOKS_PER_STATEMENT]
            )
        )
        found |= {(row[0], row[1]): bytes(row[2]) for row in connection.execute(statement)}
    return found


def tile_page(connection: Connection, book_id: int, level: int, start: int, stop: int) -> list[Tile]:
    """The tiles of a level from ``start`` to before ``stop``, the first ``PAGE_TILES`` of them, as stored."""
    columns = merkle_tiles.c
    statement = (
        select(columns.level, columns.position, columns.hashes, columns.root)
        .where(columns.book_id == book_id, columns.level == level, columns.position >= start, columns.position < stop)
        .order_by(columns.position)
        .limit(PAGE_TILES)
    )
    return [Tile(row[0], row[1], bytes(row[2]), bytes(row[3])) for row in connection.execute(statement)]


def first_beyond(connection: Connection, book_id: int, level: int, count: int) -> int | None:
    """The position of a tile of a level that is not below ``count``, or is negative; None where none is."""
    columns = merkle_tiles.c
    statement = select(func.min(columns.position)).where(
        columns.book_id == book_id, columns.level == level, (columns.position >= count) | (columns.position < 0)
    )
    return connection.execute(statement).scalar_one()


def levels(connection: Connection, book_id: int) -> list[int]:
    """The levels of which there are tiles, one look-up for each."""
    columns = merkle_tiles.c
    found: list[int] = []
    level = connection.execute(select(func.min(columns.level)).where(columns.book_id == book_id)).scalar_one()
    while level is not None:
        found.append(level)
        statement = select(func.min(columns.level)).where(columns.book_id == book_id, columns.level > level)
        level = connection.execute(statement).scalar_one()
    return found


def next_position(connection: Connection, book_id: int, level: int) -> int:
    """The position behind the last tile of a level."""
    columns = merkle_tiles.c
    statement = select(func.max(columns.position)).where(columns.book_id == book_id, columns.level == level)
    last = connection.execute(statement).scalar_one()
    return 0 if last is None else last + 1


def add(connection: Connection, book_id: int, made: Iterable[Tile]) -> None:
    """Write tiles; one that is there stays as it is."""
    rows = [
        {"book_id": book_id, "level": tile.level, "position": tile.position, "root": tile.root, "hashes": tile.hashes}
        for tile in made
    ]
    if rows:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert(merkle_tiles).on_conflict_do_nothing(), rows)


def drop(connection: Connection, book_id: int, places: Iterable[tuple[int, int]]) -> None:
    """Take tiles away, to be made again."""
    columns = merkle_tiles.c
    for level, position in places:
        connection.execute(
            delete(merkle_tiles).where(columns.book_id == book_id, columns.level == level, columns.position == position)
        )
