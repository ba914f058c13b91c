"""`verify` of what is not committed: a change inside of a transaction is found, and rolled back it was never there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, text

from ledger.services.verify import verify_connected
from ledger.storage.engine import create_migration_engine
from ledger.storage.migrate import upgrade
from tests.support.every_kind import LiveLedger, play


def test_changes_that_are_not_committed_are_verified_and_left_open(database_url: str) -> None:
    """Nothing that verify does ends the transaction that it was given."""
    upgrade(database_url)
    ledger = LiveLedger(database_url)
    play(ledger)
    ledger.close()
    engine = create_migration_engine(database_url)
    with engine.connect() as connection:

        @contextlib.contextmanager
        def inside() -> Iterator[Connection]:
            yield connection

        for _ in range(2):
            with connection.begin_nested() as savepoint:
                connection.execute(text("UPDATE agents SET id = id || 'x'"))
                (wrong,) = verify_connected(inside, differences_max=2)
                savepoint.rollback()
            (right,) = verify_connected(inside)
            assert [one.table for one in wrong.differences] == ["agents", "agents"]
            assert right.verified, [difference.sentence() for difference in right.differences]
    engine.dispose()
