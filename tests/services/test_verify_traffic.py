"""`verify` beside a server at work: a right book never looks wrong, and a wrong row does not hide in the traffic."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from ledger.services import verify_book
from ledger.services.verify import verify_books
from ledger.storage.engine import create_migration_engine
from ledger.storage.migrate import upgrade
from tests.support.every_kind import LiveLedger

BATCH = 40


def busy(ledger: LiveLedger, stop: threading.Event, failures: list[BaseException]) -> None:
    """Authorize and settle, a batch at a time, until told to stop."""
    caller = ledger.agent("busy")
    ledger.budget("busy", "1000000", "busy")
    try:
        while not stop.is_set():
            ledger.advance(1)
            for number in range(BATCH // 4):
                held = ledger.hold(caller, "1", run=f"run-{number}", ttl_seconds=3)
                if number % 2:
                    ledger.settle(caller, held, "0.5", payee=f"payee-{number}")
    except BaseException as error:
        failures.append(error)


@contextlib.contextmanager
def traffic(database_url: str) -> Iterator[LiveLedger]:
    """A book that somebody keeps using."""
    upgrade(database_url)
    ledger = LiveLedger(database_url)
    stop = threading.Event()
    failures: list[BaseException] = []
    thread = threading.Thread(target=busy, args=(ledger, stop, failures))
    thread.start()
    try:
        yield ledger
    finally:
        stop.set()
        thread.join()
        ledger.close()
    assert failures == []


def test_a_book_in_use_verifies(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, over a longer log each time, wherever the comparison meets the traffic."""
    monkeypatch.setattr(verify_book, "CATCH_UP_RECORDS", 5)
    sizes = [0]
    with traffic(database_url):
        for _ in range(12):
            (report,) = verify_books(database_url)
            assert report.verified, [difference.sentence() for difference in report.differences]
            sizes.append(report.records)
        while sizes[-1] < 100:
            (report,) = verify_books(database_url)
            sizes.append(report.records)
    assert sizes == sorted(sizes)
    (report,) = verify_books(database_url)
    assert report.verified
    assert report.records >= sizes[-1]


def test_a_wrong_row_is_found_in_a_book_in_use(database_url: str) -> None:
    """Although it claims to be younger than everything, and although the book never stands still."""
    upgrade(database_url)
    with traffic(database_url) as ledger:
        while ledger.sources.now < ledger.book.opened_at + 5_000_000:
            threading.Event().wait(0.01)
        engine = create_migration_engine(database_url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO agents SELECT book_id, 'ghost', 'agt_ghost', kind, parent, path, frozen,"
                    " 1000000000000, 1000000000000 FROM agents WHERE name = 'busy'"
                )
            )
        engine.dispose()
        (report,) = verify_books(database_url)
    assert [(one.table, one.key, one.what) for one in report.differences] == [
        ("agents", "name=ghost", "the row is not one that the log gives")
    ]
