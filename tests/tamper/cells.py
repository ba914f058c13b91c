"""Tampers of one table: every column changed in every way and swapped between rows, rows gone, too many and elsewhere.

Owns what each of them must be named as. Invariant: a tamper's id says its table, column, operation and the place of its
row in the order of keys, and is enough to make it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ledger.storage.tables import metadata
from tests.tamper.attacker import COLUMNS, KEYS, Attacker, Row
from tests.tamper.covered import MAY_GO, TABLES, columns
from tests.tamper.tampers import ANY, ROW, Place, Tamper, place_of
from tests.tamper.values import FAR, FAR_SMALL, other_values

INDEXES = ("log_index", "created_index", "changed_index")
ALL = frozenset(TABLES)
BESIDE = {
    "book_heads": ALL,
    "books": frozenset(("books", "book_heads")),
    "signing_keys": frozenset(("signing_keys", "checkpoints")),
    "log_records": ALL,
    "checkpoints": frozenset(("checkpoints", "checkpoint_cosignatures")),
    # Totals are compared with the lines, and all of them are read up to the cursor.
    "spend_lines": frozenset(("spend_lines", "spend_days")),
    "spend_cursor": frozenset(("spend_cursor", "spend_lines", "spend_holds", "spend_days")),
}
"""What may be named beside the table that was touched, because it follows from it."""


def cell_tampers(attacker: Attacker) -> Iterator[Tamper]:
    """Every tamper of every table by itself."""
    for table in TABLES:
        rows = attacker.rows[table]
        assert rows, f"the workload leaves {table} empty, so nothing is shown about it"
        for column in columns(table):
            yield from _changes(attacker, table, column)
            yield from _swaps(attacker, table, column)
        yield from _row_tampers(attacker, table)


def _tamper(
    table: str, column: str, operation: str, act: Callable[[Attacker], None], *names: Place, **more: Any
) -> Tamper:
    more.setdefault("only", BESIDE.get(table, frozenset((table,))))
    if table == "log_records":
        more.setdefault("first", frozenset(("log_records",)))
    return Tamper(f"{table}.{column}:{operation}", act, names, cell=(table, column), **more)


# One value.


def _changes(attacker: Attacker, table: str, column: str) -> Iterator[Tamper]:
    rows = attacker.rows[table]
    chance = random.Random(f"{table}.{column}")
    done: set[str] = set()
    # One row that has a value and one that has none, where there are both.
    full = [at for at, row in enumerate(rows) if row[column] is not None]
    void = [at for at, row in enumerate(rows) if row[column] is None]
    for at in [chance.choice(places) for places in (full, void) if places]:
        row = rows[at]
        others = [other[column] for other in chance.sample(rows, len(rows))]
        if column == "book_id":
            changed = [("other_book", attacker.other_id), ("no_book", 7), ("null", None)]
            if attacker.sqlite:
                changed += [("text", "acme"), ("blob", b"acme"), ("fraction", row[column] + 0.5)]
        else:
            kind = metadata.tables[table].columns[column]
            changed = list(other_values(row[column], kind, others, sqlite=attacker.sqlite))
        for operation, value in changed:
            operation = operation if operation not in done else f"{operation}_again"
            done.add(operation)
            names = _names_of_change(attacker, table, row, column, value)
            if names is not None:
                act = partial(_change, table=table, row=row, column=column, value=value)
                # Of two rows with one key either may be compared first, and differ in every column.
                more = {"touches_other": column == "book_id", "differences_max": 80 if column in KEYS[table] else 12}
                yield _tamper(table, column, f"{operation}@{at}", act, *names, **more)


def _change(attacker: Attacker, *, table: str, row: Row, column: str, value: Any) -> None:
    attacker.change(table, row, **{column: value})


def _names_of_change(attacker: Attacker, table: str, row: Row, column: str, value: Any) -> tuple[Place, ...] | None:
    """Where verify must see a change; None where it is one of those that it need not see."""
    if table in MAY_GO:
        return _names_beside(table, row, column, value)
    if (table, column) == ("book_heads", "size") and type(value) is int:
        # The first record that the head forgets stands behind it; the first that it makes up is missing.
        return (Place("log_records", max(min(value, row["size"]), 0)),)
    if (table, column) == ("spend_cursor", "next_index") and type(value) is int and 0 <= value < row[column]:
        # What was written beyond it is named, because nothing may stand there.
        return (Place("spend_lines"),)
    if column not in KEYS[table]:
        return (place_of(table, row, column),)
    if table != "log_records":
        return (place_of(table, row, ROW),)
    if column == "log_index" and type(value) is int and 0 <= value < row["log_index"]:
        # Two records have the index that it took, before its own lacks.
        return (Place(table, value),)
    return (place_of(table, row),)


def _names_beside(table: str, row: Row, column: str, value: Any) -> tuple[Place, ...] | None:
    """The same for rows that may go: under another key one is where nothing should be, and without a key it is gone."""
    if column in KEYS[table] and value is None:
        return None
    if type(value) is not type(row[column]) or column == "book_id":
        # What has a wrong type is of no use, whatever row it is in.
        return (Place(table),)
    if column in KEYS[table] and table == "merkle_tiles":
        return (Place(table),)
    return (place_of(table, row | {column: value}, column if column not in KEYS[table] else ANY),)


# Two rows.


def _swaps(attacker: Attacker, table: str, column: str) -> Iterator[Tamper]:
    """The column of two rows exchanged, for columns that are no key (two keys exchanged are two rows exchanged)."""
    rows = attacker.rows[table]
    if column in KEYS[table]:
        return
    chance = random.Random(f"{table}.{column} swap")
    order = chance.sample(range(len(rows)), len(rows))
    pair = next(((one, two) for one in order for two in order if rows[one][column] != rows[two][column]), None)
    if pair is None:
        return
    one, two = sorted(pair)
    act = partial(_swap, table=table, one=rows[one], two=rows[two], exchanged=(column,))
    names = (place_of(table, rows[one], column), place_of(table, rows[two], column))
    yield _tamper(table, column, f"swapped@{one},{two}", act, *(names[:1] if table == "log_records" else names))


def _swap(attacker: Attacker, *, table: str, one: Row, two: Row, exchanged: tuple[str, ...]) -> None:
    attacker.change(table, one, **{column: two[column] for column in exchanged})
    attacker.change(table, two, **{column: one[column] for column in exchanged})


# Whole rows.


def _row_tampers(attacker: Attacker, table: str) -> Iterator[Tamper]:
    rows = attacker.rows[table]
    places = sorted({0, len(rows) // 2, len(rows) - 1})
    if table not in MAY_GO:
        for at in places:
            act = partial(_delete, table=table, rows=[rows[at]])
            yield _tamper(table, ROW, f"deleted@{at}", act, _gone(table, rows[at]))
        if len(rows) > 2:
            act = partial(_delete, table=table, rows=[rows[0], rows[-1]])
            names = [_gone(table, rows[at]) for at in ((0,) if table == "log_records" else (0, -1))]
            yield _tamper(table, ROW, "deleted_two", act, *names)
        yield _tamper(table, ROW, "emptied", partial(_delete, table=table, rows=rows), Place(table), **_emptied(table))
    yield from _additions(attacker, table, rows[places[-1] // 2])
    other = attacker.others[table]
    if other:
        foreign = other[-1] | {"book_id": attacker.book_id}
        if all(foreign[key] != row[key] for row in rows for key in KEYS[table][1:][-1:]):
            act = partial(_insert, table=table, row=foreign)
            yield _tamper(table, ROW, "of_another_book", act, _extra(table, foreign))
    payload = tuple(name for name in columns(table) if name not in KEYS[table])
    if len(rows) > 1 and payload:
        pair = next(((one, two) for one in rows for two in rows if all(one[n] != two[n] for n in payload[:1])), None)
        if pair is not None:
            act = partial(_swap, table=table, one=pair[0], two=pair[1], exchanged=payload)
            names = [place_of(table, row, ANY) for row in pair]
            yield _tamper(table, ROW, "rows_swapped", act, *(names[:1] if table == "log_records" else names),
                          differences_max=40)  # fmt: skip


def _emptied(table: str) -> dict[str, Any]:
    return {"only": ALL} if table in ("log_records", "book_heads", "books") else {}


def _gone(table: str, row: Row) -> Place:
    return place_of(table, row, ANY if table in ("log_records", "book_heads", "books") else ROW)


def _extra(table: str, row: Row) -> Place:
    if table in ("book_heads", "books"):
        return Place(table)
    if row.get("log_index") == FAR and "log_index" in KEYS[table]:
        return Place(table, FAR)
    return place_of(table, row, ANY if table in (*MAY_GO, "log_records") else ROW)


def _additions(attacker: Attacker, table: str, row: Row) -> Iterator[Tamper]:
    """Copies of a row: as it is, in other books, under other keys, and claiming to be younger than the log."""
    ahead = {column: FAR for column in INDEXES if column in COLUMNS[table]}
    act = partial(_insert, table=table, row=row)
    yield _tamper(table, ROW, "twice", act, _extra(table, row) if table != "texts" else Place(table, row["log_index"]))
    for operation, book_id in (("in_other_book", attacker.other_id), ("in_no_book", 7), ("in_null_book", None)):
        act = partial(_insert, table=table, row=row | {"book_id": book_id})
        # A row of ``books`` makes a book, which then has no head.
        name = "book_heads" if (table, operation) == ("books", "in_no_book") else table
        yield _tamper(table, "book_id", operation, act, Place(name), touches_other=True)
    for column in KEYS[table][1:]:
        kind = metadata.tables[table].columns[column]
        far = FAR_SMALL if str(kind.type) == "INTEGER" else FAR
        if column == "day":
            far = row[column] + 1_000
        key = {int: far, str: f"{row[column]}x", bytes: bytes(32)}[type(row[column])]
        for operation, value in (("another", key), ("null", None)):
            copy = row | {column: value}
            if value is None and (table in MAY_GO or (column == "log_index" and table != "idempotency_keys")):
                continue
            yield _tamper(
                table, column, f"{operation}_key", partial(_insert, table=table, row=copy), _extra(table, copy)
            )
            if ahead and table not in MAY_GO:
                copy = copy | {name: FAR for name in ahead if name not in KEYS[table]}
                act = partial(_insert, table=table, row=copy)
                yield _tamper(table, column, f"{operation}_key_ahead", act, _extra(table, copy))
    payload = [name for name in columns(table) if name not in KEYS[table] and name not in INDEXES]
    if ahead and payload and table not in MAY_GO and "log_index" not in KEYS[table]:
        yield _tamper(
            table, ROW, "twice_ahead", partial(_insert, table=table, row=row | ahead), place_of(table, row | ahead)
        )
        kind = metadata.tables[table].columns[payload[0]]
        others = [other[payload[0]] for other in attacker.rows[table]]
        _, value = list(other_values(row[payload[0]], kind, others, sqlite=False))[-1]
        act = partial(_change_ahead, table=table, row=row, changes={payload[0]: value} | ahead)
        yield _tamper(table, payload[0], "changed_ahead", act, place_of(table, row, payload[0]))


def _change_ahead(attacker: Attacker, *, table: str, row: Row, changes: Row) -> None:
    attacker.change(table, row, **changes)


def _insert(attacker: Attacker, *, table: str, row: Row) -> None:
    attacker.insert(table, row)


def _delete(attacker: Attacker, *, table: str, rows: list[Row]) -> None:
    for row in rows:
        attacker.delete(table, row)
