"""What must be so in a book after every crash.

Owns the comparison of journals with the log, and of a book with one that met no crash. Invariant: everything is read
from the tables, by the tests' own code, before any server may have mended something.
"""

from __future__ import annotations

from tests.crash.workload import Journal, Step
from tests.support.recorded import Recorded

KINDS = {"authorize": "hold", "settle": "settlement", "extend": "extension", "release": "release"}


def check_acknowledged(recorded: Recorded, journal: Journal, steps: list[Step]) -> None:
    """Each acknowledged request is on record once, where its answer said; each other one once or not at all."""
    by_key = recorded.by_idempotency_key()
    for step in steps:
        records = by_key.get(step.digest, [])
        told = journal.told.get(step.key)
        if told is None:
            assert len(records) <= 1, f"{step} is on record {len(records)} times"
        else:
            assert [record.index for record in records] == [told.json["log"]["index"]], f"{step} was acknowledged"
            assert records[0].kind == KINDS[step.verb]


def check_whole(recorded: Recorded) -> None:
    """Every record has all its transfers and no other, indexes have no gap, running balances are those of the fold,
    and nothing was ever below zero that may not be."""
    assert [record.index for record in recorded.log] == list(range(len(recorded.log)))
    stored = recorded.transfers_by_index()
    said = {record.index: record.body["transfers"] for record in recorded.log if record.body.get("transfers")}
    assert stored == said
    for account, rows in recorded.balances_by_index().items():
        if account.endswith((":held", ":available", ":spent")):
            assert min(balance for _, balance in rows) >= 0, account


def check_same_books(crashed: Recorded, calm: Recorded) -> None:
    """The same balances, and the same authorizations with the same history, as a book that met no crash."""
    assert crashed.balances() == calm.balances()
    assert crashed.stories() == calm.stories()
