"""What is recorded in a book, read from its tables without any server.

Owns the tests' own reading of the log and of the transfers, in SQL and JSON, so that no code under test says whether
it was right. Invariant: balances are folded here from transfers, and compared with the balances that are stored.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import orjson
import sqlalchemy
from sqlalchemy import text

ATOMS_PER_USD = 10**9


class Record(NamedTuple):
    """One record of the log."""

    index: int
    kind: str
    body: dict[str, Any]


class Recorded:
    """The content of one book at the moment this was made."""

    def __init__(self, database_url: str, book_id: int) -> None:
        # One moment for all that is read; SQLite begins its snapshot with the first statement after BEGIN.
        isolation = {} if database_url.startswith("sqlite") else {"isolation_level": "REPEATABLE READ"}
        engine = sqlalchemy.create_engine(database_url, **isolation)
        given = {"book": book_id}
        try:
            with engine.connect() as connection:
                if not isolation:
                    connection.exec_driver_sql("BEGIN")
                self.log = [
                    Record(index, kind, orjson.loads(bytes(body)))
                    for index, kind, body in connection.execute(
                        text("SELECT log_index, kind, body FROM log_records WHERE book_id = :book ORDER BY log_index"),
                        given,
                    )
                ]
                self.transfers = list(
                    connection.execute(
                        text(
                            "SELECT log_index, debit_no, credit_no, currency, amount, debit_balance, credit_balance "
                            "FROM transfers WHERE book_id = :book ORDER BY log_index, position"
                        ),
                        given,
                    )
                )
                numbered = text("SELECT account_no, name FROM accounts WHERE book_id = :book")
                self.accounts: dict[int, str] = {
                    row.account_no: row.name for row in connection.execute(numbered, given)
                }
        finally:
            engine.dispose()

    def transfers_by_index(self) -> dict[int, list[list[str]]]:
        """The stored transfers of each record, written as a body writes them: debit, credit, atoms, currency."""
        found: dict[int, list[list[str]]] = defaultdict(list)
        for index, debit, credit, currency, amount, _, _ in self.transfers:
            found[index].append([self.accounts[debit], self.accounts[credit], str(amount), currency])
        return dict(found)

    def by_idempotency_key(self) -> dict[str, list[Record]]:
        """The records that each idempotency key's digest (as hexadecimal text) stands in."""
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self.log:
            if "idempotency" in record.body:
                found[record.body["idempotency"][0]].append(record)
        return dict(found)

    def stories(self) -> dict[str, list[tuple[Any, ...]]]:
        """For each resource, what was recorded about its authorizations, in order: kind, amount, state, what is held
        and settled after it. Ids, indexes and times, which differ from run to run, are left out."""
        resources: dict[str, str] = {}
        told: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for record in self.log:
            body = record.body
            reference = body.get("authorization")
            if reference is None:
                continue
            resource = resources.setdefault(reference, body["request"].get("resource", reference))
            said = ("amount", "approved", "state", "held", "settled", "flags")
            told[resource].append((record.kind, *(str(body.get(name)) for name in said)))
        return dict(told)

    def balances(self) -> dict[str, int]:
        """Every account's balance at the end, in atoms."""
        return {account: rows[-1][1] for account, rows in self.balances_by_index().items()}

    def of(self, *kinds: str) -> list[Record]:
        """The records of these kinds."""
        return [record for record in self.log if record.kind in kinds]

    def holds_by_resource(self) -> dict[str, list[str]]:
        """For each resource that a hold was approved for, the ids of the authorizations."""
        found: dict[str, list[str]] = defaultdict(list)
        for record in self.of("hold"):
            found[record.body["request"]["resource"]].append(record.body["authorization"])
        return dict(found)

    def balances_by_index(self) -> dict[str, list[tuple[int, int]]]:
        """For each account, its balance in atoms (debits less credits) after each log index that touched it. Raises
        AssertionError where a stored running balance differs from the fold."""
        after: dict[int, int] = defaultdict(int)
        history: dict[int, dict[int, int]] = defaultdict(dict)
        for index, debit, credit, _, amount, debit_balance, credit_balance in self.transfers:
            after[debit] += amount
            after[credit] -= amount
            stored = (debit_balance, credit_balance)
            if stored != (after[debit], after[credit]):
                raise AssertionError(f"record {index} stores {stored}, the fold says {after[debit]}, {after[credit]}")
            history[debit][index] = after[debit]
            history[credit][index] = after[credit]
        return {self.accounts[number]: sorted(rows.items()) for number, rows in history.items()}

    def lowest(self, account: str) -> int:
        """The lowest balance that an account ever had after a record, in atoms."""
        return min(balance for _, balance in self.balances_by_index()[account])

    def balance(self, account: str) -> int:
        """An account's balance at the end, in atoms; 0 for one that nothing ever touched."""
        return self.balances().get(account, 0)
