"""Proof files of stored records: of every authorization that a book can have, and of one with many records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import event, text

from ledger.core.canonical import parse
from ledger.core.command import Settle
from ledger.core.merkle import leaf_hash
from ledger.core.notes import VerifierKey
from ledger.services import proving_records
from ledger.services.checkpoints import Checkpointer, CheckpointSettings
from ledger.services.proof_files import Proved, check_file
from ledger.services.proving_records import line_of, prove_records, record_at, records_of_authorization
from ledger.storage import checkpoint_rows
from ledger.storage.engine import create_engine
from ledger.storage.migrate import upgrade
from ledger.storage.side_writer import SideWriter
from tests.services.proved_world import Proofs
from tests.support.every_kind import LiveLedger, play


def proved(engine: Any, checkpointer: Checkpointer, book_id: int, subject: Any) -> Proved:
    """The file of a subject, checked as anybody can."""
    content = prove_records(engine, checkpointer.prover, book_id, subject)
    with engine.connect() as connection:
        keys: list[VerifierKey] = [key.verifier() for key in checkpoint_rows.keys(connection, book_id)]
    return check_file(json.dumps(content).encode(), keys)


def test_every_authorization_and_line_of_a_book_is_proved(database_url: str) -> None:
    """Whatever became of it: its records are one story, each naming the one before; and each transfer is a line."""
    upgrade(database_url)
    ledger = LiveLedger(database_url)
    play(ledger)
    engine, side = create_engine(database_url, pool_size=2), SideWriter(database_url)
    checkpointer = Checkpointer(engine, side, ledger.authorizer.decide_now, ledger.sources, CheckpointSettings())
    book_id = ledger.book.book_id
    checkpointer.rotate(book_id)
    checkpointer.make(book_id)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT id, created_index, changed_index FROM authorizations")).all()
        bodies = [bytes(row[0]) for row in connection.execute(text("SELECT body FROM log_records ORDER BY log_index"))]
    assert len(found) > 20
    for reference, created, changed in found:
        with engine.connect() as connection:
            subject = records_of_authorization(connection, book_id, reference)
        about = proved(engine, checkpointer, book_id, subject)
        assert about.about.authorization == reference
        assert about.records[0].index == created
        assert about.records[-1].index == changed
    lines = 0
    for index, packed in list(enumerate(bodies))[::7]:
        for position in range(len(parse(packed).get("transfers", []))):
            lines += 1
            with engine.connect() as connection:
                subject = line_of(record_at(connection, book_id, index), position)
            shown = proved(engine, checkpointer, book_id, subject)
            assert list(shown.about.transfer or ()) == parse(packed)["transfers"][position]
            assert leaf_hash(shown.records[0].packed) == leaf_hash(packed)
    assert lines > 5
    ledger.close()
    side.close()
    engine.dispose()


def test_many_records_are_proved_with_one_read(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the newest, what lies between is told, and no statement more than for one record."""
    world = proofs.world
    held = world.hold(world.crawler, "50")
    world.decide(*(world.command(Settle, world.crawler, authorization=held, amount="0.01", currency="USD", final=False)
                   for _ in range(30)))  # fmt: skip
    proofs.checkpointer.make(proofs.book_id)
    monkeypatch.setattr(proving_records, "RECORDS_MAX", 20)
    with proofs.engine.connect() as connection:
        many = records_of_authorization(connection, proofs.book_id, held)
        one = record_at(connection, proofs.book_id, many.records[0].log_index)
    asked: list[str] = []
    event.listen(proofs.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    proved(proofs.engine, proofs.checkpointer, proofs.book_id, one)
    few = len(asked)
    asked.clear()
    shown = proved(proofs.engine, proofs.checkpointer, proofs.book_id, many)
    assert len(asked) == few
    indexes = [record.index for record in shown.records]
    assert len(indexes) == 20
    assert shown.about.left_out == (indexes[0], indexes[1])
    assert indexes[1] - indexes[0] == 12
