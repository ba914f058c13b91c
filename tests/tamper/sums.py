"""Tampers that keep sums right: what one row loses another gains, and what a record says is lowered wherever it shows.

Invariant: the log is left as it is, so what must be named is each row of a projection that does not follow from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tests.tamper.attacker import Attacker, Row
from tests.tamper.tampers import ANY, ROW, Place, Tamper, place_of

ADDED = (
    ("accounts", "balance", ("currency",)), ("authorizations", "settled", ("currency",)),
    ("authorizations", "held", ("currency",)), ("authorizations", "approved", ("currency",)),
    ("authorizations", "refunded", ("currency",)), ("run_totals", "spent", ("currency",)),
    ("run_totals", "approved_count", ()), ("counters", "settled", ("meter",)), ("counters", "count", ("meter",)),
    ("transfers", "amount", ("currency",)), ("transfers", "debit_balance", ("currency",)), ("renewals", "amount", ()),
)  # fmt: skip
"""Table, a column that is added up over rows, and what the rows have in common."""
SETTLEMENTS = 8


def sum_tampers(attacker: Attacker) -> Iterator[Tamper]:
    """Every tamper whose sums come out right."""
    for table, column, common in ADDED:
        yield from _moved(attacker, table, column, common)
    yield from _payees(attacker)
    yield from _settlements(attacker)
    yield from _forgotten(attacker)


def _changes(attacker: Attacker, *, changes: Sequence[tuple[str, Row, dict[str, Any]]]) -> None:
    for table, row, values in changes:
        attacker.change(table, row, **values)


def _tamper(identity: str, changes: Sequence[tuple[str, Row, dict[str, Any]]], *names: Place, **more: Any) -> Tamper:
    table = changes[0][0]
    more.setdefault("only", frozenset(changed for changed, _, _ in changes))
    act = partial(_changes, changes=changes)
    return Tamper(f"{table}:{identity}", act, names, cell=(table, identity.split(":")[0]), differences_max=200, **more)


def _moved(attacker: Attacker, table: str, column: str, common: tuple[str, ...]) -> Iterator[Tamper]:
    """One atom, or all of it, from one row to another."""
    rows = [row for row in attacker.rows[table] if row[column]]
    chance = random.Random(f"{table}.{column} moved")
    pairs = [
        (one, two) for one in rows for two in rows if one is not two and all(one[name] == two[name] for name in common)
    ]
    for number, (one, two) in enumerate(chance.sample(pairs, min(3, len(pairs)))):
        for what, atoms in (("atom", 1), ("all", one[column])):
            changes = [
                (table, one, {column: one[column] - atoms}),
                (table, two, {column: two[column] + atoms}),
            ]
            names = (place_of(table, one, column), place_of(table, two, column))
            yield _tamper(f"moved_{column}:{number}.{what}", changes, *names)


def _payees(attacker: Attacker) -> Iterator[Tamper]:
    """Two equal amounts paid to each other's payee."""
    rows = attacker.rows["transfers"]
    pairs = [
        (one, two)
        for at, one in enumerate(rows)
        for two in rows[at + 1 :]
        if one["amount"] == two["amount"]
        and one["credit_no"] != two["credit_no"]
        and one["debit_no"] == two["debit_no"]
    ]
    for number, (one, two) in enumerate(random.Random("payees").sample(pairs, min(6, len(pairs)))):
        swapped = [
            ("transfers", row, {name: other[name] for name in ("credit_no", "credit_balance")})
            for row, other in ((one, two), (two, one))
        ]
        names = [place_of("transfers", row, "credit_no") for row in (one, two)]
        yield _tamper(f"payees:{number}", swapped, *names)


def _settlements(attacker: Attacker) -> Iterator[Tamper]:
    """A settlement lowered or raised by an atom, or to an atom, in every row but the log: its transfers, every running
    balance behind them, the balances, the authorization and its run's total."""
    settled = [row for row in attacker.rows["log_records"] if row["kind"] == "settlement"]
    for row in random.Random("settlements").sample(settled, SETTLEMENTS):
        first = next(one for one in attacker.rows["transfers"] if one["log_index"] == row["log_index"])
        for what, less in (("lowered", 1), ("raised", -1), ("to_an_atom", first["amount"] - 1)):
            if less:
                changes = list(_settled_less(attacker, row, less))
                yield _tamper(f"settled_{what}:{row['log_index']}", changes, place_of("transfers", first, "amount"))


def _settled_less(attacker: Attacker, record: Row, less: int) -> Iterator[tuple[str, Row, dict[str, Any]]]:
    moved: dict[int, int] = {}
    for row in attacker.rows["transfers"]:
        values: dict[str, Any] = {}
        if row["log_index"] == record["log_index"] and row["amount"] > less:
            moved[row["debit_no"]] = moved.get(row["debit_no"], 0) - less
            moved[row["credit_no"]] = moved.get(row["credit_no"], 0) + less
            values["amount"] = row["amount"] - less
        for side in ("debit", "credit"):
            if moved.get(row[f"{side}_no"]):
                values[f"{side}_balance"] = row[f"{side}_balance"] + moved[row[f"{side}_no"]]
        if values:
            yield "transfers", row, values
    for row in attacker.rows["accounts"]:
        if moved.get(row["account_no"]):
            yield "accounts", row, {"balance": row["balance"] + moved[row["account_no"]]}
    for row in attacker.rows["authorizations"]:
        if row["id"] == record["subject"]:
            yield "authorizations", row, {"settled": row["settled"] - less}
            for total in attacker.rows["run_totals"]:
                if (total["run"], total["currency"]) == (row["run"], row["currency"]):
                    yield "run_totals", total, {"spent": total["spent"] - less}


def _forgotten(attacker: Attacker) -> Iterator[Tamper]:
    """An authorization, and with it the keys of the requests that it was asked by, gone from every list."""
    rows = attacker.rows["authorizations"]
    for row in random.Random("forgotten").sample(rows, 4):
        keys = [one for one in attacker.rows["idempotency_keys"] if one["log_index"] == row["created_index"]]
        gone = [("authorizations", row), *(("idempotency_keys", one) for one in keys)]
        names = [place_of(table, one, ROW if table == "authorizations" else ANY) for table, one in gone]
        yield Tamper(
            f"authorizations:forgotten:{row['created_index']}", partial(_deleted, gone=gone), tuple(names),
            cell=("authorizations", "forgotten"),
        )  # fmt: skip


def _deleted(attacker: Attacker, *, gone: Sequence[tuple[str, Row]]) -> None:
    for table, row in gone:
        attacker.delete(table, row)
