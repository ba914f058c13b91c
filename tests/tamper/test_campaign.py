"""The tamper campaign: thousands of changes behind Bursar's back, each found, and each named as what it is.

By default a sample runs that touches every column; BURSAR_LONG=1 runs all of it. `BURSAR_TAMPER=ID pytest
tests/tamper -k named` runs the one whose id a failure names, or all whose id begins so.
"""

from __future__ import annotations

import os

import pytest

from ledger.core.changeset import SIDE
from ledger.core.journal import KINDS
from ledger.storage.tables import metadata
from tests.tamper.attacker import COLUMNS, Attacker
from tests.tamper.campaign import sample, tampers, verdict
from tests.tamper.covered import ATTACKED_SIDE, COLUMNS_BESIDE, FREE_FACTS, TABLES, TABLES_BESIDE, columns
from tests.tamper.tampers import Tamper

AT_LEAST = 2_000
"""Tampers in the whole campaign, on either database."""
SAMPLE_PARTS = 8
WHOLE_PARTS = 48
NAMED = os.environ.get("BURSAR_TAMPER", "")


@pytest.fixture(scope="module")
def campaign(attacker: Attacker) -> list[Tamper]:
    """Every tamper of this database."""
    return list(tampers(attacker))


def is_clean(attacker: Attacker) -> bool:
    """Whether verify finds nothing, and the kept checkpoint nothing either."""
    reports = attacker.verify(differences_max=5, kept=True)
    assert sorted(report.book_id for report in reports) == sorted((attacker.book_id, attacker.other_id))
    return all(report.verified and report.agrees for report in reports)


def run(attacker: Attacker, chosen: list[Tamper]) -> None:
    """Run some tampers; nothing of them may be left."""
    wrong = [line for tamper in chosen for line in verdict(attacker, tamper)]
    assert wrong == [], "\n".join(wrong)
    assert is_clean(attacker)


def test_the_books_are_right_before(attacker: Attacker) -> None:
    """Hundreds of records of every kind, a full tile, checkpoints, and rows in every table that is attacked."""
    assert is_clean(attacker)
    records = attacker.rows["log_records"]
    assert 300 <= len(records) <= 600
    assert {row["kind"] for row in records} == set(KINDS)
    for table in TABLES:
        single = table in ("books", "book_heads", "merkle_tiles", "spend_cursor")
        assert len(attacker.rows[table]) >= (1 if single else 2), table


def test_every_column_is_attacked_or_listed(attacker: Attacker, campaign: list[Tamper]) -> None:
    """A new column is attacked by itself; a new side table must be attacked, or say why nobody need look at it."""
    sides = {name for name, table in metadata.tables.items() if table.info["sort"] == SIDE}
    assert sides == {*ATTACKED_SIDE, *TABLES_BESIDE}
    assert all(name in COLUMNS[table] for table, name in COLUMNS_BESIDE)
    wanted = {(table, name) for table in TABLES for name in columns(table)}
    assert wanted <= {tamper.cell for tamper in campaign}
    assert wanted <= {tamper.cell for tamper in sample(campaign)}


def test_the_campaign_is_large(campaign: list[Tamper]) -> None:
    """And every tamper has a name of its own."""
    assert len(campaign) >= AT_LEAST
    assert len({tamper.id for tamper in campaign}) == len(campaign)


def test_what_is_free_is_a_field_of_some_record(campaign: list[Tamper]) -> None:
    """No entry of the list is there for nothing."""
    free = {tamper.id.split(":")[2].rsplit(".", 1)[0] for tamper in campaign if tamper.free and ":field:" in tamper.id}
    fields = {one.split(".", 1)[1] for one in free}
    assert fields == set(FREE_FACTS)


@pytest.mark.parametrize("part", range(SAMPLE_PARTS))
def test_a_sample_is_found(attacker: Attacker, campaign: list[Tamper], part: int) -> None:
    """On SQLite every column once; on PostgreSQL, where it takes longer, every fourth."""
    chosen = sample(campaign)
    assert len(chosen) >= 250
    run(attacker, (chosen if attacker.sqlite else chosen[::4])[part::SAMPLE_PARTS])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(WHOLE_PARTS))
def test_all_of_it_is_found(attacker: Attacker, campaign: list[Tamper], part: int) -> None:
    """The whole campaign."""
    run(attacker, campaign[part::WHOLE_PARTS])


@pytest.mark.skipif(not NAMED, reason="BURSAR_TAMPER names no tamper")
def test_the_named_ones_are_found(attacker: Attacker, campaign: list[Tamper]) -> None:
    """Those whose id begins with BURSAR_TAMPER."""
    chosen = [tamper for tamper in campaign if tamper.id.startswith(NAMED)]
    assert chosen, f"no tamper is called {NAMED}"
    run(attacker, chosen)
