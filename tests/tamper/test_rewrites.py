"""A log rewritten whole: honest in itself, signed with the book's own keys, and found by a kept checkpoint alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.services.verify_against import FORKED
from ledger.storage.tables import metadata
from tests.support.databases import sqlite_url
from tests.tamper.attacker import COLUMNS, Attacker, Row
from tests.tamper.workload import SEED


@pytest.fixture(scope="module")
def other_history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    """The rows of the same book, opened alike and with the same secrets, that then went another way."""
    other = Attacker(sqlite_url(tmp_path_factory.mktemp("other")), chance_seed=SEED + 7)
    other.close()
    return other.rows


def typed(table: str, row: Row) -> Row:
    """A row of SQLite as PostgreSQL takes it: its flags are no numbers."""
    flags = [column.name for column in metadata.tables[table].columns if str(column.type) == "BOOLEAN"]
    return row | {name: bool(row[name]) for name in flags}


def rewrite(attacker: Attacker, history: dict[str, list[Row]]) -> None:
    """Put the other history in the place of the book, in every table."""
    for table in COLUMNS:
        attacker.put(table, [typed(table, row) for row in history[table]])


def test_a_log_rewritten_whole_is_found_by_a_kept_checkpoint_alone(
    attacker: Attacker, other_history: dict[str, list[Row]]
) -> None:
    """Everything in the database agrees with the new log, signatures included, so that nothing there can tell; the
    witness knows between which sizes the two part."""
    assert other_history["books"][0]["book_id"] == attacker.book_id
    records = attacker.rows["log_records"]
    parts = next(at for at, row in enumerate(other_history["log_records"]) if row["body"] != records[at]["body"])
    with attacker.attack(lambda one: rewrite(one, other_history)):
        alone = attacker.verify(differences_max=5)
        against = attacker.verify(differences_max=5, kept=True)
    assert [difference.sentence() for report in alone for difference in report.differences] == []
    assert all(report.verified for report in alone)
    (said,) = [verdict for report in against for verdict in report.verdicts]
    before, behind = said.between or (0, 0)
    assert said.verdict == FORKED
    assert before <= parts < behind
    assert not all(report.agrees for report in against)


def test_signing_anew_what_is_unchanged_changes_nothing(attacker: Attacker, tmp_path: Path) -> None:
    """The same history made once more is the same log, to the byte, so the kept checkpoint is of it."""
    again = Attacker(sqlite_url(tmp_path))
    again.close()
    with attacker.attack(lambda one: rewrite(one, again.rows)):
        reports = attacker.verify(differences_max=5, kept=True)
    assert all(report.verified and report.agrees for report in reports)
